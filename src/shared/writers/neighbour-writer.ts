/**
 * The neighbour table, write side. Main thread only, the table's single writer; readers are guarded by the sequence word
 * (neighbour-table.ts). Every store is an Atomics.store, those between the two of the sequence as well.
 */
import { readInt32 } from '../../wire/byte-order.js';
import {
  FAMILY_IPV4,
  FAMILY_IPV6,
  NEIGHBOUR_FLAG_ROUTER,
  NEIGHBOUR_HEADER_WORDS,
  NEIGHBOUR_KIND_MASK,
  NEIGHBOUR_MAC_LOW_WORD,
  NEIGHBOUR_MISS,
  NEIGHBOUR_SCOPE_WORD,
  NEIGHBOUR_SEQUENCE_WORD,
  NEIGHBOUR_SLOT_WORDS,
  NEIGHBOUR_VALUE_WORD,
  NeighbourTable,
  neighbourScope,
  neighbourSlotCount,
} from '../neighbour-table.js';

const IPV4_BYTES = 4;

export interface Neighbour {
  readonly macLow: number;
  readonly macHigh16: number;
  /** NEIGHBOUR_REMOTE, NEIGHBOUR_LOCAL or NEIGHBOUR_GATEWAY. */
  readonly kind: number;
  readonly router: boolean;
}

interface Key {
  readonly first: number;
  readonly second: number;
  readonly third: number;
  readonly fourth: number;
  readonly scope: number;
}

