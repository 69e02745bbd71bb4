/**
 * The npm package `consul` as this project uses it: its types leave out `ctx`, `index`, `timeout` and `baseUrl`, all of
 * which it takes. Control plane, main thread; only client.ts imports this.
 *
 * With `ctx.includeResponse` every call answers `[response, body?]`; without it a `false` answer would arrive as
 * `undefined`, and X-Consul-Index would not arrive at all.
 */
import { EventEmitter } from 'node:events';
import { Agent as HttpAgent, type IncomingHttpHeaders } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import Consul from 'consul';
import { acceptCompressed, type Transport } from './compressed-answers.js';

/**
 * How often a silent connection is probed (TCP keep-alive). Node's own second costs two packets a second and watch; a
 * server that is gone is found out by a query's time-out in any case.
 */
const PROBE_MS = 30_000;

export interface ConsulResponse {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly body?: unknown;
}

/** Emitting `cancel` ends the request. */
export class ConsulContext extends EventEmitter {
  readonly includeResponse = true;
  canceled = false;

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

export interface ConsulEntry {
  readonly Key: string;
  /** Decoded from base64; null when empty. */
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

export type ConsulAnswer<T> = Promise<readonly [ConsulResponse, T?]>;

export interface ConsulLibrary {
  readonly kv: {
    get(o: ConsulCall & { key: string }): ConsulAnswer<ConsulEntry>;
    get(o: ConsulCall & { key: string; recurse: true; index?: number; wait?: string }): ConsulAnswer<ConsulEntry[]>;
    set(o: ConsulCall & { key: string; value: string; cas?: number; acquire?: string }): ConsulAnswer<boolean>;
    del(o: ConsulCall & { key: string; recurse?: true; cas?: number }): ConsulAnswer<boolean>;
  };
  readonly session: {
    create(
      o: ConsulCall & { name: string; ttl: string; behavior: 'delete'; lockdelay: string; checks: string[] },
    ): ConsulAnswer<{ ID: string }>;
    renew(o: ConsulCall & { id: string }): ConsulAnswer<unknown[]>;
    destroy(o: ConsulCall & { id: string }): ConsulAnswer<undefined>;
  };
  readonly transaction: { create(operations: ConsulKvOperation[], o: ConsulCall): ConsulAnswer<unknown> };
}

/** What is touched inside the package. */
interface Internals {
  readonly _opts: { baseUrl: { hostname: string } };
  _ext(name: 'onRequest', hook: (request: { transport: Transport }, next: () => void) => void): void;
}

export function openConsulLibrary(url: URL, defaults: { token?: string; dc?: string }): ConsulLibrary {
  const path = url.pathname.replace(/\/+$/, '');
  const connections = { keepAlive: true, keepAliveMsecs: PROBE_MS };
  const agent = url.protocol === 'https:' ? new HttpsAgent(connections) : new HttpAgent(connections);
  const options = { baseUrl: `${url.protocol}//${url.host}${path}/v1`, agent, defaults };
  const consul = new Consul(options);
  // URL keeps the brackets of an IPv6 literal and the library hands them to node:http, which takes the bare address.
  const internals = consul as unknown as Internals;
  internals._opts.baseUrl.hostname = url.hostname.replace(/^\[|\]$/g, '');
  internals._ext('onRequest', (request, next) => {
    request.transport = acceptCompressed(request.transport);
    next();
  });
  return consul as unknown as ConsulLibrary;
}
