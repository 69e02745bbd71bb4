/**
 * A long run: rounds of some thousand hostile batches, each round in a fresh world with frames made anew from a seed of its
 * own, so that a failure is found again by its round alone. Test support.
 *
 * After each round: what has been counted keeps the law of conservation (conservation.ts), and the heap has not grown.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { wrongInCounters } from './conservation.js';
import { RecordingEntropy, SeededEntropy } from './entropy.js';
import type { Rig } from './rig.js';
import { shrink } from './shrink.js';

export const ROUND_BATCHES = 8000;
const EVENT_BATCHES = 64;
/** What rounds may differ by, pools and their garbage; a byte a datagram would be more after three of them. */
const HEAP_GROWTH_BYTES_MAX = 8 * 1024 * 1024;
/** Until then code is compiled and pools are made for the first time. */
const WARM_ROUNDS = 2;

export interface FuzzOptions {
  readonly seed: number;
  /** Of the first round. */
  readonly round: number;
  readonly roundBatches: number;
  /** Asked after each round. */
  readonly isEnough: (round: number) => boolean;
  readonly print: (line: string) => void;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const roundSeed = (seed: number, round: number) => (Math.imul(seed, 0x9e37_79b1) + Math.imul(round, 0x85eb_ca6b)) >>> 0;

/** @returns a report of what was wrong, or undefined */
export function fuzz(rig: Rig, options: FuzzOptions): string | undefined {
  const entropy = new SeededEntropy(0);
  let heapBytes = 0;
  for (let round = options.round; ; round++) {
    const seed = roundSeed(options.seed, round);
    rig.reset(seed);
    entropy.reseed(seed);
    const received = rig.received();
    for (let batch = 0; batch < options.roundBatches; batch++) {
      const wrong = rig.step(entropy, 'either');
      if (wrong !== undefined) return report(rig, options, round, batch, wrong);
      if (batch % EVENT_BATCHES === EVENT_BATCHES - 1) rig.world.takeEvents();
    }
    const unlawful = wrongInCounters(rig.world.totals(), rig.received().since(received));
    if (unlawful !== undefined) return `seed ${options.seed}, round ${round}: ${unlawful}`;
    collectGarbage();
    const used = process.memoryUsage().heapUsed;
    if (round < options.round + WARM_ROUNDS) heapBytes = used;
    else if (used - heapBytes > HEAP_GROWTH_BYTES_MAX) {
      return `seed ${options.seed}, round ${round}: the heap has grown from ${heapBytes} to ${used} bytes`;
    }
    if (options.isEnough(round)) return undefined;
  }
}

function report(
  rig: Rig,
  { seed, round: first, roundBatches }: FuzzOptions,
  round: number,
  batch: number,
  wrong: string,
) {
  const lines = [`seed ${seed}, round ${round}, batch ${batch} of ${roundBatches}: ${wrong}`];
  const messages = rig.describe();
  // The round once more, to know what the batch was drawn from.
  const own = roundSeed(seed, round);
  const entropy = new SeededEntropy(own);
  rig.reset(own);
  const { side } = rig;
  for (let i = 0; i < batch; i++) {
    rig.step(entropy, 'either');
    if (i % EVENT_BATCHES === EVENT_BATCHES - 1) rig.world.takeEvents();
  }
  const recording = new RecordingEntropy(entropy);
  rig.step(recording, 'either');
  const shrunk = shrink(rig, own, 'either', recording.numbers);
  if (shrunk === undefined) lines.push(`the ${side} batch, which fails only after those before it:`, ...messages);
  else lines.push(`shrunk to ${shrunk.numbers.length} numbers: ${shrunk.fault}`, ...shrunk.messages);
  lines.push(`again: npm run fuzz -- --seed ${seed} --round ${round}${first === round ? '' : ' --minutes 1'}`);
  return lines.join('\n');
}
