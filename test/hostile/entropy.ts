/**
 * Where the hostile generator's choices come from: a seeded stream of numbers in the long form, a list that fast-check or
 * the shrinker has made in the short one. A generator that draws from either makes the same batch from the same numbers.
 * No object is made for a draw. Test support.
 *
 * Smaller numbers are the simpler choices: a list that is used up goes on with 0, so a shorter list is a simpler batch.
 */

export interface Entropy {
  /** 0 to 2^32 - 1. */
  next(): number;
}

/** Marsaglia's xorshift32, stirred: a few instructions a number. */
export class SeededEntropy implements Entropy {
  #state = 1;

  constructor(seed: number) {
    this.reseed(seed);
  }

  reseed(seed: number): void {
    this.#state = Math.imul(seed ^ 0x5bd1_e995, 0x9e37_79b1) | 1;
    for (let i = 0; i < 4; i++) this.next();
  }

  next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) >>> 0;
  }
}

export class ListedEntropy implements Entropy {
  readonly #numbers: readonly number[] | Uint32Array;
  #at = 0;

  constructor(numbers: readonly number[] | Uint32Array) {
    this.#numbers = numbers;
  }

  next(): number {
    return (this.#numbers[this.#at++] ?? 0) >>> 0;
  }
}

/** Keeps what another source has given, to be listed again. */
export class RecordingEntropy implements Entropy {
  readonly numbers: number[] = [];
  readonly #source: Entropy;

  constructor(source: Entropy) {
    this.#source = source;
  }

  next(): number {
    const number = this.#source.next();
    this.numbers.push(number);
    return number;
  }
}

/** 0 to `count` - 1. */
export function below(entropy: Entropy, count: number): number {
  return entropy.next() % count;
}

/** True in `percent` of a hundred cases; false is the simpler choice. */
export function chance(entropy: Entropy, percent: number): boolean {
  return entropy.next() % 100 >= 100 - percent;
}
