/**
 * VTEPs of the underlay, read side: index -> socket address, and source address -> index. @hot
 *
 *     header (16 words): 0 sequence | 1 high-water mark (first index never used)
 *     rows (64 bytes each): struct sockaddr_in, ready for sendmmsg | word 4: 1 if in use
 *     source index: 8192 int32 cells, VTEP index + 1, open addressing by IPv4 address
 *
 * A VTEP is known by its address; row SELF_VTEP is this host. The main thread writes: the row, then the index cell
 * (sequence odd meanwhile); a removed row is reused only after every worker has passed the epoch.
 */
import { VTEPS_MAX } from './layout.js';

export const VTEP_HEADER_WORDS = 16;
export const VTEP_SEQUENCE_WORD = 0;
export const VTEP_HIGH_WATER_WORD = 1;
export const VTEP_ROW_WORDS = 16;
export const VTEP_ROW_BYTES = 64;
/** Word of the row that holds sin_addr, as the kernel's bytes lie in memory. */
export const VTEP_ADDRESS_WORD = 1;
export const VTEP_USED_WORD = 4;
export const VTEP_ROWS_OFFSET = VTEP_HEADER_WORDS * 4;
export const SOURCE_CELLS = VTEPS_MAX * 2;
export const SOURCE_INDEX_WORD = VTEP_HEADER_WORDS + VTEPS_MAX * VTEP_ROW_WORDS;
export const VTEP_BYTES = (SOURCE_INDEX_WORD + SOURCE_CELLS) * 4;

export const VTEP_MISS = -1;

const SOURCE_MASK = SOURCE_CELLS - 1;
/** Some microseconds at most: longer than a change takes, shorter than it would matter to a burst. */
const READ_TRIES = 1024;

export function sourceHome(addressWord: number): number {
  const mixed = Math.imul(addressWord, 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) & SOURCE_MASK;
}

export class VtepTable {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  highWater(): number {
    return this.words[VTEP_HIGH_WATER_WORD] as number;
  }

  /** @param addressWord sin_addr as an int32 of the machine's byte order. @returns VTEP index or VTEP_MISS */
  indexOfSource(addressWord: number): number {
    const words = this.words;
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const before = Atomics.load(words, VTEP_SEQUENCE_WORD);
      if ((before & 1) !== 0) continue;
      let cell = sourceHome(addressWord);
      let result = VTEP_MISS;
      for (let probes = 0; probes < SOURCE_CELLS; probes++) {
        const index = (words[SOURCE_INDEX_WORD + cell] as number) - 1;
        if (index < 0) break;
        if (words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_ADDRESS_WORD] === addressWord) {
          result = index;
          break;
        }
        cell = (cell + 1) & SOURCE_MASK;
      }
      if (Atomics.load(words, VTEP_SEQUENCE_WORD) === before) return result;
    }
    return VTEP_MISS;
  }
}
