/** VTEPs, write side. Main thread only. Rows are kept by address; a row is in use while anything refers to it. */
import { VTEPS_MAX } from '../layout.js';
import {
  SOURCE_CELLS,
  SOURCE_INDEX_WORD,
  sourceHome,
  VTEP_ADDRESS_WORD,
  VTEP_HEADER_WORDS,
  VTEP_HIGH_WATER_WORD,
  VTEP_ROW_BYTES,
  VTEP_ROW_WORDS,
  VTEP_ROWS_OFFSET,
  VTEP_SEQUENCE_WORD,
  VTEP_USED_WORD,
} from '../vtep-table.js';

const SOURCE_MASK = SOURCE_CELLS - 1;
const AF_INET = 2;

export class VtepWriter {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #free: number[] = [];
  #next = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  /** Adds a VTEP. @param address four bytes. @returns its index, or -1 if the table is full */
  add(address: Uint8Array, port: number): number {
    const index = this.#free.pop() ?? (this.#next < VTEPS_MAX ? this.#next++ : -1);
    if (index < 0) return -1;
    const offset = VTEP_ROWS_OFFSET + index * VTEP_ROW_BYTES;
    this.#bytes[offset] = AF_INET;
    this.#bytes[offset + 1] = 0;
    this.setPort(index, port);
    this.#bytes.set(address.subarray(0, 4), offset + 4);
    this.#words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_USED_WORD] = 1;
    this.#words[VTEP_HIGH_WATER_WORD] = this.#next;
    this.#change(() => this.#index(index));
    return index;
  }

  setPort(index: number, port: number): void {
    const offset = VTEP_ROWS_OFFSET + index * VTEP_ROW_BYTES;
    this.#bytes[offset + 2] = port >> 8;
    this.#bytes[offset + 3] = port & 0xff;
  }

  /** No datagram's source finds the VTEP any more. Its row stays, for those who hold the index, until release(). */
  unpublish(index: number): void {
    this.#words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_USED_WORD] = 0;
    this.#change(() => this.#indexAll());
  }

  /** The VTEP keeps its index; its datagrams are known by the new address, and by it alone. @param address four bytes */
  setAddress(index: number, address: Uint8Array): void {
    this.#change(() => {
      this.#bytes.set(address.subarray(0, 4), VTEP_ROWS_OFFSET + index * VTEP_ROW_BYTES + 4);
      this.#indexAll();
    });
  }

  /** Only after every worker has passed the epoch that followed unpublish(). */
  release(index: number): void {
    this.#free.push(index);
  }

  /** Made anew as a whole: some microseconds, and no tombstones. */
  #indexAll(): void {
    this.#words.fill(0, SOURCE_INDEX_WORD, SOURCE_INDEX_WORD + SOURCE_CELLS);
    for (let i = 0; i < this.#next; i++) {
      if (this.#words[VTEP_HEADER_WORDS + i * VTEP_ROW_WORDS + VTEP_USED_WORD] === 1) this.#index(i);
    }
  }

  #index(index: number): void {
    let cell = sourceHome(this.#words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_ADDRESS_WORD] as number);
    while (this.#words[SOURCE_INDEX_WORD + cell] !== 0) cell = (cell + 1) & SOURCE_MASK;
    this.#words[SOURCE_INDEX_WORD + cell] = index + 1;
  }

  #change(body: () => void): void {
    Atomics.add(this.#words, VTEP_SEQUENCE_WORD, 1);
    body();
    Atomics.add(this.#words, VTEP_SEQUENCE_WORD, 1);
  }
}
