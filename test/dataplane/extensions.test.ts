/**
 * The VXLAN header's bits beside VNI and I flag: reserved bits, strict and tolerant, and the group policy id (VXLAN-GBP),
 * with rules of who may talk to whom. Bytes in, bytes and counters out.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { decapsulateMessage } from '../../src/dataplane/decap.js';
import { VTEP_COUNTERS, VTEP_COUNTERS_START, VTEP_RX_DATAGRAMS, VTEP_RX_DROPS } from '../../src/shared/counters.js';
import { EventRing } from '../../src/shared/event-ring.js';
import { fdbKeyHigh, KIND_LOCAL, KIND_RULE, KIND_STATIC } from '../../src/shared/fdb.js';
import { ruleKeyHigh, ruleKeyLow } from '../../src/shared/group-rules.js';
import {
  ALL_OFFLOADS,
  frame,
  Harness,
  type HarnessOptions,
  NO_OFFLOADS,
  tapMessage,
  VNI,
  vxlanDatagram,
} from './harness.js';
import { BASE_SPEC, emitSuperframe, payloadOf } from './reference/frame-spec.js';

const PORT = 24_793;
const GROUP = 0x0102;
const OTHER_GROUP = 7;

let harness: Harness;
let peer: number;
afterEach(() => harness.close());

function begin(row: NonNullable<HarnessOptions['row']>, options: HarnessOptions = {}): void {
  harness = new Harness(PORT, { row, ...options });
  peer = harness.addPeer(2);
  const key = fdbKeyHigh(0x0200, harness.networkIndex);
  // The container here, in a group, one beside it in another, and one over there.
  harness.fdb.set(2, key, KIND_LOCAL, GROUP, 0);
  harness.fdb.set(4, key, KIND_LOCAL, OTHER_GROUP, 0);
  harness.fdb.set(5, key, KIND_LOCAL, 0, 0);
  harness.fdb.set(3, key, KIND_STATIC, peer, 0);
}

const allow = (from: number, to: number) =>
  harness.fdb.set(ruleKeyLow(from, to), ruleKeyHigh(harness.networkIndex), KIND_RULE, 0, 0);
const toUs = { to: '020000000002', from: '020000000003' };
const arrive = (flags: string, last?: string, inner = frame(toUs)): number => {
  harness.fromPeer(peer, vxlanDatagram(inner, { flags, ...(last === undefined ? {} : { last }) }));
  return harness.toContainer().length;
};
const vtepCounter = (counter: number) =>
  harness.context.counters.cells[VTEP_COUNTERS_START + peer * VTEP_COUNTERS + counter];

const HEADERS = [
  ['no reserved bit', '08000000', '00'],
  ['a flag', '48000000', '00'],
  ['the flag of a group policy id', '88000000', '00'],
  ['a group policy id with its flag', '88480102', '00'],
  ['a group policy id without its flag', '08000102', '00'],
  ['the last byte', '08000000', '01'],
  ['the flag of the remote checksum offload, and what it needs', '08200000', '81'],
] as const;
/** Which of HEADERS pass. */
const PASS = {
  strict: [true, false, false, false, false, false, false],
  tolerant: [true, true, true, true, true, true, true],
  groups: [true, false, true, true, false, false, false],
};

describe.each([
  ['strict', {}],
  ['tolerant', { tolerant: true }],
  ['groups', { groupPolicy: true }],
] as const)('%s', (mode, row) => {
  it.each(HEADERS)('a header with %s', (_name, flags, last) => {
    begin(row);
    const passes = PASS[mode][HEADERS.findIndex((header) => header[1] === flags && header[2] === last)]!;
    expect(arrive(flags, last)).toBe(passes ? 1 : 0);
    expect(harness.drops()).toEqual(passes ? {} : { reserved_bits: 1 });
    expect([vtepCounter(VTEP_RX_DATAGRAMS), vtepCounter(VTEP_RX_DROPS)]).toEqual([1, passes ? 0 : 1]);
  });
});

it('a datagram that was cut short is dropped, as one that the TAP can not take', () => {
  begin({});
  const { arena } = harness.context;
  const datagram = vxlanDatagram(frame(toUs));
  arena.bytes.set(datagram, arena.headerBlocks);
  decapsulateMessage(harness.context, arena.headerBlocks, datagram.length, 0, peer, true);
  expect(harness.drops()).toEqual({ truncated: 1 });
  harness.networks.publish(harness.networkIndex, { vni: VNI, tapFds: [-1], mtuBytes: 1450, learning: true });
  expect(arrive('08000000')).toBe(0);
  expect(harness.drops()).toEqual({ truncated: 1, tap_error: 1 });
});

