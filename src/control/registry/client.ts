/**
 * The registry over HTTP: the one implementation of the Registry interface, for Consul servers and for the embedded
 * registry alike. Control plane, main thread.
 *
 * Contract: a request goes to the server that answered last, and to the next one where that may help: each is asked at
 * most once and ends within its time-out, a watch within waitSeconds, the sixteenth of it that Consul adds at random, and
 * the time-out. A write that may have been made is not made again, unless making it twice is the same as once
 * (REPEATABLE_VERBS): a compare-and-set that had succeeded would answer false. An aborted watch rejects with the signal's
 * reason. Watches take any server's answer, all other reads the leader's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, checkCommitted, checkRolledBack, entryOf, keysOf, listingOf, yesOrNo } from './answers.js';
import {
  type ConsulAnswer,
  type ConsulCall,
  ConsulContext,
  type ConsulLibrary,
  openConsulLibrary,
} from './consul-library.js';
import { Failover, MOVED } from './failover.js';
import {
  checkRegistryUrl,
  isTimeout,
  nonsense,
  refusalOf,
  type ServerFailure,
  serverFailure,
  textOf,
  toVtepError,
} from './failures.js';
import { checkTtl, checkValue, KeySpace, toConsulTransaction } from './limits.js';
import type { Registry } from './registry.js';
import type { TlsFiles } from './tls-files.js';

const REPEATABLE_VERBS: ReadonlySet<string> = new Set(['set', 'lock', 'delete', 'delete-tree']);
/** Hosts that lose one server together do not all come to the next one at once. */
const MOVE_WATCH_MS_MAX = 1000;

export interface RegistryClientOptions {
  /** Such as http://10.0.0.1:8500, or several of one cluster in the order to try; a path before /v1 is kept. */
  readonly url: string | readonly string[];
  /** @default 'vtep/v1/' */
  readonly prefix?: string | undefined;
  /** Consul's ACL token, or what knows it: that is asked at each request. */
  readonly token?: string | (() => string | undefined) | undefined;
  /** @default the server's own. */
  readonly datacenter?: string | undefined;
  /** Of Consul Enterprise. @default the token's own */
  readonly namespace?: string | undefined;
  /** Of Consul Enterprise. @default the server's own */
  readonly partition?: string | undefined;
  /** For https:// URLs. @default the CAs that Node.js knows, and no certificate of this host's */
  /** A function: asked for each connection. */
  readonly tls?: TlsFiles | (() => TlsFiles) | undefined;
  /** Of a request that does not block, to one server. @default 10000 */
  readonly timeoutMs?: number | undefined;
}

interface Server {
  readonly url: string;
  readonly library: ConsulLibrary;
}

interface Question<T> {
  readonly run: (library: ConsulLibrary, call: ConsulCall) => ConsulAnswer;
  /** Of a status 2xx, and 404 of a reading. @throws ServerFailure */
  readonly read: (answer: Answer) => T;
  /** Statuses that are an answer to this question. Undefined goes on as a failure. */
  readonly refused?: (url: string, status: number, body: unknown) => T | undefined;
  /** Whether doing it twice is the same as once. */
  readonly isRepeatable: boolean;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Waits for news, and so goes along when the others move to another server. */
  readonly isWatch?: boolean;
}

