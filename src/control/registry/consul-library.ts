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

const agents = { http: new HttpAgent({ keepAlive: true }), https: new HttpsAgent({ keepAlive: true }) };

/**
 * Ends all connections to registries, with an error for whoever waits on one: this host's address has changed, and nothing
 * comes back to the old one.
 */
export function dropRegistryConnections(): void {
  for (const agent of Object.values(agents)) agent.destroy();
}

export function openConsulLibrary(url: URL, defaults: { token?: string; dc?: string }): ConsulLibrary {
  const path = url.pathname.replace(/\/+$/, '');
  const agent = url.protocol === 'https:' ? agents.https : agents.http;
  const options = { baseUrl: `${url.protocol}//${url.host}${path}/v1`, defaults, agent };
  const consul = new Consul(options);
  // URL keeps the brackets of an IPv6 literal and the library hands them to node:http, which takes the bare address.
  const internals = consul as unknown as { _opts: { baseUrl: { hostname: string } } };
  internals._opts.baseUrl.hostname = url.hostname.replace(/^\[|\]$/g, '');
  return consul as unknown as ConsulLibrary;
}
