/**
 * Step 4 of encapsulation: datagrams wait for each sending socket and leave by one sendmmsg. @hot
 *
 *     reserve   openMessage    a message header that points at the VTEP's socket address; no datagram in it yet
 *     commit    closeMessage   its datagrams are in the iovecs; from two on it says UDP_SEGMENT
 *               queueFrame     a plain frame: joins the socket's last message if that is a *run* it can go on, else opens one
 *     flush     flushUnderlay  a system call for each socket that has something, up to 64 messages
 *
 * A run: consecutive datagrams to one VTEP and network from one socket, of one size (the last may be shorter) and one outer
 * TOS, which the kernel carries as one packet to the device or to the receiving socket (udp(7), UDP_SEGMENT).
 *
 * A message that the kernel refuses is counted and skipped, so one dead VTEP never holds up the others; a full socket
 * ends the batch, and is never spun on. A run that it refuses goes again datagram by datagram (underlay-retry.ts).
 */
import { VTEP_TX_BYTES, VTEP_TX_DATAGRAMS } from '../shared/counters.js';
import { DROP_UNDERLAY_BUSY, DROP_UNDERLAY_ERROR } from '../shared/drop-causes.js';
import { VTEP_ROW_BYTES, VTEP_SOCKADDR_IN6_BYTES } from '../shared/vtep-table.js';
import {
  CMSG_DATA_WORD,
  GSO_CONTROL_BYTES,
  IOV_LEN_WORD,
  IOVEC_BYTES,
  IOVEC_WORDS,
  MMSGHDR_BYTES,
  MMSGHDR_WORDS,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_DONTWAIT,
  MSG_IOV_WORD,
  MSG_IOVLEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  prepareTosControl,
  TOS_CONTROL_BYTES,
} from '../sys/batch-io.js';
import { EAGAIN, EINTR, ENOBUFS, lastErrno } from '../sys/errno.js';
import { sendmmsg } from '../sys/libc.js';
import { VXLAN_HEADER_BYTES } from '../wire/vxlan.js';
import {
  DATAGRAM_BYTES_MAX,
  MESSAGE_IOVECS_MAX,
  SEGMENTS_MAX,
  TX_CONTROL_BYTES,
  TX_IOVECS_MAX,
  TX_MESSAGES_MAX,
} from './arena.js';
import { NO_OPEN_MESSAGE, type WorkerContext } from './context.js';
import { canRetry, countRefused, sendOneByOne } from './underlay-retry.js';

/** The socket, at `place` of the pool of the VTEP's family. */
export function socketFor(context: WorkerContext, place: number, vtepIndex: number): number {
  return context.vteps.sockaddrBytes(vtepIndex) === VTEP_SOCKADDR_IN6_BYTES ? context.tx6Start + place : place;
}

/** The frame's bytes, VXLAN header before them, are borrowed until the next flush. @param place of the socket in its pool */
export function queueFrame(
  context: WorkerContext,
  place: number,
  vtepIndex: number,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): void {
  const arena = context.arena;
  // With one pool there is nothing to look up.
  const socket = context.tx6Start === 0 ? place : socketFor(context, place, vtepIndex);
  const datagramBytes = frameBytes + VXLAN_HEADER_BYTES;
  const open = context.txOpen[socket] as number;
  if (
    open !== NO_OPEN_MESSAGE &&
    context.txVteps[open] === vtepIndex &&
    context.txNetworks[open] === networkIndex &&
    context.txTos[open] === context.frameTos &&
    datagramBytes <= (context.txSegmentBytes[open] as number) &&
    (context.txBytes[open] as number) + datagramBytes <= DATAGRAM_BYTES_MAX
  ) {
    const iovecCount = context.txIovecCounts[socket] as number;
    writeFrameIovec(context, socket, iovecCount, frameOffset, datagramBytes);
    context.txIovecCounts[socket] = iovecCount + 1;
    const segments = (context.txSegments[open] as number) + 1;
    context.txSegments[open] = segments;
    context.txBytes[open] = (context.txBytes[open] as number) + datagramBytes;
    const header = (arena.txHeaders >> 2) + open * MMSGHDR_WORDS;
    arena.words[header + MSG_IOVLEN_WORD] = iovecCount + 1 - (context.txFirstIovec[open] as number);
    if (segments === 2) requestGso(context, open);
    if (segments === SEGMENTS_MAX || datagramBytes < (context.txSegmentBytes[open] as number)) {
      context.txOpen[socket] = NO_OPEN_MESSAGE;
    }
    return;
  }
  const message = openMessage(context, socket, vtepIndex, networkIndex, datagramBytes);
  writeFrameIovec(context, socket, context.txFirstIovec[message] as number, frameOffset, datagramBytes);
  closeMessage(context, socket, message, 1, 1, datagramBytes);
}

function writeFrameIovec(
  context: WorkerContext,
  socket: number,
  place: number,
  frameOffset: number,
  datagramBytes: number,
): void {
  const arena = context.arena;
  const iovec = (arena.txIovecs >> 2) + (socket * TX_IOVECS_MAX + place) * IOVEC_WORDS;
  arena.writePointer(iovec, frameOffset - VXLAN_HEADER_BYTES);
  arena.words[iovec + IOV_LEN_WORD] = datagramBytes;
}

/**
 * Takes the socket's next message, flushing it first if it is full. There is room for MESSAGE_IOVECS_MAX iovecs from
 * txFirstIovec on. @returns the message's index
 */
