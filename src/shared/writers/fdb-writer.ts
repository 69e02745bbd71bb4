/**
 * The FDB, write side. Main thread only, the table's single writer; readers are guarded by the sequence word (fdb.ts).
 *
 * Every store is an Atomics.store, those between the two of the sequence as well: a plain one might be seen before the
 * odd sequence is.
 *
 * What walks over the whole table goes from its end to its begin. Removal moves entries towards the begin only, so that
 * a walk in steps, with other changes between them, passes by none that was there all the time.
 */
import {
  FDB_DEPTH_MASK,
  FDB_DEPTH_MAX,
  FDB_DEPTH_SHIFT,
  FDB_HEADER_WORDS,
  FDB_LINE_WORDS,
  FDB_MISS,
  FDB_SEQUENCE_WORD,
  FDB_SLOT_WORDS,
  Fdb,
  fdbEntriesMax,
  fdbKind,
  fdbLineCount,
  fdbVtep,
  KIND_DYNAMIC,
} from '../fdb.js';
import { NETWORKS_MAX } from '../layout.js';

const NOT_FOUND = -1;

export type FdbCondemned = (keyHigh: number, kind: number, vtepIndex: number, seconds: number) => boolean;

export class FdbWriter {
  readonly entriesMax: number;
  readonly #reader: Fdb;
  readonly #words: Int32Array;
  #count = 0;
  #dynamicCount = 0;
  readonly #dynamicCounts = new Int32Array(NETWORKS_MAX);
  /** Where the next removeIdleSlice goes on. */
  #idleWord: number;

  constructor(buffer: SharedArrayBuffer) {
    this.#reader = new Fdb(buffer);
    this.#words = this.#reader.words;
    this.entriesMax = fdbEntriesMax(fdbLineCount(buffer.byteLength));
    this.#idleWord = this.#lastWord();
  }

  get count(): number {
    return this.#count;
  }

  /** Those that have been learnt: only they age. */
  get dynamicCount(): number {
    return this.#dynamicCount;
  }

  /** Those of one network. */
  dynamicCountOf(networkIndex: number): number {
    return this.#dynamicCounts[networkIndex] as number;
  }

  /** @returns kind << 24 | VTEP index, or FDB_MISS */
  get(keyLow: number, keyHigh: number): number {
    const word = this.#find(keyLow, keyHigh);
    return word === NOT_FOUND ? FDB_MISS : this.#value(word);
  }

