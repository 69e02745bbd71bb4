/** ICMP and ICMPv6 to the sender of what is too big: the whole answer against RFC 792, 1191 and 4443, and to whom there is none. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isChecksumSound, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { emitTooBig, NOT_ANSWERED, TOO_BIG_BYTES_MAX } from '../../src/wire/too-big.js';
import { BASE_SPEC, emitFrame, type FrameSpec, payloadOf } from '../dataplane/reference/frame-spec.js';
import { TCP, UDP } from '../dataplane/reference/packet.js';

const FRAME = 2000;
const ROOM = 1364;

/** @returns the answer, or undefined; what lies around it must not change */
function answerTo(frame: Uint8Array, room = ROOM, held = frame.length): Uint8Array | undefined {
  const bytes = new Uint8Array(70_000).fill(0xa5);
  bytes.set(frame, FRAME);
  const length = emitTooBig(bytes, FRAME, held, room, 16);
  expect(length).toBeLessThanOrEqual(TOO_BIG_BYTES_MAX);
  expect(bytes.subarray(FRAME, FRAME + frame.length)).toEqual(frame);
  expect(bytes.subarray(16 + TOO_BIG_BYTES_MAX, FRAME).every((byte) => byte === 0xa5)).toBe(true);
  return length === NOT_ANSWERED ? undefined : bytes.slice(16, 16 + length);
}

const spec = (changes: Partial<FrameSpec> = {}) => ({ ...BASE_SPEC, payload: payloadOf(1400, 1), ...changes });
const tagBytes = ({ vlanIds }: FrameSpec) => 14 + 4 * vlanIds.length;

function checkAnswer(from: FrameSpec, room: number, held?: number): void {
  const frame = emitFrame(from);
  const answer = answerTo(frame, room, held) as Uint8Array;
  expect(answer).toBeDefined();
  const link = tagBytes(from);
  const view = new DataView(answer.buffer);
  expect(answer.slice(0, 12)).toEqual(Uint8Array.of(...frame.slice(6, 12), ...frame.slice(0, 6)));
  expect(answer.slice(12, link)).toEqual(frame.slice(12, link));
  const quote = frame.slice(link, held);
  if (from.family === 4) {
    expect(isChecksumSound(answer, link, 20, 0)).toBe(true);
    expect([answer[link], answer[link + 6], answer[link + 9]]).toEqual([0x45, 0, 1]);
    expect(view.getUint16(link + 2)).toBe(answer.length - link);
    expect(answer.slice(link + 12, link + 16)).toEqual(frame.slice(link + 16, link + 20));
    expect(answer.slice(link + 16, link + 20)).toEqual(frame.slice(link + 12, link + 16));
    const icmp = link + 20;
    expect([answer[icmp], answer[icmp + 1], view.getUint16(icmp + 4)]).toEqual([3, 4, 0]);
    expect(view.getUint16(icmp + 6)).toBe(room - link);
    expect(isChecksumSound(answer, icmp, answer.length - icmp, 0)).toBe(true);
    expect(answer.slice(icmp + 8)).toEqual(quote.slice(0, 576 - 28));
    return;
  }
  expect([answer[link], answer[link + 6]]).toEqual([0x60, 58]);
  expect(view.getUint16(link + 4)).toBe(answer.length - link - 40);
  expect(answer.slice(link + 8, link + 24)).toEqual(frame.slice(link + 24, link + 40));
  expect(answer.slice(link + 24, link + 40)).toEqual(frame.slice(link + 8, link + 24));
  const icmp = link + 40;
  expect([answer[icmp], answer[icmp + 1], view.getUint32(icmp + 4)]).toEqual([2, 0, room - link]);
  const pseudo = pseudoHeaderSumIpv6(answer, link, 58, answer.length - icmp);
  expect(isChecksumSound(answer, icmp, answer.length - icmp, pseudo)).toBe(true);
  expect(answer.slice(icmp + 8)).toEqual(quote.slice(0, 1280 - 48));
}

