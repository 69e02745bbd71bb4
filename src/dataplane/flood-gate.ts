/**
 * What is about to be flooded is asked first whether it has to be: a request for a known neighbour is answered or kept
 * here (neighbour-suppress.ts), and a source that floods too much is held back (storm-control.ts). Encapsulation, right
 * before flood.ts. A network without either setting pays for two loads. @hot
 */
import { DROP_STORM_LIMIT } from '../shared/drop-causes.js';
import { NETWORK_FLAG_SUPPRESSION } from '../shared/network-table.js';
import { ETHERNET_SOURCE_OFFSET } from '../wire/ethernet.js';
import { macKeyHigh, macKeyLow } from '../wire/mac-key.js';
import type { WorkerContext } from './context.js';
import { suppress } from './neighbour-suppress.js';
import { isBeyondStormLimit } from './storm-control.js';

/** @returns false: the frame is dealt with and counted */
export function mayFlood(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
  isSuperframe: boolean,
): boolean {
  const networks = context.networks;
  const isSuppressing = (networks.flags(networkIndex) & NETWORK_FLAG_SUPPRESSION) !== 0;
  if (isSuppressing && suppress(context, networkIndex, frameOffset, frameBytes)) return false;
  const limit = networks.stormLimit(networkIndex);
  if (limit === 0) return true;
  const bytes = context.arena.bytes;
  const source = frameOffset + ETHERNET_SOURCE_OFFSET;
  const frames = isSuperframe ? context.superframe.segmentCount : 1;
  if (!isBeyondStormLimit(context, networkIndex, limit, macKeyLow(bytes, source), macKeyHigh(bytes, source), frames)) {
    return true;
  }
  context.counters.dropMany(networkIndex, DROP_STORM_LIMIT, frames);
  return false;
}
