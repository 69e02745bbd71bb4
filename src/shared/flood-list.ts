/**
 * Which VTEPs belong to which network: one bit each. @hot
 *
 * The bit says three things at once: the VTEP gets the network's floods, it may send on the network, and it is a member.
 * A change is one aligned 32-bit store, so a reader sees the old or the new list and nothing between.
 * Workers walk the set bits of MEMBERSHIP_WORDS words up to the table's high-water mark.
 */
import { MEMBERSHIP_WORDS, NETWORKS_MAX } from './layout.js';

export const MEMBERSHIP_BYTES = NETWORKS_MAX * MEMBERSHIP_WORDS * 4;

export class FloodList {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  has(networkIndex: number, vtepIndex: number): boolean {
    return (
      (((this.words[networkIndex * MEMBERSHIP_WORDS + (vtepIndex >> 5)] as number) >>> (vtepIndex & 31)) & 1) === 1
    );
  }

  /** 32 members at a time: bit i of word w is VTEP w * 32 + i. */
  word(networkIndex: number, wordIndex: number): number {
    return this.words[networkIndex * MEMBERSHIP_WORDS + wordIndex] as number;
  }
}
