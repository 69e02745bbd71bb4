/**
 * Program: counts datagrams. Listens on a port; for each line on standard input it counts until none has come for a while.
 *
 *     receiver.js ADDRESS PORT     one line {"secondsMax":N} in: {"counting":true}, then {"receivedCount":N} out
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { MSG_DONTWAIT } from '../../../src/sys/batch-io.js';
import { EAGAIN, EINTR, lastErrno, SystemCallError } from '../../../src/sys/errno.js';
import { recvmmsg } from '../../../src/sys/libc.js';
import { openUdpSocket } from '../../../src/sys/udp-socket.js';
import { addressBytes, makeMessages } from './messages.js';

const BATCH_COUNT = 64;
/** Holds a fifth of a second at 100 kpps: the receiver's own pauses must not count as a system's loss. */
const RECEIVE_BUFFER_BYTES = 16 * 1024 * 1024;
/** The last packets may be held up behind a busy daemon. */
const QUIET_MS = 200;
/**
 * The receiver looks at the socket by the clock and does not wait on it: a waiting receiver is woken for nearly every
 * packet, and that would cost several times what is measured.
 */
const LOOK_MS = 0.2;

const [address = '', port = ''] = process.argv.slice(2);
const messages = makeMessages(BATCH_COUNT);
const fd = openUdpSocket({
  address: addressBytes(address),
  port: Number(port),
  receiveBufferBytes: RECEIVE_BUFFER_BYTES,
});

const sleepWord = new Int32Array(new SharedArrayBuffer(4));

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
  let quietAt = deadline;
  for (;;) {
    const before = receivedCount;
    for (let count = receive(); count > 0; count = receive()) receivedCount += count;
    const now = performance.now();
    if (receivedCount > before) quietAt = now + QUIET_MS;
    if (now > Math.min(quietAt, deadline)) return receivedCount;
    Atomics.wait(sleepWord, 0, 0, LOOK_MS);
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
