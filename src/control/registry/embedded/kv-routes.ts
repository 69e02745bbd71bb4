/**
 * /v1/kv/KEY: reading (also blocking), writing and deleting keys as Consul's HTTP API does. Embedded registry.
 *
 * Query parameters that Consul knows and one server has no use for (dc, consistent, stale, ns) are taken and ignored.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { parseDuration } from './duration.js';
import { HttpFailure, kvJson } from './records.js';
import type { Store } from './store.js';

/** LMDB as npm `lmdb` builds it takes keys of 1978 bytes. */
const KEY_BYTES_MAX = 1900;
const WAIT_MS = { default: 300_000, max: 600_000 };

interface Query {
  readonly [name: string]: string | undefined;
}

/** @param closing aborted when the server goes down, before Store.wakeAll: blocking queries end then. */
export function registerKvRoutes(app: FastifyInstance, store: Store, closing: AbortSignal): void {
  app.get('/v1/kv/*', async (request, reply) => {
    const key = keyOf(request);
    const query = request.query as Query;
    const isPrefix = 'recurse' in query || 'keys' in query;
    if (!isPrefix && key === '') throw new HttpFailure(400, 'Missing key name');
    const indexOf = () => (isPrefix ? store.readPrefix(key).index : store.readKey(key).index);
    await blockUntilNews(reply, query, indexOf, (waitMs, signal) => store.waitForChange(key, isPrefix, waitMs, signal));
    if ('keys' in query) return sendKeys(reply, store, key, query.separator ?? '');
    if ('recurse' in query) return sendTree(reply, store, key);
    return sendKey(reply, store, key, 'raw' in query);
  });

  app.put('/v1/kv/*', async (request) => {
    const key = keyOf(request);
    if (key === '') throw new HttpFailure(400, 'Missing key name');
    const query = request.query as Query;
    const given = ['cas', 'acquire', 'release'].filter((name) => name in query);
    if (given.length > 1) {
      throw new HttpFailure(400, `Conflicting flags: ${given.map((name) => `${name}=${query[name]}`).join('&')}`);
    }
    const value = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const flags = count(query.flags ?? '0');
    const { cas, acquire, release } = query;
    return store.write((draft) => {
      if (cas !== undefined) return draft.compareAndSet(key, value, flags, count(cas)) !== undefined;
      if (acquire !== undefined) return draft.lock(key, value, flags, acquire) !== undefined;
      if (release !== undefined) return draft.unlock(key, value, flags, release) !== undefined;
      draft.set(key, value, flags);
      return true;
    });
  });

  app.delete('/v1/kv/*', async (request) => {
    const key = keyOf(request);
    const { cas, ...query } = request.query as Query;
    const recurse = 'recurse' in query;
    if (recurse && cas !== undefined) throw new HttpFailure(400, 'Conflicting flags: recurse&cas');
    if (!recurse && key === '') throw new HttpFailure(400, 'Missing key name');
    return store.write((draft) => {
      if (cas !== undefined) return draft.compareAndDelete(key, count(cas));
      if (recurse) draft.deleteTree(key);
      else draft.delete(key);
      return true;
    });
  });

  async function blockUntilNews(
    reply: FastifyReply,
    query: Query,
    indexOf: () => number,
    wait: (waitMs: number, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { sinceIndex, waitMs } = checkBlocking(query);
    if (sinceIndex === 0) return;
    const gone = new AbortController();
    const leave = () => gone.abort();
    reply.raw.once('close', leave);
    const endMs = performance.now() + waitMs;
    try {
      while (indexOf() <= sinceIndex && !gone.signal.aborted && !closing.aborted) {
        const leftMs = endMs - performance.now();
        if (leftMs <= 0) return;
        await wait(leftMs, gone.signal);
      }
    } finally {
      reply.raw.off('close', leave);
    }
  }
}

/** The router would fold some escapes; the key is whatever the client wrote after /v1/kv/. */
function keyOf(request: FastifyRequest): string {
  const path = (request.raw.url ?? '').split('?', 1)[0] ?? '';
  let key: string;
  try {
    key = decodeURIComponent(path.slice('/v1/kv/'.length));
  } catch {
    throw new HttpFailure(400, 'Invalid key: not UTF-8');
  }
  if (Buffer.byteLength(key) > KEY_BYTES_MAX)
    throw new HttpFailure(400, `Invalid key: longer than ${KEY_BYTES_MAX} bytes`);
  return key;
}

function count(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) {
    throw new HttpFailure(500, `strconv.ParseUint: parsing "${text}": invalid syntax`);
  }
  return number;
}

function checkBlocking(query: Query): { sinceIndex: number; waitMs: number } {
  const { index = '', wait = '' } = query;
  if (!/^\d*$/.test(index)) throw new HttpFailure(400, 'Invalid index');
  const waitNanoseconds = wait === '' ? undefined : parseDuration(wait);
  if (wait !== '' && waitNanoseconds === undefined) throw new HttpFailure(400, 'Invalid wait time');
  const waitMs = waitNanoseconds === undefined || waitNanoseconds === 0 ? WAIT_MS.default : waitNanoseconds / 1e6;
  return { sinceIndex: Number(index), waitMs: Math.min(waitMs, WAIT_MS.max) };
}

function sendKey(reply: FastifyReply, store: Store, key: string, raw: boolean): FastifyReply {
  const { index, record } = store.readKey(key);
  withIndex(reply, index);
  if (record === undefined) return reply.code(404).send();
  if (!raw) return reply.send([kvJson(key, record)]);
  return reply.type('application/octet-stream').header('Content-Security-Policy', 'sandbox').send(record.value);
}

function sendTree(reply: FastifyReply, store: Store, prefix: string): FastifyReply {
  const { index, records } = store.readPrefix(prefix);
  withIndex(reply, index);
  return records.length === 0
    ? reply.code(404).send()
    : reply.send(records.map(([key, record]) => kvJson(key, record)));
}

/** With a separator, keys are cut after its first occurrence behind the prefix, each once: a folder's view. */
function sendKeys(reply: FastifyReply, store: Store, prefix: string, separator: string): FastifyReply {
  const { index, records } = store.readPrefix(prefix);
  withIndex(reply, index);
  if (records.length === 0) return reply.code(404).send();
  const keys = records.map(([key]) => {
    const at = separator === '' ? -1 : key.indexOf(separator, prefix.length);
    return at < 0 ? key : key.slice(0, at + separator.length);
  });
  return reply.send([...new Set(keys)]);
}

export function withIndex(reply: FastifyReply, index: number): void {
  reply.header('X-Consul-Index', index).header('X-Consul-Knownleader', 'true').header('X-Consul-Lastcontact', '0');
}
