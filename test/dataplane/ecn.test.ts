/** ECN through the tunnel (RFC 6040): the outer TOS of what leaves, and what the outer TOS of what comes does to the frame. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ECN_MARKED, SUPERFRAMES_COALESCED } from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { trainsOf } from './deliveries.js';
import { ALL_OFFLOADS, frame, Harness, tapMessage, vxlanDatagram } from './harness.js';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from './reference/frame-spec.js';
import { TCP, UDP } from './reference/packet.js';
import { expandReference, segmentReference } from './reference/segment.js';

const PORT = 24_795;
const [NOT_ECT, ECT_1, ECT_0, CE] = [0, 1, 2, 3];
const ALL = [NOT_ECT, ECT_1, ECT_0, CE];
const DROP = -1;
/** RFC 6040 figure 4: by inner, then by outer codepoint in the order of ALL. */
const DECAPSULATED = new Map([
  [NOT_ECT, [NOT_ECT, NOT_ECT, NOT_ECT, DROP]],
  [ECT_1, [ECT_1, ECT_1, ECT_1, CE]],
  [ECT_0, [ECT_0, ECT_1, ECT_0, CE]],
  [CE, [CE, CE, CE, CE]],
]);
/** What the kernel's VXLAN sends for inner not-ECT, ECT(1), ECT(0), CE: seen on the wire of Linux 6.18. */
const ENCAPSULATED = [NOT_ECT, ECT_1, ECT_0, ECT_0];

let harness: Harness;
let peer: number;

function open(underlay: 4 | 6): void {
  const offloads = { learning: false, offloads: ALL_OFFLOADS, mtuBytes: 9000 };
  harness = new Harness(PORT, { ...offloads, sources: 1, deepQueues: true, ipv6: underlay === 6 });
  peer = underlay === 6 ? harness.addPeer6() : harness.addPeer(2);
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
}

afterEach(() => harness.close());

const spec = (changes: Partial<FrameSpec>): FrameSpec => ({ ...BASE_SPEC, payload: payloadOf(100, 1), ...changes });
/** The same packet with another ECN, its checksums made anew. */
const withEcn = (from: FrameSpec, ecn: number) => emitFrame({ ...from, tos: (from.tos & 0xfc) | ecn });
const decapsulated = (inner: number, outer: number) => DECAPSULATED.get(inner)?.[outer] as number;
const received = () => harness.toContainer().flatMap((message) => expandReference(message));

const FAMILIES: [string, Partial<FrameSpec>][] = [
  ['IPv4', { family: 4 }],
  ['IPv4 with options', { family: 4, ipOptions: Uint8Array.of(1, 1, 1, 0) }],
  ['IPv6', { family: 6, flowLabel: 0xfffff }],
  ['IPv4 behind a VLAN tag', { family: 4, vlanIds: [7] }],
  ['IPv6 behind two VLAN tags', { family: 6, vlanIds: [7, 8] }],
];

