/**
 * The reference of segmentation and coalescing against vectors whose checksums were made by hand, against the wire's
 * checksum functions, and against itself: what is merged and segmented again is what came in.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isChecksumSound, pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { isIpv4HeaderSound } from '../../src/wire/ipv4.js';
import {
  frameStreams,
  frames,
  invalidMessages,
  ODDITY_NAMES,
  plainMessages,
  superframes,
} from './reference/arbitraries.js';
import {
  coalesceReference,
  IP_BYTES_MAX,
  mergeReference,
  renumberedReference,
  SEGMENTS_MAX,
} from './reference/coalesce.js';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from './reference/frame-spec.js';
import { areEqual, get16, hex, join } from './reference/octets.js';
import { takeApart, UDP } from './reference/packet.js';
import { expandReference, segmentReference } from './reference/segment.js';
import { readVirtioHeader, VIRTIO_BYTES } from './reference/virtio-header.js';

const LINK = '020000000002 020000000001';
/** 192.0.2.1 -> 192.0.2.2, id 0xffff, DF; sequence 0xfffffffe, CWR ACK PSH FIN; 7 bytes of payload. */
const TCP_SUPERFRAME = hex(`${LINK} 0800
  4500002f ffff4000 4006b6c5 c0000201 c0000202
  12340050 fffffffe 00000007 50990200 84250000 01020304050607`);
const TCP_SEGMENTS = [
  `4500002b ffff4000 4006b6c9 c0000201 c0000202 12340050 fffffffe 00000007 50900200 12c20000 010203`,
  `4500002b 00004000 4006b6c9 c0000201 c0000202 12340050 00000001 00000007 50100200 0d3d0000 040506`,
  `45000029 00014000 4006b6ca c0000201 c0000202 12340050 00000004 00000007 50190200 10380000 07`,
].map((packet) => hex(`${LINK} 0800 ${packet}`));

const ADDRESSES = '20010db8000000000000000000000001 20010db8000000000000000000000002';
const UDP_SUPERFRAME = hex(`${LINK} 86dd 60000000 000f1140 ${ADDRESSES} 12340035 000f5b95 01020304050607`);
const UDP_SEGMENTS = [
  `60000000 000c1140 ${ADDRESSES} 12340035 000c8df2 01020304`,
  `60000000 000b1140 ${ADDRESSES} 12340035 000b85f4 050607`,
].map((packet) => hex(`${LINK} 86dd ${packet}`));

const TCP_VIRTIO = (type = '01', size = '0300') => hex(`01 ${type} 3600 ${size} 2200 1000`);
const UDP_VIRTIO = hex('01 05 3e00 0400 3600 0600');

describe('segmentation', () => {
  it.each(['01', '81'])('numbers TCP segments across the wraps, FIN and PSH last, CWR first (gso type %s)', (type) => {
    expect(segmentReference(join(TCP_VIRTIO(type), TCP_SUPERFRAME))).toEqual(TCP_SEGMENTS);
  });

  it('gives each UDP segment its own length and checksum', () => {
    expect(segmentReference(join(UDP_VIRTIO, UDP_SUPERFRAME))).toEqual(UDP_SEGMENTS);
  });

  it('completes a single packet, and writes a UDP checksum of 0 as 0xffff', () => {
    const finished = hex(`${LINK} 86dd 60000000 000a1140 ${ADDRESSES} 12340035 000affff 91fc`);
    const unfinished = hex(`${LINK} 86dd 60000000 000a1140 ${ADDRESSES} 12340035 000a5b90 91fc`);
    expect(segmentReference(join(hex('01 00 0000 0000 3600 0600'), unfinished))).toEqual([finished]);
    expect(segmentReference(join(hex('00 00 0000 0000 0000 0000'), finished))).toEqual([finished]);
  });

  it('makes one finished frame where the segment size is not reached', () => {
    const [first] = TCP_SEGMENTS as [Uint8Array];
    const alone = segmentReference(mergeless(first, TCP_VIRTIO('01', '0500')));
    expect(alone).toEqual([first]);
  });

  it('of any superframe makes sound frames that hold the whole payload', () => {
    fc.assert(
      fc.property(superframes, (message) => {
        const whole = takeApart(message.slice(VIRTIO_BYTES))!;
        const { gsoSize } = readVirtioHeader(message);
        const segments = segmentReference(message);
        expect(segments).toHaveLength(Math.ceil(whole.payload.length / gsoSize));
        for (const frame of segments) expectSound(frame);
        const pieces = segments.map((frame) => takeApart(frame)!);
        expect(Buffer.compare(join(...pieces.map(({ payload }) => payload)), whole.payload)).toBe(0);
        for (const { link } of pieces) expect(link).toEqual(whole.link);
        if (whole.family === 4) {
          const id = get16(whole.network, 4);
          expect(pieces.map(({ network }) => get16(network, 4))).toEqual(pieces.map((_, i) => (id + i) % 0x1_0000));
        }
      }),
      { numRuns: 50 },
    );
  });

  it('takes a single packet of any kind, and refuses what its header belies', () => {
    fc.assert(fc.property(plainMessages, (message) => segmentReference(message).length === 1));
    fc.assert(
      fc.property(invalidMessages, (message) => {
        expect(() => segmentReference(message)).toThrow();
      }),
    );
  });
});

