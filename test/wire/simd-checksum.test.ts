/** The SIMD sum against the plain one and against a slow one: every length, every alignment, the worst bytes, random ones. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sum } from '../../src/wire/checksum.js';
import { hasSimd, makeSimdSum } from '../../src/wire/simd-checksum.js';

const PAGE_BYTES = 65_536;
const PAGES = 4;
const MEMORY_BYTES = PAGES * PAGE_BYTES;
const LENGTHS = 301;
const ALIGNMENTS = 64;

const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
const bytes = new Uint8Array(memory.buffer);

/** RFC 1071 by the letter. */
function slowSum(offset: number, length: number): number {
  let total = 0;
  for (let i = 0; i < length; i++) total += (bytes[offset + i] as number) * (i % 2 === 0 ? 256 : 1);
  while (total > 0xffff) total = (total % 0x1_0000) + Math.floor(total / 0x1_0000);
  return total;
}

/** Lehmer's generator: all values, no period in sight. */
function fillAtRandom(seed: number): void {
  let state = (seed % 0x7fff_ffff) + 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (state * 48_271) % 0x7fff_ffff;
    bytes[i] = state >> 8;
  }
}

describe('the SIMD sum', () => {
  const simdSum = makeSimdSum(memory);

  it('is there on this machine', () => {
    expect(hasSimd()).toBe(true);
  });

  it.each([
    ['random bytes', () => fillAtRandom(1)],
    ['0xff', () => bytes.fill(0xff)],
    ['0x00', () => bytes.fill(0)],
    ['0xff and 0x00 in turn', () => new Uint16Array(memory.buffer).fill(0x00ff)],
  ])(`is the plain one for lengths of 0 to ${LENGTHS - 1} at each of ${ALIGNMENTS} alignments: %s`, (_name, fill) => {
    fill();
    const wrong: string[] = [];
    for (let offset = 0; offset < ALIGNMENTS; offset++) {
      for (let length = 0; length < LENGTHS; length++) {
        const got = simdSum(offset, length);
        if (got !== sum(bytes, offset, length, 0) || got !== slowSum(offset, length)) wrong.push(`${offset}+${length}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each([65_507, 65_535, 65_536, 131_071, 131_072])('holds %i bytes of 0xff', (length) => {
    bytes.fill(0xff);
    for (const offset of [0, 1, 2, 15, 63]) {
      expect(simdSum(offset, length)).toBe(slowSum(offset, length));
      expect(simdSum(offset, length)).toBe(sum(bytes, offset, length, 0));
    }
  });

  it('is the plain one anywhere in the memory, up to its last byte, and changes nothing', () => {
    fillAtRandom(2);
    const before = Uint8Array.from(bytes);
    const end = fc.oneof(fc.constant(MEMORY_BYTES), fc.nat(MEMORY_BYTES));
    fc.assert(
      fc.property(end, fc.oneof(fc.nat(3000), fc.nat(131_072)), (to, wanted) => {
        const length = Math.min(wanted, to);
        expect(simdSum(to - length, length)).toBe(sum(bytes, to - length, length, 0));
      }),
      { numRuns: 2000 },
    );
    expect(Buffer.compare(bytes, before)).toBe(0);
  });

  it('depends on every bit', () => {
    fillAtRandom(3);
    fc.assert(
      fc.property(
        fc.nat(100),
        fc.integer({ min: 1, max: 1500 }),
        fc.nat(0xffff),
        fc.nat(7),
        (offset, length, at, bit) => {
          const before = simdSum(offset, length);
          const place = offset + (at % length);
          bytes[place] = (bytes[place] as number) ^ (1 << bit);
          expect(simdSum(offset, length)).not.toBe(before);
          expect(simdSum(offset, length)).toBe(sum(bytes, offset, length, 0));
        },
      ),
      { numRuns: 500 },
    );
  });
});
