/** Two connected datagram sockets of this process: what a TAP's two sides are, without the device. Source: unix(7). */
import { lastErrno, SystemCallError } from './errno.js';
import { socketpair } from './libc.js';
import { addressOf, pin } from './memory.js';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

const pair = pin(new Int32Array(2));
const pairAddress = addressOf(pair);

/** @returns two non-blocking fds; each write is one message to the other. @throws SystemCallError */
export function openSocketPair(): [number, number] {
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pairAddress) < 0) {
    throw new SystemCallError('socketpair', lastErrno());
  }
  return [pair[0] as number, pair[1] as number];
}