export function openMessage(
  context: WorkerContext,
  socket: number,
  vtepIndex: number,
  networkIndex: number,
  segmentBytes: number,
): number {
  if (
    context.txCounts[socket] === TX_MESSAGES_MAX ||
    (context.txIovecCounts[socket] as number) + MESSAGE_IOVECS_MAX > TX_IOVECS_MAX
  ) {
    flushSocket(context, socket);
  }
  const arena = context.arena;
  const words = arena.words;
  const message = socket * TX_MESSAGES_MAX + (context.txCounts[socket] as number);
  const firstIovec = context.txIovecCounts[socket] as number;
  const header = (arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  const nameLow = (context.vtepRowsLow >>> 0) + vtepIndex * VTEP_ROW_BYTES;
  words[header + MSG_NAME_WORD] = nameLow | 0;
  words[header + MSG_NAME_WORD + 1] = context.vtepRowsHigh + (nameLow > 0xffffffff ? 1 : 0);
  words[header + MSG_NAMELEN_WORD] = context.vteps.sockaddrBytes(vtepIndex);
  arena.writePointer(header + MSG_IOV_WORD, arena.txIovecs + (socket * TX_IOVECS_MAX + firstIovec) * IOVEC_BYTES);
  words[header + MSG_CONTROLLEN_WORD] = 0;
  context.txTos[message] = context.frameTos;
  if (context.frameTos !== context.outerTos) requestTos(context, message);
  context.txVteps[message] = vtepIndex;
  context.txNetworks[message] = networkIndex;
  context.txSegmentBytes[message] = segmentBytes;
  context.txFirstIovec[message] = firstIovec;
  return message;
}

/** `segments` datagrams of together `messageBytes` stand in the message's `iovecs`. */
export function closeMessage(
  context: WorkerContext,
  socket: number,
  message: number,
  segments: number,
  iovecs: number,
  messageBytes: number,
): void {
  const header = (context.arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  context.arena.words[header + MSG_IOVLEN_WORD] = iovecs;
  context.txSegments[message] = segments;
  context.txBytes[message] = messageBytes;
  context.txCounts[socket] = (context.txCounts[socket] as number) + 1;
  context.txIovecCounts[socket] = (context.txIovecCounts[socket] as number) + iovecs;
  if (segments > 1) requestGso(context, message);
  const segmentBytes = context.txSegmentBytes[message] as number;
  const takesMore =
    segments < SEGMENTS_MAX &&
    messageBytes === segments * segmentBytes &&
    segmentBytes <= (context.gsoBytesMax[context.txVteps[message] as number] as number);
  context.txOpen[socket] = takesMore ? message : NO_OPEN_MESSAGE;
}

function requestGso(context: WorkerContext, message: number): void {
  const arena = context.arena;
  const header = (arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  const gso = arena.txControls + message * TX_CONTROL_BYTES + TOS_CONTROL_BYTES;
  arena.words[(gso >> 2) + CMSG_DATA_WORD] = context.txSegmentBytes[message] as number;
  if (context.txTos[message] !== context.outerTos) {
    arena.words[header + MSG_CONTROLLEN_WORD] = TX_CONTROL_BYTES;
    return;
  }
  arena.writePointer(header + MSG_CONTROL_WORD, gso);
  arena.words[header + MSG_CONTROLLEN_WORD] = GSO_CONTROL_BYTES;
}

function requestTos(context: WorkerContext, message: number): void {
  const arena = context.arena;
  const header = (arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  const control = arena.txControls + message * TX_CONTROL_BYTES;
  arena.writePointer(header + MSG_CONTROL_WORD, control);
  arena.words[header + MSG_CONTROLLEN_WORD] = TOS_CONTROL_BYTES;
  prepareTosControl(arena.words, control >> 2, arena.words[header + MSG_NAMELEN_WORD] === VTEP_SOCKADDR_IN6_BYTES);
  arena.words[(control >> 2) + CMSG_DATA_WORD] = context.txTos[message] as number;
}

/** Sends all that waits. From here on nothing that was queued is borrowed, and the header blocks are free again. */
export function flushUnderlay(context: WorkerContext): void {
  const socketCount = context.txFds.length;
  for (let socket = 0; socket < socketCount; socket++) {
    if (context.txCounts[socket] !== 0) flushSocket(context, socket);
  }
  context.headerBlockCount = 0;
}

function flushSocket(context: WorkerContext, socket: number): void {
  const first = socket * TX_MESSAGES_MAX;
  const count = context.txCounts[socket] as number;
  const fd = context.txFds[socket] as number;
  // The address that was made once; another one only after an error or a partial batch.
  let headers = context.arena.addresses.txHeaders[socket] as number;
  let sent = 0;
  while (sent < count) {
    const accepted = sendmmsg(fd, headers, count - sent, MSG_DONTWAIT);
    if (accepted > 0) {
      countSent(context, first + sent, accepted);
      sent += accepted;
    } else {
      const errno = lastErrno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN || errno === ENOBUFS) {
        for (; sent < count; sent++) {
          countRefused(context, first + sent, context.txSegments[first + sent] as number, DROP_UNDERLAY_BUSY);
        }
      } else {
        if (canRetry(context, first + sent, errno)) sendOneByOne(context, fd, first + sent, errno);
        else countRefused(context, first + sent, context.txSegments[first + sent] as number, DROP_UNDERLAY_ERROR);
        sent++;
      }
    }
    if (sent < count) headers = context.arena.base + context.arena.txHeaders + (first + sent) * MMSGHDR_BYTES;
  }
  context.txCounts[socket] = 0;
  context.txIovecCounts[socket] = 0;
  context.txOpen[socket] = NO_OPEN_MESSAGE;
}

function countSent(context: WorkerContext, first: number, count: number): void {
  for (let message = first; message < first + count; message++) {
    const vtep = context.txVteps[message] as number;
    context.counters.addVtep(vtep, VTEP_TX_DATAGRAMS, context.txSegments[message] as number);
    context.counters.addVtep(vtep, VTEP_TX_BYTES, context.txBytes[message] as number);
  }
}