it('tolerant or not: the I flag has to be set', () => {
  begin({ tolerant: true, groupPolicy: true });
  expect(arrive('80000102')).toBe(0);
  expect(harness.drops()).toEqual({ no_vni_flag: 1 });
});

describe('the group of a container', () => {
  const sent = (message: Uint8Array): string[] => {
    harness.fromContainer(message);
    return harness.toPeer(peer).map((datagram) => Buffer.from(datagram.slice(0, 8)).toString('hex'));
  };

  it('is in the header of what it sends: singly, flooded, and in each segment of a superframe', () => {
    begin({ groupPolicy: true }, { offloads: ALL_OFFLOADS, deepQueues: true, mtuBytes: 9000 });
    expect(sent(tapMessage(frame()))).toEqual(['8800010212345600']);
    expect(sent(tapMessage(frame({ to: 'ffffffffffff' })))).toEqual(['8800010212345600']);
    const superframe = emitSuperframe({ ...BASE_SPEC, payload: payloadOf(3000, 1) }, 1000);
    expect(sent(superframe)).toEqual(Array.from({ length: 3 }, () => '8800010212345600'));
  });

  it.each([
    ['it has none', { groupPolicy: true }, '020000000005'],
    ['its MAC is nobody’s', { groupPolicy: true }, '020000000099'],
    ['the network has no groups', {}, '020000000002'],
  ])('is left out where %s', (_what, row, from) => {
    begin(row);
    expect(sent(tapMessage(frame({ from })))).toEqual(['0800000012345600']);
  });
});

describe('rules', () => {
  const row = { groupPolicy: true, groupRules: true };

  it.each([
    ['an allowed pair', '88000011', toUs.to, 1],
    ['the pair the other way round', '88000102', toUs.to, 0],
    ['another sender', '88000012', toUs.to, 0],
    ['a sender without a group', '08000000', toUs.to, 0],
    ['another receiver', '88000011', '020000000004', 0],
    ['a sender without a group to a receiver that may hear it', '08000000', '020000000005', 1],
    ['a broadcast', '88000012', 'ffffffffffff', 1],
    ['what the policy has been applied to', '88080012', toUs.to, 1],
  ])('%s', (_name, flags, to, count) => {
    begin(row);
    allow(0x11, GROUP);
    allow(0, 0);
    expect(arrive(flags, '00', frame({ ...toUs, to }))).toBe(count);
    expect(harness.drops()).toEqual(count === 1 ? {} : { group_policy: 1 });
  });

  it('hold for each datagram of a train: whatever the order of senders and receivers, those that may pass do', () => {
    begin(row, { offloads: { ...NO_OFFLOADS, underlayGro: true }, deepQueues: true });
    allow(0x11, GROUP);
    allow(0x12, OTHER_GROUP);
    const kinds = [
      { flags: '88000011', to: '020000000002', passes: true },
      { flags: '88000011', to: '020000000004', passes: false },
      { flags: '88000012', to: '020000000004', passes: true },
      { flags: '88000012', to: '020000000002', passes: false },
      { flags: '08000000', to: '020000000002', passes: false },
      { flags: '88080012', to: '020000000002', passes: true },
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...kinds), { minLength: 1, maxLength: 20 }), (train) => {
        const inner = train.map(({ to }, i) => frame({ ...toUs, to, payload: Uint8Array.of(i, 1, 2, 3) }));
        harness.trainsFromPeer(peer, [train.map(({ flags }, i) => vxlanDatagram(inner[i]!, { flags }))]);
        const expected = inner.filter((_, i) => train[i]!.passes).map((bytes) => Buffer.from(bytes).toString('hex'));
        expect(harness.toContainer().map((message) => Buffer.from(message.slice(10)).toString('hex'))).toEqual(
          expected,
        );
      }),
      { numRuns: 200 },
    );
  });
});

it('a source that is not to be learnt (D) is not, and is checked all the same', () => {
  begin({ groupPolicy: true });
  const learnt = () => new EventRing(harness.tables.events[0]!).drain(() => undefined);
  const unknown = frame({ to: '020000000002', from: '020000000077' });
  expect(arrive('88400011', '00', unknown)).toBe(1);
  expect(learnt()).toBe(0);
  expect(arrive('88000011', '00', unknown)).toBe(1);
  expect(learnt()).toBe(1);
  expect(arrive('88400011', '00', frame({ ...toUs, from: '020000000004' }))).toBe(0);
  expect(harness.drops()).toEqual({ local_mac: 1 });
});
