/**
 * The image's health check: asks vtepd's API whether it serves. A file of its own, since the vtep command loads ten times
 * as much for one line. The socket is that of VTEP_SOCKET: give vtepd another one by that variable, not by --socket.
 *
 * Exit codes: 0 it serves; 1 it does not, with the reason in one line.
 */
import { get } from 'node:http';

const socketPath = process.env.VTEP_SOCKET || '/run/vtep/vtepd.sock';
const TIMEOUT_MS = 4000;

function end(problem) {
  if (problem !== undefined) process.stderr.write(`no health of ${socketPath}: ${problem}\n`);
  process.exit(problem === undefined ? 0 : 1);
}

get({ socketPath, path: '/healthz', timeout: TIMEOUT_MS }, ({ statusCode }) => {
  end(statusCode === 200 ? undefined : `HTTP ${statusCode}`);
})
  .on('timeout', () => end('no answer in time'))
  .on('error', ({ message }) => end(message));
