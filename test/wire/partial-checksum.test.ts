/**
 * Unfinished checksums: found where the kernel leaves them, for TCP and UDP over IPv4 and IPv6, behind VLAN tags; never in
 * a frame with a finished one, a fragment, a trailer, a length that lies or a cut at any byte.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { completeChecksum, pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { CHECKSUM_FINISHED, findPartialChecksum } from '../../src/wire/partial-checksum.js';

interface Shape {
  readonly ipv6: boolean;
  readonly tcp: boolean;
  readonly tags: number;
  readonly payload: Uint8Array;
}

const shape: fc.Arbitrary<Shape> = fc.record({
  ipv6: fc.boolean(),
  tcp: fc.boolean(),
  tags: fc.integer({ min: 0, max: 2 }),
  payload: fc.uint8Array({ minLength: 1, maxLength: 64 }),
});

/** A frame as the kernel hands it over: the pseudo-header's sum in the checksum field. */
function makeFrame({ ipv6, tcp, tags, payload }: Shape) {
  const ip = 14 + tags * 4;
  const upper = ip + (ipv6 ? 40 : 20);
  const upperBytes = (tcp ? 20 : 8) + payload.length;
  const bytes = new Uint8Array(upper + upperBytes);
  const view = new DataView(bytes.buffer);
  for (let tag = 0; tag < tags; tag++) view.setUint16(12 + tag * 4, 0x8100);
  view.setUint16(ip - 2, ipv6 ? 0x86dd : 0x0800);
  const protocol = tcp ? 6 : 17;
  if (ipv6) {
    bytes[ip] = 0x60;
    view.setUint16(ip + 4, upperBytes);
    bytes[ip + 6] = protocol;
    bytes.set([0xfd, 1, 2, 3], ip + 8);
    bytes.set([0xfd, 9, 8, 7], ip + 24);
  } else {
    bytes[ip] = 0x45;
    view.setUint16(ip + 2, 20 + upperBytes);
    bytes[ip + 9] = protocol;
    bytes.set([10, 0, 0, 2, 10, 0, 0, 3], ip + 12);
  }
  view.setUint32(upper, 0x13881389);
  if (tcp) bytes[upper + 12] = 0x50;
  else view.setUint16(upper + 4, upperBytes);
  bytes.set(payload, upper + upperBytes - payload.length);
  const sum = (ipv6 ? pseudoHeaderSumIpv6 : pseudoHeaderSumIpv4)(bytes, ip, protocol, upperBytes);
  const field = tcp ? 16 : 6;
  view.setUint16(upper + field, sum);
  return { bytes, view, ip, upper, field, sum };
}

describe('findPartialChecksum', () => {
  it('finds an unfinished checksum, and calls the finished one finished', () => {
    fc.assert(
      fc.property(shape, (given) => {
        const { bytes, view, upper, field, sum } = makeFrame(given);
        expect(findPartialChecksum(bytes, 0, bytes.length)).toBe((upper << 8) | field);
        completeChecksum(bytes, 0, bytes.length, upper, field);
        // Once in 65,536 frames both are the same number; then the answer is the same, and does no harm.
        fc.pre(view.getUint16(upper + field) !== sum);
        expect(findPartialChecksum(bytes, 0, bytes.length)).toBe(CHECKSUM_FINISHED);
      }),
    );
  });

  it('leaves a frame with a trailer, and one that is cut anywhere, alone', () => {
    fc.assert(
      fc.property(shape, fc.integer({ min: 1, max: 20 }), (given, trailerBytes) => {
        const { bytes } = makeFrame(given);
        const longer = new Uint8Array(bytes.length + trailerBytes);
        longer.set(bytes);
        expect(findPartialChecksum(longer, 0, longer.length)).toBe(CHECKSUM_FINISHED);
        for (let length = 0; length < bytes.length; length++) {
          expect(findPartialChecksum(bytes.slice(0, length), 0, length)).toBe(CHECKSUM_FINISHED);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('leaves fragments alone', () => {
    for (const flags of [0x2000, 0x0001]) {
      const { bytes, view, ip } = makeFrame({ ipv6: false, tcp: false, tags: 0, payload: Uint8Array.of(1) });
      view.setUint16(ip + 6, flags);
      expect(findPartialChecksum(bytes, 0, bytes.length)).toBe(CHECKSUM_FINISHED);
    }
  });

  it.each([0, 4, 6, 15])(
    "leaves TCP alone whose data offset is %i words: below a header's five, or beyond the frame",
    (words) => {
      const { bytes, upper } = makeFrame({ ipv6: false, tcp: true, tags: 0, payload: new Uint8Array(3) });
      bytes[upper + 12] = words << 4;
      expect(findPartialChecksum(bytes, 0, bytes.length)).toBe(CHECKSUM_FINISHED);
    },
  );

  it.each([-1, 1])('leaves UDP alone whose length field is off by %i', (off) => {
    const { bytes, view, upper } = makeFrame({ ipv6: true, tcp: false, tags: 1, payload: new Uint8Array(3) });
    view.setUint16(upper + 4, 11 + off);
    expect(findPartialChecksum(bytes, 0, bytes.length)).toBe(CHECKSUM_FINISHED);
  });

  it('survives any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(findPartialChecksum(bytes, 0, bytes.length)).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 2000 },
    );
  });
});
