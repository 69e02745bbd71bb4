/**
 * The outer header, as far as it depends on the frame, both ways: what the frame's datagram gets, and what a datagram's tells
 * its frame. @hot
 *
 * Out: the ECN bits of the inner packet (wire/ecn.ts); where it is asked for, its DSCP, and its DF, by a socket that sets it.
 * In: marks of congestion that the datagram has met on its way go over to the inner packet, before anything compares or sums
 * its headers; a packet that can't take them is dropped.
 */
import { ECN_MARKED } from '../shared/counters.js';
import { applyOuterEcn, ECN_CHANGED, ECN_LOST, ECN_MASK, encapsulatedEcn, readInnerTos } from '../wire/ecn.js';
import { findIp } from '../wire/inner-ip.js';
import { isIpv4DontFragment } from '../wire/ipv4.js';
import type { WorkerContext } from './context.js';

/**
 * What nearly every frame has at ETHERNET_TYPE_OFFSET, so that one read tells that its TOS is 0: EtherType IPv4, five words
 * of header, TOS 0.
 */
export const PLAIN_IPV4_WORD = 0x0800_4500;

/** @returns the TOS of the datagram that carries the frame */
export function outerTos(context: WorkerContext, frameOffset: number, frameBytes: number): number {
  const tos = readInnerTos(context.arena.bytes, frameOffset, frameBytes);
  return context.outerTos | (tos & context.dscpMask) | encapsulatedEcn(tos);
}

/**
 * The upper half of a pool's sockets sets DF, so that a packet's DF picks the half, and its flow the socket there.
 *
 * @param place by the flow, in the whole pool
 */
export function placeByDf(context: WorkerContext, place: number, frameOffset: number, frameBytes: number): number {
  const half = (context.txMask + 1) >> 1;
  const bytes = context.arena.bytes;
  const ip = findIp(bytes, frameOffset, frameBytes);
  // IPv6 is never fragmented on its way.
  const isSet = ip >= 0 && ((bytes[ip] as number) >>> 4 === 6 || isIpv4DontFragment(bytes, ip));
  return (place & (half - 1)) | (isSet ? half : 0);
}

/** @returns whether the message's TOS can change or end a frame: ECT(1) and CE do (both have the low bit). */
export function hasEcnMark(context: WorkerContext): boolean {
  return (context.rxTos & 1) !== 0;
}

/** Marks the frame as its datagram was marked. @returns false if it must be dropped (DROP_ECN) */
export function takeEcnMark(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): boolean {
  const done = applyOuterEcn(context.arena.bytes, frameOffset, frameBytes, context.rxTos & ECN_MASK);
  if (done === ECN_CHANGED) context.counters.add(networkIndex, ECN_MARKED, 1);
  return done !== ECN_LOST;
}
