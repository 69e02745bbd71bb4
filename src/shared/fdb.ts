/**
 * The FDB, read side: (network, MAC) -> VTEP. On each frame's way, both directions. @hot
 *
 * One open-addressed table for all networks; a slot is one quarter of a cache line:
 *
 *     word 0: MAC bytes 2..5 | 1: MAC bytes 0..1 << 16 | network index | 2: kind << 24 | VTEP index (0: empty) | 3: stamp
 *
 * The main thread inserts and removes (writers/fdb-writer.ts); removal shifts later slots back, so that there are no
 * tombstones. A sequence word guards readers: odd while a change is under way. A reader that finds it moved looks again,
 * for some microseconds; then it says MISS, and the frame is flooded: late, never lost.
 * Workers write word 3 alone (seconds of the last frame): at worst a moved slot is stamped for its neighbour and an
 * entry lives one ageing period longer.
 */
import { FDB_SLOTS } from './layout.js';

export const FDB_HEADER_WORDS = 16;
export const FDB_SLOT_WORDS = 4;
export const FDB_SEQUENCE_WORD = 0;
export const FDB_BYTES = (FDB_HEADER_WORDS + FDB_SLOTS * FDB_SLOT_WORDS) * 4;

export const KIND_LOCAL = 1;
export const KIND_STATIC = 2;
export const KIND_DYNAMIC = 3;
export const FDB_MISS = 0;

const SLOT_MASK = FDB_SLOTS - 1;
/** Some microseconds at most: longer than a change takes, shorter than it would matter to a burst. */
const READ_TRIES = 1024;

/** Home slot of a key. Fibonacci hashing of both words; the high bits are the good ones. */
export function fdbHome(keyLow: number, keyHigh: number): number {
  const mixed = Math.imul(keyLow ^ Math.imul(keyHigh, 0x85ebca6b), 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) & SLOT_MASK;
}

/** Second key word. `macHigh16` is MAC bytes 0 and 1, `networkIndex` below 65,536. */
export function fdbKeyHigh(macHigh16: number, networkIndex: number): number {
  return (macHigh16 << 16) | networkIndex;
}

export function fdbKind(value: number): number {
  return value >>> 24;
}

export function fdbVtep(value: number): number {
  return value & 0xffffff;
}

export class Fdb {
  readonly words: Int32Array;
  /** Word offset of the slot that the last successful lookup found; for stamp(). */
  foundWord = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /** @returns kind << 24 | VTEP index, or FDB_MISS */
  lookup(keyLow: number, keyHigh: number): number {
    const words = this.words;
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const before = Atomics.load(words, FDB_SEQUENCE_WORD);
      if ((before & 1) !== 0) continue;
      let slot = fdbHome(keyLow, keyHigh);
      let value = FDB_MISS;
      // Bounded by the table: a torn reading could otherwise show no empty slot.
      for (let probes = 0; probes < FDB_SLOTS; probes++) {
        const word = FDB_HEADER_WORDS + (slot << 2);
        const found = words[word + 2] as number;
        if (found === 0) break;
        if (words[word] === keyLow && words[word + 1] === keyHigh) {
          value = found;
          this.foundWord = word;
          break;
        }
        slot = (slot + 1) & SLOT_MASK;
      }
      if (Atomics.load(words, FDB_SEQUENCE_WORD) === before) return value;
    }
    return FDB_MISS;
  }

  /** Marks the entry that lookup() found last as seen now. */
  stamp(seconds: number): void {
    this.words[this.foundWord + 3] = seconds;
  }
}
