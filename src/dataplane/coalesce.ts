/**
 * Step 3 of decapsulation: consecutive segments of one flow become a superframe, early. @hot
 *
 * 1. Does the frame go on with the open aggregate? Every header byte that a receiver could see must be the same or follow
 *    from the head, and the checksums of both must be right: a superframe's checksum is made anew by the kernel, so a
 *    corrupt segment would come out repaired.
 * 2. Else the open aggregate is written; the frame opens the next one, or, where its kind is never coalesced
 *    (coalesce-kind.ts), follows it as it is.
 *
 * Not gone on with, besides: other MACs, TTL, TOS (ECN too), DF, flow label, addresses, ports, TCP options,
 * acknowledgement, window; anything after a PSH or after a shorter segment; a larger segment after a smaller one. IPv4
 * identifications must go up by one, as those of a superframe do; with DF they may also stay (RFC 6864).
 */
import { CHECKSUMS_WRONG } from '../shared/counters.js';
import { IOV_LEN_WORD, IOVEC_WORDS } from '../sys/batch-io.js';
import { finish, fold, pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../wire/checksum.js';
import { ETHERNET_HEADER_BYTES } from '../wire/ethernet.js';
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, IPV4_HEADER_BYTES_MIN } from '../wire/ipv4.js';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { TCP_CHECKSUM_OFFSET, TCP_PSH } from '../wire/tcp.js';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from '../wire/udp.js';
import { type Aggregate, COALESCE_NONE, COALESCE_TCP4, COALESCE_TCP6, COALESCE_UDP4 } from './aggregate.js';
import { SEGMENTS_MAX } from './arena.js';
import { coalesceKind } from './coalesce-kind.js';
import type { WorkerContext } from './context.js';
import { headerMaskBytes, headerMaskOffset } from './header-masks.js';
import { deliverFrame, flushAggregate } from './tap-tx.js';

const IP_BYTES_MAX = 65_535;
const IPV4_DONT_FRAGMENT = 0x4000;

/** The frame's bytes are borrowed until the aggregate is flushed. */
export function coalesce(context: WorkerContext, networkIndex: number, frameOffset: number, frameBytes: number): void {
  const aggregate = context.aggregate;
  if (aggregate.count !== 0) {
    if (aggregate.networkIndex === networkIndex && goesOn(context, aggregate, frameOffset, frameBytes)) {
      append(context, aggregate, frameOffset, frameBytes);
      return;
    }
    flushAggregate(context);
  }
  const kind = coalesceKind(context, frameOffset, frameBytes);
  const isTcp = kind === COALESCE_TCP4 || kind === COALESCE_TCP6;
  const isIpv4 = kind === COALESCE_TCP4 || kind === COALESCE_UDP4;
  const upper = frameOffset + ETHERNET_HEADER_BYTES + (isIpv4 ? IPV4_HEADER_BYTES_MIN : IPV6_HEADER_BYTES);
  const view = context.arena.view;
  // A PSH ends an aggregate, so nothing may follow it. What is too long for the network is dropped or goes alone; of the
  // segments the first is the longest.
  if (
    kind === COALESCE_NONE ||
    (isTcp && (view.getUint8(upper + 13) & TCP_PSH) !== 0) ||
    frameBytes > context.networks.mtuBytes(networkIndex) + ETHERNET_HEADER_BYTES
  ) {
    deliverFrame(context, networkIndex, frameOffset, frameBytes);
    return;
  }
  const upperHeaderBytes = isTcp ? (view.getUint8(upper + 12) >>> 4) << 2 : UDP_HEADER_BYTES;
  const headerBytes = upper + upperHeaderBytes - frameOffset;
  const payloadBytes = frameBytes - headerBytes;
  aggregate.count = 1;
  aggregate.kind = kind;
  aggregate.networkIndex = networkIndex;
  aggregate.frameOffset = frameOffset;
  aggregate.upperOffset = upper;
  aggregate.headerBytes = headerBytes;
  aggregate.maskOffset = context.arena.headerMasks + headerMaskOffset(kind, headerBytes);
  aggregate.maskBytes = headerMaskBytes(headerBytes);
  aggregate.segmentBytes = payloadBytes;
  aggregate.payloadBytes = payloadBytes;
  aggregate.isVerified = false;
  aggregate.hasPush = false;
  if (isTcp) aggregate.nextSequence = (view.getInt32(upper + 4) + payloadBytes) | 0;
  if (isIpv4) aggregate.lastId = view.getUint16(frameOffset + 18);
}