  /** Inserts or replaces. @returns false if the table is full, or too many keys have their home in one place */
  set(keyLow: number, keyHigh: number, kind: number, vtepIndex: number, seconds: number): boolean {
    const words = this.#words;
    const value = (kind << 24) | vtepIndex;
    const found = this.#find(keyLow, keyHigh);
    if (found !== NOT_FOUND) {
      this.#countDynamic(keyHigh, kind, fdbKind(this.#value(found)));
      // One aligned store: a reader sees the old VTEP or the new one.
      words[found + 3] = seconds;
      Atomics.store(words, found + 2, value | ((words[found + 2] as number) & FDB_DEPTH_MASK));
      return true;
    }
    if (this.#count >= this.entriesMax) return false;
    const home = this.#reader.homeWord(keyLow, keyHigh);
    const end = home + (FDB_DEPTH_MAX + 1) * FDB_LINE_WORDS;
    let word = home;
    while (word < end && words[word + 2] !== FDB_MISS) word += FDB_SLOT_WORDS;
    if (word >= end) return false;
    this.#beginChange();
    this.#write(word, keyLow, keyHigh, value, seconds);
    const depth = depthOf(home, word);
    if (depth > this.#depth(home)) this.#setDepth(home, depth);
    this.#endChange();
    this.#count++;
    this.#countDynamic(keyHigh, kind, FDB_MISS);
    return true;
  }

  /** As set, but what has been learnt makes room: the entry comes in unless all are of other kinds. */
  setBefore(keyLow: number, keyHigh: number, kind: number, vtepIndex: number): boolean {
    while (!this.set(keyLow, keyHigh, kind, vtepIndex, 0)) if (!this.#removeDynamicNear(keyLow, keyHigh)) return false;
    return true;
  }

  /** The learnt entry that follows the key's home, where it can make room also for a home that is too full. */
  #removeDynamicNear(keyLow: number, keyHigh: number): boolean {
    if (this.#dynamicCount === 0) return false;
    const words = this.#words;
    const home = this.#reader.homeWord(keyLow, keyHigh);
    for (let step = 0; step < words.length; step += FDB_SLOT_WORDS) {
      const word = home + step < words.length ? home + step : home + step - words.length + FDB_HEADER_WORDS;
      if (fdbKind(this.#value(word)) !== KIND_DYNAMIC) continue;
      this.#removeAt(word);
      return true;
    }
    return false;
  }

  /** @returns whether there was such an entry */
  remove(keyLow: number, keyHigh: number): boolean {
    const word = this.#find(keyLow, keyHigh);
    if (word === NOT_FOUND) return false;
    this.#removeAt(word);
    return true;
  }

  /** Calls `visit` for every entry; the table must not be changed meanwhile. */
  forEach(visit: (keyLow: number, keyHigh: number, kind: number, vtepIndex: number, seconds: number) => void): void {
    const words = this.#words;
    for (let word = FDB_HEADER_WORDS; word < words.length; word += FDB_SLOT_WORDS) {
      const value = this.#value(word);
      if (value === FDB_MISS) continue;
      visit(
        words[word] as number,
        words[word + 1] as number,
        fdbKind(value),
        fdbVtep(value),
        words[word + 3] as number,
      );
    }
  }

  /** Removes every entry for which `condemned` says so. @returns how many went */
  removeWhere(condemned: FdbCondemned): number {
    const before = this.#count;
    this.#sweep(this.#lastWord(), Number.POSITIVE_INFINITY, condemned);
    return before - this.#count;
  }

  /**
   * As removeWhere, some slots at a time: each call of `next` walks over `slotCount` of them, and is done when the walk
   * is. Entries that come meanwhile may be passed by.
   */
  *removeWhereSliced(condemned: FdbCondemned, slotCount: number): Generator<void, void> {
    let word = this.#lastWord();
    while (word >= FDB_HEADER_WORDS) {
      word = this.#sweep(word, slotCount, condemned);
      yield;
    }
  }

  /** Dynamic entries not seen since `oldestSeconds`. @returns how many went */
  removeIdle(oldestSeconds: number): number {
    return this.removeWhere(isIdleSince(oldestSeconds));
  }

  /** As removeIdle, in steps of `slotCount` slots. @returns whether this step has ended a walk over the whole table */
  removeIdleSlice(oldestSeconds: number, slotCount: number): boolean {
    this.#idleWord = this.#sweep(this.#idleWord, slotCount, isIdleSince(oldestSeconds));
    const isEnd = this.#idleWord < FDB_HEADER_WORDS;
    if (isEnd) this.#idleWord = this.#lastWord();
    return isEnd;
  }

  /** @returns the word where to go on, below FDB_HEADER_WORDS at the end */
  #sweep(from: number, slotCount: number, condemned: FdbCondemned): number {
    const words = this.#words;
    const to = Math.max(FDB_HEADER_WORDS, from - (slotCount - 1) * FDB_SLOT_WORDS);
    let word = from;
    for (; word >= to; word -= FDB_SLOT_WORDS) {
      const value = this.#value(word);
      if (value === FDB_MISS) continue;
      if (condemned(words[word + 1] as number, fdbKind(value), fdbVtep(value), words[word + 3] as number)) {
        this.#removeAt(word);
      }
    }
    return word;
  }

  #lastWord(): number {
    return this.#words.length - FDB_SLOT_WORDS;
  }

  /** @returns the key's slot, as a word offset, or NOT_FOUND */
  #find(keyLow: number, keyHigh: number): number {
    return this.#reader.lookup(keyLow, keyHigh) === FDB_MISS ? NOT_FOUND : this.#reader.foundWord;
  }

  /**
   * Knuth, The Art of Computer Programming 3, 6.4, algorithm R: fills the hole from behind. Each move is a change of its
   * own, so that readers wait for four stores and not for the whole run; between two of them an entry is there twice.
   */
  #removeAt(hole: number): void {
    const words = this.#words;
    this.#countDynamic(words[hole + 1] as number, FDB_MISS, fdbKind(this.#value(hole)));
    let free = hole;
    let home = this.#homeOf(hole);
    for (let word = hole + FDB_SLOT_WORDS; word < words.length; word += FDB_SLOT_WORDS) {
      if (words[word + 2] === FDB_MISS) break;
      const nextHome = this.#homeOf(word);
      if (nextHome > free) continue;
      const value = this.#value(word);
      this.#beginChange();
      this.#write(free, words[word] as number, words[word + 1] as number, value, words[word + 3] as number);
      this.#endChange();
      this.#measureDepth(home, word);
      free = word;
      home = nextHome;
    }
    this.#measureDepth(home, free);
    this.#beginChange();
    this.#write(free, 0, 0, FDB_MISS, 0);
    this.#endChange();
    this.#count--;
  }

  /**
   * Sets a line's depth after one of its keys has gone. One store: a reader may see the old depth or the new.
   *
   * @param gone the slot that is free now, though bytes are in it; the key's own, or one behind it
   */
  #measureDepth(home: number, gone: number): void {
    const before = this.#depth(home);
    if (depthOf(home, gone) < before) return;
    let word = home + (before + 1) * FDB_LINE_WORDS - FDB_SLOT_WORDS;
    while (word > home && (word === gone || this.#words[word + 2] === FDB_MISS || this.#homeOf(word) !== home)) {
      word -= FDB_SLOT_WORDS;
    }
    this.#setDepth(home, depthOf(home, word));
  }

  /** An entry of kind `before` has become one of kind `after`; FDB_MISS: there is none. */
  #countDynamic(keyHigh: number, after: number, before: number): void {
    const change = Number(after === KIND_DYNAMIC) - Number(before === KIND_DYNAMIC);
    this.#dynamicCount += change;
    const network = keyHigh & 0xffff;
    this.#dynamicCounts[network] = (this.#dynamicCounts[network] as number) + change;
  }