describe('coalescing', () => {
  it('merges the vectors into the superframes, and only these', () => {
    const clean = TCP_SEGMENTS.slice(0, 2).map((frame) => unflagged(frame));
    expect(coalesceReference(UDP_SEGMENTS)).toEqual([UDP_SEGMENTS]);
    expect(mergeReference(UDP_SEGMENTS)).toEqual(join(UDP_VIRTIO, UDP_SUPERFRAME));
    expect(expandReference(mergeReference(UDP_SEGMENTS))).toEqual(UDP_SEGMENTS);
    // CWR on the first, FIN on the last: never merged.
    expect(coalesceReference(TCP_SEGMENTS)).toEqual(TCP_SEGMENTS.map((frame) => [frame]));
    expect(coalesceReference(clean)).toEqual([clean]);
  });

  it('closes the aggregate behind PSH and behind a shorter segment', () => {
    const push = flow([100, 100, 100, 100], { 1: { flags: 0x18 } });
    expect(sizes(push)).toEqual([2, 2]);
    expect(sizes(flow([100, 100, 40, 100, 100]))).toEqual([3, 2]);
    expect(sizes(flow([100, 101, 101]))).toEqual([1, 2]);
    expect(sizes(flow([100, 100, 100], { 0: { flags: 0x18 } }))).toEqual([1, 2]);
  });

  it('stops at 64 segments and at the longest IP packet', () => {
    expect(sizes(flow(new Array<number>(130).fill(10)))).toEqual([SEGMENTS_MAX, SEGMENTS_MAX, 2]);
    const fit = Math.floor((IP_BYTES_MAX - 40) / 1448);
    expect(sizes(flow(new Array<number>(50).fill(1448)))).toEqual([fit, 50 - fit]);
  });

  it.each<[string, Partial<FrameSpec>]>([
    ['an id that stands without DF', { id: 1, fragmentField: 0 }],
    ['an id that jumps', { id: 3 }],
    ['an id that goes back', { id: 0 }],
    ['another acknowledgement', { acknowledgement: 1 }],
    ['another window', { window: 1 }],
    ['a gap', { sequence: 1101 }],
    ['an old segment', { sequence: 1000 }],
    ['FIN', { flags: 0x11 }],
    ['another TTL', { hopLimit: 63 }],
    ['another TOS', { tos: 1 }],
    ['no DF', { fragmentField: 0 }],
    ['TCP options', { tcpOptions: new Uint8Array(4).fill(1) }],
    ['a VLAN tag', { vlanIds: [7] }],
    ['IPv4 options', { ipOptions: new Uint8Array(4).fill(1) }],
    ['a fragment', { fragmentField: 0x2000 }],
    ['a wrong checksum', { fault: 'bad checksum' }],
    ['a wrong header checksum', { fault: 'bad header checksum' }],
    ['padding', { fault: 'padding' }],
    ['nothing in it', { payload: new Uint8Array(0) }],
  ])('leaves a frame with %s alone', (_name, change) => {
    expect(sizes(flow([100, 100], { 1: change }))).toEqual([1, 1]);
    expect(sizes(flow([100, 100]))).toEqual([2]);
  });

  it('takes an id that stands where DF is set, and says what becomes of it', () => {
    const stream = flow([100, 100, 100], { 1: { id: 1 }, 2: { id: 2 } });
    expect(coalesceReference(stream)).toEqual([stream]);
    expect(renumberedReference(stream)).toEqual(flow([100, 100, 100]));
    expect(expandReference(mergeReference(stream))).toEqual(flow([100, 100, 100]));
    const bare = flow([100, 100], { 0: { fragmentField: 0 }, 1: { id: 1, fragmentField: 0 } });
    expect(coalesceReference(bare)).toHaveLength(2);
  });

  it('leaves UDP without checksum alone', () => {
    const bare: Partial<FrameSpec> = { protocol: UDP, fault: 'no checksum' };
    expect(sizes(flow([100, 100], { 0: bare, 1: bare }))).toEqual([1, 1]);
    expect(sizes(flow([100, 100], { 0: { protocol: UDP }, 1: { protocol: UDP } }))).toEqual([2]);
  });

  it('of any stream keeps every frame in its order, and expands to it byte for byte, ids that mean nothing renumbered', () => {
    let merged = 0;
    fc.assert(
      fc.property(frameStreams, (stream) => {
        const groups = coalesceReference(stream);
        expect(areSame(groups.flat(), stream)).toBe(true);
        for (const group of groups) {
          if (group.length > 1) merged++;
          expect(areSame(expandReference(mergeReference(group)), renumberedReference(group))).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
    expect(merged).toBeGreaterThan(20);
    expect(ODDITY_NAMES.length).toBeGreaterThan(30);
  });

  it('passes a frame of any kind', () => {
    fc.assert(fc.property(frames, (frame) => mergeReference([frame]).length === frame.length + VIRTIO_BYTES));
  });

  it.each([
    ['a wrong total length', 16, 1],
    ['a wrong header checksum', 24, 1],
    ['a wrong pseudo-header sum', 50, 1],
  ])('expanding refuses %s', (_name, at, flip) => {
    const message = mergeReference(flow([100, 100]));
    expect(expandReference(message)).toHaveLength(2);
    message[VIRTIO_BYTES + at]! ^= flip;
    expect(() => expandReference(message)).toThrow();
  });
});

/** As toEqual, in a hundredth of its time. */
function areSame(some: Uint8Array[], others: Uint8Array[]): boolean {
  return some.length === others.length && some.every((bytes, i) => areEqual(bytes, others[i]!));
}

/** The unfinished message of a single finished frame. */
function mergeless(frame: Uint8Array, virtio: Uint8Array): Uint8Array {
  const spec: FrameSpec = { ...BASE_SPEC, payload: hex('010203') };
  const message = emitSuperframe(spec, 5);
  expect(readVirtioHeader(message)).toEqual(readVirtioHeader(join(virtio, frame)));
  const unfinished = Uint8Array.from(frame);
  // The sum of 192.0.2.1, 192.0.2.2, 6 and 23.
  unfinished.set(hex('8421'), 50);
  return join(virtio, unfinished);
}

/** Without CWR, its checksum mended (RFC 1624). */
function unflagged(frame: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(frame);
  const before = copy[47] as number;
  copy[47] = 0x10;
  const checksum = (copy[50] as number) * 256 + (copy[51] as number) + before - 0x10;
  copy.set([checksum >> 8, checksum % 256], 50);
  expectSound(copy);
  return copy;
}

/** Frames of one TCP flow in sequence; `changes` by place. */
function flow(payloads: number[], changes: Record<number, Partial<FrameSpec>> = {}): Uint8Array[] {
  let { sequence } = BASE_SPEC;
  return payloads.map((bytes, i) => {
    const frame = emitFrame({ ...BASE_SPEC, id: 1 + i, sequence, payload: payloadOf(bytes, i), ...changes[i] });
    sequence += bytes;
    return frame;
  });
}

const sizes = (stream: Uint8Array[]): number[] => coalesceReference(stream).map((group) => group.length);

/** By the wire's own functions, which were tested against others' captures. */
function expectSound(frame: Uint8Array): void {
  const { link, network, transport, payload, family, protocol } = takeApart(frame)!;
  const upper = link.length + network.length;
  const upperBytes = transport.length + payload.length;
  const pseudo =
    family === 4
      ? pseudoHeaderSumIpv4(frame, link.length, protocol, upperBytes)
      : pseudoHeaderSumIpv6(frame, link.length, protocol, upperBytes);
  expect(isChecksumSound(frame, upper, upperBytes, pseudo)).toBe(true);
  if (family === 4) {
    expect(isIpv4HeaderSound(frame, link.length)).toBe(true);
    expect(get16(network, 2)).toBe(network.length + upperBytes);
  } else {
    expect(get16(network, 4)).toBe(network.length - 40 + upperBytes);
  }
  if (protocol === UDP) expect(get16(transport, 4)).toBe(upperBytes);
}
