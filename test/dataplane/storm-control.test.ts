/** How much one source MAC may flood: by the second, each MAC and network for itself, in a table of fixed size. */
import fc from 'fast-check';
import { afterEach, expect, it } from 'vitest';
import { isBeyondStormLimit, STORM_SETS } from '../../src/dataplane/storm-control.js';
import { FLOODED_FRAMES } from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { frame, Harness, tapMessage } from './harness.js';

const PORT = 24_805;
let harness: Harness;
afterEach(() => harness.close());

function open(stormLimit: number): number {
  harness = new Harness(PORT, { stormLimit, deepQueues: true });
  return harness.addPeer(2);
}

const from = (last: number) => `0200000000${last.toString(16).padStart(2, '0')}`;
const BROADCAST = 'ffffffffffff';

function send(count: number, options: { to?: string; from?: string } = {}): void {
  for (let i = 0; i < count; i++) harness.fromContainer(tapMessage(frame({ to: BROADCAST, ...options })));
}

it('lets so many through in a second, whatever is flooded, and counts the rest', () => {
  const peer = open(5);
  send(2);
  send(2, { to: '01005e000001' });
  send(2, { to: '0200000000aa' });
  expect(harness.toPeer(peer)).toHaveLength(5);
  expect(harness.drops()).toEqual({ storm_limit: 1 });
  // Another MAC has an account of its own; a MAC that is known is no flood.
  send(5, { from: from(9) });
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
  send(3, { to: from(3) });
  expect(harness.toPeer(peer)).toHaveLength(8);
  expect(harness.drops()).toEqual({ storm_limit: 1 });
  harness.context.nowSeconds++;
  send(7);
  expect(harness.toPeer(peer)).toHaveLength(5);
  expect(harness.drops()).toEqual({ storm_limit: 3 });
  expect(harness.counter(FLOODED_FRAMES)).toBe(15);
});

it('counts a superframe by its segments', () => {
  const peer = open(4);
  const superframe = () => {
    const inner = frame({ to: BROADCAST, payload: new Uint8Array(3000) });
    // UDP_L4, 42 bytes of headers, segments of 1000, checksum from 34 at 6: little-endian.
    harness.fromContainer(tapMessage(inner, '01052a00e80322000600'));
  };
  superframe();
  superframe();
  send(1);
  send(1);
  expect(harness.toPeer(peer)).toHaveLength(4);
  expect(harness.drops()).toEqual({ storm_limit: 4 });
});

it('lets a superframe through that alone is longer than the limit', () => {
  const peer = open(2);
  const inner = frame({ to: BROADCAST, payload: new Uint8Array(3000) });
  harness.fromContainer(tapMessage(inner, '01052a00e80322000600'));
  send(1);
  expect(harness.toPeer(peer)).toHaveLength(3);
  expect(harness.drops()).toEqual({ storm_limit: 1 });
});

it('has no limit where there is none', () => {
  const peer = open(0);
  send(40);
  expect(harness.toPeer(peer)).toHaveLength(40);
  expect(harness.drops()).toEqual({});
});

it('never lets a MAC flood more than the limit, also when more MACs flood than it has cells', () => {
  const limit = 3;
  open(limit);
  const { context, networkIndex } = harness;
  const crowd = 6 * STORM_SETS;
  fc.assert(
    // 200 MACs: of these no five have the same set.
    fc.property(fc.array(fc.nat(199), { maxLength: 300 }), fc.boolean(), (macs, isCrowded) => {
      context.nowSeconds++;
      const passed = new Float64Array(crowd);
      const tries = new Float64Array(crowd);
      const attempt = (mac: number) => {
        tries[mac]!++;
        if (!isBeyondStormLimit(context, networkIndex, limit, mac, 0x0200, 1)) passed[mac]!++;
      };
      if (isCrowded) for (let mac = 0; mac < crowd; mac++) attempt(mac);
      for (const mac of macs) attempt(mac);
      expect(Math.max(...passed)).toBeLessThanOrEqual(limit);
      // With room for all, nobody is held back early.
      if (!isCrowded) expect(passed).toEqual(tries.map((count) => Math.min(count, limit)));
      else expect(passed.filter((count) => count > 0).length).toBeGreaterThan(3 * STORM_SETS);
    }),
    { numRuns: 40 },
  );
});