/** @throws VtepError VTEP_ERR_INVALID for a URL or prefix that cannot be used; nothing is sent yet. */
export function createRegistryClient(options: RegistryClientOptions): Registry {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const keys = new KeySpace(options.prefix ?? 'vtep/v1/');
  const { prefix } = keys;
  const urls = typeof options.url === 'string' ? [options.url] : options.url;
  const all = (urls.length === 0 ? [''] : urls).map((url) => openServer(url, options));
  const servers = new Failover(all);

  async function ask<T>(question: Question<T>): Promise<T> {
    const failures: ServerFailure[] = [];
    const { signal, isRepeatable, isWatch } = question;
    let isFirst = true;
    const attempt = async (server: Server, moved: AbortSignal): Promise<T> => {
      if (!isFirst && isWatch) await sleep(Math.random() * MOVE_WATCH_MS_MAX, undefined, { signal }).catch(() => {});
      isFirst = false;
      signal?.throwIfAborted();
      return askServer(server, question, question.timeoutMs ?? timeoutMs, isWatch ? moved : undefined);
    };
    const mayTryNext = (error: unknown): boolean => {
      if (signal?.aborted) return false;
      const failure = error as ServerFailure;
      failures.push(failure);
      return failure.facts.elsewhere && (isRepeatable || !failure.facts.maybeDone);
    };
    try {
      return await servers.run(attempt, mayTryNext);
    } catch (error) {
      signal?.throwIfAborted();
      throw failures.length === 0 ? error : toVtepError(failures, isRepeatable);
    }
  }

  const write = (run: Question<boolean>['run'], isRepeatable: boolean): Promise<boolean> =>
    ask({ run, read: yesOrNo, isRepeatable });

  /** Consul adds up to a sixteenth of it at random. */
  const waiting = (waitSeconds: number) => ({
    wait: `${Math.ceil(waitSeconds * 1000)}ms`,
    timeoutMs: Math.ceil(waitSeconds * 1000 * (17 / 16)) + timeoutMs,
  });

  /** For what Consul always takes: a `false` is nonsense. */
  const must = (run: Question<boolean>['run']): Promise<boolean> =>
    ask({
      run,
      read: (answer) => yesOrNo(answer) || fail(nonsense(answer.url, 'answered false to a write without a condition')),
      isRepeatable: true,
    });

  return {
    get url() {
      return servers.current.url;
    },
    urls: all.map(({ url }) => url),
    async get(key) {
      const full = keys.key(key);
      const read = (answer: Answer) => entryOf(answer, prefix, full);
      return ask({ run: (l, c) => l.read({ ...c, key: full }), read, isRepeatable: true });
    },
    async list(under, { isConsistent, signal, known } = {}) {
      const full = keys.tree(under);
      const consistency = isConsistent === true ? 'consistent' : undefined;
      return ask({
        run: (l, c) => l.read({ ...c, key: full, recurse: true, consistency }),
        read: (answer) => listingOf(answer, prefix, full, known),
        isRepeatable: true,
        signal,
      });
    },
    async watch(under, index, waitSeconds, signal, known) {
      const full = keys.tree(under);
      const { wait, timeoutMs } = waiting(waitSeconds);
      // The first reading decides what is there: the leader's. From there on any server may say what is new.
      const consistency = index > 0 ? 'stale' : undefined;
      return ask({
        run: (l, c) => l.read({ ...c, key: full, recurse: true, index, wait, consistency }),
        read: (answer) => listingOf(answer, prefix, full, known),
        isRepeatable: true,
        isWatch: true,
        signal,
        timeoutMs,
      });
    },
    async listKeys(under, { separator, newerThan, signal } = {}) {
      const full = keys.tree(under);
      const common = { read: (answer: Answer) => keysOf(answer, prefix, full), isRepeatable: true, signal };
      if (newerThan === undefined) {
        return ask({ ...common, run: (l, c) => l.read({ ...c, key: full, names: { separator } }) });
      }
      const { index, waitSeconds } = newerThan;
      const { wait, timeoutMs } = waiting(waitSeconds);
      const consistency = index > 0 ? 'stale' : undefined;
      return ask({
        ...common,
        run: (l, c) => l.read({ ...c, key: full, names: { separator }, index, wait, consistency }),
        isWatch: true,
        timeoutMs,
      });
    },
    async put(key, value) {
      const full = keys.key(key);
      checkValue(key, value);
      await must((l, c) => l.kv.set({ ...c, key: full, value }));
    },
    async compareAndSet(key, value, casIndex) {
      const full = keys.key(key);
      checkValue(key, value);
      return write((l, c) => l.kv.set({ ...c, key: full, value, cas: casIndex }), false);
    },
    async acquire(key, value, session) {
      const full = keys.key(key);
      checkValue(key, value);
      return write((l, c) => l.kv.set({ ...c, key: full, value, acquire: session }), true);
    },
    async delete(key) {
      const full = keys.key(key);
      await must((l, c) => l.kv.del({ ...c, key: full }));
    },
    async compareAndDelete(key, casIndex) {
      const full = keys.key(key);
      return write((l, c) => l.kv.del({ ...c, key: full, cas: casIndex }), false);
    },
    async deleteTree(under) {
      const key = keys.tree(under);
      await must((l, c) => l.kv.del({ ...c, key, recurse: true }));
    },
    async transaction(operations) {
      if (operations.length === 0) return true;
      const sent = toConsulTransaction(operations, keys);
      return ask<boolean>({
        run: (l, c) => l.transaction.create(sent, c),
        read: checkCommitted,
        refused: (url, status, body) => (status === 409 ? checkRolledBack(url, body) : undefined),
        isRepeatable: operations.every(({ verb }) => REPEATABLE_VERBS.has(verb)),
      });
    },
    async createSession(name, ttlSeconds) {
      checkTtl(ttlSeconds);
      // An empty `checks` empties Consul's NodeChecks too: without it the health of Consul's own agent would end it.
      const session = { name, ttl: `${ttlSeconds}s`, behavior: 'delete' as const, lockdelay: '0s', checks: [] };
      return ask({
        run: (l, c) => l.session.create({ ...c, ...session }),
        read: ({ url, body }) => {
          const id = (body as { ID?: unknown } | null | undefined)?.ID;
          return typeof id === 'string' && id !== '' ? id : fail(nonsense(url, 'made a session without an ID'));
        },
        isRepeatable: false,
      });
    },
    async renewSession(session) {
      return ask<boolean>({
        run: (l, c) => l.session.renew({ ...c, id: session }),
        read: ({ url, body }) =>
          (Array.isArray(body) && body[0]?.ID === session) || fail(nonsense(url, 'renewed another session')),
        // Any web server answers 404: only Consul's own words say that the session is no more.
        refused: (_url, status, body) =>
          status === 404 && /session id .* not found/i.test(textOf(body)) ? false : undefined,
        isRepeatable: true,
      });
    },
    async destroySession(session) {
      await must((l, c) => l.session.destroy({ ...c, id: session }));
    },
  };
}