/** Whether the frame may be appended: by its size, by each field that the mask leaves out, by its checksums. */
function goesOn(context: WorkerContext, aggregate: Aggregate, frame: number, frameBytes: number): boolean {
  const view = context.arena.view;
  const headerBytes = aggregate.headerBytes;
  const payloadBytes = frameBytes - headerBytes;
  if (payloadBytes <= 0 || payloadBytes > aggregate.segmentBytes) return false;
  if (headerBytes - ETHERNET_HEADER_BYTES + aggregate.payloadBytes + payloadBytes > IP_BYTES_MAX) return false;
  if (context.differ(frame, aggregate.frameOffset, aggregate.maskOffset, aggregate.maskBytes) !== 0) return false;
  // From here on version, protocol and header lengths are known to be the head's.
  const kind = aggregate.kind;
  const upper = frame + aggregate.upperOffset - aggregate.frameOffset;
  if (kind === COALESCE_TCP4 || kind === COALESCE_UDP4) {
    if (view.getUint16(frame + 16) !== frameBytes - ETHERNET_HEADER_BYTES) return false;
    const id = view.getUint16(frame + 18);
    const isNext = id === ((aggregate.lastId + 1) & 0xffff);
    const isSame = id === aggregate.lastId && (view.getUint16(frame + 20) & IPV4_DONT_FRAGMENT) !== 0;
    if (!isNext && !isSame) return false;
  } else if (view.getUint16(frame + 18) !== frameBytes - ETHERNET_HEADER_BYTES - IPV6_HEADER_BYTES) {
    return false;
  }
  if (kind === COALESCE_TCP4 || kind === COALESCE_TCP6) {
    if (view.getInt32(upper + 4) !== aggregate.nextSequence) return false;
  } else {
    if (view.getUint16(upper + 4) !== frame + frameBytes - upper || view.getUint16(upper + 6) === 0) return false;
  }
  if (!aggregate.isVerified) {
    takeSums(context, aggregate);
    if (!isSound(context, aggregate, aggregate.frameOffset, headerBytes + aggregate.segmentBytes)) return false;
    aggregate.isVerified = true;
  }
  return isSound(context, aggregate, frame, frameBytes);
}

/** What the mask has found to be the same in all segments need not be summed up for each. */
function takeSums(context: WorkerContext, aggregate: Aggregate): void {
  const view = context.arena.view;
  const bytes = context.arena.bytes;
  const ip = aggregate.frameOffset + ETHERNET_HEADER_BYTES;
  const isTcp = aggregate.kind === COALESCE_TCP4 || aggregate.kind === COALESCE_TCP6;
  const protocol = isTcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
  if (aggregate.kind === COALESCE_TCP4 || aggregate.kind === COALESCE_UDP4) {
    // Total length, identification and checksum are taken away again: adding the complement subtracts (RFC 1071).
    aggregate.ipBase =
      context.sum(ip, IPV4_HEADER_BYTES_MIN) +
      (0xffff - view.getUint16(ip + 2)) +
      (0xffff - view.getUint16(ip + 4)) +
      (0xffff - view.getUint16(ip + 10));
    aggregate.pseudoBase = pseudoHeaderSumIpv4(bytes, ip, protocol, 0);
  } else {
    aggregate.pseudoBase = pseudoHeaderSumIpv6(bytes, ip, protocol, 0);
  }
}

function isSound(context: WorkerContext, aggregate: Aggregate, frame: number, frameBytes: number): boolean {
  const view = context.arena.view;
  const upper = frame + aggregate.upperOffset - aggregate.frameOffset;
  const upperBytes = frame + frameBytes - upper;
  const kind = aggregate.kind;
  const isIpv4 = kind === COALESCE_TCP4 || kind === COALESCE_UDP4;
  const isIpRight =
    !isIpv4 ||
    view.getUint16(frame + 24) === finish(aggregate.ipBase + view.getUint16(frame + 16) + view.getUint16(frame + 18));
  const pseudo = aggregate.pseudoBase + upperBytes;
  if (isIpRight && fold(pseudo + context.sum(upper, upperBytes)) === 0xffff) return true;
  // One that the sender's kernel has left unfinished (wire/partial-checksum.ts) is not wrong.
  const isTcp = kind === COALESCE_TCP4 || kind === COALESCE_TCP6;
  const stored = view.getUint16(upper + (isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET));
  if (!isIpRight || stored !== fold(pseudo)) context.counters.add(aggregate.networkIndex, CHECKSUMS_WRONG, 1);
  return false;
}

/** Takes the payload in; writes the superframe if nothing may follow. */
function append(context: WorkerContext, aggregate: Aggregate, frame: number, frameBytes: number): void {
  const arena = context.arena;
  const view = arena.view;
  const payloadBytes = frameBytes - aggregate.headerBytes;
  const iovec = (arena.tapIovecs >> 2) + aggregate.count * IOVEC_WORDS;
  arena.writePointer(iovec, frame + aggregate.headerBytes);
  arena.words[iovec + IOV_LEN_WORD] = payloadBytes;
  aggregate.count++;
  aggregate.payloadBytes += payloadBytes;
  const kind = aggregate.kind;
  if (kind === COALESCE_TCP4 || kind === COALESCE_TCP6) {
    const upper = frame + aggregate.upperOffset - aggregate.frameOffset;
    aggregate.nextSequence = (aggregate.nextSequence + payloadBytes) | 0;
    aggregate.hasPush = (view.getUint8(upper + 13) & TCP_PSH) !== 0;
  }
  if (kind === COALESCE_TCP4 || kind === COALESCE_UDP4) aggregate.lastId = view.getUint16(frame + 18);
  if (aggregate.hasPush || payloadBytes < aggregate.segmentBytes || aggregate.count === SEGMENTS_MAX) {
    flushAggregate(context);
  }
}
