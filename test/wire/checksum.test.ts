/** The checksum against slow and obvious versions, at every alignment and length. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readUint16, writeUint16 } from '../../src/wire/byte-order.js';
import {
  completeChecksum,
  finish,
  fold,
  isChecksumSound,
  pseudoHeaderSumIpv4,
  pseudoHeaderSumIpv6,
  sum,
  updateChecksum,
} from '../../src/wire/checksum.js';

/** RFC 1071 by the letter: all words as one big number, then carries added back. */
function slowSum(bytes: readonly number[], initial: number): number {
  let total = BigInt(initial);
  for (let i = 0; i < bytes.length; i += 2) total += BigInt(bytes[i]! * 256 + (bytes[i + 1] ?? 0));
  while (total > 0xffffn) total = (total & 0xffffn) + (total >> 16n);
  return Number(total);
}

const anyBytes = fc.uint8Array({ minLength: 0, maxLength: 200 });
const extremeBytes = fc
  .array(fc.constantFrom(0x00, 0xff, 0x01, 0xfe), { maxLength: 80 })
  .map((list) => Uint8Array.from(list));
const content = fc.oneof(anyBytes, extremeBytes);

/** `content` at `offset` in a buffer whose other bytes would change the sum. */
function placed(bytes: Uint8Array, offset: number): Uint8Array {
  const buffer = new Uint8Array(offset + bytes.length + 5).fill(0xa5);
  buffer.set(bytes, offset);
  return buffer;
}

describe('sum', () => {
  it('is the example of RFC 1071 section 3', () => {
    expect(sum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7), 0, 8, 0)).toBe(0xddf2);
  });

  it('equals the slow version at any offset, length and initial sum', () => {
    fc.assert(
      fc.property(content, fc.nat(9), fc.nat(0x7fffffff), (bytes, offset, initial) => {
        expect(sum(placed(bytes, offset), offset, bytes.length, initial)).toBe(slowSum([...bytes], initial));
      }),
      { numRuns: 1000 },
    );
  });

  it.each([65535, 65536, 70001, 1 << 20])('holds %i bytes of 0xff, the worst case', (length) => {
    const bytes = new Uint8Array(length).fill(0xff);
    expect(sum(bytes, 0, length, 0x7fffffff)).toBe(slowSum([...bytes], 0x7fffffff));
  });

  it('goes on from an even part', () => {
    fc.assert(
      fc.property(content, fc.nat(100), (bytes, cut) => {
        const even = Math.min(cut & ~1, bytes.length & ~1);
        const parts = sum(bytes, even, bytes.length - even, sum(bytes, 0, even, 0));
        expect(parts).toBe(sum(bytes, 0, bytes.length, 0));
      }),
    );
  });
});

it('fold and finish stay in 16 bits for any int32 and are zero only as documented', () => {
  fc.assert(
    fc.property(fc.nat(0x7fffffff), (partial) => {
      expect(fold(partial)).toBe(slowSum([], partial));
      expect(finish(partial)).toBe(0xffff - slowSum([], partial));
    }),
  );
  expect(fold(0)).toBe(0);
  expect(fold(0xffff)).toBe(0xffff);
});

describe('pseudo-header sums', () => {
  it('IPv4: addresses, protocol, length', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 20 }),
        fc.nat(255),
        fc.nat(65535),
        (header, protocol, length) => {
          const pseudo = [...header.subarray(12, 20), 0, protocol, length >> 8, length & 255];
          expect(pseudoHeaderSumIpv4(placed(header, 3), 3, protocol, length)).toBe(slowSum(pseudo, 0));
        },
      ),
    );
  });

  it('IPv6: addresses, 32-bit length, protocol', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 40, maxLength: 40 }),
        fc.nat(255),
        fc.nat(65535),
        (header, protocol, length) => {
          const pseudo = [...header.subarray(8, 40), 0, 0, length >> 8, length & 255, 0, 0, 0, protocol];
          expect(pseudoHeaderSumIpv6(placed(header, 3), 3, protocol, length)).toBe(slowSum(pseudo, 0));
        },
      ),
    );
  });
});