  #homeOf(word: number): number {
    return this.#reader.homeWord(this.#words[word] as number, this.#words[word + 1] as number);
  }

  #value(word: number): number {
    return (this.#words[word + 2] as number) & ~FDB_DEPTH_MASK;
  }

  #depth(home: number): number {
    return ((this.#words[home + 2] as number) & FDB_DEPTH_MASK) >>> FDB_DEPTH_SHIFT;
  }

  #setDepth(home: number, depth: number): void {
    Atomics.store(this.#words, home + 2, this.#value(home) | (depth << FDB_DEPTH_SHIFT));
  }

  /** Fills a slot; the depth that a first slot holds is its line's and stays. */
  #write(word: number, keyLow: number, keyHigh: number, value: number, seconds: number): void {
    const words = this.#words;
    Atomics.store(words, word, keyLow);
    Atomics.store(words, word + 1, keyHigh);
    Atomics.store(words, word + 2, value | ((words[word + 2] as number) & FDB_DEPTH_MASK));
    Atomics.store(words, word + 3, seconds);
  }

  #beginChange(): void {
    Atomics.add(this.#words, FDB_SEQUENCE_WORD, 1);
  }

  #endChange(): void {
    Atomics.add(this.#words, FDB_SEQUENCE_WORD, 1);
  }
}

/** How many lines a slot lies behind the home. */
function depthOf(home: number, word: number): number {
  return Math.floor((word - home) / FDB_LINE_WORDS);
}

function isIdleSince(oldestSeconds: number): FdbCondemned {
  return (_keyHigh, kind, _vtepIndex, seconds) => kind === KIND_DYNAMIC && seconds < oldestSeconds;
}
