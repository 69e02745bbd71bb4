/** One worker with sockets of both families: each VTEP gets its datagrams by its own, and is known by its own source. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { tcpSuperframe } from '../../bench/dataplane/bench-context.js';
import {
  FLOOD_COPIES,
  FLOODED_FRAMES,
  MULTICAST_FRAMES,
  VTEP_COUNTERS,
  VTEP_COUNTERS_START,
  VTEP_RX_DATAGRAMS,
} from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { ALL_OFFLOADS, frame, Harness, tapMessage, vxlanDatagram } from './harness.js';

const PORT = 47_631;
let harness: Harness;
let over4: number;
let over6: number;

beforeEach(() => {
  harness = new Harness(PORT, { ipv6: true, offloads: ALL_OFFLOADS });
  over4 = harness.addPeer(2);
  over6 = harness.addPeer6();
});
afterEach(() => harness.close());

const know = (last: number, vtep: number) =>
  harness.fdb.set(last, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, vtep, 0);
const received = (vtep: number) =>
  harness.context.counters.cells[VTEP_COUNTERS_START + vtep * VTEP_COUNTERS + VTEP_RX_DATAGRAMS];

it('sends each frame of a burst over the family of its VTEP', () => {
  know(3, over4);
  know(4, over6);
  const to = [3, 4, 4, 3, 4];
  harness.fromContainer(
    ...to.map((last, i) => tapMessage(frame({ to: `02000000000${last}`, payload: Uint8Array.of(i) }))),
  );
  expect(harness.toPeer(over4).map((datagram) => datagram.at(-1))).toEqual([0, 3]);
  expect(harness.toPeer(over6).map((datagram) => datagram.at(-1))).toEqual([1, 2, 4]);
  expect(harness.drops()).toEqual({});
});

it('floods to both families, whole frames and superframes', () => {
  harness.fromContainer(tapMessage(frame({ to: 'ffffffffffff' })));
  expect([harness.toPeer(over4), harness.toPeer(over6)]).toEqual(
    Array(2).fill([vxlanDatagram(frame({ to: 'ffffffffffff' }))]),
  );
  // To a MAC that nobody has told of.
  harness.fromContainer(tcpSuperframe(5, 1000));
  const segments = harness.toPeer(over6);
  expect(segments.map(({ length }) => length)).toEqual(Array(5).fill(8 + 66 + 1000));
  expect(harness.toPeer(over4)).toEqual(segments);
  expect(harness.drops()).toEqual({});
});

it('takes single datagrams and trains over IPv6 from the VTEP that has the address, and from nobody else', () => {
  const inner = (i: number) => frame({ from: '020000000009', payload: Uint8Array.of(i) });
  harness.fromPeer(over6, vxlanDatagram(inner(0)));
  harness.trainsFromPeer(over6, [[1, 2, 3].map((i) => vxlanDatagram(inner(i)))]);
  expect(harness.toContainer().map((message) => message.at(-1))).toEqual([0, 1, 2, 3]);
  expect([received(over6), received(over4)]).toEqual([4, 0]);
  harness.networks.removeMember(harness.networkIndex, over6);
  harness.fromPeer(over6, vxlanDatagram(inner(4)));
  harness.vteps.unpublish(over6);
  harness.fromPeer(over6, vxlanDatagram(inner(5)));
  expect([harness.toContainer(), harness.drops()]).toEqual([[], { vtep_not_member: 2 }]);
});

it('knows a VTEP by its address of the other family too', () => {
  harness.vteps.unpublish(over6);
  harness.vteps.setSource(
    over4,
    Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0)),
  );
  harness.fromPeer(over6, vxlanDatagram(frame({ from: '020000000009' })));
  expect([harness.toContainer().length, received(over4), harness.drops()]).toEqual([1, 1, {}]);
});

it('sends a group what it reaches, and copies to those that have only the other family', () => {
  const group = harness.addPeer(3, false);
  harness.networks.setGroup(harness.networkIndex, group);
  const flooded = (message: Uint8Array) => {
    harness.fromContainer(message);
    return [group, over4, over6].map((vtep) => harness.toPeer(vtep).length);
  };
  const whole = tapMessage(frame({ to: 'ffffffffffff' }));
  expect(flooded(whole)).toEqual([1, 0, 1]);
  expect(flooded(tcpSuperframe(5, 1000))).toEqual([5, 0, 5]);
  // It has IPv4 as well: the group has reached it.
  harness.vteps.setSource(over6, Uint8Array.of(127, 0, 0, 77));
  expect(flooded(whole)).toEqual([1, 0, 0]);
  const counters = [FLOODED_FRAMES, FLOOD_COPIES, MULTICAST_FRAMES].map((counter) => harness.counter(counter));
  expect(counters).toEqual([7, 13, 7]);
});

it('counts what is for a family that this host has no socket of', () => {
  const alone = new Harness(PORT + 1);
  try {
    const index = alone.vteps.add(Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9), 4789);
    alone.networks.addMember(alone.networkIndex, index);
    alone.fromContainer(tapMessage(frame({ to: 'ffffffffffff' })));
    expect(alone.drops()).toEqual({ underlay_error: 1 });
  } finally {
    alone.close();
  }
});
