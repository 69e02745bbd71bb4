/**
 * A BUM frame goes to the network's multicast group on the underlay, one copy for all, or by head-end replication: one copy
 * to each VTEP that holds the network, and to no other. A host with both families sends copies besides the group's to the
 * VTEPs that have no address of the group's family. @hot
 *
 * The copies share the frame's bytes; only message headers are written, and for a superframe the segments' headers.
 * The group's row tells which of the two: one word, so each frame goes the one way or the other, whole.
 */
import { FLOOD_COPIES, FLOODED_FRAMES, MULTICAST_FRAMES } from '../shared/counters.js';
import { DROP_NO_REMOTE } from '../shared/drop-causes.js';
import type { WorkerContext } from './context.js';
import { splitSuperframe } from './gso.js';
import { queueFrame } from './underlay-tx.js';

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
  const group = context.networks.group(networkIndex);
  let copies = 0;
  let reached = 0;
  if (group !== 0) {
    if (isSuperframe) splitSuperframe(context, networkIndex, place, group, frameOffset, frameBytes);
    else queueFrame(context, place, group, networkIndex, frameOffset, frameBytes);
    copies = 1;
    reached = context.vteps.families(group);
  }
  // A host with one family has no member that its group does not reach.
  const wordCount = group === 0 || context.tx6Start !== 0 ? (context.vteps.highWater() + 31) >> 5 : 0;
  for (let wordIndex = 0; wordIndex < wordCount; wordIndex++) {
    let bits = context.members.word(networkIndex, wordIndex);
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
  if (copies === 0) {
    context.counters.dropMany(networkIndex, DROP_NO_REMOTE, frames);
    return;
  }
  context.counters.add(networkIndex, FLOODED_FRAMES, frames);
  context.counters.add(networkIndex, FLOOD_COPIES, copies * frames);
  if (group !== 0) context.counters.add(networkIndex, MULTICAST_FRAMES, frames);
}
