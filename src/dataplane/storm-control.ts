/**
 * How many frames each source MAC has flooded in this second. @hot
 *
 * Counted is all that is flooded, as a switch counts it: broadcast, unknown unicast, and multicast that goes to everybody.
 * The second is the main thread's clock, read once a turn; each worker counts what it sees itself.
 *
 *     STORM_SETS sets of four cells, one cache line; cell: MAC bytes 2..5 | key of network and MAC | second | frames
 *
 * A MAC has its set by hash, and there the cell that names it, or one of an earlier second. When all four are taken by
 * others in this second, it shares the last: it may be held back early, never let through beyond the limit.
 */
import { fdbHash, fdbKeyHigh } from '../shared/fdb.js';
import type { WorkerContext } from './context.js';

export const STORM_SETS = 1024;
const SET_WORDS = 16;
const CELL_WORDS = 4;
export const STORM_WORDS = STORM_SETS * SET_WORDS;

export function isBeyondStormLimit(
  context: WorkerContext,
  networkIndex: number,
  limit: number,
  macLow: number,
  macHigh16: number,
  frames: number,
): boolean {
  const cells = context.stormCells;
  const now = context.nowSeconds;
  const keyHigh = fdbKeyHigh(macHigh16, networkIndex);
  const set = ((fdbHash(macLow, keyHigh) >>> 22) & (STORM_SETS - 1)) * SET_WORDS;
  let cell = set + SET_WORDS - CELL_WORDS;
  for (let at = set; at < set + SET_WORDS; at += CELL_WORDS) {
    const isCurrent = cells[at + 2] === now;
    if (isCurrent && (cells[at] !== macLow || cells[at + 1] !== keyHigh)) continue;
    cell = at;
    if (isCurrent) break;
  }
  if (cells[cell + 2] !== now) {
    cells[cell] = macLow;
    cells[cell + 1] = keyHigh;
    cells[cell + 2] = now;
    cells[cell + 3] = 0;
  }
  const flooded = cells[cell + 3] as number;
  // A superframe of more segments than the limit is let through as a second's first, or it never would be.
  if (flooded !== 0 && flooded + frames > limit) return true;
  cells[cell + 3] = flooded + frames;
  return false;
}
