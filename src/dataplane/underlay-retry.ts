/**
 * A message with UDP_SEGMENT that the kernel has refused: its datagrams go one by one, and the VTEP is remembered. @hot
 *
 *     EIO               the route's device has no transmit checksum offload: no segmentation offload to this VTEP
 *     EINVAL, EMSGSIZE  a segment is longer than the path's MTU, which a plain datagram's fragments may be: none of this size
 *
 * A single datagram that is too big for its path is answered (too-big.ts).
 *
 * Sources: net/ipv4/udp.c, udp_send_skb. What is remembered is forgotten after a minute (WorkerContext.allowGso).
 */
import { VTEP_TX_BYTES, VTEP_TX_DATAGRAMS, VTEP_TX_ERRORS, VTEP_TX_GSO_REFUSED } from '../shared/counters.js';
import { DROP_UNDERLAY_BUSY, DROP_UNDERLAY_ERROR } from '../shared/drop-causes.js';
import {
  IOV_LEN_WORD,
  IOVEC_BYTES,
  IOVEC_WORDS,
  MMSGHDR_WORDS,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_DONTWAIT,
  MSG_IOV_WORD,
  MSG_IOVLEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  TOS_CONTROL_BYTES,
} from '../sys/batch-io.js';
import { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, lastErrno } from '../sys/errno.js';
import { sendmmsg } from '../sys/libc.js';
import type { WorkerContext } from './context.js';
import { refuseTooBig } from './too-big.js';

const REFUSAL_SECONDS = 60;

export function canRetry(context: WorkerContext, message: number, errno: number): boolean {
  return (context.txSegments[message] as number) > 1 && (errno === EIO || errno === EINVAL || errno === EMSGSIZE);
}

export function sendOneByOne(context: WorkerContext, fd: number, message: number, refusedWith: number): void {
  const arena = context.arena;
  const words = arena.words;
  const vtep = context.txVteps[message] as number;
  const segmentBytes = context.txSegmentBytes[message] as number;
  context.gsoBytesMax[vtep] = refusedWith === EIO ? 0 : Math.min(context.gsoBytesMax[vtep] as number, segmentBytes - 1);
  context.gsoForgetSeconds = Math.min(context.gsoForgetSeconds, context.nowSeconds + REFUSAL_SECONDS);
  context.counters.addVtep(vtep, VTEP_TX_GSO_REFUSED, 1);

  const header = (arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  const retry = arena.retryHeader >> 2;
  words[retry + MSG_NAME_WORD] = words[header + MSG_NAME_WORD] as number;
  words[retry + MSG_NAME_WORD + 1] = words[header + MSG_NAME_WORD + 1] as number;
  words[retry + MSG_NAMELEN_WORD] = words[header + MSG_NAMELEN_WORD] as number;
  words[retry + MSG_IOV_WORD + 1] = words[header + MSG_IOV_WORD + 1] as number;
  // The segments' TOS, without their size.
  words[retry + MSG_CONTROL_WORD] = words[header + MSG_CONTROL_WORD] as number;
  words[retry + MSG_CONTROL_WORD + 1] = words[header + MSG_CONTROL_WORD + 1] as number;
  words[retry + MSG_CONTROLLEN_WORD] = context.txTos[message] === context.outerTos ? 0 : TOS_CONTROL_BYTES;
  const iovecsLow = words[header + MSG_IOV_WORD] as number;
  const firstIovec = (iovecsLow - arena.baseLow) >> 2;
  const iovecCount = words[header + MSG_IOVLEN_WORD] as number;
  const segments = context.txSegments[message] as number;
  let iovec = 0;
  for (let segment = 0; segment < segments; segment++) {
    // A datagram is one iovec, or two behind a split; it ends where the segment's size is reached, or with the message.
    const start = iovec;
    let bytes = 0;
    while (iovec < iovecCount && bytes < segmentBytes) {
      bytes += words[firstIovec + iovec * IOVEC_WORDS + IOV_LEN_WORD] as number;
      iovec++;
    }
    words[retry + MSG_IOV_WORD] = (iovecsLow + start * IOVEC_BYTES) | 0;
    words[retry + MSG_IOVLEN_WORD] = iovec - start;
    let accepted = sendmmsg(fd, arena.addresses.retryHeader, 1, MSG_DONTWAIT);
    let errno = accepted < 0 ? lastErrno() : 0;
    while (errno === EINTR) {
      accepted = sendmmsg(fd, arena.addresses.retryHeader, 1, MSG_DONTWAIT);
      errno = accepted < 0 ? lastErrno() : 0;
    }
    if (accepted === 1) {
      context.counters.addVtep(vtep, VTEP_TX_DATAGRAMS, 1);
      context.counters.addVtep(vtep, VTEP_TX_BYTES, bytes);
    } else if (errno === EAGAIN || errno === ENOBUFS) {
      countRefused(context, message, segments - segment, DROP_UNDERLAY_BUSY);
      return;
    } else if (errno !== EMSGSIZE || !refuseTooBig(context, message, firstIovec + start * IOVEC_WORDS, bytes)) {
      countRefused(context, message, 1, DROP_UNDERLAY_ERROR);
    }
  }
}

/** A message of one datagram that the kernel has refused for good. */
export function countError(context: WorkerContext, message: number, errno: number): void {
  const arena = context.arena;
  const header = (arena.txHeaders >> 2) + message * MMSGHDR_WORDS;
  const iovec = ((arena.words[header + MSG_IOV_WORD] as number) - arena.baseLow) >> 2;
  const isTooBig = errno === EMSGSIZE && refuseTooBig(context, message, iovec, context.txBytes[message] as number);
  if (!isTooBig) countRefused(context, message, context.txSegments[message] as number, DROP_UNDERLAY_ERROR);
}

export function countRefused(context: WorkerContext, message: number, datagrams: number, cause: number): void {
  context.counters.dropMany(context.txNetworks[message] as number, cause, datagrams);
  context.counters.addVtep(context.txVteps[message] as number, VTEP_TX_ERRORS, datagrams);
}
