/**
 * Step 3 of decapsulation: consecutive segments of one flow become a superframe, early. @hot
 *
 * 1. Is the frame of a kind that may be coalesced at all? Else the open aggregate is written, then the frame as it is.
 * 2. Does it go on with the open aggregate? Every header byte that a receiver could see must be the same or follow from
 *    the head, and the checksums of both must be right: a superframe's checksum is made anew by the kernel, so a corrupt
 *    segment would come out repaired.
 * 3. Else the open aggregate is written, and the frame opens the next one.
 *
 * Never coalesced, and why:
 *     VLAN tags, IPv4 options, IPv6 extension headers   rare; the kernel's own rules for them differ between versions
 *     fragments                                         their checksum covers what is not here
 *     a length field that does not match the frame      a trailer would move into the middle
 *     TCP flags but ACK and PSH                          SYN, FIN, RST, URG, ECE, CWR, AE mean this segment and no other
 *     no payload                                         a pure ACK counts: TCP's clock
 *     other TTL, TOS (ECN too), DF, flow label, TCP options, acknowledgement, window
 *     anything after a PSH or a shorter segment; a larger segment after a smaller one
 *     UDP without a checksum                             the superframe's segments would get one
 * IPv4 identifications must go up by one, as those of a superframe do; with DF they may also stay (RFC 6864).
 */
import { CHECKSUMS_WRONG } from '../shared/counters.js';
import { IOV_LEN_WORD, IOVEC_WORDS } from '../sys/batch-io.js';
import { fold, pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../wire/checksum.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.js';
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, IPV4_HEADER_BYTES_MIN } from '../wire/ipv4.js';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { TCP_ACK, TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES_MIN, TCP_PSH } from '../wire/tcp.js';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from '../wire/udp.js';
import {
  type Aggregate,
  COALESCE_NONE,
  COALESCE_TCP4,
  COALESCE_TCP6,
  COALESCE_UDP4,
  COALESCE_UDP6,
} from './aggregate.js';
import { SEGMENTS_MAX } from './arena.js';
import type { WorkerContext } from './context.js';
import { deliverFrame, flushAggregate } from './tap-tx.js';

const IP_BYTES_MAX = 65_535;
const IPV4_VERSION_AND_LENGTH = 0x45;
/** All of flags and fragment offset but DF. */
const IPV4_FRAGMENT_MASK = 0xbfff;
const IPV4_DONT_FRAGMENT = 0x4000;
/** The bits behind the data offset, the reserved ones too: one is AccECN's AE. */
const TCP_FLAGS_BUT_PSH = 0x0fff & ~TCP_PSH;

/** The frame's bytes are borrowed until the aggregate is flushed. */
export function coalesce(context: WorkerContext, networkIndex: number, frameOffset: number, frameBytes: number): void {
  const aggregate = context.aggregate;
  const kind = kindOf(context, frameOffset, frameBytes);
  if (kind === COALESCE_NONE) {
    if (aggregate.count !== 0) flushAggregate(context);
    deliverFrame(context, networkIndex, frameOffset, frameBytes);
    return;
  }
  const view = context.arena.view;
  const isTcp = kind <= COALESCE_TCP6;
  const isIpv4 = kind === COALESCE_TCP4 || kind === COALESCE_UDP4;
  const upper = frameOffset + ETHERNET_HEADER_BYTES + (isIpv4 ? IPV4_HEADER_BYTES_MIN : IPV6_HEADER_BYTES);
  const upperHeaderBytes = isTcp ? (view.getUint8(upper + 12) >>> 4) << 2 : UDP_HEADER_BYTES;
  const headerBytes = upper + upperHeaderBytes - frameOffset;
  const payloadBytes = frameBytes - headerBytes;
  const hasPush = isTcp && (view.getUint8(upper + 13) & TCP_PSH) !== 0;

  if (
    aggregate.count !== 0 &&
    aggregate.kind === kind &&
    aggregate.networkIndex === networkIndex &&
    aggregate.headerBytes === headerBytes &&
    goesOn(aggregate, payloadBytes) &&
    isSameHeader(context, frameOffset, upper, isTcp, isIpv4) &&
    isVerified(context, frameOffset, frameBytes, upper, isTcp, isIpv4)
  ) {
    append(context, frameOffset + headerBytes, payloadBytes);
    aggregate.hasPush = hasPush;
    if (isTcp) aggregate.nextSequence = (aggregate.nextSequence + payloadBytes) | 0;
    if (isIpv4) aggregate.lastId = view.getUint16(frameOffset + 18);
    if (hasPush || payloadBytes < aggregate.segmentBytes || aggregate.count === SEGMENTS_MAX) flushAggregate(context);
    return;
  }
  if (aggregate.count !== 0) flushAggregate(context);
  if (hasPush) {
    // Nothing may follow it.
    deliverFrame(context, networkIndex, frameOffset, frameBytes);
    return;
  }
  aggregate.count = 1;
  aggregate.kind = kind;
  aggregate.networkIndex = networkIndex;
  aggregate.frameOffset = frameOffset;
  aggregate.upperOffset = upper;
  aggregate.headerBytes = headerBytes;
  aggregate.segmentBytes = payloadBytes;
  aggregate.payloadBytes = payloadBytes;
  aggregate.isVerified = false;
  aggregate.hasPush = false;
  if (isTcp) aggregate.nextSequence = (view.getInt32(upper + 4) + payloadBytes) | 0;
  if (isIpv4) aggregate.lastId = view.getUint16(frameOffset + 18);
}

