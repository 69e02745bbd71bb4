/**
 * The registry over HTTP: the one implementation of the Registry interface, for a Consul server and for the embedded
 * registry alike. Control plane, main thread.
 *
 * Contract: nothing is retried here. Every request ends within its time-out; a watch within waitSeconds, the sixteenth
 * of it that Consul adds at random, and the time-out. An aborted watch rejects with the signal's reason.
 */
import { VtepError } from '../errors.js';
import {
  type ConsulAnswer,
  type ConsulCall,
  ConsulContext,
  type ConsulEntry,
  type ConsulKvOperation,
  type ConsulResponse,
  openConsulLibrary,
} from './consul-library.js';
import { checkRegistryUrl, nonsense, registryFailure, statusOf } from './failures.js';
import type { Registry, RegistryEntry, RegistryListing, RegistryOperation } from './registry.js';

export { dropRegistryConnections } from './consul-library.js';

/** Consul's kv_max_value_size and txn_max_req_len. */
export const VALUE_BYTES_MAX = 512 * 1024;
export const TRANSACTION_OPERATIONS_MAX = 64;
/** Consul has no limit of its own below the URL's; the embedded registry's LMDB keys end at 1978. */
const KEY_BYTES_MAX = 1024;
const SESSION_TTL_SECONDS = { min: 10, max: 86_400 };

export interface RegistryClientOptions {
  /** Such as http://10.0.0.1:8500; a path before /v1 is kept. */
  readonly url: string;
  /** @default 'vtep/v1/' */
  readonly prefix?: string;
  /** Consul's ACL token. */
  readonly token?: string;
  /** @default the server's own. */
  readonly datacenter?: string;
  /** Of a request that does not block. @default 10000 */
  readonly timeoutMs?: number;
}

