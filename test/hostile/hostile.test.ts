/**
 * The hostile fuzzer in short: what fast-check draws, which shrinks, and some rounds of a fixed seed; every frame cut at
 * every length. `npm run fuzz` goes on for as long as it is told (docs/testing.md).
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { DECAP_FRAMES } from '../../src/shared/counters.js';
import { MEMBERSHIP_WORDS } from '../../src/shared/layout.js';
import type * as Libc from '../../src/sys/libc.js';
import { ListedEntropy, SeededEntropy } from './entropy.js';
import { fuzz } from './fuzz.js';
import { Rig, type Side } from './rig.js';
import { NETWORKS, type Network, STRANGER } from './world.js';

vi.mock('../../src/sys/libc.js', async (importOriginal) => {
  const { connect, read, recvmmsg, sendmmsg, writev } = await import('./stand-in.js');
  return { ...(await importOriginal<typeof Libc>()), connect, read, recvmmsg, sendmmsg, writev };
});

const SEED = 4789;
let rig: Rig;

beforeAll(() => {
  rig = new Rig(true);
  rig.reset(SEED);
});

const numbers = fc.uint32Array({ maxLength: 1500, size: 'max' });

describe('whatever comes', () => {
  it.each([
    ['from the underlay', 'underlay', 1000],
    ['from a container', 'tap', 800],
  ] as const)('%s is delivered or dropped once, counted, and nothing else is', (_name, side, numRuns) => {
    fc.assert(
      fc.property(numbers, (list) => {
        const wrong = rig.step(new ListedEntropy(list), side, 8);
        if (wrong !== undefined) throw new Error([wrong, ...rig.describe()].join('\n'));
      }),
      { numRuns, seed: SEED },
    );
  });

  it('in some ten thousands, of a fixed seed: the counters keep the law of conservation, the heap does not grow', () => {
    const print = () => {};
    const own = { seed: SEED, round: 0, roundBatches: 180, print };
    expect(fuzz(rig, { ...own, isEnough: (round) => round === 4 })).toBeUndefined();
    expect(rig.underlay.coalesced).toBeGreaterThan(1000);
    expect(rig.tap.sent).toBeGreaterThan(5000);
  });
});

describe('every frame of the pool, cut at every length', () => {
  beforeAll(() => rig.reset(SEED));

  it('from the underlay', () => {
    const { batch } = rig.underlay;
    for (const [index, pool] of rig.world.underlayPools.entries()) {
      const { vni, members } = NETWORKS[index] as Network;
      for (const { bytes } of pool.frames) {
        const last = Math.min(bytes.length, 150);
        for (let from = 0; from <= last; from += 16) {
          batch.count = Math.min(16, last - from + 1);
          for (let i = 0; i < batch.count; i++) {
            const place = batch.place(i);
            new DataView(batch.bytes.buffer).setUint32(place, 0x0800_0000);
            new DataView(batch.bytes.buffer).setUint32(place + 4, vni * 256);
            batch.bytes.set(bytes.subarray(0, from + i), place + 8);
            batch.messageBytes[i] = 8 + from + i;
            batch.segmentBytes[i] = 0;
            batch.vteps[i] = members[0] as number;
            batch.isTruncated[i] = 0;
          }
          expect(rig.underlay.run(undefined)).toBeUndefined();
        }
      }
    }
  });

  it('from a container', () => {
    const { batch } = rig.tap;
    for (const [index, { frames, messages }] of rig.world.tapPools.entries()) {
      batch.network = NETWORKS[index] as Network;
      for (const { bytes, isMessage } of [
        ...frames.map((frame) => ({ ...frame, isMessage: false })),
        ...messages.map((message) => ({ ...message, isMessage: true })),
      ]) {
        const skip = isMessage ? 0 : 10;
        const last = Math.min(bytes.length, 150);
        for (let from = 0; from <= last; from += 64) {
          batch.count = Math.min(64, last - from + 1);
          for (let i = 0; i < batch.count; i++) {
            const place = batch.place(i);
            batch.bytes.fill(0, place, place + 10);
            batch.bytes.set(bytes.subarray(0, from + i), place + skip);
            batch.messageBytes[i] = skip + from + i;
          }
          expect(rig.tap.run(undefined)).toBeUndefined();
        }
      }
    }
  });
});

describe('the fuzzer itself', () => {
  it('finds a bit that was flipped between receive and delivery, and shrinks the batch that shows it', () => {
    rig.isTampered = true;
    try {
      const found = fuzz(rig, { seed: 1, round: 0, roundBatches: 200, isEnough: () => true, print: () => {} });
      expect(found).toMatch(/^seed 1, round 0, batch \d+ of 200: underlay: /);
      expect(found).toContain('shrunk to ');
      expect(found).toContain('npm run fuzz -- --seed 1 --round 0');
    } finally {
      rig.isTampered = false;
    }
  });

  it('finds a copy for a VTEP that is no member, and a frame that is counted twice', () => {
    const { counters, members } = rig.world.context;
    const firstWord = MEMBERSHIP_WORDS;
    rig.reset(SEED);
    const own = members.words[firstWord] as number;
    members.words[firstWord] = own | (1 << STRANGER);
    expect(fuzzOnce('tap')).toMatch(/^tap: /);
    members.words[firstWord] = own;
    rig.reset(SEED);
    expect(fuzzOnce('tap')).toBeUndefined();
    const add = counters.add.bind(counters);
    counters.add = (network, counter, amount) => add(network, counter, counter === DECAP_FRAMES ? amount * 2 : amount);
    expect(fuzzOnce('underlay')).toMatch(/counted as delivered/);
    counters.add = add;
  });
});

function fuzzOnce(side: Side): string | undefined {
  const entropy = new SeededEntropy(3);
  for (let i = 0; i < 60; i++) {
    const wrong = rig.step(entropy, side);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}