function openServer(text: string, options: RegistryClientOptions): Server {
  const url = checkRegistryUrl(text);
  const { token, datacenter, namespace, partition, tls } = options;
  return {
    url: `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`,
    library: openConsulLibrary({
      ...{ url, datacenter, namespace, partition, tls },
      token: typeof token === 'function' ? token : () => token,
    }),
  };
}

/** @throws ServerFailure, the reason of the question's signal, or MOVED. */
async function askServer<T>(
  server: Server,
  question: Question<T>,
  timeoutMs: number,
  moved: AbortSignal | undefined,
): Promise<T> {
  const { signal, run, read, refused } = question;
  const { url } = server;
  const ctx = new ConsulContext();
  const cancel = () => ctx.cancel();
  for (const reason of [signal, moved]) reason?.addEventListener('abort', cancel, { once: true });
  try {
    // The package drops some bodies: the response has them all.
    const [response] = await run(server.library, { ctx, timeout: timeoutMs });
    return read({ url, response, body: response.body });
  } catch (error) {
    signal?.throwIfAborted();
    if (moved?.aborted) throw MOVED;
    const refusal = refusalOf(error);
    const answer = refusal && refused?.(url, refusal.status, refusal.body);
    if (answer !== undefined) return answer;
    if (isTimeout(error)) server.library.dropIdleConnections();
    throw serverFailure(url, error, ctx.sent, timeoutMs);
  } finally {
    for (const reason of [signal, moved]) reason?.removeEventListener('abort', cancel);
  }
}

function fail(failure: ServerFailure): never {
  throw failure;
}
