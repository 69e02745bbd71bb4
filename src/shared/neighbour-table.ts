/**
 * Who has which address, read side: (network, IPv4 or IPv6 address) -> MAC. Asked for ARP requests and neighbour
 * solicitations only (dataplane/neighbour-suppress.ts). @hot
 *
 * One open-addressed table for all networks, as large as its buffer (neighbourBytes). Two slots are a cache line:
 *
 *     header, 16 words: 0: sequence
 *     slot, 8 words:    0..3: address, an IPv4 one in word 3 alone | 4: network index | family << 16
 *                       5: MAC bytes 2..5 | 6: MAC bytes 0..1 | kind << 16 | flags << 24 (0: empty) | 7: always 0
 *
 * A key's home is a slot by its hash; from there slots are probed one after the other, round the end, to the first empty
 * one. The main thread alone writes (writers/neighbour-writer.ts); removal shifts later slots back: no tombstones.
 *
 * The sequence is odd while a change is under way. A reader that finds it odd or moved looks again, for some microseconds;
 * then it says MISS, and the request is flooded. All loads are Atomics.load, which keeps them in order on every machine:
 * what that costs (the FDB's readers do without) a request can afford.
 */

export const NEIGHBOUR_HEADER_WORDS = 16;
export const NEIGHBOUR_SLOT_WORDS = 8;
export const NEIGHBOUR_SEQUENCE_WORD = 0;
export const NEIGHBOUR_SCOPE_WORD = 4;
export const NEIGHBOUR_MAC_LOW_WORD = 5;
export const NEIGHBOUR_VALUE_WORD = 6;

export const NEIGHBOUR_MISS = 0;
/** A container behind another VTEP. */
export const NEIGHBOUR_REMOTE = 1;
/** A container of this host. */
export const NEIGHBOUR_LOCAL = 2;
/** The network's gateway: each host has its own. */
export const NEIGHBOUR_GATEWAY = 3;
export const NEIGHBOUR_KIND_MASK = 0xff;
/** Above the kind: the neighbour forwards what is not for itself. */
export const NEIGHBOUR_FLAG_ROUTER = 0x100;

export const FAMILY_IPV4 = 0;
export const FAMILY_IPV6 = 1;

/** Some microseconds at most: longer than a change takes, shorter than it would matter to a burst. */
const READ_TRIES = 256;

/** @returns bytes of a table for so many addresses: a power of two of slots, at most four fifths of them used */
export function neighbourBytes(entries: number): number {
  const slots = 2 ** Math.ceil(Math.log2(Math.max(2, (entries * 5) / 4)));
  return (NEIGHBOUR_HEADER_WORDS + slots * NEIGHBOUR_SLOT_WORDS) * 4;
}

/** @returns slots of a buffer that neighbourBytes has sized */
export function neighbourSlotCount(bytes: number): number {
  return (bytes / 4 - NEIGHBOUR_HEADER_WORDS) / NEIGHBOUR_SLOT_WORDS;
}

export function neighbourScope(networkIndex: number, family: number): number {
  return networkIndex | (family << 16);
}

export function neighbourHash(first: number, second: number, third: number, fourth: number, scope: number): number {
  let mixed = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ third, 0x2c1b3c6d);
  mixed = Math.imul(mixed ^ (mixed >>> 13) ^ fourth, 0x297a2d39);
  mixed = Math.imul(mixed ^ (mixed >>> 16) ^ scope, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

export class NeighbourTable {
  readonly words: Int32Array;
  /** Of the slot that the last successful lookup found. */
  macLow = 0;
  macHigh16 = 0;
  foundWord = 0;
  readonly #slotMask: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.#slotMask = neighbourSlotCount(buffer.byteLength) - 1;
  }

  /** Word offset of a key's first slot. */
  homeWord(first: number, second: number, third: number, fourth: number, scope: number): number {
    const slot = neighbourHash(first, second, third, fourth, scope) & this.#slotMask;
    return NEIGHBOUR_HEADER_WORDS + slot * NEIGHBOUR_SLOT_WORDS;
  }

  /** Word offset of the slot behind the one at `word`. */
  nextWord(word: number): number {
    const next = word + NEIGHBOUR_SLOT_WORDS;
    return next < this.words.length ? next : NEIGHBOUR_HEADER_WORDS;
  }

  lookupIpv4(networkIndex: number, address: number): number {
    return this.lookup(0, 0, 0, address, neighbourScope(networkIndex, FAMILY_IPV4));
  }

  /** The address as four int32 of the wire's byte order. @returns kind and flags, or NEIGHBOUR_MISS */
  lookup(first: number, second: number, third: number, fourth: number, scope: number): number {
    const words = this.words;
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const before = Atomics.load(words, NEIGHBOUR_SEQUENCE_WORD);
      if ((before & 1) !== 0) continue;
      let word = this.homeWord(first, second, third, fourth, scope);
      let value = NEIGHBOUR_MISS;
      let macLow = 0;
      for (let probes = 0; probes <= this.#slotMask; probes++) {
        const found = Atomics.load(words, word + NEIGHBOUR_VALUE_WORD);
        if (found === NEIGHBOUR_MISS) break;
        if (
          Atomics.load(words, word + 3) === fourth &&
          Atomics.load(words, word + NEIGHBOUR_SCOPE_WORD) === scope &&
          Atomics.load(words, word + 2) === third &&
          Atomics.load(words, word + 1) === second &&
          Atomics.load(words, word) === first
        ) {
          value = found;
          macLow = Atomics.load(words, word + NEIGHBOUR_MAC_LOW_WORD);
          break;
        }
        word = this.nextWord(word);
      }
      if (Atomics.load(words, NEIGHBOUR_SEQUENCE_WORD) !== before) continue;
      this.foundWord = word;
      this.macLow = macLow;
      this.macHigh16 = value & 0xffff;
      return value >>> 16;
    }
    return NEIGHBOUR_MISS;
  }
}
