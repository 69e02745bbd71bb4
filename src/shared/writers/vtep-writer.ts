/**
 * VTEPs, write side. Main thread only.
 *
 * A row says where to send, and from which addresses datagrams are the VTEP's: at most one of each family. An address is
 * in the index for one row at most; whoever gets it last has it.
 */
import { VTEPS_MAX } from '../layout.js';
import {
  SOURCE_CELLS,
  SOURCE4_INDEX_WORD,
  SOURCE6_INDEX_WORD,
  sourceHome,
  sourceHome6,
  VTEP_HAS_IPV4,
  VTEP_HAS_IPV6,
  VTEP_HEADER_WORDS,
  VTEP_HIGH_WATER_WORD,
  VTEP_INDEXED_WORD,
  VTEP_ROW_BYTES,
  VTEP_ROW_WORDS,
  VTEP_ROWS_OFFSET,
  VTEP_SEQUENCE_WORD,
  VTEP_SOCKADDR_BYTES_WORD,
  VTEP_SOCKADDR_IN6_BYTES,
  VTEP_SOURCE4_WORD,
  VTEP_SOURCE6_WORD,
} from '../vtep-table.js';

const SOURCE_MASK = SOURCE_CELLS - 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCKADDR_IN_BYTES = 16;
const IPV4_BYTES = 4;
const SIN_ADDR_OFFSET = 4;
const SIN6_ADDR_OFFSET = 8;

export class VtepWriter {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #free: number[] = [];
  readonly #ipv4: SourceIndex;
  readonly #ipv6: SourceIndex;
  #next = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#ipv4 = new SourceIndex(this.#words, SOURCE4_INDEX_WORD, VTEP_SOURCE4_WORD, VTEP_HAS_IPV4);
    this.#ipv6 = new SourceIndex(this.#words, SOURCE6_INDEX_WORD, VTEP_SOURCE6_WORD, VTEP_HAS_IPV6);
  }

  /**
   * Adds a VTEP that is sent to at the address, and whose datagrams come from it.
   *
   * @param address 4 or 16 bytes. @returns its index, or -1 if the table is full
   */
  add(address: Uint8Array, port: number): number {
    const index = this.#free.pop() ?? (this.#next < VTEPS_MAX ? this.#next++ : -1);
    if (index < 0) return -1;
    const offset = VTEP_ROWS_OFFSET + index * VTEP_ROW_BYTES;
    this.#bytes.fill(0, offset, offset + VTEP_ROW_BYTES);
    this.#writeSockaddr(index, address);
    this.setPort(index, port);
    this.#words[VTEP_HIGH_WATER_WORD] = this.#next;
    this.#change(() => this.#indexOf(address).put(index, address));
    return index;
  }

  setPort(index: number, port: number): void {
    const offset = VTEP_ROWS_OFFSET + index * VTEP_ROW_BYTES;
    this.#bytes[offset + 2] = port >> 8;
    this.#bytes[offset + 3] = port & 0xff;
  }

  /** Datagrams from this address are the VTEP's too, instead of from the one of that family before. @param address 4 or 16 bytes */
  setSource(index: number, address: Uint8Array): void {
    this.#change(() => this.#indexOf(address).put(index, address));
  }

  /** Datagrams of the family are none of the VTEP's any more. */
  clearSource(index: number, family: 4 | 6): void {
    this.#change(() => (family === 4 ? this.#ipv4 : this.#ipv6).remove(index));
  }

  /** No datagram's source finds the VTEP any more. Its row stays, for those who hold the index, until release(). */
  unpublish(index: number): void {
    this.#change(() => {
      this.#ipv4.remove(index);
      this.#ipv6.remove(index);
    });
  }

  /** Only after every worker has passed the epoch that followed unpublish(). */
  release(index: number): void {
    this.#free.push(index);
  }

  #indexOf(address: Uint8Array): SourceIndex {
    return address.length === IPV4_BYTES ? this.#ipv4 : this.#ipv6;
  }

  #writeSockaddr(index: number, address: Uint8Array): void {
    const isIpv4 = address.length === IPV4_BYTES;
    const offset = VTEP_ROWS_OFFSET + index * VTEP_ROW_BYTES;
    this.#bytes[offset] = isIpv4 ? AF_INET : AF_INET6;
    this.#bytes.set(address, offset + (isIpv4 ? SIN_ADDR_OFFSET : SIN6_ADDR_OFFSET));
    this.#words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_SOCKADDR_BYTES_WORD] = isIpv4
      ? SOCKADDR_IN_BYTES
      : VTEP_SOCKADDR_IN6_BYTES;
  }

  #change(body: () => void): void {
    Atomics.add(this.#words, VTEP_SEQUENCE_WORD, 1);
    body();
    Atomics.add(this.#words, VTEP_SEQUENCE_WORD, 1);
  }
}

