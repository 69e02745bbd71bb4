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

export function createAgent(secure: boolean, tls: TlsFiles | undefined): HttpAgent {
  const agent = secure ? new HttpsAgent({ keepAlive: true, ...tls }) : new HttpAgent({ keepAlive: true });
  const limited = agent as unknown as { createConnection(...given: unknown[]): Duplex };
  const create = limited.createConnection;
  limited.createConnection = (...given) => limitConnecting(create.apply(agent, given) as Socket, secure);
  return agent;
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
