/** Floods by the network's multicast group, and the probes of it: who is heard, and that no container gets one. On loopback. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FLOOD_COPIES, FLOODED_FRAMES, MULTICAST_FRAMES } from '../../src/shared/counters.js';
import { EVENT_GROUP_ANSWER, EVENT_GROUP_PROBE, EVENT_GROUP_QUERIED } from '../../src/shared/event-ring.js';
import {
  emitGroupProbe,
  GROUP_ANSWER,
  GROUP_PROBE,
  GROUP_PROBE_BYTES,
  GROUP_QUERIED,
} from '../../src/wire/group-probe.js';
import { frame, Harness, tapMessage, VNI, vxlanDatagram } from './harness.js';

const PORT = 24_797;
const BROADCAST = 'ffffffffffff';
let harness: Harness;
beforeEach(() => {
  harness = new Harness(PORT);
});
afterEach(() => harness.close());

const events = () => {
  const list: number[][] = [];
  harness.context.events.drain((...event) => void list.push(event));
  return list;
};

function probe(type: number, vni = VNI): Uint8Array {
  const datagram = new Uint8Array(GROUP_PROBE_BYTES);
  emitGroupProbe(datagram, 0, type, vni, -7, 0x01020304);
  return datagram;
}

it('sends one copy to the group and none to the members, for as long as the word names it', () => {
  const members = [harness.addPeer(2), harness.addPeer(3)];
  // To a worker a group is an address like any other.
  const group = harness.addPeer(9, false);
  const inner = frame({ to: BROADCAST });
  const expected = [vxlanDatagram(inner)];
  const counted = () => [FLOODED_FRAMES, FLOOD_COPIES, MULTICAST_FRAMES].map((counter) => harness.counter(counter));

  harness.networks.setGroup(harness.networkIndex, group);
  harness.fromContainer(tapMessage(inner));
  expect([group, ...members].map((vtep) => harness.toPeer(vtep))).toEqual([expected, [], []]);
  expect(counted()).toEqual([1, 1, 1]);
  // A unicast frame that nobody has claimed goes the same way.
  harness.fromContainer(tapMessage(frame({ to: '0200000000aa' })));
  expect(harness.toPeer(group)).toHaveLength(1);

  harness.networks.setGroup(harness.networkIndex, 0);
  harness.fromContainer(tapMessage(inner));
  expect([group, ...members].map((vtep) => harness.toPeer(vtep))).toEqual([[], expected, expected]);
  expect(counted()).toEqual([3, 4, 2]);
});

it.each([
  [GROUP_PROBE, EVENT_GROUP_PROBE],
  [GROUP_ANSWER, EVENT_GROUP_ANSWER],
  [GROUP_QUERIED, EVENT_GROUP_QUERIED],
])('tells of a probe or an answer of a member, and gives it to no container', (type, event) => {
  const peer = harness.addPeer(2);
  harness.fromPeer(peer, probe(type));
  expect(events()).toEqual([[event, harness.networkIndex, -7, 0x01020304, peer]]);
  expect(harness.toContainer()).toEqual([]);
  expect(harness.drops()).toEqual({});
});

it.each([
  ['vtep_not_member', () => harness.fromPeer(harness.addPeer(2, false), probe(GROUP_PROBE))],
  ['source_self', () => harness.fromSelf(probe(GROUP_PROBE))],
  ['vni_not_found', () => harness.fromPeer(harness.addPeer(2), probe(GROUP_PROBE, VNI + 1))],
  ['reserved_bits', () => harness.fromPeer(harness.addPeer(2), probe(4))],
  ['reserved_bits', () => harness.fromPeer(harness.addPeer(2), probe(GROUP_PROBE).slice(0, 20))],
])('drops and counts, and tells nobody: %s', (cause, act) => {
  act();
  expect(harness.drops()).toEqual({ [cause]: 1 });
  expect(events()).toEqual([]);
});