export class NeighbourWriter {
  readonly entriesMax: number;
  readonly #reader: NeighbourTable;
  readonly #words: Int32Array;
  readonly #slotMask: number;
  #count = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#reader = new NeighbourTable(buffer);
    this.#words = this.#reader.words;
    const slots = neighbourSlotCount(buffer.byteLength);
    this.#slotMask = slots - 1;
    this.entriesMax = Math.floor((slots * 4) / 5);
  }

  get count(): number {
    return this.#count;
  }

  /** @param address 4 or 16 bytes */
  get(networkIndex: number, address: Uint8Array): Neighbour | undefined {
    const word = this.#find(keyOf(networkIndex, address));
    return this.#words[word + NEIGHBOUR_VALUE_WORD] === NEIGHBOUR_MISS ? undefined : this.#at(word);
  }

  /** Inserts or replaces. @param address 4 or 16 bytes. @returns false if the table is full */
  set(networkIndex: number, address: Uint8Array, { macLow, macHigh16, kind, router }: Neighbour): boolean {
    const key = keyOf(networkIndex, address);
    const word = this.#find(key);
    const isNew = this.#words[word + NEIGHBOUR_VALUE_WORD] === NEIGHBOUR_MISS;
    if (isNew && this.#count >= this.entriesMax) return false;
    const value = ((kind | (router ? NEIGHBOUR_FLAG_ROUTER : 0)) << 16) | macHigh16;
    this.#change(() => this.#write(word, [key.first, key.second, key.third, key.fourth, key.scope, macLow, value]));
    if (isNew) this.#count++;
    return true;
  }

  /** @param address 4 or 16 bytes. @returns whether there was such an entry */
  remove(networkIndex: number, address: Uint8Array): boolean {
    const word = this.#find(keyOf(networkIndex, address));
    if (this.#words[word + NEIGHBOUR_VALUE_WORD] === NEIGHBOUR_MISS) return false;
    this.#removeAt(word);
    return true;
  }

  /** Calls `visit` for every entry; the table must not be changed meanwhile. */
  forEach(visit: (networkIndex: number, address: Uint8Array, neighbour: Neighbour) => void): void {
    const words = this.#words;
    for (let word = NEIGHBOUR_HEADER_WORDS; word < words.length; word += NEIGHBOUR_SLOT_WORDS) {
      if (words[word + NEIGHBOUR_VALUE_WORD] === NEIGHBOUR_MISS) continue;
      const scope = words[word + NEIGHBOUR_SCOPE_WORD] as number;
      const address = new DataView(new ArrayBuffer(16));
      for (let i = 0; i < 4; i++) address.setInt32(i * 4, words[word + i] as number);
      const bytes = new Uint8Array(address.buffer);
      visit(scope & 0xffff, scope >>> 16 === FAMILY_IPV4 ? bytes.slice(12) : bytes, this.#at(word));
    }
  }

  #at(word: number): Neighbour {
    const value = (this.#words[word + NEIGHBOUR_VALUE_WORD] as number) >>> 16;
    return {
      macLow: this.#words[word + NEIGHBOUR_MAC_LOW_WORD] as number,
      macHigh16: (this.#words[word + NEIGHBOUR_VALUE_WORD] as number) & 0xffff,
      kind: value & NEIGHBOUR_KIND_MASK,
      router: (value & NEIGHBOUR_FLAG_ROUTER) !== 0,
    };
  }

  /** @returns the key's slot, as a word offset, or the empty one where it would go */
  #find({ first, second, third, fourth, scope }: Key): number {
    const words = this.#words;
    let word = this.#reader.homeWord(first, second, third, fourth, scope);
    while (words[word + NEIGHBOUR_VALUE_WORD] !== NEIGHBOUR_MISS) {
      if (
        words[word] === first &&
        words[word + 1] === second &&
        words[word + 2] === third &&
        words[word + 3] === fourth &&
        words[word + NEIGHBOUR_SCOPE_WORD] === scope
      ) {
        return word;
      }
      word = this.#reader.nextWord(word);
    }
    return word;
  }

  /**
   * Knuth, The Art of Computer Programming 3, 6.4, algorithm R: fills the hole from behind. Each move is a change of its
   * own, so that readers wait for one slot and not for the whole run; between two of them an entry is there twice.
   */
  #removeAt(hole: number): void {
    let free = hole;
    for (let word = this.#reader.nextWord(hole); ; word = this.#reader.nextWord(word)) {
      if (this.#words[word + NEIGHBOUR_VALUE_WORD] === NEIGHBOUR_MISS) break;
      // Its home lies behind the hole: there it would not be found.
      if (this.#distance(this.#homeOf(word), word) < this.#distance(free, word)) continue;
      const to = free;
      this.#change(() => this.#write(to, this.#words.slice(word, word + NEIGHBOUR_VALUE_WORD + 1)));
      free = word;
    }
    this.#change(() => this.#write(free, [0, 0, 0, 0, 0, 0, NEIGHBOUR_MISS]));
    this.#count--;
  }

  #homeOf(word: number): number {
    const words = this.#words;
    return this.#reader.homeWord(
      words[word] as number,
      words[word + 1] as number,
      words[word + 2] as number,
      words[word + 3] as number,
      words[word + NEIGHBOUR_SCOPE_WORD] as number,
    );
  }

  /** Slots from one word offset on to another, round the end. */
  #distance(from: number, to: number): number {
    return ((to - from) / NEIGHBOUR_SLOT_WORDS) & this.#slotMask;
  }

  #write(word: number, slot: ArrayLike<number>): void {
    for (let i = 0; i < slot.length; i++) Atomics.store(this.#words, word + i, slot[i] as number);
  }

  #change(body: () => void): void {
    Atomics.add(this.#words, NEIGHBOUR_SEQUENCE_WORD, 1);
    body();
    Atomics.add(this.#words, NEIGHBOUR_SEQUENCE_WORD, 1);
  }
}

function keyOf(networkIndex: number, address: Uint8Array): Key {
  if (address.length === IPV4_BYTES) {
    const scope = neighbourScope(networkIndex, FAMILY_IPV4);
    return { first: 0, second: 0, third: 0, fourth: readInt32(address, 0), scope };
  }
  return {
    first: readInt32(address, 0),
    second: readInt32(address, 4),
    third: readInt32(address, 8),
    fourth: readInt32(address, 12),
    scope: neighbourScope(networkIndex, FAMILY_IPV6),
  };
}
