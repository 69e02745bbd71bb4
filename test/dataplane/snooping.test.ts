/** What workers hear of memberships, from containers and from VTEPs, and whom a multicast frame goes to then. On loopback. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FLOOD_COPIES_SAVED } from '../../src/shared/counters.js';
import {
  EVENT_LEARN,
  EVENT_MEMBER_JOINED,
  EVENT_MEMBER_JOINED_ALONE,
  EVENT_MEMBER_LEFT,
  EVENT_ROUTER,
} from '../../src/shared/event-ring.js';
import { fdbKeyHigh, KIND_GROUP } from '../../src/shared/fdb.js';
import { igmpQuery, mldQuery } from '../../src/wire/membership-query.js';
import { frame, Harness, tapMessage, vxlanDatagram } from './harness.js';

const PORT = 24_798;
const GROUP_MAC = '01005e050505';
const GROUP_LOW = 0x5e050505;
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** IGMP behind IPv4 with a router alert; sums are nobody's business here. */
const igmp = (message: string, to = '01005e000016') =>
  hex(`${to} 020000000002 0800 46c0 0000 0000 4000 0102 0000 0a000002 e0000016 94040000 ${message}`);
const mld = (message: string) =>
  hex(
    `333300000016 020000000002 86dd 60000000 0000 0001 ${'fe80'.padEnd(32, '0')} ${'ff02'.padEnd(32, '0')} 3a00050200000100 ${message}`,
  );
const GROUP6 = 'ff150000000000000000000000050505';
const MAC6_LOW = 0x00050505;

let harness: Harness;
let peers: number[];
beforeEach(() => {
  harness = new Harness(PORT);
  peers = [harness.addPeer(2), harness.addPeer(3)];
});
afterEach(() => harness.close());

/** Without what was learnt of sources. */
const events = () => {
  const list: number[][] = [];
  harness.context.events.drain((...event) => {
    if (event[0] !== EVENT_LEARN) list.push(event);
  });
  return list;
};
const row = (...members: number[]) => {
  const index = harness.networks.reserve();
  for (const member of members) harness.networks.addMember(index, member);
  harness.fdb.set(GROUP_LOW, fdbKeyHigh(0x0100, harness.networkIndex), KIND_GROUP, index, 0);
};
const received = () => peers.map((peer) => harness.toPeer(peer).length);

const SOURCE_LIST = '0a000009';
const CASES: [string, Uint8Array, number[][]][] = [
  ['IGMPv2 report', igmp('16000000 ef050505'), [[EVENT_MEMBER_JOINED_ALONE, GROUP_LOW, 0x0100]]],
  ['IGMPv1 report, 32 groups a MAC', igmp('12000000 ef850505'), [[EVENT_MEMBER_JOINED_ALONE, GROUP_LOW, 0x0100]]],
  ['IGMPv2 leave', igmp('17000000 ef050505'), [[EVENT_MEMBER_LEFT, GROUP_LOW, 0x0100]]],
  ['of 224.0.0.x, nothing', igmp('16000000 e00000fb'), []],
  [
    'IGMPv3: exclude none, include none, change to include none, include one, allow, block',
    igmp(
      `22000000 00000006 04000000 ef050505 01000000 ef050506 03000000 ef050507 01000001 ef050508 ${SOURCE_LIST} 05000001 ef050509 ${SOURCE_LIST} 06000001 ef05050a ${SOURCE_LIST}`,
    ),
    [
      [EVENT_MEMBER_JOINED, GROUP_LOW, 0x0100],
      [EVENT_MEMBER_LEFT, GROUP_LOW + 2, 0x0100],
      [EVENT_MEMBER_JOINED, GROUP_LOW + 3, 0x0100],
      [EVENT_MEMBER_JOINED, GROUP_LOW + 4, 0x0100],
    ],
  ],
  [
    'IGMPv3 that says that it has more than it has',
    igmp('22000000 0000ffff 04000000 ef050505 0400'),
    [[EVENT_MEMBER_JOINED, GROUP_LOW, 0x0100]],
  ],
  ['MLDv1 report', mld(`83000000 00000000 ${GROUP6}`), [[EVENT_MEMBER_JOINED_ALONE, MAC6_LOW, 0x3333]]],
  ['MLDv1 done', mld(`84000000 00000000 ${GROUP6}`), [[EVENT_MEMBER_LEFT, MAC6_LOW, 0x3333]]],
  ['MLDv2', mld(`8f000000 00000001 04000000 ${GROUP6}`), [[EVENT_MEMBER_JOINED, MAC6_LOW, 0x3333]]],
  ['of a solicited node, nothing', mld(`8f000000 00000001 04000000 ${'ff02'.padEnd(24, '0')}ff000002`), []],
  ['IGMPv2 report that is cut', igmp('16000000').slice(0, 42), []],
];

