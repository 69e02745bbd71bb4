/**
 * Connections to one registry server: kept alive, and with a limit for their making, since an address where nothing is
 * (a host that has lost its power) would otherwise take a request's whole time-out. Control plane.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TlsFiles } from './tls-files.js';

const CONNECT_MS_MAX = 3000;
/**
 * How often a silent connection is probed (TCP keep-alive). Node's own second costs two packets a second and watch; a
 * server that is gone is found out by a query's time-out in any case.
 */
const PROBE_MS = 30_000;
const agents = new Set<HttpAgent>();

/**
 * Ends all connections to registries, with an error for whoever waits on one: this host's address has changed, and nothing
 * comes back to the old one.
 */
export function dropRegistryConnections(): void {
  for (const agent of agents) agent.destroy();
}

/** @param tls a function: asked for each connection */
export function createAgent(secure: boolean, tls: TlsFiles | (() => TlsFiles) | undefined): HttpAgent {
  const connections = { keepAlive: true, keepAliveMsecs: PROBE_MS };
  const tlsOfNow = typeof tls === 'function' ? tls : () => tls;
  // A session that is taken up again goes on with the certificate that it began with.
  const agent = secure ? new HttpsAgent({ ...connections, maxCachedSessions: 0 }) : new HttpAgent(connections);
  const limited = agent as unknown as { createConnection(...given: unknown[]): Duplex };
  const create = limited.createConnection;
  limited.createConnection = (options, ...more) => {
    const own = secure ? Object.assign({}, options, tlsOfNow()) : options;
    return limitConnecting(create.call(agent, own, ...more) as Socket, secure);
  };
  agents.add(agent);
  return agent;
}

/**
 * Ends the agent's connections that nobody uses: one of them did not answer, and the others lead the same way. Else each
 * would have to be tried in turn, for as long as its time-out.
 */
export function dropIdleConnections(agent: HttpAgent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

function limitConnecting(socket: Socket, secure: boolean): Socket {
  const timer = setTimeout(() => {
    const text = `no connection within ${CONNECT_MS_MAX / 1000} s`;
    socket.destroy(Object.assign(new Error(text), { code: 'ETIMEDOUT', syscall: 'connect' }));
  }, CONNECT_MS_MAX);
  const done = () => clearTimeout(timer);
  socket.once(secure ? 'secureConnect' : 'connect', done).once('close', done);
  return socket;
}