describe.each([4, 6] as const)('over an IPv%i underlay', (underlay) => {
  beforeEach(() => open(underlay));

  describe('decapsulation', () => {
    describe.each(FAMILIES)('%s', (_name, family) => {
      it.each(ALL.flatMap((inner) => ALL.map((outer) => [inner, outer] as const)))(
        'inner %i, outer %i',
        (inner, outer) => {
          const sent = spec({ ...family, tos: 0xb8 | inner });
          harness.fromPeer(peer, vxlanDatagram(emitFrame(sent)), 0x50 | outer);
          const expected = decapsulated(inner, outer);
          expect(received()).toEqual(expected === DROP ? [] : [withEcn(sent, expected)]);
          expect(harness.drops()).toEqual(expected === DROP ? { ecn: 1 } : {});
          expect(harness.counter(ECN_MARKED)).toBe(expected === DROP || expected === inner ? 0 : 1);
        },
      );
    });

    it.each([
      [4, TCP],
      [6, TCP],
      [4, UDP],
      [6, UDP],
    ] as const)(
      'marks every segment of an IPv%i train of protocol %i, and coalesces them all the same',
      (family, protocol) => {
        const specs = [0, 1, 2, 3].map((i) =>
          spec({ family, protocol, id: i, sequence: 1000 + 100 * i, tos: ECT_0, payload: payloadOf(100, i) }),
        );
        harness.trainsFromPeer(peer, [specs.map((each) => vxlanDatagram(emitFrame(each)))], CE);
        expect(received()).toEqual(specs.map((each) => withEcn(each, CE)));
        expect([harness.counter(ECN_MARKED), harness.counter(SUPERFRAMES_COALESCED)]).toEqual([4, 1]);
      },
    );

    it('takes marked segments for no continuation of unmarked ones', () => {
      const specs = [0, 1, 2, 3].map((i) => spec({ id: i, sequence: 1000 + 100 * i, tos: ECT_0 }));
      const datagrams = specs.map((each) => vxlanDatagram(emitFrame(each)));
      harness.trainsFromPeer(peer, [datagrams.slice(0, 2)], ECT_0);
      harness.trainsFromPeer(peer, [datagrams.slice(2)], CE);
      const messages = harness.toContainer();
      expect(messages).toHaveLength(2);
      expect(messages.flatMap((message) => expandReference(message))).toEqual(
        specs.map((each, i) => withEcn(each, i < 2 ? ECT_0 : CE)),
      );
    });

    it('drops of a marked train only what takes no part in ECN', () => {
      const specs = ALL.map((tos, i) => spec({ id: i, sequence: 1000 + 100 * i, tos }));
      harness.trainsFromPeer(peer, [specs.map((each) => vxlanDatagram(emitFrame(each)))], CE);
      expect(received()).toEqual(specs.slice(1).map((each) => withEcn(each, CE)));
      expect(harness.drops()).toEqual({ ecn: 1 });
    });

    it.each([
      ['ARP', frame().fill(0, 14).fill(6, 13, 14)],
      ['another version than the type says', frame().fill(0x65, 14, 15)],
      [
        'three VLAN tags',
        emitFrame(spec({ tos: 2, vlanIds: [1, 2] }))
          .fill(0x81, 20, 21)
          .fill(0, 21, 22),
      ],
    ])('leaves what has no ECN as it is: %s', (_name, bytes) => {
      for (const outer of ALL) harness.fromPeer(peer, vxlanDatagram(bytes), outer);
      expect(received()).toEqual(ALL.map(() => bytes));
      expect(harness.drops()).toEqual({});
    });

    it('mends no IPv4 header checksum that was wrong', () => {
      const sent = spec({ tos: ECT_0, fault: 'bad header checksum' });
      harness.fromPeer(peer, vxlanDatagram(emitFrame(sent)), CE);
      expect(received()).toEqual([withEcn(sent, CE)]);
    });
  });

  const tosOf = () => harness.toPeerWithTos(peer).map(({ tos }) => tos);

  describe('encapsulation', () => {
    it.each(FAMILIES)('%s: the ECN bits alone, CE as ECT(0)', (_name, family) => {
      const frames = ALL.map((ecn) => emitFrame(spec({ ...family, tos: 0xb8 | ecn })));
      harness.fromContainer(...frames.map((bytes) => tapMessage(bytes)));
      expect(harness.toPeerWithTos(peer)).toEqual(
        frames.map((bytes, i) => ({ tos: ENCAPSULATED[i], datagram: vxlanDatagram(bytes) })),
      );
    });

    it.each([
      [4, TCP],
      [6, UDP],
    ] as const)('an IPv%i superframe of protocol %i: each segment', (family, protocol) => {
      const changes = { family, protocol, tos: ECT_0, payload: payloadOf(10_000, 1) };
      const message = emitSuperframe({ ...BASE_SPEC, ...changes }, 1000);
      harness.fromContainer(message);
      const expected = segmentReference(message).map((each) => ({ tos: ECT_0, datagram: vxlanDatagram(each) }));
      expect(harness.toPeerWithTos(peer)).toEqual(expected);
    });

    it('keeps frames of different marks in order, each with its own', () => {
      const marks = [0, 0, 2, 2, 2, 1, 0, 3, 2, 0, 0];
      const frames = marks.map((tos, i) => emitFrame(spec({ id: i, tos })));
      harness.fromContainer(...frames.map((bytes) => tapMessage(bytes)));
      expect(harness.toPeerWithTos(peer)).toEqual(
        frames.map((bytes, i) => ({ tos: ENCAPSULATED[marks[i] as number], datagram: vxlanDatagram(bytes) })),
      );
      // And the next batch, over the same messages, the other way round.
      harness.fromContainer(...frames.map((bytes) => tapMessage(bytes)).reverse());
      expect(tosOf()).toEqual(marks.map((mark) => ENCAPSULATED[mark] as number).reverse());
    });

    it('floods with the mark to each member', () => {
      const other = harness.addPeer(4);
      const sent = emitFrame(spec({ tos: ECT_1, destinationMac: 99 }));
      harness.fromContainer(tapMessage(sent));
      for (const member of [peer, other]) {
        expect(harness.toPeerWithTos(member)).toEqual([{ tos: ECT_1, datagram: vxlanDatagram(sent) }]);
      }
    });
  });

  const specs = fc
    .record({
      family: fc.constantFrom(4 as const, 6 as const),
      protocol: fc.constantFrom(TCP as typeof TCP, UDP as typeof UDP),
      vlanIds: fc.constantFrom([], [], [5], [5, 6]),
      tos: fc.integer({ min: 0, max: 255 }),
      flowLabel: fc.integer({ min: 0, max: 0xfffff }),
      id: fc.integer({ min: 0, max: 0xffff }),
      hopLimit: fc.integer({ min: 1, max: 255 }),
      source: fc.integer({ min: 1, max: 254 }),
      payload: fc.integer({ min: 1, max: 300 }).map((bytes) => payloadOf(bytes, bytes)),
    })
    .map((drawn) => ({ ...BASE_SPEC, ...drawn }));

  describe('properties, against the frame made anew', () => {
    it('decapsulates any packets under any outer TOS, datagram by datagram and in trains', () => {
      const streams = fc.array(specs, { minLength: 1, maxLength: 12 });
      const percents = fc.array(fc.constantFrom(0, 50, 99), { minLength: 1, maxLength: 4 });
      const tos = fc.integer({ min: 0, max: 255 });
      fc.assert(
        fc.property(streams, percents, tos, (stream, cuts, outer) => {
          const datagrams = stream.map((each) => vxlanDatagram(emitFrame(each)));
          harness.trainsFromPeer(peer, trainsOf(datagrams, cuts), outer);
          const expected = stream.flatMap((each) => {
            const ecn = decapsulated(each.tos & 3, outer & 3);
            return ecn === DROP ? [] : [withEcn(each, ecn)];
          });
          expect(received()).toEqual(expected);
        }),
        { numRuns: 150 },
      );
    });

    it('encapsulates any packets, each datagram under its own', () => {
      fc.assert(
        fc.property(fc.array(specs, { minLength: 1, maxLength: 30 }), (stream) => {
          const frames = stream.map((each) => emitFrame({ ...each, destinationMac: 3 }));
          harness.fromContainer(...frames.map((bytes) => tapMessage(bytes)));
          const expected = stream.map(({ tos }, i) => ({
            tos: ENCAPSULATED[tos & 3],
            datagram: vxlanDatagram(frames[i] as Uint8Array),
          }));
          expect(harness.toPeerWithTos(peer)).toEqual(expected);
        }),
        { numRuns: 100 },
      );
    });
  });
});
