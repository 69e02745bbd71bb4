/**
 * Program: sends 64-byte datagrams at a rate by the clock, by sendmmsg. The same for every system.
 *
 *     sender.js ADDRESS PORT       one line {"kpps":N,"seconds":N,"segmented":BOOLEAN} in: one line {"sentCount":N,"seconds":N} out
 *
 * Plain: each datagram is a message, and takes the whole way through the sender's kernel by itself. Segmented: up to 64
 * are one message with UDP_SEGMENT, as QUIC stacks send.
 */
import { createInterface } from 'node:readline';
import {
  CMSG_DATA_WORD,
  GSO_CONTROL_BYTES,
  MMSGHDR_WORDS,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_IOV_WORD,
  MSG_IOVLEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  prepareGsoControl,
} from '../../../src/sys/batch-io.js';
import { EAGAIN, ENOBUFS, lastErrno, SystemCallError } from '../../../src/sys/errno.js';
import { sendmmsg } from '../../../src/sys/libc.js';
import { addressOf, pin, writePointer } from '../../../src/sys/memory.js';
import { writeSockaddr } from '../../../src/sys/sockaddr.js';
import { openUdpSocket } from '../../../src/sys/udp-socket.js';
import { addressBytes, DATAGRAM_BYTES, makeMessages } from './messages.js';
import { Pace, TICK_SECONDS } from './pace.js';

const BATCH_COUNT = 64;
const SEND_BUFFER_BYTES = 8 * 1024 * 1024;

const [address = '', port = ''] = process.argv.slice(2);
const messages = makeMessages(BATCH_COUNT);
const sockaddrBytes = writeSockaddr(messages.bytes, messages.sockaddrOffset, addressBytes(address), Number(port));
for (let i = 0; i < BATCH_COUNT; i++) {
  writePointer(messages.words, i * MMSGHDR_WORDS + MSG_NAME_WORD, messages.sockaddrAddress);
  messages.words[i * MMSGHDR_WORDS + MSG_NAMELEN_WORD] = sockaddrBytes;
}
/** One message over the same payloads: their iovecs stand one behind the other. */
const segmented = pin(messages.words.slice(0, MMSGHDR_WORDS));
const control = pin(new Int32Array(GSO_CONTROL_BYTES / 4));
prepareGsoControl(control, 0);
control[CMSG_DATA_WORD] = DATAGRAM_BYTES;
segmented[MSG_IOV_WORD] = messages.words[MSG_IOV_WORD]!;
writePointer(segmented, MSG_CONTROL_WORD, addressOf(control));
const fd = openUdpSocket({ address: addressBytes('0.0.0.0'), port: 0, sendBufferBytes: SEND_BUFFER_BYTES });
const sleepWord = new Int32Array(new SharedArrayBuffer(4));

/** @returns how many went. A full buffer is no error: what does not go now is due at the next tick. */
function send(count: number, isSegmented: boolean): number {
  segmented[MSG_IOVLEN_WORD] = count;
  segmented[MSG_CONTROLLEN_WORD] = count > 1 ? GSO_CONTROL_BYTES : 0;
  const sent = isSegmented
    ? sendmmsg(fd, addressOf(segmented), 1, 0) * count
    : sendmmsg(fd, messages.headersAddress, count, 0);
  if (sent >= 0) return sent;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === ENOBUFS) return 0;
  throw new SystemCallError('sendmmsg', errno);
}

function sendPaced(
  packetsPerSecond: number,
  seconds: number,
  isSegmented: boolean,
): { sentCount: number; seconds: number } {
  const pace = new Pace(packetsPerSecond);
  const start = performance.now();
  let nextTick = 0;
  for (;;) {
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed >= seconds) return { sentCount: pace.sentCount, seconds: elapsed };
    for (let due = pace.due(elapsed); due > 0; ) {
      const sent = send(Math.min(due, BATCH_COUNT), isSegmented);
      if (sent === 0) break;
      pace.sent(sent);
      due -= sent;
    }
    nextTick = Math.max(nextTick + TICK_SECONDS, elapsed);
    const waitSeconds = nextTick - (performance.now() - start) / 1000;
    // The sender must not spin: on few cores it would take the time of what it measures.
    if (waitSeconds > 0) Atomics.wait(sleepWord, 0, 0, waitSeconds * 1000);
  }
}

process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { kpps, seconds, segmented: isSegmented } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(sendPaced(kpps * 1000, seconds, isSegmented === true))}\n`);
}
