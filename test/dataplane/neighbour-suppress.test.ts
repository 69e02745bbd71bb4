/**
 * ARP and neighbour discovery at the mouth of the tunnel, by table and at random: a request for a known neighbour is
 * answered or kept, and everything else is flooded as it came.
 */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ARP_SUPPRESSED, FLOODED_FRAMES, ND_SUPPRESSED } from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { NEIGHBOUR_GATEWAY, NEIGHBOUR_LOCAL, NEIGHBOUR_REMOTE } from '../../src/shared/neighbour-table.js';
import { macHigh16, macLow32 } from '../../src/wire/mac.js';
import { Harness, tapMessage, vxlanDatagram } from './harness.js';
import {
  type ArpSpec,
  arpFrame,
  ipBytes,
  type NeighbourMessageSpec,
  neighbourFrame,
  padded,
  solicitedNode,
  sourceOption,
  tagged,
  targetOption,
} from './neighbour-frames.js';

const PORT = 24_801;
const ASKER = '02:00:00:00:00:0a';
const FAR = '02:00:00:00:00:0b';
const ROUTER = '02:00:00:00:00:0c';
const NEAR = '02:00:00:00:00:0d';
const GATEWAY = '02:76:74:12:34:56';
const ALL_NODES = { ip: 'ff02::1', mac: '33:33:00:00:00:01' };

/** Of both families: what the registry knows. */
const KNOWN = [
  { ips: ['10.0.0.10', 'fd00::a'], mac: ASKER, kind: NEIGHBOUR_LOCAL },
  { ips: ['10.0.0.11', 'fd00::b'], mac: FAR, kind: NEIGHBOUR_REMOTE },
  { ips: ['10.0.0.12', 'fd00::c'], mac: ROUTER, kind: NEIGHBOUR_REMOTE, router: true },
  { ips: ['10.0.0.13', 'fd00::d'], mac: NEAR, kind: NEIGHBOUR_LOCAL },
  { ips: ['10.0.0.1', 'fd00::1'], mac: GATEWAY, kind: NEIGHBOUR_GATEWAY, router: true },
];

let harness: Harness;
let peer: number;

function know(on: Harness, networkIndex: number, ip: string, mac: string, kind: number, router = false): void {
  const entry = { macLow: macLow32(mac), macHigh16: macHigh16(mac), kind, router };
  expect(on.neighbours.set(networkIndex, Uint8Array.from(ipBytes(ip)), entry)).toBe(true);
}

function open(suppression = true): void {
  harness = new Harness(PORT, { suppression, deepQueues: true });
  peer = harness.addPeer(2);
  for (const { ips, mac, kind, router } of KNOWN) {
    for (const ip of ips) know(harness, harness.networkIndex, ip, mac, kind, router);
  }
}

beforeEach(() => open());
afterEach(() => harness.close());

