/**
 * Step 3 of encapsulation: datagrams wait for each sending socket and leave by one sendmmsg. @hot
 *
 * reserve = queueDatagram writes a message header that points at the frame's bytes and at the VTEP's socket address, both
 * where they are; flush = one system call for up to BATCH_MESSAGES. A datagram that the kernel refuses is counted and
 * skipped, so one dead VTEP never holds up the others; a full socket ends the batch, and is never spun on.
 */
import { VTEP_TX_BYTES, VTEP_TX_DATAGRAMS, VTEP_TX_ERRORS } from '../shared/counters.js';
import { DROP_UNDERLAY_BUSY, DROP_UNDERLAY_ERROR } from '../shared/drop-causes.js';
import { VTEP_ROW_BYTES } from '../shared/vtep-table.js';
import {
  IOV_BASE_WORD,
  IOV_LEN_WORD,
  IOVEC_WORDS,
  MMSGHDR_BYTES,
  MMSGHDR_WORDS,
  MSG_DONTWAIT,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
} from '../sys/batch-io.js';
import { EAGAIN, EINTR, ENOBUFS, lastErrno } from '../sys/errno.js';
import { sendmmsg } from '../sys/libc.js';
import { writePointer } from '../sys/memory.js';
import { SOCKADDR_IN_BYTES } from '../sys/sockaddr.js';
import { VXLAN_HEADER_BYTES } from '../wire/vxlan.js';
import { BATCH_MESSAGES } from './arena.js';
import type { WorkerContext } from './context.js';

/** The frame's bytes, VXLAN header before them, are borrowed until the next flush. */
export function queueDatagram(
  context: WorkerContext,
  socket: number,
  vtepIndex: number,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): void {
  if (context.txCounts[socket] === BATCH_MESSAGES) flushSocket(context, socket);
  const arena = context.arena;
  const words = arena.words;
  const message = socket * BATCH_MESSAGES + (context.txCounts[socket] as number);
  const header = (arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  writePointer(words, header + MSG_NAME_WORD, context.vtepRowsAddress + vtepIndex * VTEP_ROW_BYTES);
  words[header + MSG_NAMELEN_WORD] = SOCKADDR_IN_BYTES;
  const iovec = (arena.txIovecs >> 2) + message * IOVEC_WORDS;
  writePointer(words, iovec + IOV_BASE_WORD, arena.base + frameOffset - VXLAN_HEADER_BYTES);
  words[iovec + IOV_LEN_WORD] = frameBytes + VXLAN_HEADER_BYTES;
  context.txVteps[message] = vtepIndex;
  context.txNetworks[message] = networkIndex;
  context.txCounts[socket] = (context.txCounts[socket] as number) + 1;
}

export function flushUnderlay(context: WorkerContext): void {
  for (let socket = 0; socket <= context.txMask; socket++) {
    if (context.txCounts[socket] !== 0) flushSocket(context, socket);
  }
}

function flushSocket(context: WorkerContext, socket: number): void {
  const arena = context.arena;
  const first = socket * BATCH_MESSAGES;
  const count = context.txCounts[socket] as number;
  const fd = context.txFds[socket] as number;
  let sent = 0;
  while (sent < count) {
    const headers = arena.base + arena.txHeaders + (first + sent) * MMSGHDR_BYTES;
    const accepted = sendmmsg(fd, headers, count - sent, MSG_DONTWAIT);
    if (accepted > 0) {
      countSent(context, first + sent, accepted);
      sent += accepted;
      continue;
    }
    const errno = lastErrno();
    if (errno === EINTR) continue;
    if (errno === EAGAIN || errno === ENOBUFS) {
      for (; sent < count; sent++) countRefused(context, first + sent, DROP_UNDERLAY_BUSY);
      break;
    }
    countRefused(context, first + sent, DROP_UNDERLAY_ERROR);
    sent++;
  }
  context.txCounts[socket] = 0;
}

function countSent(context: WorkerContext, first: number, count: number): void {
  const iovecs = context.arena.txIovecs >> 2;
  for (let message = first; message < first + count; message++) {
    const vtep = context.txVteps[message] as number;
    const bytes = context.arena.words[iovecs + message * IOVEC_WORDS + IOV_LEN_WORD] as number;
    context.counters.addVtep(vtep, VTEP_TX_DATAGRAMS, 1);
    context.counters.addVtep(vtep, VTEP_TX_BYTES, bytes);
  }
}

function countRefused(context: WorkerContext, message: number, cause: number): void {
  context.counters.drop(context.txNetworks[message] as number, cause);
  context.counters.addVtep(context.txVteps[message] as number, VTEP_TX_ERRORS, 1);
}
