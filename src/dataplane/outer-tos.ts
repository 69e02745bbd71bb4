/**
 * The outer header's TOS or traffic class, both ways: what a frame's datagram gets, and what a datagram's tells its frame. @hot
 *
 * Out: the ECN bits of the inner packet (wire/ecn.ts). In: marks of congestion that the datagram has met on its way go over
 * to the inner packet, before anything compares or sums its headers; a packet that can't take them is dropped.
 */
import { ECN_MARKED } from '../shared/counters.js';
import { DROP_ECN } from '../shared/drop-causes.js';
import { applyOuterEcn, ECN_CHANGED, ECN_LOST, ECN_MASK, encapsulatedEcn, readInnerTos } from '../wire/ecn.js';
import type { WorkerContext } from './context.js';

/**
 * What nearly every frame has at ETHERNET_TYPE_OFFSET, so that one read tells that its TOS is 0: EtherType IPv4, five words
 * of header, TOS 0.
 */
export const PLAIN_IPV4_WORD = 0x0800_4500;

/** @returns the TOS of the datagram that carries the frame */
export function outerTos(context: WorkerContext, frameOffset: number, frameBytes: number): number {
  return encapsulatedEcn(readInnerTos(context.arena.bytes, frameOffset, frameBytes));
}

/** @returns whether the message's TOS can change or end a frame: ECT(1) and CE do (both have the low bit). */
export function hasEcnMark(context: WorkerContext): boolean {
  return (context.rxTos & 1) !== 0;
}

/** Marks the frame as its datagram was marked. @returns false if it is dropped, which is counted. */
export function takeEcnMark(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): boolean {
  const done = applyOuterEcn(context.arena.bytes, frameOffset, frameBytes, context.rxTos & ECN_MASK);
  if (done === ECN_CHANGED) context.counters.add(networkIndex, ECN_MARKED, 1);
  if (done !== ECN_LOST) return true;
  context.counters.drop(networkIndex, DROP_ECN);
  return false;
}
