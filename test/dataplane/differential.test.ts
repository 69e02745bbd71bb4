/**
 * The data plane against the reference, over real sockets: what leaves for a superframe or a plain frame from the TAP, and
 * what goes into the TAP for frames from the underlay, datagram by datagram and in trains.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import {
  DECAP_FRAMES,
  ENCAP_BYTES,
  ENCAP_FRAMES,
  SEGMENTS_COALESCED,
  SUPERFRAMES_COALESCED,
} from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import type { WorkerOffloads } from '../../src/shared/worker-input.js';
import { isChecksumSound, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { deliveries, trainsOf } from './deliveries.js';
import { ALL_OFFLOADS, Harness, vxlanDatagram } from './harness.js';
import {
  flowSpecs,
  frameStreams,
  invalidMessages,
  mutatedSuperframes,
  plainMessages,
  superframes,
} from './reference/arbitraries.js';
import { coalesceReference } from './reference/coalesce.js';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from './reference/frame-spec.js';
import { areEqual } from './reference/octets.js';
import { TCP, UDP } from './reference/packet.js';
import { segmentReference } from './reference/segment.js';

const PORT = 24_790;
let harness: Harness;

afterEach(() => harness.close());

/** A network of one MTU that every frame drawn fits into, with one peer. @returns the peer */
function open(offloads: Partial<WorkerOffloads>, sources = 8): number {
  harness = new Harness(PORT, {
    learning: false,
    offloads: { ...ALL_OFFLOADS, ...offloads },
    mtuBytes: 9000,
    sources,
    deepQueues: true,
  });
  const peer = harness.addPeer(2);
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
  return peer;
}

/** As toEqual, in a hundredth of its time. */
function expectSame(some: readonly Uint8Array[], others: readonly Uint8Array[]): void {
  expect(some.length).toBe(others.length);
  const at = some.findIndex((bytes, i) => !areEqual(bytes, others[i] as Uint8Array));
  if (at >= 0) expect(some[at], `number ${at}`).toEqual(others[at]);
}

const datagramsOf = (message: Uint8Array) => segmentReference(message).map((frame) => vxlanDatagram(frame));

describe('a message from the TAP', () => {
  it.each<[string, Partial<WorkerOffloads>, number | undefined]>([
    ['with every offload', {}, undefined],
    ['without UDP_SEGMENT', { underlayGso: false }, undefined],
    ['with UDP_SEGMENT refused beyond 1,000 bytes', {}, 1000],
    ['with plain checksums', { simdChecksum: false }, undefined],
  ])('leaves as the reference says, %s', (_name, offloads, gsoBytesMax) => {
    const peer = open(offloads);
    if (gsoBytesMax !== undefined) harness.context.gsoBytesMax[peer] = gsoBytesMax;
    fc.assert(
      fc.property(fc.oneof({ weight: 3, arbitrary: superframes }, plainMessages), (message) => {
        const [frames, bytes] = [harness.counter(ENCAP_FRAMES), harness.counter(ENCAP_BYTES)];
        harness.fromContainer(message);
        const expected = datagramsOf(message);
        expectSame(harness.toPeer(peer), expected);
        expect(harness.counter(ENCAP_FRAMES) - frames).toBe(expected.length);
        expect(harness.counter(ENCAP_BYTES) - bytes).toBe(expected.reduce((sum, { length }) => sum + length - 8, 0));
      }),
      { numRuns: 60 },
    );
    expect(harness.drops()).toEqual({});
  });

  it('leaves with sound checksums behind a routing header, which they look through', () => {
    const peer = open({});
    for (const protocol of [TCP, UDP] as const) {
      const spec: FrameSpec = { ...BASE_SPEC, family: 6, protocol, extensionBytes: 24, payload: payloadOf(3000, 1) };
      const message = emitSuperframe(spec, 1000);
      const upper = 78;
      // Destination options become a routing header of 24 bytes: one segment left, to fd00::3. The packet goes to fd00::9.
      message[10 + 20] = 43;
      message.set([protocol, 2, 0, 1, 0, 0, 0, 0, ...message.slice(10 + 38, 10 + 54)], 10 + 54);
      message[10 + 53] = 9;
      harness.fromContainer(message);
      const datagrams = harness.toPeer(peer);
      expect(datagrams).toHaveLength(3);
      for (const datagram of datagrams) {
        const frame = datagram.slice(8);
        frame[53] = 3;
        const pseudo = pseudoHeaderSumIpv6(frame, 14, protocol, frame.length - upper);
        expect(isChecksumSound(frame, upper, frame.length - upper, pseudo)).toBe(true);
      }
    }
  });

  it('leaves in its place among those of its burst', () => {
    const peer = open({}, 1);
    const few = fc.oneof({ weight: 2, arbitrary: plainMessages }, superframes);
    fc.assert(
      fc.property(fc.array(few, { minLength: 2, maxLength: 12 }), (messages) => {
        harness.fromContainer(...messages);
        expectSame(harness.toPeer(peer), messages.flatMap(datagramsOf));
      }),
      { numRuns: 30 },
    );
    expect(harness.drops()).toEqual({});
  });

  it('is flooded whole to every member', () => {
    const peers = [open({}), harness.addPeer(3), harness.addPeer(4)];
    harness.fdb.remove(3, fdbKeyHigh(0x0200, harness.networkIndex));
    fc.assert(
      fc.property(superframes, (message) => {
        harness.fromContainer(message);
        const expected = datagramsOf(message);
        for (const peer of peers) expectSame(harness.toPeer(peer), expected);
      }),
      { numRuns: 20 },
    );
    expect(harness.drops()).toEqual({});
  });

  it('that its virtio header belies is dropped and counted, and nothing of it is sent', () => {
    const peer = open({});
    fc.assert(
      fc.property(invalidMessages, (message) => {
        const before = countDrops();
        harness.fromContainer(message);
        expectSame(harness.toPeer(peer), []);
        expect(countDrops() - before).toBe(1);
      }),
      { numRuns: 300 },
    );
    expect(Object.keys(harness.drops()).sort()).toEqual(['tap_gso', 'tap_runt', 'tap_virtio_header']);
  });

  it('with some bytes changed at random is either dropped or leaves as the reference says', () => {
    const peer = open({});
    let [dropped, sent] = [0, 0];
    fc.assert(
      fc.property(mutatedSuperframes, (message) => {
        const before = countDrops();
        let expected: Uint8Array[] = [];
        try {
          expected = datagramsOf(message);
          sent++;
        } catch {
          dropped++;
        }
        harness.fromContainer(message);
        expectSame(harness.toPeer(peer), expected);
        expect(countDrops() - before).toBe(expected.length === 0 ? 1 : 0);
      }),
      { numRuns: 1500 },
    );
    expect(Math.min(dropped, sent)).toBeGreaterThan(100);
  });
});