/** @returns COALESCE_..., by what the frame alone says */
function kindOf(context: WorkerContext, frameOffset: number, frameBytes: number): number {
  const view = context.arena.view;
  if (frameBytes < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN + UDP_HEADER_BYTES) return COALESCE_NONE;
  const ethertype = view.getUint16(frameOffset + 12);
  const ip = frameOffset + ETHERNET_HEADER_BYTES;
  const ipBytes = frameBytes - ETHERNET_HEADER_BYTES;
  let upper: number;
  let protocol: number;
  if (ethertype === ETHERTYPE_IPV4) {
    if (view.getUint8(ip) !== IPV4_VERSION_AND_LENGTH || view.getUint16(ip + 2) !== ipBytes) return COALESCE_NONE;
    if ((view.getUint16(ip + 6) & IPV4_FRAGMENT_MASK) !== 0) return COALESCE_NONE;
    protocol = view.getUint8(ip + 9);
    upper = ip + IPV4_HEADER_BYTES_MIN;
  } else if (ethertype === ETHERTYPE_IPV6) {
    if (frameBytes < ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + UDP_HEADER_BYTES) return COALESCE_NONE;
    if (view.getUint8(ip) >>> 4 !== 6 || view.getUint16(ip + 4) + IPV6_HEADER_BYTES !== ipBytes) return COALESCE_NONE;
    protocol = view.getUint8(ip + 6);
    upper = ip + IPV6_HEADER_BYTES;
  } else {
    return COALESCE_NONE;
  }
  const upperBytes = frameOffset + frameBytes - upper;
  if (protocol === IP_PROTOCOL_TCP) {
    if (!context.coalesceTcp || upperBytes <= TCP_HEADER_BYTES_MIN) return COALESCE_NONE;
    const headerBytes = (view.getUint8(upper + 12) >>> 4) << 2;
    if (headerBytes < TCP_HEADER_BYTES_MIN || upperBytes <= headerBytes) return COALESCE_NONE;
    if ((view.getUint16(upper + 12) & TCP_FLAGS_BUT_PSH) !== TCP_ACK) return COALESCE_NONE;
    return ethertype === ETHERTYPE_IPV4 ? COALESCE_TCP4 : COALESCE_TCP6;
  }
  if (protocol === IP_PROTOCOL_UDP) {
    if (!context.coalesceUdp || upperBytes <= UDP_HEADER_BYTES) return COALESCE_NONE;
    if (view.getUint16(upper + 4) !== upperBytes || view.getUint16(upper + 6) === 0) return COALESCE_NONE;
    return ethertype === ETHERTYPE_IPV4 ? COALESCE_UDP4 : COALESCE_UDP6;
  }
  return COALESCE_NONE;
}

/** Whether a payload of this size fits behind what the aggregate has. */
function goesOn(aggregate: Aggregate, payloadBytes: number): boolean {
  const ipBytes = aggregate.headerBytes - ETHERNET_HEADER_BYTES + aggregate.payloadBytes + payloadBytes;
  return payloadBytes <= aggregate.segmentBytes && ipBytes <= IP_BYTES_MAX;
}

