/** The generator of actions: a seed says all, spared hosts are spared, and nothing is asked for in vain for ever. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Action } from './actions.js';
import { generateActions } from './generator.js';
import { Random } from './random.js';

function take(count: number, seed: number, hosts = 3): Action[] {
  const source = generateActions({ seed, hosts, every: 12 });
  return Array.from({ length: count }, () => source.next().value);
}

/** Hosts that the action harms otherwise than by trouble with the registry. */
function harmed(action: Action): number[] {
  switch (action.kind) {
    case 'restart':
    case 'stop':
    case 'power-loss':
    case 'renumber':
      return [action.host];
    case 'killed-attach':
      return [action.attach.host];
    case 'partition':
      return action.from === 'all' ? [action.host] : [];
    default:
      return [];
  }
}

describe('actions', () => {
  it('are those of the seed', () => {
    expect(take(300, 7)).toEqual(take(300, 7));
    expect(take(300, 7)).not.toEqual(take(300, 8));
  });

  it('are of every kind, over a few hundred', () => {
    const kinds = new Set(take(2000, 1).map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual([
      ...['attach', 'delete-link', 'delete-namespace', 'delete-veth', 'detach', 'heal', 'killed-attach', 'move'],
      ...['network-create', 'network-rm', 'partition', 'pause', 'power-loss', 'quiet', 'race', 'registry-restart'],
      ...['registry-start', 'registry-stop', 'registry-wipe', 'renumber', 'restart', 'start', 'stop', 'takeover'],
    ]);
  });

  it('leave the spared hosts alone, and name only hosts that there are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 2, max: 4 }), (seed, hosts) => {
        let spared: readonly number[] = [];
        for (const action of take(200, seed, hosts)) {
          if (action.kind === 'quiet') spared = action.spared;
          expect(harmed(action).filter((host) => spared.includes(host))).toEqual([]);
          if ('host' in action) expect(action.host).toSatisfy((host: number) => host >= 1 && host <= hosts);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('take a fault back within a few actions, or leave that to the quiet point', () => {
    for (const action of [take(1000, 3), take(1000, 4)]) {
      let stopped = 0;
      let longest = 0;
      for (const { kind } of action) {
        if (kind === 'registry-stop') stopped = 1;
        else if (kind === 'registry-start' || kind === 'quiet') stopped = 0;
        else if (stopped > 0) stopped++;
        longest = Math.max(longest, stopped);
      }
      expect(longest).toBeGreaterThan(1);
      expect(longest).toBeLessThan(12);
    }
  });
});

describe('random choices', () => {
  it('stay within their bounds, and are even', () => {
    const random = new Random(1);
    const counts = [0, 0, 0, 0];
    for (let count = 0; count < 4000; count++) counts[random.between(0, 3)]!++;
    for (const count of counts) expect(count).toBeGreaterThan(800);
    expect(new Random(5).weighted([[0, 'never'] as const, [1, 'always'] as const])).toBe('always');
    expect(() => random.pick([])).toThrow(RangeError);
  });
});