/** Sends the frame. @returns where it went, and what the asker has got. */
function ask(frame: Uint8Array): { flooded: Uint8Array[]; answers: Uint8Array[]; counted: number[] } {
  harness.fromContainer(tapMessage(frame));
  const answers = harness.toContainer().map((message) => {
    expect([...message.slice(0, 10)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    return message.slice(10);
  });
  const flooded = harness.toPeer(peer);
  expect(harness.drops()).toEqual({});
  return { flooded, answers, counted: [ARP_SUPPRESSED, ND_SUPPRESSED, FLOODED_FRAMES].map((i) => harness.counter(i)) };
}

const asFlooded = (frame: Uint8Array) => ({
  ...{ flooded: [vxlanDatagram(frame)], answers: [], counted: [0, 0, 1] },
});
const kept = (counted: number[], ...answers: Uint8Array[]) => ({ flooded: [], answers, counted });
const [ARP_COUNTED, ND_COUNTED] = [
  [1, 0, 0],
  [0, 1, 0],
];

const arp = (spec: Partial<ArpSpec> = {}) =>
  arpFrame({ from: ASKER, sender: '10.0.0.10', target: '10.0.0.11', ...spec });
const reply = (spec: Partial<ArpSpec> = {}) =>
  arpFrame({
    ...{ to: ASKER, from: FAR, operation: 2, sender: '10.0.0.11', target: '10.0.0.10', targetMac: ASKER },
    ...spec,
  });
const solicit = (spec: Partial<NeighbourMessageSpec> = {}) =>
  neighbourFrame({ from: ASKER, source: 'fd00::a', target: 'fd00::b', ...spec });
const advert = (mac: string, target: string, flags: number, spec: Partial<NeighbourMessageSpec> = {}) =>
  neighbourFrame({
    ...{ to: ASKER, from: mac, source: target, destination: 'fd00::a', type: 136, flags, target },
    ...{ options: targetOption(mac), ...spec },
  });

const [R, S, O] = [0x80, 0x40, 0x20];

describe('a request for a neighbour behind another VTEP', () => {
  it.each([
    ['ARP', arp(), ARP_COUNTED, reply()],
    ['ARP with padding', padded(arp()), ARP_COUNTED, reply()],
    [
      'ARP from an address that nobody has registered',
      arp({ sender: '10.0.0.200' }),
      ARP_COUNTED,
      reply({ target: '10.0.0.200' }),
    ],
    ['ARP by a MAC that nobody knows any more', arp({ to: '02:00:00:00:00:99' }), ARP_COUNTED, reply()],
    ['ARP that looks for a duplicate', arp({ sender: '0.0.0.0' }), ARP_COUNTED, reply({ target: '0.0.0.0' })],
    ['a solicitation', solicit(), ND_COUNTED, advert(FAR, 'fd00::b', S | O)],
    ['a solicitation for a router', solicit({ target: 'fd00::c' }), ND_COUNTED, advert(ROUTER, 'fd00::c', R | S | O)],
    ['a solicitation without options', solicit({ options: [] }), ND_COUNTED, advert(FAR, 'fd00::b', S | O)],
    [
      'a solicitation with a nonce before the MAC',
      solicit({ options: [14, 1, 1, 2, 3, 4, 5, 6, ...sourceOption(ASKER)] }),
      ND_COUNTED,
      advert(FAR, 'fd00::b', S | O),
    ],
    [
      'a solicitation to an address, by a MAC that nobody knows any more',
      solicit({ to: '02:00:00:00:00:99', destination: 'fd00::b' }),
      ND_COUNTED,
      advert(FAR, 'fd00::b', S | O),
    ],
    [
      'a solicitation from a link-local address',
      solicit({ source: 'fe80::a' }),
      ND_COUNTED,
      advert(FAR, 'fd00::b', S | O, { destination: 'fe80::a' }),
    ],
    [
      'a solicitation that looks for a duplicate',
      solicit({ source: '::' }),
      ND_COUNTED,
      advert(FAR, 'fd00::b', O, { to: ALL_NODES.mac, destination: ALL_NODES.ip }),
    ],
    [
      'one that looks for a duplicate, with a nonce (RFC 7527)',
      solicit({ source: '::', target: 'fd00::c', options: [14, 1, 1, 2, 3, 4, 5, 6] }),
      ND_COUNTED,
      advert(ROUTER, 'fd00::c', R | O, { to: ALL_NODES.mac, destination: ALL_NODES.ip }),
    ],
  ])('is answered in its name: %s', (_title, request, counted, answer) => {
    expect(ask(request)).toEqual(kept(counted, answer));
  });
});

describe('a request for somebody on this host', () => {
  it.each([
    ['ARP for a container here', arp({ target: '10.0.0.13' }), ARP_COUNTED],
    ['ARP for the gateway', arp({ target: '10.0.0.1' }), ARP_COUNTED],
    [
      'ARP that looks for a duplicate of a container here',
      arp({ sender: '0.0.0.0', target: '10.0.0.13' }),
      ARP_COUNTED,
    ],
    ['a solicitation for a container here', solicit({ target: 'fd00::d' }), ND_COUNTED],
    ['a solicitation for the gateway', solicit({ target: 'fd00::1' }), ND_COUNTED],
    ['one that looks for a duplicate of the gateway', solicit({ source: '::', target: 'fd00::1' }), ND_COUNTED],
  ])('stays here: %s', (_title, request, counted) => {
    expect(ask(request)).toEqual(kept(counted));
  });
});

describe('flooded, as it came, is', () => {
  const group = solicitedNode('fd00::b');
  it.each([
    ['ARP for an address that nobody has', arp({ target: '10.0.0.99' })],
    ['ARP for the own address', arp({ sender: '10.0.0.99', target: '10.0.0.10' })],
    ['ARP that looks for a duplicate of the own address', arp({ sender: '0.0.0.0', target: '10.0.0.10' })],
    ['an ARP announcement', arp({ sender: '10.0.0.10', target: '10.0.0.10' })],
    ['an ARP announcement of an address that is known elsewhere', arp({ sender: '10.0.0.11', target: '10.0.0.11' })],
    ['an ARP reply to everybody', arp({ operation: 2 })],
    ['an ARP announcement as a reply', arp({ operation: 2, sender: '10.0.0.10', target: '10.0.0.10' })],
    ['reverse ARP', arp({ operation: 3 })],
    ['ARP by a MAC that nobody has, for a container here', arp({ to: '02:00:00:00:00:99', target: '10.0.0.13' })],
    ['ARP in the name of another MAC', arp({ senderMac: NEAR })],
    ['ARP from a group MAC', arp({ from: '03:00:00:00:00:0a' })],
    ['ARP of another hardware', arp().with(15, 6)],
    ['ARP for another protocol', arp().with(16, 0x86)],
    ['ARP with other lengths', arp().with(18, 8)],
    ['ARP that is cut short', arp().slice(0, 41)],
    ['an Ethernet header alone', arp().slice(0, 14)],
    ['tagged ARP', tagged(arp())],
    ['a solicitation for an address that nobody has', solicit({ target: 'fd00::99' })],
    ['a solicitation for the own address', solicit({ source: 'fd00::99', target: 'fd00::a' })],
    ['one that looks for a duplicate of the own address', solicit({ source: '::', target: 'fd00::a' })],
    ['one that looks for a duplicate of an address that nobody has', solicit({ source: '::', target: 'fe80::a' })],
    [
      'an advertisement to all nodes',
      advert(ASKER, 'fd00::a', O, { ...ALL_NODES, to: ALL_NODES.mac, destination: ALL_NODES.ip }),
    ],
    ['a solicitation that a router has forwarded', solicit({ hopLimit: 254 })],
    ['a solicitation with a code', solicit({ code: 1 })],
    ['a solicitation with a wrong checksum', solicit({ checksumError: 1 })],
    ['a solicitation for a group', solicit({ target: 'ff02::1' })],
    ['a solicitation from a group', solicit({ source: 'ff02::1' })],
    ['a solicitation from a group MAC', solicit({ from: '03:00:00:00:00:0a', options: sourceOption(ASKER) })],
    ['a solicitation in the name of another MAC', solicit({ options: sourceOption(NEAR) })],
    ['a solicitation with an option of length 0', solicit({ options: [1, 0, 0, 0, 0, 0, 0, 0] })],
    ['a solicitation with an option beyond its end', solicit({ options: [14, 2, 0, 0, 0, 0, 0, 0] })],
    ['a solicitation with half an option', solicit({ options: [14, 1, 0, 0] })],
    ['one that looks for a duplicate and has a MAC', solicit({ source: '::', options: sourceOption(ASKER) })],
    [
      'one that looks for a duplicate at one address',
      solicit({ source: '::', to: '02:00:00:00:00:99', destination: 'fd00::b' }),
    ],
    ['a solicitation that is cut short', solicit().slice(0, 70)],
    ['a solicitation longer than its frame', solicit().with(19, 200)],
    ['a solicitation shorter than a target', solicit().with(19, 20)],
    ['IPv6 of another version', solicit().with(14, 0x40)],
    [
      'a router solicitation',
      neighbourFrame({ from: ASKER, source: 'fe80::a', destination: 'ff02::2', type: 133, target: 'fd00::b' }),
    ],
    ['another group message', solicit({ type: 143 })],
    ['a tagged solicitation', tagged(solicit())],
    ['a solicitation behind an extension header', solicit().with(20, 0)],
    ['broadcast of IPv4', arp().with(13, 0)],
    ['a frame to the solicited node that is no IPv6', Uint8Array.of(...solicit({ to: group.mac })).with(13, 0xde)],
  ])('%s', (_title, frame) => {
    expect(ask(frame)).toEqual(asFlooded(frame));
  });

  it('a request on a network that has suppression off', () => {
    harness.close();
    open(false);
    expect(ask(arp())).toEqual(asFlooded(arp()));
  });

  it('a request whose answer the TAP does not take', () => {
    harness.intoTap(tapMessage(arp()));
    // Read by the TAP's descriptor, which the answer then no longer has: EBADF.
    const { networks } = harness.context;
    const original = networks.tapFd.bind(networks);
    let reads = 0;
    networks.tapFd = (network, worker) => (reads++ === 0 ? original(network, worker) : -1);
    harness.fromContainer();
    networks.tapFd = original;
    expect(harness.toContainer()).toEqual([]);
    expect(harness.toPeer(peer)).toEqual([vxlanDatagram(arp())]);
    expect(harness.counter(ARP_SUPPRESSED)).toBe(0);
  });

  it('a request for somebody of another network', () => {
    const other = harness.networkIndex + 1;
    know(harness, other, '10.0.0.77', FAR, NEIGHBOUR_REMOTE);
    expect(ask(arp({ target: '10.0.0.77' }))).toEqual(asFlooded(arp({ target: '10.0.0.77' })));
  });
});

it('asks the neighbour itself, where its MAC is known', () => {
  harness.fdb.set(macLow32(FAR), fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
  for (const request of [arp({ to: FAR }), solicit({ to: FAR, destination: 'fd00::b' })]) {
    expect(ask(request)).toMatchObject({ flooded: [vxlanDatagram(request)], answers: [] });
  }
  expect([ARP_SUPPRESSED, ND_SUPPRESSED].map((i) => harness.counter(i))).toEqual([0, 0]);
});

it('follows an address to another MAC, and floods again when it has gone', () => {
  know(harness, harness.networkIndex, '10.0.0.11', ROUTER, NEIGHBOUR_REMOTE);
  expect(ask(arp()).answers).toEqual([reply({ from: ROUTER })]);
  harness.neighbours.remove(harness.networkIndex, Uint8Array.of(10, 0, 0, 11));
  expect(ask(arp()).flooded).toEqual([vxlanDatagram(arp())]);
});

// --- at random -------------------------------------------------------------------------------------------------------

const MACS = Array.from({ length: 6 }, (_, i) => `02:00:00:00:00:${i.toString(16).padStart(2, '0')}`);
const IPS = {
  4: ['0.0.0.0', ...[1, 2, 3, 4].map((i) => `10.0.0.${i}`)],
  6: ['::', ...[1, 2, 3, 4].map((i) => `fd00::${i}`)],
};

const entry = fc.record({
  ip: fc.constantFrom(...IPS[4].slice(1), ...IPS[6].slice(1)),
  mac: fc.constantFrom(...MACS),
  kind: fc.constantFrom(NEIGHBOUR_REMOTE, NEIGHBOUR_REMOTE, NEIGHBOUR_LOCAL, NEIGHBOUR_GATEWAY),
  router: fc.boolean(),
});
const question = fc.constantFrom<4 | 6>(4, 6).chain((family) =>
  fc.record({
    family: fc.constant(family),
    from: fc.constantFrom(...MACS),
    source: fc.constantFrom(...IPS[family]),
    target: fc.constantFrom(...IPS[family].slice(1)),
    isGroup: fc.boolean(),
    /** One byte of it becomes another, somewhere; or it ends early. */
    damage: fc.option(fc.record({ at: fc.nat(85), to: fc.nat(255), cut: fc.boolean() }), { freq: 3 }),
  }),
);
type Entry = typeof entry extends fc.Arbitrary<infer T> ? T : never;
type Question = typeof question extends fc.Arbitrary<infer T> ? T : never;

function frameOf({ family, from, source, target, isGroup }: Question): Uint8Array {
  const away = isGroup ? {} : { to: '02:00:00:00:00:77' };
  if (family === 4) return arpFrame({ from, sender: source, target, ...away });
  return neighbourFrame({ from, source, target, ...away });
}

/** What the doc says of a request that is as it should be. @returns the answer; undefined: kept; 'flood' */
function verdictOf(known: ReadonlyMap<string, Entry>, ask: Question): Uint8Array | undefined | 'flood' {
  const { family, from, source, target, isGroup } = ask;
  const neighbour = known.get(target);
  if (neighbour === undefined || neighbour.mac === from) return 'flood';
  if (family === 4 && source === target) return 'flood';
  const { mac, kind, router } = neighbour;
  if (kind !== NEIGHBOUR_REMOTE) return isGroup ? undefined : 'flood';
  if (family === 4)
    return arpFrame({ to: from, from: mac, operation: 2, sender: target, target: source, targetMac: from });
  const isNew = source === '::';
  return neighbourFrame({
    ...{ to: isNew ? ALL_NODES.mac : from, destination: isNew ? ALL_NODES.ip : source, from: mac, source: target },
    ...{ type: 136, flags: (router ? R : 0) | (isNew ? 0 : S) | O, target, options: targetOption(mac) },
  });
}

it('does with each of many requests what the table says; damaged ones are never lost', () => {
  const forget = (ip: string) => harness.neighbours.remove(harness.networkIndex, Uint8Array.from(ipBytes(ip)));
  for (const { ips } of KNOWN) for (const ip of ips) forget(ip);
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 8 }), fc.array(question, { maxLength: 12 }), (entries, questions) => {
      const known = new Map(entries.map((one) => [one.ip, one]));
      for (const { ip, mac, kind, router } of known.values())
        know(harness, harness.networkIndex, ip, mac, kind, router);
      for (const one of questions) {
        const whole = frameOf(one);
        const { damage } = one;
        const at = (damage?.at ?? 0) % whole.length;
        const frame =
          damage === null ? whole : damage.cut ? whole.slice(0, Math.max(14, at)) : whole.with(at, damage.to);
        const before = harness.counter(ARP_SUPPRESSED) + harness.counter(ND_SUPPRESSED);
        harness.fromContainer(tapMessage(frame));
        const flooded = harness.toPeer(peer);
        const answers = harness.toContainer().map((message) => message.slice(10));
        const suppressed = harness.counter(ARP_SUPPRESSED) + harness.counter(ND_SUPPRESSED) - before;
        // Whatever it is: once flooded as it came, or once counted.
        expect(flooded.length + suppressed).toBe(1);
        if (flooded.length === 1) expect(flooded).toEqual([vxlanDatagram(frame)]);
        if (damage !== null) continue;
        const verdict = verdictOf(known, one);
        expect(answers).toEqual(verdict instanceof Uint8Array ? [verdict] : []);
        expect(flooded.length).toBe(verdict === 'flood' ? 1 : 0);
      }
      for (const ip of known.keys()) forget(ip);
    }),
    { numRuns: 150 },
  );
});