/** Whether every header byte is as the head's, or follows from it. */
function isSameHeader(context: WorkerContext, frame: number, upper: number, isTcp: boolean, isIpv4: boolean): boolean {
  const view = context.arena.view;
  const aggregate = context.aggregate;
  const head = aggregate.frameOffset;
  // Ethernet, and the first two bytes of IP: MACs, type, version, TOS or traffic class.
  for (let i = 0; i < 16; i += 4) {
    if (view.getInt32(frame + i) !== view.getInt32(head + i)) return false;
  }
  if (isIpv4) {
    const fragmentWord = view.getUint16(frame + 20);
    if (fragmentWord !== view.getUint16(head + 20)) return false;
    const id = view.getUint16(frame + 18);
    const isNext = id === ((aggregate.lastId + 1) & 0xffff);
    if (!isNext && ((fragmentWord & IPV4_DONT_FRAGMENT) === 0 || id !== aggregate.lastId)) return false;
    // TTL and protocol; addresses.
    if (view.getUint16(frame + 22) !== view.getUint16(head + 22)) return false;
    if (view.getInt32(frame + 26) !== view.getInt32(head + 26)) return false;
    if (view.getInt32(frame + 30) !== view.getInt32(head + 30)) return false;
  } else {
    // The flow label's rest; next header and hop limit; addresses.
    if (view.getUint16(frame + 16) !== view.getUint16(head + 16)) return false;
    if (view.getUint16(frame + 20) !== view.getUint16(head + 20)) return false;
    for (let i = 22; i < 54; i += 4) {
      if (view.getInt32(frame + i) !== view.getInt32(head + i)) return false;
    }
  }
  const upperOfHead = aggregate.upperOffset;
  if (view.getInt32(upper) !== view.getInt32(upperOfHead)) return false;
  if (!isTcp) return true;
  if (view.getInt32(upper + 4) !== aggregate.nextSequence) return false;
  if (view.getInt32(upper + 8) !== view.getInt32(upperOfHead + 8)) return false;
  const differs = view.getInt32(upper + 12) ^ view.getInt32(upperOfHead + 12);
  if ((differs & ~(TCP_PSH << 16)) !== 0) return false;
  if (view.getUint16(upper + 18) !== view.getUint16(upperOfHead + 18)) return false;
  const optionsEnd = frame + aggregate.headerBytes;
  const shift = upperOfHead - upper;
  for (let at = upper + TCP_HEADER_BYTES_MIN; at < optionsEnd; at += 4) {
    if (view.getInt32(at) !== view.getInt32(at + shift)) return false;
  }
  return true;
}

/** Verifies the frame, and the head if nobody has yet. A head that is wrong is not gone on with. */
function isVerified(
  context: WorkerContext,
  frame: number,
  frameBytes: number,
  upper: number,
  isTcp: boolean,
  isIpv4: boolean,
): boolean {
  const aggregate = context.aggregate;
  if (!aggregate.isVerified) {
    const headBytes = aggregate.headerBytes + aggregate.segmentBytes;
    if (!isSound(context, aggregate.frameOffset, headBytes, aggregate.upperOffset, isTcp, isIpv4)) return false;
    aggregate.isVerified = true;
  }
  return isSound(context, frame, frameBytes, upper, isTcp, isIpv4);
}

function isSound(
  context: WorkerContext,
  frame: number,
  frameBytes: number,
  upper: number,
  isTcp: boolean,
  isIpv4: boolean,
): boolean {
  const bytes = context.arena.bytes;
  const ip = frame + ETHERNET_HEADER_BYTES;
  const upperBytes = frame + frameBytes - upper;
  const protocol = isTcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
  const pseudo = isIpv4
    ? pseudoHeaderSumIpv4(bytes, ip, protocol, upperBytes)
    : pseudoHeaderSumIpv6(bytes, ip, protocol, upperBytes);
  if (
    (!isIpv4 || context.sum(ip, IPV4_HEADER_BYTES_MIN) === 0xffff) &&
    fold(pseudo + context.sum(upper, upperBytes)) === 0xffff
  ) {
    return true;
  }
  // One that the sender's kernel has left unfinished (wire/partial-checksum.ts) is not wrong.
  const stored = context.arena.view.getUint16(upper + (isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET));
  if (stored !== pseudo) context.counters.add(context.aggregate.networkIndex, CHECKSUMS_WRONG, 1);
  return false;
}

function append(context: WorkerContext, payloadOffset: number, payloadBytes: number): void {
  const arena = context.arena;
  const aggregate = context.aggregate;
  const iovec = (arena.tapIovecs >> 2) + aggregate.count * IOVEC_WORDS;
  arena.writePointer(iovec, payloadOffset);
  arena.words[iovec + IOV_LEN_WORD] = payloadBytes;
  aggregate.count++;
  aggregate.payloadBytes += payloadBytes;
}
