/**
 * VXLAN-GBP, for networks that have it: the sender's group into the header, and the filter on what comes. @hot
 *
 * The filter looks at frames for one receiver; broadcasts and multicasts have none, and pass. A header that says that the
 * policy has been applied passes as well.
 */
import { groupOf, mayTalk } from '../shared/group-rules.js';
import { ETHERNET_SOURCE_OFFSET } from '../wire/ethernet.js';
import { macKeyHigh, macKeyLow } from '../wire/mac.js';
import { emitGroup, isPolicyApplied, readGroup, VXLAN_HEADER_BYTES } from '../wire/vxlan.js';
import type { WorkerContext } from './context.js';

/** The VXLAN header stands before the frame. */
export function tagGroup(context: WorkerContext, networkIndex: number, frameOffset: number): void {
  const bytes = context.arena.bytes;
  const source = frameOffset + ETHERNET_SOURCE_OFFSET;
  const group = groupOf(context.fdb, networkIndex, macKeyLow(bytes, source), macKeyHigh(bytes, source));
  if (group !== 0) emitGroup(bytes, frameOffset - VXLAN_HEADER_BYTES, group);
}

/** @returns whether the network's rules let the frame of this datagram to its receiver */
export function isLetIn(context: WorkerContext, networkIndex: number, datagramOffset: number): boolean {
  const bytes = context.arena.bytes;
  const frame = datagramOffset + VXLAN_HEADER_BYTES;
  if (((bytes[frame] as number) & 1) !== 0 || isPolicyApplied(bytes, datagramOffset)) return true;
  const to = groupOf(context.fdb, networkIndex, macKeyLow(bytes, frame), macKeyHigh(bytes, frame));
  return mayTalk(context.fdb, networkIndex, readGroup(bytes, datagramOffset), to);
}
