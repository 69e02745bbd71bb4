/**
 * The FDB, read side: (network, MAC) -> VTEP. On each frame's way, both directions. @hot
 *
 * One open-addressed table for all networks, as large as its buffer (fdbBytes). Four slots are a cache line:
 *
 *     header, 16 words: 0: sequence | 1: always 0
 *     line:             slot | slot | slot | slot
 *     slot, 4 words:    0: MAC bytes 2..5 | 1: MAC bytes 0..1 << 16 | network index | 2: value (0: empty) | 3: stamp
 *     value:            kind, 8 bits | depth, 8 bits, in a line's first slot only | VTEP index, 16 bits
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
export const FDB_MISS = 0;
/** No value: a kind is below 128. */
const TORN = -1;

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

  /** @returns kind << 24 | VTEP index, or FDB_MISS */
  lookup(keyLow: number, keyHigh: number): number {
    const value = this.#read(keyLow, keyHigh);
    return value === TORN ? this.#readAgain(keyLow, keyHigh) : value;
  }

  /** @returns a value, FDB_MISS, or TORN if the table was changed meanwhile */
  #read(keyLow: number, keyHigh: number): number {
    const words = this.words;
    const zero = words[ZERO_WORD]!;
    const before = words[FDB_SEQUENCE_WORD]!;
    let word = this.homeWord(keyLow, keyHigh) + (before & zero);
    const first = words[word + 2]!;
    const end = word + (((first & FDB_DEPTH_MASK) >>> FDB_DEPTH_SHIFT) + 1) * FDB_LINE_WORDS;
    let low = 0;
    let high = 0;
    let found = FDB_MISS;
    let value = FDB_MISS;
    for (; word < end; word += FDB_SLOT_WORDS) {
      low = words[word]!;
      high = words[word + 1]!;
      found = words[word + 2]!;
      if (found === FDB_MISS) break;
      if (low === keyLow && high === keyHigh) {
        this.foundWord = word;
        value = found & ~FDB_DEPTH_MASK;
        break;
      }
    }
    const after = words[FDB_SEQUENCE_WORD + ((first | low | high | found) & zero)]!;
    return after === before && (before & 1) === 0 ? value : TORN;
  }

  #readAgain(keyLow: number, keyHigh: number): number {
    for (let tries = 0; tries < READ_TRIES; tries++) {
      if ((Atomics.load(this.words, FDB_SEQUENCE_WORD) & 1) !== 0) continue;
      const value = this.#read(keyLow, keyHigh);
      if (value !== TORN) return value;
    }
    return FDB_MISS;
  }

  /** Marks the entry that lookup() found last as seen now. A line that many workers read is not written each frame. */
  stamp(seconds: number): void {
    const word = this.foundWord + 3;
    if (this.words[word] !== seconds) this.words[word] = seconds;
  }
}
