/**
 * Makes a failing batch small: the numbers that it was drawn from are left out and set to 0, as long as the batch still
 * fails in a world as it is at the begin of a round. Test support.
 */
import { ListedEntropy } from './entropy.js';
import type { Rig, Side } from './rig.js';

const TRIES_MAX = 3000;

export interface Shrunk {
  readonly numbers: readonly number[];
  readonly fault: string;
  readonly messages: readonly string[];
}

/** @returns undefined if the batch alone does not fail: what came before it matters */
export function shrink(rig: Rig, seed: number, side: Side, drawn: readonly number[]): Shrunk | undefined {
  let tries = 0;
  const faultOf = (numbers: readonly number[]): string | undefined => {
    tries++;
    rig.world.resetTables();
    return rig.step(new ListedEntropy(numbers), side);
  };
  rig.reset(seed);
  if (faultOf(drawn) === undefined) return undefined;
  let numbers = [...drawn];
  for (let size = numbers.length >> 1; size >= 1 && tries < TRIES_MAX; size >>= 1) {
    for (let at = 0; at < numbers.length && tries < TRIES_MAX; ) {
      const shorter = [...numbers.slice(0, at), ...numbers.slice(at + size)];
      if (faultOf(shorter) === undefined) at += size;
      else numbers = shorter;
    }
  }
  for (let at = 0; at < numbers.length && tries < TRIES_MAX; at++) {
    if (numbers[at] === 0) continue;
    const simpler = numbers.with(at, 0);
    if (faultOf(simpler) !== undefined) numbers = simpler;
  }
  const fault = faultOf(numbers) ?? 'it does not fail any more';
  return { numbers, fault, messages: rig.describe() };
}
