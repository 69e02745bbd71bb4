/**
 * The FDB, write side. Main thread only, the table's single writer; readers are guarded by the sequence word (fdb.ts).
 */
import {
  FDB_HEADER_WORDS,
  FDB_MISS,
  FDB_SEQUENCE_WORD,
  FDB_SLOT_WORDS,
  fdbHome,
  fdbKind,
  fdbVtep,
  KIND_DYNAMIC,
} from '../fdb.js';
import { FDB_ENTRIES_MAX, FDB_SLOTS } from '../layout.js';

const SLOT_MASK = FDB_SLOTS - 1;

export class FdbWriter {
  readonly #words: Int32Array;
  #count = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  get count(): number {
    return this.#count;
  }

  /** @returns kind << 24 | VTEP index, or FDB_MISS */
  get(keyLow: number, keyHigh: number): number {
    const slot = this.#find(keyLow, keyHigh);
    return slot < 0 ? FDB_MISS : (this.#words[word(slot) + 2] as number);
  }

  /** Inserts or replaces. @returns false if the table is full */
  set(keyLow: number, keyHigh: number, kind: number, vtepIndex: number, seconds: number): boolean {
    const words = this.#words;
    const value = (kind << 24) | vtepIndex;
    const slot = this.#find(keyLow, keyHigh);
    if (slot >= 0) {
      // One aligned store: a reader sees the old VTEP or the new one.
      words[word(slot) + 3] = seconds;
      Atomics.store(words, word(slot) + 2, value);
      return true;
    }
    if (this.#count >= FDB_ENTRIES_MAX) return false;
    const at = word(-slot - 1);
    this.#change(() => {
      words[at] = keyLow;
      words[at + 1] = keyHigh;
      words[at + 3] = seconds;
      words[at + 2] = value;
    });
    this.#count++;
    return true;
  }

  /** @returns whether there was such an entry */
  remove(keyLow: number, keyHigh: number): boolean {
    const slot = this.#find(keyLow, keyHigh);
    if (slot < 0) return false;
    this.#change(() => this.#shiftBack(slot));
    this.#count--;
    return true;
  }

  /** Calls `visit` for every entry; the table must not be changed meanwhile. */
  forEach(visit: (keyLow: number, keyHigh: number, kind: number, vtepIndex: number, seconds: number) => void): void {
    const words = this.#words;
    for (let slot = 0; slot < FDB_SLOTS; slot++) {
      const at = word(slot);
      const value = words[at + 2] as number;
      if (value === FDB_MISS) continue;
      visit(words[at] as number, words[at + 1] as number, fdbKind(value), fdbVtep(value), words[at + 3] as number);
    }
  }

  /** Removes every entry for which `condemned` says so. @returns how many went */
  removeWhere(condemned: (keyHigh: number, kind: number, vtepIndex: number, seconds: number) => boolean): number {
    const keys: number[] = [];
    this.forEach((keyLow, keyHigh, kind, vtepIndex, seconds) => {
      if (condemned(keyHigh, kind, vtepIndex, seconds)) keys.push(keyLow, keyHigh);
    });
    for (let i = 0; i < keys.length; i += 2) this.remove(keys[i] as number, keys[i + 1] as number);
    return keys.length / 2;
  }

  /** Dynamic entries not seen since `oldestSeconds`. @returns how many went */
  removeIdle(oldestSeconds: number): number {
    return this.removeWhere((_keyHigh, kind, _vtep, seconds) => kind === KIND_DYNAMIC && seconds < oldestSeconds);
  }

  /** @returns the slot that holds the key, or -(free slot) - 1 */
  #find(keyLow: number, keyHigh: number): number {
    const words = this.#words;
    let slot = fdbHome(keyLow, keyHigh);
    for (;;) {
      const at = word(slot);
      if (words[at + 2] === FDB_MISS) return -slot - 1;
      if (words[at] === keyLow && words[at + 1] === keyHigh) return slot;
      slot = (slot + 1) & SLOT_MASK;
    }
  }

  /** Knuth, The Art of Computer Programming 3, 6.4, algorithm R: fills the hole from behind. */
  #shiftBack(hole: number): void {
    const words = this.#words;
    let free = hole;
    let slot = (hole + 1) & SLOT_MASK;
    while (words[word(slot) + 2] !== FDB_MISS) {
      const home = fdbHome(words[word(slot)] as number, words[word(slot) + 1] as number);
      if (((slot - home) & SLOT_MASK) >= ((slot - free) & SLOT_MASK)) {
        words.copyWithin(word(free), word(slot), word(slot) + FDB_SLOT_WORDS);
        free = slot;
      }
      slot = (slot + 1) & SLOT_MASK;
    }
    words.fill(0, word(free), word(free) + FDB_SLOT_WORDS);
  }

  #change(body: () => void): void {
    Atomics.add(this.#words, FDB_SEQUENCE_WORD, 1);
    body();
    Atomics.add(this.#words, FDB_SEQUENCE_WORD, 1);
  }
}

function word(slot: number): number {
  return FDB_HEADER_WORDS + slot * FDB_SLOT_WORDS;
}