describe('the answer', () => {
  it.each<[string, Partial<FrameSpec>]>([
    ['IPv4', {}],
    ['IPv4 with options', { ipOptions: Uint8Array.of(1, 1, 1, 0) }],
    ['IPv6', { family: 6 }],
    ['IPv6 with an extension header', { family: 6, extensionBytes: 16 }],
    ['IPv4 behind a tag', { vlanIds: [5] }],
    ['IPv6 behind two tags', { family: 6, vlanIds: [5, 6] }],
    ['UDP', { protocol: UDP }],
  ])('%s: is whole', (_name, changes) => {
    checkAnswer(spec(changes), ROOM);
  });

  it('quotes what there is, where only the headers are at hand', () => {
    checkAnswer(spec(), ROOM, 54);
    checkAnswer(spec({ family: 6 }), ROOM, 74);
  });

  it('is right for any packet', () => {
    const specs = fc
      .record({
        family: fc.constantFrom(4 as const, 6 as const),
        protocol: fc.constantFrom(TCP as typeof TCP, UDP as typeof UDP),
        vlanIds: fc.constantFrom([], [3], [3, 4]),
        source: fc.integer({ min: 2, max: 254 }),
        tos: fc.integer({ min: 0, max: 255 }),
        payload: fc.integer({ min: 1, max: 3000 }).map((bytes) => payloadOf(bytes, bytes)),
      })
      .map((drawn) => spec(drawn));
    fc.assert(
      fc.property(specs, fc.integer({ min: 1302, max: 9000 }), (from, room) => checkAnswer(from, room)),
      {
        numRuns: 100,
      },
    );
  });
});

describe('nobody is told', () => {
  const at = (changes: Partial<FrameSpec>, offset: number, ...values: number[]) => {
    const frame = emitFrame(spec(changes));
    frame.set(values, offset);
    return frame;
  };
  const V6: Partial<FrameSpec> = { family: 6 };

  it.each<[string, Uint8Array, number?]>([
    ['IPv4 without DF', emitFrame(spec({ fragmentField: 0 }))],
    ['a fragment', emitFrame(spec({ fragmentField: 0x6000 }))],
    ['a broadcast frame', at({}, 0, 255, 255, 255, 255, 255, 255)],
    ['a multicast frame', at({}, 0, 1)],
    ['an IPv4 group', at({}, 30, 224)],
    ['the IPv4 broadcast address', at({}, 30, 255, 255, 255, 255)],
    ['a source of 0.0.0.0', at({}, 26, 0, 0, 0, 0)],
    ['a loopback source', at({}, 26, 127)],
    ['a group as source', at({}, 26, 230)],
    ['ICMP unreachable', at({}, 23, 1).fill(3, 34, 35)],
    ['ICMP time exceeded', at({}, 23, 1).fill(11, 34, 35)],
    ['an MTU under 576', emitFrame(spec()), 14 + 575],
    ['an IPv6 group', at(V6, 38, 0xff)],
    ['a source of ::', at(V6, 22, ...new Array<number>(16).fill(0))],
    ['a source of ::1', at(V6, 22, ...new Array<number>(15).fill(0), 1)],
    ['an ICMPv6 error', at(V6, 20, 58).fill(1, 54, 55)],
    ['an MTU under 1280 over IPv6', emitFrame(spec(V6)), 14 + 1279],
    ['ARP', at({}, 12, 8, 6)],
    ['a frame that ends in its header', emitFrame(spec()).slice(0, 40)],
  ])('for %s', (_name, frame, room = ROOM) => {
    expect(answerTo(frame, room)).toBeUndefined();
  });

  it('but for an echo request', () => {
    expect(answerTo(at({}, 23, 1).fill(8, 34, 35))).toBeDefined();
    expect(answerTo(at(V6, 20, 58).fill(128, 54, 55))).toBeDefined();
  });
});
