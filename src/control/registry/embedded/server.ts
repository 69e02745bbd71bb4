/**
 * The embedded registry: the part of Consul's HTTP API that registry/client.ts uses, over LMDB, for one machine, tests
 * and small sites. Control plane, main thread.
 *
 *     HTTP ─▶ server (routes) ─▶ draft (Consul's verbs) ─▶ store (LMDB, index, waiters)
 *                                                 sessions (TTL clocks) ─┘
 *
 * Not served: clusters, ACLs (tokens are ignored), health checks, blocking queries on sessions. Whoever reaches the
 * listen address can change everything, as with a Consul without ACLs.
 */
import { mkdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { VtepError } from '../../errors.js';
import { registerKvRoutes, withIndex } from './kv-routes.js';
import { HttpFailure, sessionJson } from './records.js';
import { checkSessionRequest, SessionClocks } from './sessions.js';
import { Store } from './store.js';
import { checkTransactionRequest, runTransaction, TransactionFailure } from './transaction.js';

/** Consul's kv_max_value_size. */
const BODY_BYTES_MAX = 512 * 1024;
const NODE_NAME = 'embedded';

export interface EmbeddedRegistryOptions {
  /** `HOST:PORT`; an IPv6 host in brackets; port 0 takes a free one. */
  readonly listen: string;
  /** The store is in its folder `registry`, which is made if it is missing. */
  readonly stateDirectory: string;
  /** For what goes wrong outside a request. @default nothing */
  readonly onError?: (error: unknown) => void;
}

export interface EmbeddedRegistry {
  /** For clients on this host: http://HOST:PORT. */
  readonly url: string;
  /** Ends blocking queries and connections, then the store. */
  close(): Promise<void>;
}

/** @throws VtepError VTEP_ERR_PORT_IN_USE, or VTEP_ERR_INVALID for an address or directory that cannot be used. */
export async function startEmbeddedRegistry(options: EmbeddedRegistryOptions): Promise<EmbeddedRegistry> {
  const { host, port } = checkListen(options.listen);
  const store = openStore(options.stateDirectory);
  const clocks = new SessionClocks(store, options.onError ?? (() => {}));
  const closing = new AbortController();
  const app = createApp(store, clocks, closing.signal);
  const close = async () => {
    clocks.close();
    closing.abort();
    store.wakeAll();
    await app.close();
    await store.close();
  };
  try {
    await app.listen({ host, port });
  } catch (error) {
    await close();
    throw listenFailure(options.listen, error);
  }
  const bound = app.server.address() as AddressInfo;
  return { url: `http://${reachableHost(bound.address)}:${bound.port}`, close };
}

function createApp(store: Store, clocks: SessionClocks, closing: AbortSignal): FastifyInstance {
  const app = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 8192 },
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const { statusCode = 500 } = error;
    const length = request.headers['content-length'] ?? 'unknown';
    const message =
      statusCode === 413 && !(error instanceof HttpFailure)
        ? `Request body(${length} bytes) too large, max size: ${BODY_BYTES_MAX} bytes.`
        : error.message;
    return reply.code(statusCode).type('text/plain; charset=utf-8').send(message);
  });
  // Strings are JSON here, not text.
  app.setReplySerializer((payload) => JSON.stringify(payload));
  app.addHook('preSerialization', async (_request, reply, payload) => {
    reply.type('application/json');
    return payload;
  });

  registerKvRoutes(app, store, closing);
  registerSessionRoutes(app, store, clocks);

  app.put('/v1/txn', async (request, reply) => {
    const operations = checkTransactionRequest(bodyOf(request.body));
    try {
      return { Results: await store.write((draft) => runTransaction(draft, operations)), Errors: null };
    } catch (error) {
      if (!(error instanceof TransactionFailure)) throw error;
      return reply.code(409).send({ Results: null, Errors: error.errors });
    }
  });
  app.get('/v1/status/leader', async (request, reply) => {
    const { localAddress, localPort } = request.socket;
    return reply.type('application/json').send(JSON.stringify(`${localAddress}:${localPort}`));
  });
  app.get('/v1/agent/self', async () => ({
    Config: { Datacenter: 'dc1', NodeName: NODE_NAME, Server: true, Version: 'vtep embedded registry' },
  }));
  return app;
}

function registerSessionRoutes(app: FastifyInstance, store: Store, clocks: SessionClocks): void {
  app.put('/v1/session/create', async (request) => {
    const session = checkSessionRequest(bodyOf(request.body), NODE_NAME);
    await store.write((draft) => draft.createSession(session));
    clocks.restart({ ...session, createIndex: 0 });
    return { ID: session.id };
  });
  app.put<{ Params: { id: string } }>('/v1/session/renew/:id', async (request) => {
    const { id } = request.params;
    const { session } = store.readSession(id);
    if (session === undefined) throw new HttpFailure(404, `Session id '${id}' not found`);
    clocks.restart(session);
    return [sessionJson(session)];
  });
  app.put<{ Params: { id: string } }>('/v1/session/destroy/:id', async (request) => {
    const { id } = request.params;
    await store.write((draft) => draft.destroySession(id));
    clocks.stop(id);
    return true;
  });
  app.get<{ Params: { id: string } }>('/v1/session/info/:id', async (request, reply) => {
    const { index, session } = store.readSession(request.params.id);
    withIndex(reply, index);
    return session === undefined ? [] : [sessionJson(session)];
  });
  app.get('/v1/session/list', async (_request, reply) => {
    const sessions = store.listSessions();
    withIndex(reply, store.sessionIndex());
    return sessions.map(sessionJson);
  });
}

function bodyOf(body: unknown): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0);
}

function openStore(stateDirectory: string): Store {
  const directory = join(stateDirectory, 'registry');
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return new Store(directory);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const text = `embedded registry cannot keep its store in ${directory} (${code ?? message}): give a directory it may write`;
    throw new VtepError('VTEP_ERR_INVALID', text, { cause: error });
  }
}

function checkListen(listen: string): { host: string; port: number } {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(listen);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    const text = `embedded registry cannot listen on "${listen}": give HOST:PORT, such as 127.0.0.1:8500`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
  return { host, port };
}

function listenFailure(listen: string, error: unknown): VtepError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') {
    const text = `embedded registry cannot listen on ${listen}: the port is taken; stop what listens there or give another port`;
    return new VtepError('VTEP_ERR_PORT_IN_USE', text, { cause: error });
  }
  const advice = code === 'EADDRNOTAVAIL' ? 'give an address of this host' : 'give another address';
  const text = `embedded registry cannot listen on ${listen} (${code ?? message}): ${advice}`;
  return new VtepError('VTEP_ERR_INVALID', text, { cause: error });
}

/** Listening on every address, it is reached on loopback. */
function reachableHost(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return address.includes(':') ? `[${address}]` : address;
}
