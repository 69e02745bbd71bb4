/**
 * Program: counts datagrams. Listens on a port; for each line on standard input it counts until none has come for a while.
 *
 *     receiver.js ADDRESS PORT     one line {"secondsMax":N} in: {"counting":true}, then {"receivedCount":N} out
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { MSG_DONTWAIT } from '../../../src/sys/batch-io.js';
import { EAGAIN, EINTR, lastErrno, SystemCallError } from '../../../src/sys/errno.js';
import { epollCreate1, epollCtl, epollWait, recvmmsg } from '../../../src/sys/libc.js';
import { addressOf, pin } from '../../../src/sys/memory.js';
import { openUdpSocket } from '../../../src/sys/udp-socket.js';
import { addressBytes, makeMessages } from './messages.js';

const BATCH_COUNT = 64;
/** Holds a fifth of a second at 100 kpps: the receiver's own pauses must not count as a system's loss. */
const RECEIVE_BUFFER_BYTES = 16 * 1024 * 1024;
/** The last packets may be held up behind a busy daemon. */
const QUIET_MS = 200;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

const [address = '', port = ''] = process.argv.slice(2);
const messages = makeMessages(BATCH_COUNT);
const fd = openUdpSocket({
  address: addressBytes(address),
  port: Number(port),
  receiveBufferBytes: RECEIVE_BUFFER_BYTES,
});

/** struct epoll_event: 12 bytes on x86-64, 16 elsewhere; the first word is the events. */
const epollEvent = pin(new Int32Array(4));
epollEvent[0] = EPOLLIN;
const epollFd = epollCreate1(0);
if (epollFd < 0) throw new SystemCallError('epoll_create1', lastErrno());
if (epollCtl(epollFd, EPOLL_CTL_ADD, fd, addressOf(epollEvent)) < 0)
  throw new SystemCallError('epoll_ctl', lastErrno());
const eventAddress = addressOf(epollEvent);

/** @returns how many there were, at most a batch; 0 for none */
function receive(): number {
  const count = recvmmsg(fd, messages.headersAddress, BATCH_COUNT, MSG_DONTWAIT, 0);
  if (count >= 0) return count;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === EINTR) return 0;
  throw new SystemCallError('recvmmsg', errno);
}

function countUntilQuiet(secondsMax: number): number {
  const deadline = performance.now() + secondsMax * 1000;
  let receivedCount = 0;
  for (;;) {
    const waitMs = receivedCount === 0 ? Math.max(0, deadline - performance.now()) : QUIET_MS;
    const ready = epollWait(epollFd, eventAddress, 1, Math.ceil(waitMs));
    if (ready < 0 && lastErrno() !== EINTR) throw new SystemCallError('epoll_wait', lastErrno());
    if (ready === 0 || performance.now() > deadline) return receivedCount;
    for (let count = receive(); count > 0; count = receive()) receivedCount += count;
  }
}

/** Not process.stdout: the loop that follows would hold up what that has not written yet. */
const answer = (value: object) => writeSync(1, `${JSON.stringify(value)}\n`);

answer({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { secondsMax } = JSON.parse(line);
  while (receive() > 0);
  answer({ counting: true });
  answer({ receivedCount: countUntilQuiet(secondsMax) });
}