/** The cells of one family: linear probing, and a removal closes the gap, so that there are no tombstones. */
class SourceIndex {
  readonly #words: Int32Array;
  readonly #cells: number;
  readonly #sourceWord: number;
  /** How many words an address has, and the family's bit: one number is both. */
  readonly #addressWords: number;

  constructor(words: Int32Array, cells: number, sourceWord: number, addressWords: number) {
    this.#words = words;
    this.#cells = cells;
    this.#sourceWord = sourceWord;
    this.#addressWords = addressWords;
  }

  put(index: number, address: Uint8Array): void {
    this.remove(index);
    const source = this.#source(index);
    const view = new Int32Array(Uint8Array.from(address).buffer);
    for (let i = 0; i < this.#addressWords; i++) this.#words[source + i] = view[i] as number;
    let cell = this.#home(index);
    for (let holder = this.#at(cell); holder >= 0; holder = this.#at(cell)) {
      if (this.#isSame(holder, index)) {
        this.#words[this.#cells + cell] = index + 1;
        this.#mark(holder, false);
        this.#mark(index, true);
        return;
      }
      cell = (cell + 1) & SOURCE_MASK;
    }
    this.#words[this.#cells + cell] = index + 1;
    this.#mark(index, true);
  }

  remove(index: number): void {
    if (!this.#isMarked(index)) return;
    this.#mark(index, false);
    let gap = this.#home(index);
    while (this.#at(gap) !== index) gap = (gap + 1) & SOURCE_MASK;
    for (let next = (gap + 1) & SOURCE_MASK; this.#at(next) >= 0; next = (next + 1) & SOURCE_MASK) {
      // It may go to the gap if it would be found there: if the gap is not before its home.
      const distance = (next - this.#home(this.#at(next))) & SOURCE_MASK;
      if (distance < ((next - gap) & SOURCE_MASK)) continue;
      this.#words[this.#cells + gap] = this.#words[this.#cells + next] as number;
      gap = next;
    }
    this.#words[this.#cells + gap] = 0;
  }

  #at(cell: number): number {
    return (this.#words[this.#cells + cell] as number) - 1;
  }

  #source(index: number): number {
    return VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + this.#sourceWord;
  }

  #home(index: number): number {
    const [word0, word1, word2, word3] = this.#words.subarray(this.#source(index)) as unknown as number[];
    return this.#addressWords === 1
      ? sourceHome(word0 as number)
      : sourceHome6(word0 as number, word1 as number, word2 as number, word3 as number);
  }

  #isSame(a: number, b: number): boolean {
    const [left, right] = [this.#source(a), this.#source(b)];
    for (let i = 0; i < this.#addressWords; i++) if (this.#words[left + i] !== this.#words[right + i]) return false;
    return true;
  }

  #isMarked(index: number): boolean {
    return ((this.#words[this.#markWord(index)] as number) & this.#addressWords) !== 0;
  }

  #mark(index: number, isIndexed: boolean): void {
    const word = this.#markWord(index);
    const others = (this.#words[word] as number) & ~this.#addressWords;
    this.#words[word] = isIndexed ? others | this.#addressWords : others;
  }

  #markWord(index: number): number {
    return VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_INDEXED_WORD;
  }
}
