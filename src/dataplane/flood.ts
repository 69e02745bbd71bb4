/**
 * Head-end replication: one copy of a BUM frame to each VTEP that holds the network, and to no other. @hot
 *
 * The copies share the frame's bytes; only message headers are written.
 */
import { FLOOD_COPIES, FLOODED_FRAMES } from '../shared/counters.js';
import { DROP_NO_REMOTE } from '../shared/drop-causes.js';
import type { WorkerContext } from './context.js';
import { queueDatagram } from './underlay-tx.js';

export function flood(
  context: WorkerContext,
  networkIndex: number,
  socket: number,
  frameOffset: number,
  frameBytes: number,
): void {
  const wordCount = (context.vteps.highWater() + 31) >> 5;
  let copies = 0;
  for (let wordIndex = 0; wordIndex < wordCount; wordIndex++) {
    let bits = context.members.word(networkIndex, wordIndex);
    while (bits !== 0) {
      const bit = 31 - Math.clz32(bits & -bits);
      bits &= bits - 1;
      queueDatagram(context, socket, (wordIndex << 5) + bit, networkIndex, frameOffset, frameBytes);
      copies++;
    }
  }
  if (copies === 0) {
    context.counters.drop(networkIndex, DROP_NO_REMOTE);
    return;
  }
  context.counters.add(networkIndex, FLOODED_FRAMES, 1);
  context.counters.add(networkIndex, FLOOD_COPIES, copies);
}
