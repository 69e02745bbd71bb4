/**
 * The FDB, read side: (network, MAC) -> VTEP. On each frame's way, both directions. @hot
 *
 * One open-addressed table for all networks, as large as its buffer (fdbBytes). Four slots are a cache line:
 *
 *     header, 16 words: 0: sequence | 1: always 0
 *     line:             slot | slot | slot | slot
 *     slot, 4 words:    0: MAC bytes 2..5 | 1: MAC bytes 0..1 << 16 | network index | 2: value (0: empty) | 3: stamp
 *     value:            kind, 8 bits | depth, 8 bits, in a line's first slot only | VTEP index, 16 bits; of a local
 *                       entry the container's group instead (group-rules.ts)
 *
 * A key's home is the first slot of a line; from there slots are probed one after the other to the first empty one, but
 * not beyond the home line's depth: the lines after it into which a key of this home has had to go. So a miss ends in the
 * home line mostly, also in a full table. The deepest lines follow the last home: nothing wraps.
 *
 * The main thread inserts and removes (writers/fdb-writer.ts); removal shifts later slots back, so that there are no
 * tombstones. The sequence is odd while a change is under way. A reader that finds it odd or moved looks again, for some
 * microseconds; then it says MISS, and the frame is flooded: late, never lost.
 * Workers write word 3 alone (seconds of the last frame): at worst a moved slot is stamped for its neighbour and an
 * entry lives one ageing period longer.
 *
 * Why plain loads are enough. A reader must not pair a key with another key's value. That holds if it loads
 *
 *     sequence, even  ->  the slot's key and value  ->  the same sequence
 *
 * in this order. Atomics.load is a call of 7 ns, twice what all the rest costs, and it is not what gives the order: it
 * keeps later loads behind it, but arm64 may still run the plain load before it late. So each arrow is an address: the
 * slot's is computed with the first sequence, the second sequence's with key and value, each through `& zero`. Zero is a
 * word that nobody writes, which no compiler can know: the machine code has to have the one word in order to address
 * the other. x86-64 loads in program order anyway; arm64 keeps loads in order along an address dependency.
 * ECMAScript's memory model has no such dependency. It promises that an aligned 32-bit load is never torn, and for the
 * writer, whose stores are all Atomics.store, that they appear in their order. A false "not there" is allowed.
 */

export const FDB_HEADER_WORDS = 16;
export const FDB_SLOT_WORDS = 4;
export const FDB_SEQUENCE_WORD = 0;
const ZERO_WORD = 1;
export const FDB_LINE_WORDS = 16;
const LINE_SLOTS = 4;
export const FDB_DEPTH_SHIFT = 16;
/** What 8 bits hold: 1020 slots. The longest run in 2^20 slots, 0.8 full, is about ln 2^20 / (0.8 - 1 - ln 0.8) = 600. */
export const FDB_DEPTH_MAX = 255;
export const FDB_DEPTH_MASK = FDB_DEPTH_MAX << FDB_DEPTH_SHIFT;
const TAIL_WORDS = FDB_DEPTH_MAX * FDB_LINE_WORDS;

export const KIND_LOCAL = 1;
export const KIND_STATIC = 2;
export const KIND_DYNAMIC = 3;
/** No MAC: a pair of groups that may talk (group-rules.ts). */
export const KIND_RULE = 4;
/** A multicast MAC: its 16 bits are the row of the flood list whose bits are the VTEPs that get it (network-writer.ts). */
export const KIND_GROUP = 5;
export const FDB_MISS = 0;

/** Some microseconds at most: longer than a change takes, shorter than it would matter to a burst. */
const READ_TRIES = 1024;

/** @returns bytes of a table for so many entries: 20 to 22.5 for each, and 16 KiB */
export function fdbBytes(entries: number): number {
  const lines = Math.ceil((entries * 5) / (4 * LINE_SLOTS));
  const shift = shiftOf(lines);
  // Up to what lineCountOf can tell from the bytes: 8 to 15 times a power of two.
  return ((FDB_HEADER_WORDS + TAIL_WORDS) << 2) + (Math.ceil(lines / 2 ** shift) << shift) * FDB_LINE_WORDS * 4;
}

/** @returns the lines that are homes, in a buffer that fdbBytes has sized or any other */
export function fdbLineCount(bytes: number): number {
  const lines = Math.floor((bytes / 4 - FDB_HEADER_WORDS - TAIL_WORDS) / FDB_LINE_WORDS);
  const shift = shiftOf(lines);
  return (lines >>> shift) << shift;
}

/** What the table may hold: four fifths of its slots. Beyond, misses become long. */
export function fdbEntriesMax(lineCount: number): number {
  return Math.floor((lineCount * LINE_SLOTS * 4) / 5);
}

/** Three bits stay above the shift, four significant bits in all: fine steps, and a multiplication of small integers. */
function shiftOf(lines: number): number {
  return Math.max(0, 28 - Math.clz32(lines));
}