describe('completeChecksum', () => {
  it('stores the complement of the sum from csum_start to the end, and touches nothing else', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 30, maxLength: 200 }),
        fc.nat(5),
        fc.nat(20),
        fc.constantFrom(2, 6, 7, 8),
        (frame, frameOffset, csumStart, csumOffset) => {
          const buffer = placed(frame, frameOffset);
          const expected = Uint8Array.from(buffer);
          let checksum = 0xffff - slowSum([...frame.subarray(csumStart)], 0);
          if (checksum === 0 && csumOffset === 6) checksum = 0xffff;
          writeUint16(expected, frameOffset + csumStart + csumOffset, checksum);
          expect(completeChecksum(buffer, frameOffset, frame.length, csumStart, csumOffset)).toBe(true);
          expect(buffer).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('verifies afterwards with the pseudo-header sum that the field held', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 90 }), fc.nat(0xffff), (datagram, pseudoSum) => {
        writeUint16(datagram, 6, pseudoSum);
        completeChecksum(datagram, 0, datagram.length, 0, 6);
        expect(isChecksumSound(datagram, 0, datagram.length, pseudoSum)).toBe(true);
        datagram[0]! ^= 0x10;
        expect(isChecksumSound(datagram, 0, datagram.length, pseudoSum)).toBe(false);
      }),
    );
  });

  it('makes 0 into 0xffff for UDP alone', () => {
    // All words sum to 0xffff, so that the complement is 0.
    const frame = Uint8Array.of(0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0);
    const udp = Uint8Array.from(frame);
    expect(completeChecksum(udp, 0, 10, 0, 6)).toBe(true);
    expect(readUint16(udp, 6)).toBe(0xffff);
    const other = Uint8Array.from(frame).fill(0xee, 4, 6);
    writeUint16(other, 4, 0);
    expect(completeChecksum(other, 0, 10, 0, 4)).toBe(true);
    expect(readUint16(other, 4)).toBe(0);
  });

  it.each([
    ['field over the frame’s end', 0, 40, 33, 6],
    ['start over the frame’s end', 0, 40, 65535, 16],
    ['offset over the frame’s end', 0, 40, 10, 65535],
    ['frame over the buffer’s end', 1, 64, 34, 6],
    ['negative start', 0, 40, -2, 6],
    ['negative offset', 0, 40, 10, -2],
    ['negative frame offset', -1, 40, 10, 6],
    ['empty frame', 0, 0, 0, 0],
  ])('refuses %s and writes nothing', (_, frameOffset, frameBytes, csumStart, csumOffset) => {
    const buffer = new Uint8Array(64).fill(0xa5);
    expect(completeChecksum(buffer, frameOffset, frameBytes, csumStart, csumOffset)).toBe(false);
    expect(buffer).toEqual(new Uint8Array(64).fill(0xa5));
  });

  it('takes a field that ends exactly with the frame', () => {
    expect(completeChecksum(new Uint8Array(64), 0, 42, 34, 6)).toBe(true);
    expect(completeChecksum(new Uint8Array(64), 0, 41, 34, 6)).toBe(false);
  });
});

it('updateChecksum equals a fresh checksum (RFC 1624)', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.nat(0xffff), (header, newWord) => {
      header[0] = 0x45; // A real header is never all zeros: the two representations of zero don't meet.
      writeUint16(header, 10, 0);
      writeUint16(header, 10, finish(sum(header, 0, 20, 0)));
      const oldWord = readUint16(header, 8);
      writeUint16(header, 8, newWord);
      updateChecksum(header, 10, oldWord, newWord);
      const updated = readUint16(header, 10);
      writeUint16(header, 10, 0);
      expect(updated).toBe(finish(sum(header, 0, 20, 0)));
    }),
  );
});
