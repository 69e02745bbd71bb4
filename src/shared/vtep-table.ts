/**
 * VTEPs of the underlay, read side: index -> socket address, and source address -> index. @hot
 *
 *     header (16 words): 0 sequence | 1 high-water mark (first index never used)
 *     rows (16 words each):
 *       0        6 7               8              9                 12           15
 *       | sockaddr | its bytes     | IPv4 source  | what is indexed | IPv6 source  |
 *         struct sockaddr_in (16 bytes) or sockaddr_in6 (28), ready for sendmmsg
 *     source indices: one for IPv4 and one for IPv6, 8192 int32 cells each, VTEP index + 1, open addressing
 *
 * A VTEP is sent to at one address; datagrams are its own from that one and, if it has another of the other family, from
 * that one as well. Row SELF_VTEP is this host. The main thread writes: the row, then the index cell (sequence odd
 * meanwhile); a removed row is reused only after every worker has passed the epoch.
 */
import { VTEPS_MAX } from './layout.js';

export const VTEP_HEADER_WORDS = 16;
export const VTEP_SEQUENCE_WORD = 0;
export const VTEP_HIGH_WATER_WORD = 1;
export const VTEP_ROW_WORDS = 16;
export const VTEP_ROW_BYTES = 64;
export const VTEP_SOCKADDR_BYTES_WORD = 7;
/** Addresses as the kernel's bytes lie in memory: one word, or four. */
export const VTEP_SOURCE4_WORD = 8;
export const VTEP_SOURCE6_WORD = 12;
/** Bits, VTEP_HAS_IPV4 and VTEP_HAS_IPV6: the families that the VTEP is known by. */
export const VTEP_INDEXED_WORD = 9;
export const VTEP_HAS_IPV4 = 1;
export const VTEP_HAS_IPV6 = 4;
export const VTEP_ROWS_OFFSET = VTEP_HEADER_WORDS * 4;
export const SOURCE_CELLS = VTEPS_MAX * 2;
export const SOURCE4_INDEX_WORD = VTEP_HEADER_WORDS + VTEPS_MAX * VTEP_ROW_WORDS;
export const SOURCE6_INDEX_WORD = SOURCE4_INDEX_WORD + SOURCE_CELLS;
export const VTEP_BYTES = (SOURCE6_INDEX_WORD + SOURCE_CELLS) * 4;

export const VTEP_MISS = -1;
/** sizeof(struct sockaddr_in6): a row that holds one is reached over IPv6. */
export const VTEP_SOCKADDR_IN6_BYTES = 28;

const SOURCE_MASK = SOURCE_CELLS - 1;
/** Some microseconds at most: longer than a change takes, shorter than it would matter to a burst. */
const READ_TRIES = 1024;

export function sourceHome(addressWord: number): number {
  const mixed = Math.imul(addressWord, 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) & SOURCE_MASK;
}

/** The four words of an IPv6 address. Only addresses that the registry names are ever in the index: no hash is secret. */
export function sourceHome6(word0: number, word1: number, word2: number, word3: number): number {
  return sourceHome(word3 ^ Math.imul(word2 ^ Math.imul(word1 ^ Math.imul(word0, 31), 31), 31));
}

export class VtepTable {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  highWater(): number {
    return this.words[VTEP_HIGH_WATER_WORD] as number;
  }

  /** @returns VTEP_HAS_IPV4, VTEP_HAS_IPV6 or both; of a group the one that it is of */
  families(index: number): number {
    return this.words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_INDEXED_WORD] as number;
  }

  /** What goes into msg_namelen. */
  sockaddrBytes(index: number): number {
    return this.words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_SOCKADDR_BYTES_WORD] as number;
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
        const index = (words[SOURCE4_INDEX_WORD + cell] as number) - 1;
        if (index < 0) break;
        if (words[VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_SOURCE4_WORD] === addressWord) {
          result = index;
          break;
        }
        cell = (cell + 1) & SOURCE_MASK;
      }
      if (Atomics.load(words, VTEP_SEQUENCE_WORD) === before) return result;
    }
    return VTEP_MISS;
  }

  /** The same for sin6_addr, of four words. */
  indexOfSource6(word0: number, word1: number, word2: number, word3: number): number {
    const words = this.words;
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const before = Atomics.load(words, VTEP_SEQUENCE_WORD);
      if ((before & 1) !== 0) continue;
      let cell = sourceHome6(word0, word1, word2, word3);
      let result = VTEP_MISS;
      for (let probes = 0; probes < SOURCE_CELLS; probes++) {
        const index = (words[SOURCE6_INDEX_WORD + cell] as number) - 1;
        if (index < 0) break;
        const source = VTEP_HEADER_WORDS + index * VTEP_ROW_WORDS + VTEP_SOURCE6_WORD;
        if (
          words[source + 3] === word3 &&
          words[source + 2] === word2 &&
          words[source + 1] === word1 &&
          words[source] === word0
        ) {
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