describe('frames from the underlay', () => {
  const cuts = fc.array(fc.nat(99), { minLength: 1, maxLength: 40 });

  it.each<[string, Partial<WorkerOffloads>]>([
    ['every offload', {}],
    ['plain checksums', { simdChecksum: false }],
    ['UDP_GRO off', { underlayGro: false }],
    ['TCP coalescing off', { coalesceTcp: false }],
    ['UDP coalescing off', { coalesceUdp: false }],
  ])('come out of the TAP as they came, in order, singly and in trains: %s', (_name, offloads) => {
    const peer = open(offloads);
    let merged = 0;
    fc.assert(
      fc.property(frameStreams, fc.oneof(fc.constant([0]), fc.constant([99]), cuts), (stream, cut) => {
        const before = [DECAP_FRAMES, SUPERFRAMES_COALESCED, SEGMENTS_COALESCED].map((id) => harness.counter(id));
        harness.trainsFromPeer(
          peer,
          trainsOf(
            stream.map((frame) => vxlanDatagram(frame)),
            cut,
          ),
        );
        const groups = deliveries(harness.toContainer(), stream);
        const several = groups.filter(({ length }) => length > 1);
        merged += several.length;
        const segments = several.reduce((sum, { length }) => sum + length, 0);
        const after = [DECAP_FRAMES, SUPERFRAMES_COALESCED, SEGMENTS_COALESCED].map((id) => harness.counter(id));
        expect(after.map((count, i) => count - (before[i] as number))).toEqual([
          stream.length,
          several.length,
          segments,
        ]);
      }),
      { numRuns: 60 },
    );
    expect(merged).toBeGreaterThan(20);
    expect(harness.drops()).toEqual({});
  });

  it('are coalesced just as far as the reference does, within one batch', () => {
    const peer = open({});
    fc.assert(
      fc.property(frameStreams, fc.boolean(), (drawn, isSingle) => {
        let trains = trainsOf(
          drawn.map((frame) => vxlanDatagram(frame)),
          [isSingle ? 0 : 99],
        );
        trains = trains.slice(0, 16);
        const stream = drawn.slice(0, trains.flat().length);
        harness.trainsFromPeer(peer, trains);
        const groups = deliveries(harness.toContainer(), stream);
        const sizes = (all: Uint8Array[][]) => all.map(({ length }) => length);
        expect(sizes(groups)).toEqual(sizes(coalesceReference(stream)));
      }),
      { numRuns: 80 },
    );
  });

  it('are never mended: a bit flipped anywhere in a train comes out flipped, or the datagram is dropped', () => {
    const peer = open({});
    const trains = fc.record({
      flow: flowSpecs,
      payloadBytes: fc.integer({ min: 1, max: 1400 }),
      count: fc.integer({ min: 2, max: 20 }),
      segmentPart: fc.nat(9999),
      bitPart: fc.oneof(fc.nat(9999), fc.nat(500)),
    });
    fc.assert(
      fc.property(trains, ({ flow, payloadBytes, count, segmentPart, bitPart }) => {
        const stream = train(flow, payloadBytes, count);
        const datagrams = stream.map((frame) => vxlanDatagram(frame));
        const segment = Math.floor((segmentPart / 10_000) * count);
        const flipped = datagrams[segment] as Uint8Array;
        const bit = Math.floor((bitPart / 10_000) * flipped.length * 8);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        // The VXLAN header says something else then; the group bit of a source MAC is no sender's.
        const isDropped = bit < 64 || ((flipped[14] as number) & 1) !== 0;
        const arrived = datagrams.filter((_, i) => i !== segment || !isDropped).map((datagram) => datagram.slice(8));
        const before = countDrops();
        harness.trainsFromPeer(peer, [datagrams]);
        deliveries(harness.toContainer(), arrived);
        expect(countDrops() - before).toBe(isDropped ? 1 : 0);
      }),
      { numRuns: 1000 },
    );
  });
});

/** A flow's frames in sequence, all of one size. */
function train(flow: FrameSpec, payloadBytes: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    emitFrame({
      ...flow,
      id: (flow.id + i) % 0x1_0000,
      sequence: (flow.sequence + (flow.protocol === TCP ? i * payloadBytes : 0)) % 0x1_0000_0000,
      payload: payloadOf(payloadBytes, i),
    }),
  );
}

function countDrops(): number {
  return Object.values(harness.drops()).reduce((sum, count) => sum + count, 0);
}
