/**
 * The npm package `consul` as this project uses it: its types leave out `ctx`, `index`, `timeout` and `baseUrl`, all of
 * which it takes. Control plane, main thread; one per server address.
 *
 * With `ctx.includeResponse` every call answers `[response, body?]`; without it a `false` answer would arrive as
 * `undefined`, and X-Consul-Index would not arrive at all.
 *
 * What it does not do is done here, by the hooks of its HTTP layer: a namespace; a token that can change; an answer that
 * is cut off in its middle fails at once instead of hanging until the time-out; whether a request has left this host is
 * known (`ctx.sent`); connecting has a limit of its own; values of a listing are left in base64, for whoever needs them.
 */
import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import Consul from 'consul';
import { createAgent, dropIdleConnections } from './agents.js';
import { acceptCompressed, type Transport } from './compressed-answers.js';
import type { TlsFiles } from './tls-files.js';

export interface ConsulResponse {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly body?: unknown;
}

/** Emitting `cancel` ends the request. */
export class ConsulContext extends EventEmitter {
  readonly includeResponse = true;
  canceled = false;
  /** Whether there was a connection to put the request on: if not, the server has seen nothing of it. */
  sent = false;

  cancel(): void {
    this.canceled = true;
    this.emit('cancel');
  }
}

/** What every call takes: its context and its time-out. */
export interface ConsulCall {
  readonly ctx: ConsulContext;
  /** Milliseconds. */
  readonly timeout: number;
}

/** `stale`: any server answers; `consistent`: the leader asks the others whether it still leads. */
export type ConsulConsistency = 'stale' | 'consistent';

/** As it is in the JSON: Value is base64, or null when empty. */
export interface ConsulEntry {
  readonly Key: string;
  readonly Value: string | null;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
  readonly Session?: string;
}

export interface ConsulKvOperation {
  readonly KV: {
    readonly Verb: string;
    readonly Key: string;
    readonly Value?: string;
    readonly Index?: number;
    readonly Session?: string;
  };
}

export interface ConsulRead extends ConsulCall {
  readonly key: string;
  readonly recurse?: boolean;
  /** The names alone; cut behind the separator, if there is one. */
  readonly names?: { readonly separator?: string | undefined };
  readonly index?: number;
  readonly wait?: string;
  readonly consistency?: ConsulConsistency | undefined;
}

/** The response's body is whatever the server sent, parsed if it said that it is JSON. */
export type ConsulAnswer = Promise<readonly [ConsulResponse, ...unknown[]]>;

export interface ConsulLibrary {
  readonly kv: {
    set(o: ConsulCall & { key: string; value: string; cas?: number; acquire?: string }): ConsulAnswer;
    del(o: ConsulCall & { key: string; recurse?: true; cas?: number }): ConsulAnswer;
  };
  readonly session: {
    create(
      o: ConsulCall & { name: string; ttl: string; behavior: 'delete'; lockdelay: string; checks: string[] },
    ): ConsulAnswer;
    renew(o: ConsulCall & { id: string }): ConsulAnswer;
    destroy(o: ConsulCall & { id: string }): ConsulAnswer;
  };
  readonly transaction: { create(operations: ConsulKvOperation[], o: ConsulCall): ConsulAnswer };
  /** GET /v1/kv: status 404 is an answer, not an error. */
  read(o: ConsulRead): ConsulAnswer;
  dropIdleConnections(): void;
}

export interface ConsulServerOptions {
  readonly url: URL;
  readonly datacenter?: string | undefined;
  readonly namespace?: string | undefined;
  readonly partition?: string | undefined;
  /** Asked at each request. */
  readonly token: () => string | undefined;
  /** A function: asked for each connection. */
  readonly tls?: TlsFiles | (() => TlsFiles) | undefined;
}

/** A request inside the package, as far as it is touched here. */
interface InnerRequest {
  readonly opts: { query: Record<string, string | number>; headers: Record<string, string> };
  readonly ctx?: ConsulContext;
  readonly err?: Error & { isResponse?: boolean; response?: ConsulResponse };
  readonly res?: ConsulResponse;
  transport: Transport;
}
type Next = (error?: Error | false, rejected?: Error, value?: unknown) => void;
type Hook = (request: InnerRequest, next: Next) => void;
interface Internals {
  readonly _opts: { baseUrl: { hostname: string } };
  _ext(name: 'onCreate' | 'onRequest', hook: Hook): void;
  _get(request: object, hook: Hook): ConsulAnswer;
}

export function openConsulLibrary(options: ConsulServerOptions): ConsulLibrary {
  const { url } = options;
  const path = url.pathname.replace(/\/+$/, '');
  const secure = url.protocol === 'https:';
  const agent = createAgent(secure, options.tls);
  const settings = { baseUrl: `${url.protocol}//${url.host}${path}/v1`, agent };
  const consul = new Consul(settings as unknown as ConstructorParameters<typeof Consul>[0]);
  const internals = consul as unknown as Internals;
  // URL keeps the brackets of an IPv6 literal and the library hands them to node:http, which takes the bare address.
  internals._opts.baseUrl.hostname = url.hostname.replace(/^\[|\]$/g, '');
  internals._ext('onCreate', (request, next) => {
    const { query, headers } = request.opts;
    if (options.datacenter !== undefined) query.dc = options.datacenter;
    if (options.namespace !== undefined) query.ns = options.namespace;
    if (options.partition !== undefined) query.partition = options.partition;
    const token = options.token();
    if (token !== undefined) headers['x-consul-token'] = token;
    next();
  });
  internals._ext('onRequest', (request, next) => {
    followRequest(request, secure);
    next();
  });
  const { kv, session, transaction } = consul as unknown as Pick<ConsulLibrary, 'kv' | 'session' | 'transaction'>;
  return {
    ...{ kv, session, transaction, read: (o) => read(internals, o) },
    dropIdleConnections: () => dropIdleConnections(agent),
  };
}

function read(internals: Internals, o: ConsulRead): ConsulAnswer {
  const query: Record<string, string | number> = {};
  if (o.recurse === true) query.recurse = '';
  if (o.names !== undefined) query.keys = '';
  if (o.names?.separator !== undefined) query.separator = o.names.separator;
  if (o.index !== undefined) query.index = o.index;
  if (o.wait !== undefined) query.wait = o.wait;
  if (o.consistency !== undefined) query[o.consistency] = '';
  const { key, ctx, timeout } = o;
  return internals._get({ name: 'kv.read', path: '/kv/{key}', params: { key }, query, ctx, timeout }, (inner, next) => {
    const { err, res } = inner;
    if (err !== undefined && res?.statusCode !== 404) {
      if (res !== undefined) err.response = res;
      next(false, err);
      return;
    }
    next(false, undefined, [res]);
  });
}

function followRequest(request: InnerRequest, secure: boolean): void {
  const { ctx } = request;
  const transport = acceptCompressed(request.transport);
  request.transport = {
    request(options) {
      const outgoing = transport.request(options);
      outgoing.once('socket', (socket: Socket) => {
        const connected = () => {
          if (ctx !== undefined) ctx.sent = true;
        };
        if (outgoing.reusedSocket || (!socket.connecting && !secure)) connected();
        else socket.once(secure ? 'secureConnect' : 'connect', connected);
      });
      outgoing.once('response', (response: IncomingMessage) => {
        response.once('close', () => {
          const cut = Object.assign(new Error('the answer was cut off'), { code: 'ECONNRESET' });
          if (!response.complete) outgoing.emit('error', cut);
        });
      });
      return outgoing;
    },
  };
}
