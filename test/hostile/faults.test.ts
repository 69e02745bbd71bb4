/** What the fuzzer has found, each by itself, over real sockets. */
import { afterEach, expect, it } from 'vitest';
import { DECAP_FRAMES, ENCAP_FRAMES, FLOOD_COPIES, FLOODED_FRAMES } from '../../src/shared/counters.js';
import { fdbBytes, fdbKeyHigh, KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../../src/shared/fdb.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';
import { ALL_OFFLOADS, Harness, tapMessage, vxlanDatagram } from '../dataplane/harness.js';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from '../dataplane/reference/frame-spec.js';
import { TCP, UDP } from '../dataplane/reference/packet.js';

const PORT = 24_793;
let harness: Harness;

afterEach(() => harness.close());

function open(): number {
  harness = new Harness(PORT, { learning: false, offloads: ALL_OFFLOADS, sources: 1, deepQueues: true });
  return harness.addPeer(2);
}

const flow = (spec: Partial<FrameSpec>, bytes: number, count: number) =>
  Array.from({ length: count }, (_, i) =>
    emitFrame({ ...BASE_SPEC, ...spec, id: i + 1, sequence: 1000 + i * bytes, payload: payloadOf(bytes, i) }),
  );

it.each([
  ['TCP', TCP],
  ['UDP', UDP],
] as const)(
  'segments of %s that are too long for the network are dropped, also when they could be coalesced',
  (_name, protocol) => {
    const peer = open();
    harness.trainsFromPeer(peer, [flow({ protocol }, 1900, 5).map((frame) => vxlanDatagram(frame))]);
    expect(harness.toContainer()).toEqual([]);
    expect(harness.drops()).toEqual({ inner_oversize: 5 });
    // A tag or two more than the MTU are still within the network.
    const fits = flow({ protocol }, 1450 - 40 + (protocol === TCP ? 0 : 12), 5);
    harness.trainsFromPeer(peer, [fits.map((frame) => vxlanDatagram(frame))]);
    expect(harness.toContainer()).toHaveLength(1);
    expect(harness.counter(DECAP_FRAMES)).toBe(5);
  },
);

it('a superframe that is flooded, has nowhere to go or stays here counts as the frames that it is', () => {
  const spec = { ...BASE_SPEC, payload: payloadOf(5000, 1) };
  const message = emitSuperframe(spec, 1000);
  open();
  harness.fromContainer(message);
  expect([harness.counter(FLOODED_FRAMES), harness.counter(FLOOD_COPIES)]).toEqual([5, 5]);
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_LOCAL, 0, 0);
  harness.fromContainer(message);
  expect(harness.drops()).toEqual({ local_destination: 5 });
  harness.fdb.remove(3, fdbKeyHigh(0x0200, harness.networkIndex));
  harness.networks.removeMember(harness.networkIndex, 1);
  harness.fromContainer(message);
  expect(harness.drops()).toEqual({ local_destination: 5, no_remote: 5 });
  expect(harness.counter(ENCAP_FRAMES)).toBe(15);
});

it.each([
  [65_000, 7, 'tap_gso'],
  [65_000, 1, 'tap_gso'],
  [65_000, 8, undefined],
  [8192, 1, undefined],
  [8193, 1, 'tap_gso'],
])('a superframe of %i bytes in segments of %i is no more datagrams than a kernel makes', (bytes, gsoSize, cause) => {
  const peer = open();
  // Nobody reads what is sent.
  harness.networks.removeMember(harness.networkIndex, peer);
  harness.fromContainer(emitSuperframe({ ...BASE_SPEC, payload: payloadOf(bytes, 1) }, gsoSize));
  expect(harness.drops()).toEqual(cause === undefined ? { no_remote: Math.ceil(bytes / gsoSize) } : { [cause]: 1 });
});

it('a frame that says IP and ends before the IP header does goes nowhere, as with the kernel', () => {
  const peer = open();
  const whole = emitFrame({ ...BASE_SPEC, payload: payloadOf(5, 1) });
  for (const bytes of [14, 33]) {
    harness.fromPeer(peer, vxlanDatagram(whole.slice(0, bytes)));
    harness.fromContainer(tapMessage(whole.slice(0, bytes)));
  }
  expect(harness.drops()).toEqual({ inner_runt: 2, tap_runt: 2 });
  // The last datagram of a train is shorter, and the only one of it that is too short.
  harness.trainsFromPeer(peer, [[whole, whole.slice(0, 33)].map((frame) => vxlanDatagram(frame))]);
  harness.fromPeer(peer, vxlanDatagram(whole.slice(0, 34)));
  expect(harness.toContainer()).toHaveLength(2);
  expect(harness.drops()).toEqual({ inner_runt: 3, tap_runt: 2 });
});

it('a registered MAC finds room in an FDB that a flood of new MACs has filled; one full of registered MACs says so', () => {
  const fdb = new FdbWriter(new SharedArrayBuffer(fdbBytes(1000)));
  const key = fdbKeyHigh(0x0200, 1);
  for (let mac = 0; mac < 100; mac++) expect(fdb.set(mac, key, KIND_STATIC, 1, 0)).toBe(true);
  for (let mac = 100; fdb.set(mac, key, KIND_DYNAMIC, 2, 7); mac++);
  expect(fdb.count).toBeGreaterThanOrEqual(fdb.entriesMax);
  expect(fdb.setBefore(-1, key, KIND_LOCAL, 0)).toBe(true);
  expect(fdb.count - fdb.dynamicCount).toBe(101);
  for (let mac = 1_000_000; fdb.setBefore(mac, key, KIND_STATIC, 1); mac++);
  expect(fdb.dynamicCount).toBe(0);
  expect(fdb.setBefore(-2, key, KIND_STATIC, 1)).toBe(false);
});