describe.each(CASES)('%s', (_name, message, expected) => {
  it('is heard from a container, and goes to all', () => {
    row();
    harness.fromContainer(tapMessage(message));
    expect(events()).toEqual(expected.map(([type, low, high]) => [type, harness.networkIndex, low, high, 0]));
    expect(received()).toEqual([1, 1]);
  });

  it('is heard from a VTEP, and goes on to the containers', () => {
    harness.fromPeer(peers[0] as number, vxlanDatagram(message));
    expect(events()).toEqual(expected.map(([type, low, high]) => [type, harness.networkIndex, low, high, peers[0]]));
    expect(harness.toContainer()).toHaveLength(1);
  });
});

it('a query from a router behind a VTEP is heard; that of a switch, from 0.0.0.0, is none', () => {
  const fromRouter = igmpQuery(10_000, 125);
  fromRouter.set([10, 0, 0, 1], 26);
  for (const query of [igmpQuery(10_000, 125), fromRouter, mldQuery(10_000, 125)]) {
    query[6] = 2;
    harness.fromPeer(peers[1] as number, vxlanDatagram(query));
    harness.context.nowSeconds++;
  }
  expect(events()).toEqual(Array(2).fill([EVENT_ROUTER, harness.networkIndex, 0, 0, peers[1]]));
});

describe('a multicast frame', () => {
  const send = (inner: Uint8Array) => {
    harness.fromContainer(tapMessage(inner));
    return received();
  };

  it('without a row goes to all, with one to those that have a bit, and the rest is counted', () => {
    expect(send(frame({ to: GROUP_MAC }))).toEqual([1, 1]);
    row(peers[1] as number);
    expect(send(frame({ to: GROUP_MAC }))).toEqual([0, 1]);
    expect(harness.counter(FLOOD_COPIES_SAVED)).toBe(1);
    expect(send(frame({ to: '01005e050506' }))).toEqual([1, 1]);
    expect(send(frame({ to: 'ffffffffffff' }))).toEqual([1, 1]);
    expect(harness.drops()).toEqual({});
  });

  it('nobody elsewhere wants is dropped and counted, also where floods go by multicast', () => {
    row();
    expect(send(frame({ to: GROUP_MAC }))).toEqual([0, 0]);
    harness.networks.setGroup(harness.networkIndex, peers[0] as number);
    expect(send(frame({ to: GROUP_MAC }))).toEqual([0, 0]);
    expect(harness.drops()).toEqual({ no_member: 2 });
    expect(send(frame({ to: '01005e050506' }))).toEqual([1, 0]);
  });

  it('a bit for a VTEP that is no member of the network gives it nothing', () => {
    const stranger = harness.addPeer(4, false);
    row(stranger);
    expect(send(frame({ to: GROUP_MAC }))).toEqual([0, 0]);
    expect(harness.toPeer(stranger)).toEqual([]);
  });

  it('with a VLAN tag, or of no IP, goes to all: nobody keeps those memberships', () => {
    row();
    const plain = frame({ to: GROUP_MAC });
    const tagged = Uint8Array.from([...plain.slice(0, 12), 0x81, 0, 0, 7, ...plain.slice(12)]);
    expect(send(tagged)).toEqual([1, 1]);
    const other = plain.slice();
    other.set([0x88, 0xb5], 12);
    expect(send(other)).toEqual([1, 1]);
  });
});