/** @throws VtepError VTEP_ERR_INVALID for a URL or prefix that cannot be used; nothing is sent yet. */
export function createRegistryClient(options: RegistryClientOptions): Registry {
  const parsed = checkRegistryUrl(options.url);
  const url = `${parsed.protocol}//${parsed.host}${parsed.pathname.replace(/\/+$/, '')}`;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const prefix = withSlash(options.prefix ?? 'vtep/v1/');
  checkKey(prefix);
  const library = openConsulLibrary(parsed, {
    ...(options.token === undefined ? {} : { token: options.token }),
    ...(options.datacenter === undefined ? {} : { dc: options.datacenter }),
  });

  const fullKey = (key: string) => {
    if (key === '') throw new VtepError('VTEP_ERR_INVALID', 'registry key is empty: give at least one character');
    checkKey(key);
    return prefix + key;
  };
  const fullPrefix = (key: string) => {
    checkKey(key);
    return prefix + key;
  };

  async function call<T>(
    run: (call: ConsulCall) => ConsulAnswer<T>,
    limits: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<{ response: ConsulResponse; body: T | undefined }> {
    const { signal } = limits;
    signal?.throwIfAborted();
    const ctx = new ConsulContext();
    const timeout = limits.timeoutMs ?? timeoutMs;
    const abort = () => ctx.cancel();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const [response, body] = await run({ ctx, timeout });
      return { response, body };
    } catch (error) {
      signal?.throwIfAborted();
      throw registryFailure(url, error, timeout);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async function yesOrNo(what: string, run: (call: ConsulCall) => ConsulAnswer<boolean>): Promise<boolean> {
    const { body } = await call(run);
    if (typeof body !== 'boolean') throw nonsense(url, `answered ${what} with neither true nor false`);
    return body;
  }

  async function must(what: string, run: (call: ConsulCall) => ConsulAnswer<boolean>): Promise<void> {
    if (!(await yesOrNo(what, run))) {
      throw new VtepError('VTEP_ERR_REGISTRY', `registry ${url} refused ${what}: try again`);
    }
  }

  const indexOf = (response: ConsulResponse): number => {
    const index = Number(response.headers['x-consul-index']);
    if (!Number.isSafeInteger(index) || index < 0) throw nonsense(url, 'answered without X-Consul-Index');
    return index;
  };

  const toEntry = (entry: ConsulEntry): RegistryEntry => {
    if (typeof entry?.Key !== 'string' || !entry.Key.startsWith(prefix) || !Number.isSafeInteger(entry.ModifyIndex)) {
      throw nonsense(url, `answered an entry that is not under ${prefix}`);
    }
    return {
      key: entry.Key.slice(prefix.length),
      value: entry.Value ?? '',
      createIndex: entry.CreateIndex,
      modifyIndex: entry.ModifyIndex,
      ...(entry.Session ? { session: entry.Session } : {}),
    };
  };

  async function read(under: string, blocking?: { index: number; waitSeconds: number; signal: AbortSignal }) {
    const key = fullPrefix(under);
    const query = blocking && { index: blocking.index, wait: `${Math.ceil(blocking.waitSeconds * 1000)}ms` };
    const limits = blocking && {
      signal: blocking.signal,
      timeoutMs: Math.ceil(blocking.waitSeconds * 1000 * (17 / 16)) + timeoutMs,
    };
    const { response, body } = await call((c) => library.kv.get({ ...c, key, recurse: true, ...query }), limits);
    const listing: RegistryListing = { index: indexOf(response), entries: (body ?? []).map(toEntry) };
    return listing;
  }

  return {
    url,
    async get(key) {
      const full = fullKey(key);
      const { response, body } = await call((c) => library.kv.get({ ...c, key: full }));
      indexOf(response);
      return body === undefined ? undefined : toEntry(body);
    },
    list: async (under) => read(under),
    watch: async (under, index, waitSeconds, signal) => read(under, { index, waitSeconds, signal }),
    async put(key, value) {
      const full = fullKey(key);
      checkValue(key, value);
      await must(`writing ${key}`, (c) => library.kv.set({ ...c, key: full, value }));
    },
    async compareAndSet(key, value, casIndex) {
      const full = fullKey(key);
      checkValue(key, value);
      return yesOrNo(`writing ${key}`, (c) => library.kv.set({ ...c, key: full, value, cas: casIndex }));
    },
    async acquire(key, value, session) {
      const full = fullKey(key);
      checkValue(key, value);
      return yesOrNo(`acquiring ${key}`, (c) => library.kv.set({ ...c, key: full, value, acquire: session }));
    },
    async delete(key) {
      const full = fullKey(key);
      await must(`deleting ${key}`, (c) => library.kv.del({ ...c, key: full }));
    },
    async compareAndDelete(key, casIndex) {
      const full = fullKey(key);
      return yesOrNo(`deleting ${key}`, (c) => library.kv.del({ ...c, key: full, cas: casIndex }));
    },
    async deleteTree(under) {
      const key = fullPrefix(under);
      await must(`deleting ${under}`, (c) => library.kv.del({ ...c, key, recurse: true }));
    },
    async transaction(operations) {
      if (operations.length === 0) return true;
      const sent = operations.map((operation) => toConsul(operation, fullKey, fullPrefix));
      checkTransaction(sent);
      try {
        await call((c) => library.transaction.create(sent, c));
        return true;
      } catch (error) {
        if (error instanceof VtepError && statusOf(error.cause) === 409) return false;
        throw error;
      }
    },
    async createSession(name, ttlSeconds) {
      const { min, max } = SESSION_TTL_SECONDS;
      if (!Number.isInteger(ttlSeconds) || ttlSeconds < min || ttlSeconds > max) {
        const text = `session TTL ${ttlSeconds} s is out of range: give whole seconds from ${min} to ${max}`;
        throw new VtepError('VTEP_ERR_INVALID', text);
      }
      // An empty `checks` empties Consul's NodeChecks too: without it the health of Consul's own agent would end it.
      const session = { name, ttl: `${ttlSeconds}s`, behavior: 'delete' as const, lockdelay: '0s', checks: [] };
      const { body } = await call((c) => library.session.create({ ...c, ...session }));
      if (typeof body?.ID !== 'string') throw nonsense(url, 'made a session without an ID');
      return body.ID;
    },
    async renewSession(session) {
      try {
        await call((c) => library.session.renew({ ...c, id: session }));
        return true;
      } catch (error) {
        if (error instanceof VtepError && statusOf(error.cause) === 404) return false;
        throw error;
      }
    },
    async destroySession(session) {
      await call((c) => library.session.destroy({ ...c, id: session }));
    },
  };
}

function toConsul(
  operation: RegistryOperation,
  fullKey: (key: string) => string,
  fullPrefix: (key: string) => string,
): ConsulKvOperation {
  const { verb } = operation;
  if (verb === 'delete-tree') return { KV: { Verb: verb, Key: fullPrefix(operation.key) } };
  const Key = fullKey(operation.key);
  if (verb === 'delete') return { KV: { Verb: verb, Key } };
  // Consul's check-index knows no 0: absence has a verb of its own.
  if (verb === 'check-index' && operation.casIndex === 0) return { KV: { Verb: 'check-not-exists', Key } };
  return {
    KV: {
      Verb: verb,
      Key,
      ...('value' in operation ? { Value: Buffer.from(operation.value).toString('base64') } : {}),
      ...('casIndex' in operation ? { Index: operation.casIndex } : {}),
      ...('session' in operation ? { Session: operation.session } : {}),
    },
  };
}

function checkTransaction(operations: readonly ConsulKvOperation[]): void {
  if (operations.length > TRANSACTION_OPERATIONS_MAX) {
    const text = `registry transaction has ${operations.length} operations: at most ${TRANSACTION_OPERATIONS_MAX} go in one`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
  const bytes = Buffer.byteLength(JSON.stringify(operations));
  if (bytes > VALUE_BYTES_MAX) {
    const text = `registry transaction has ${bytes} bytes: at most ${VALUE_BYTES_MAX} go in one`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
}

function checkValue(key: string, value: string): void {
  const bytes = Buffer.byteLength(value);
  if (bytes > VALUE_BYTES_MAX) {
    const text = `registry value of ${key} has ${bytes} bytes: at most ${VALUE_BYTES_MAX} (512 KiB) fit in one key`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
}

/** Consul's HTTP server answers a redirect for paths that are not clean, and refuses control characters. */
function checkKey(key: string): void {
  const wrong = (why: string) => new VtepError('VTEP_ERR_INVALID', `registry key ${JSON.stringify(key)} ${why}`);
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw wrong(`is longer than ${KEY_BYTES_MAX} bytes`);
  if (/(^|\/)\.{1,2}(\/|$)|\/\/|^\//.test(key)) throw wrong('has an empty, "." or ".." part: name every part');
  if (/\p{Cc}/u.test(key) || !key.isWellFormed()) throw wrong('has a control character: use printable ones');
}

function withSlash(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
}
