/**
 * A BUM frame goes to the network's multicast group on the underlay, one copy for all, or by head-end replication: one copy
 * to each VTEP that holds the network, and to no other. A host with both families sends copies besides the group's to the
 * VTEPs that have no address of the group's family. @hot
 *
 * The copies share the frame's bytes; only message headers are written, and for a superframe the segments' headers.
 * The network's row tells which of the two: one word, so each frame goes the one way or the other, whole.
 * A multicast frame whose group has a row goes only to members that have a bit in it (IGMP and MLD snooping); without a row,
 * and in doubt, to all. Membership messages go to all.
 */
import { FLOOD_COPIES, FLOOD_COPIES_SAVED, FLOODED_FRAMES, MULTICAST_FRAMES } from '../shared/counters.js';
import { DROP_NO_MEMBER, DROP_NO_REMOTE } from '../shared/drop-causes.js';
import { fdbKeyHigh, fdbKind, fdbVtep, KIND_GROUP } from '../shared/fdb.js';
import { SELF_VTEP } from '../shared/layout.js';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, readEthertype } from '../wire/ethernet.js';
import { macKeyHigh, macKeyLow } from '../wire/mac-key.js';
import type { WorkerContext } from './context.js';
import { splitSuperframe } from './gso.js';
import { isSnoopedMac, snoop } from './snooping.js';
import { queueFrame } from './underlay-tx.js';

/** No row: every member gets the frame. */
const ALL = -1;
const BROADCAST_HIGH = 0xffff;

export function flood(
  context: WorkerContext,
  networkIndex: number,
  place: number,
  frameOffset: number,
  frameBytes: number,
  isSuperframe: boolean,
): void {
  // As on the wire: a superframe counts as the frames that it is split into.
  const frames = isSuperframe ? context.superframe.segmentCount : 1;
  const row = memberRow(context, networkIndex, frameOffset, frameBytes);
  const group = context.networks.group(networkIndex);
  let copies = 0;
  let reached = 0;
  let saved = 0;
  if (group !== 0 && !hasNoMember(context, networkIndex, row)) {
    if (isSuperframe) splitSuperframe(context, networkIndex, place, group, frameOffset, frameBytes);
    else queueFrame(context, place, group, networkIndex, frameOffset, frameBytes);
    copies = 1;
    reached = context.vteps.families(group);
  }
  // A host with one family has no member that its group does not reach.
  const wordCount = copies === 0 || context.tx6Start !== 0 ? (context.vteps.highWater() + 31) >> 5 : 0;
  for (let wordIndex = 0; wordIndex < wordCount; wordIndex++) {
    let bits = context.members.word(networkIndex, wordIndex);
    if (row !== ALL) {
      const wanted = bits & context.members.word(row, wordIndex);
      if (reached === 0) saved += countBits(bits ^ wanted);
      bits = wanted;
    }
    while (bits !== 0) {
      const bit = 31 - Math.clz32(bits & -bits);
      bits &= bits - 1;
      const vtep = (wordIndex << 5) + bit;
      if ((context.vteps.families(vtep) & reached) !== 0) continue;
      if (isSuperframe) splitSuperframe(context, networkIndex, place, vtep, frameOffset, frameBytes);
      else queueFrame(context, place, vtep, networkIndex, frameOffset, frameBytes);
      copies++;
    }
  }
  if (saved > 0) context.counters.add(networkIndex, FLOOD_COPIES_SAVED, saved * frames);
  if (copies === 0) {
    context.counters.dropMany(networkIndex, saved > 0 ? DROP_NO_MEMBER : DROP_NO_REMOTE, frames);
    return;
  }
  context.counters.add(networkIndex, FLOODED_FRAMES, frames);
  context.counters.add(networkIndex, FLOOD_COPIES, copies * frames);
  if (group !== 0) context.counters.add(networkIndex, MULTICAST_FRAMES, frames);
}

/** @returns the row of the flood list that holds the members of the frame's group, or ALL */
function memberRow(context: WorkerContext, networkIndex: number, frameOffset: number, frameBytes: number): number {
  const bytes = context.arena.bytes;
  const high = macKeyHigh(bytes, frameOffset);
  if ((high & 0x0100) === 0 || high === BROADCAST_HIGH) return ALL;
  if (snoop(context, networkIndex, SELF_VTEP, frameOffset, frameBytes)) return ALL;
  const ethertype = readEthertype(bytes, frameOffset);
  const low = macKeyLow(bytes, frameOffset);
  // Behind a VLAN tag is another link, whose members nobody keeps.
  if ((ethertype !== ETHERTYPE_IPV4 && ethertype !== ETHERTYPE_IPV6) || !isSnoopedMac(high, low)) return ALL;
  const value = context.fdb.lookup(low, fdbKeyHigh(high, networkIndex));
  return fdbKind(value) === KIND_GROUP ? fdbVtep(value) : ALL;
}

function hasNoMember(context: WorkerContext, networkIndex: number, row: number): boolean {
  if (row === ALL) return false;
  const wordCount = (context.vteps.highWater() + 31) >> 5;
  for (let i = 0; i < wordCount; i++) {
    if ((context.members.word(networkIndex, i) & context.members.word(row, i)) !== 0) return false;
  }
  return true;
}

function countBits(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