/** Two rounds of multiply and shift: each bit of either word reaches the high bits, which choose the line. */
export function fdbHash(keyLow: number, keyHigh: number): number {
  const mixed = Math.imul(keyLow, 0x9e3779b1) ^ Math.imul(keyHigh ^ (keyHigh >>> 16), 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
}

/** Second key word. `macHigh16` is MAC bytes 0 and 1, `networkIndex` below 65,536. */
export function fdbKeyHigh(macHigh16: number, networkIndex: number): number {
  return (macHigh16 << 16) | networkIndex;
}

export function fdbKind(value: number): number {
  return value >>> 24;
}

export function fdbVtep(value: number): number {
  return value & 0xffff;
}

/** @returns -1, all bits, for 0; else 0 */
function isZero(word: number): number {
  return ~((word | (0 - word)) >> 31);
}

export class Fdb {
  readonly words: Int32Array;
  /** Word offset of the slot that the last successful lookup found; for stamp(). */
  foundWord = 0;
  /** The line count is `#factor` << `#shift`. */
  readonly #factor: number;
  readonly #shift: number;
  readonly #mask: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    const lines = fdbLineCount(buffer.byteLength);
    this.#shift = shiftOf(lines);
    this.#factor = lines >>> this.#shift;
    this.#mask = (1 << this.#shift) - 1;
  }

  /** Word offset of a key's first slot. The hash's upper 11 bits choose among `#factor`, the bits below the rest. */
  homeWord(keyLow: number, keyHigh: number): number {
    const hash = fdbHash(keyLow, keyHigh);
    const upper = Math.imul(hash >>> 21, this.#factor) >>> 11;
    const line = (upper << this.#shift) | ((hash >>> (21 - this.#shift)) & this.#mask);
    return FDB_HEADER_WORDS + (line << 4);
  }

  /**
   * The home line. Its first slot by a branch, which nearly always goes one way in a table with room; the other three
   * without any, since in a full table no predictor knows which of them it is: a wrong guess costs as much as all of this.
   *
   * @returns kind << 24 | VTEP index, or FDB_MISS
   */
  lookup(keyLow: number, keyHigh: number): number {
    const words = this.words;
    const zero = words[ZERO_WORD]!;
    const before = words[FDB_SEQUENCE_WORD]!;
    const home = this.homeWord(keyLow, keyHigh) + (before & zero);
    const low = words[home]!;
    const high = words[home + 1]!;
    const first = words[home + 2]!;
    let word = home;
    let value = first;
    let read = low | high | first;
    if ((low !== keyLow || high !== keyHigh) && first !== FDB_MISS) {
      // 0 where a slot has the key.
      const second = (words[home + 4]! ^ keyLow) | (words[home + 5]! ^ keyHigh);
      const third = (words[home + 8]! ^ keyLow) | (words[home + 9]! ^ keyHigh);
      const fourth = (words[home + 12]! ^ keyLow) | (words[home + 13]! ^ keyHigh);
      word = home + ((isZero(second) & 4) | (isZero(third) & 8) | (isZero(fourth) & 12));
      if (word !== home) value = words[word + 2]!;
      else if ((first & FDB_DEPTH_MASK) === 0) value = FDB_MISS;
      else return this.#lookupBeyond(home, keyLow, keyHigh, before);
      read |= second | third | fourth | value;
    }
    const after = words[FDB_SEQUENCE_WORD + (read & zero)]!;
    if (after !== before || (before & 1) !== 0) return this.#search(keyLow, keyHigh);
    this.foundWord = word;
    return value & ~FDB_DEPTH_MASK;
  }

  /** The lines after the home line. */
  #lookupBeyond(home: number, keyLow: number, keyHigh: number, before: number): number {
    const words = this.words;
    const zero = words[ZERO_WORD]!;
    const first = words[home + 2]!;
    const end = home + (((first & FDB_DEPTH_MASK) >>> FDB_DEPTH_SHIFT) + 1) * FDB_LINE_WORDS;
    let value = FDB_MISS;
    let read = first;
    let word = home + FDB_LINE_WORDS;
    for (; word < end; word += FDB_SLOT_WORDS) {
      const low = words[word]!;
      const high = words[word + 1]!;
      if (low === keyLow && high === keyHigh) {
        value = words[word + 2]!;
        read |= low | high | value;
        break;
      }
    }
    const after = words[FDB_SEQUENCE_WORD + (read & zero)]!;
    if (after !== before || (before & 1) !== 0) return this.#search(keyLow, keyHigh);
    this.foundWord = word;
    return value & ~FDB_DEPTH_MASK;
  }

  /** All of it again, and again while the table changes. */
  #search(keyLow: number, keyHigh: number): number {
    const words = this.words;
    const zero = words[ZERO_WORD]!;
    for (let tries = 0; tries < READ_TRIES; tries++) {
      // Atomic: a plain load could be taken out of the loop.
      const before = Atomics.load(words, FDB_SEQUENCE_WORD);
      if ((before & 1) !== 0) continue;
      let word = this.homeWord(keyLow, keyHigh) + (before & zero);
      let read = words[word + 2]!;
      const end = word + (((read & FDB_DEPTH_MASK) >>> FDB_DEPTH_SHIFT) + 1) * FDB_LINE_WORDS;
      let value = FDB_MISS;
      for (; word < end && value === FDB_MISS; word += FDB_SLOT_WORDS) {
        const low = words[word]!;
        const high = words[word + 1]!;
        if (low !== keyLow || high !== keyHigh) continue;
        value = words[word + 2]!;
        read |= low | high | value;
      }
      if (words[FDB_SEQUENCE_WORD + (read & zero)] !== before) continue;
      this.foundWord = word - FDB_SLOT_WORDS;
      return value & ~FDB_DEPTH_MASK;
    }
    return FDB_MISS;
  }

  /** Marks the entry that lookup() found last as seen now. A line that many workers read is not written each frame. */
  stamp(seconds: number): void {
    const word = this.foundWord + 3;
    if (this.words[word] !== seconds) this.words[word] = seconds;
  }
}
