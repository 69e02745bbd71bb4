/**
 * The Internet checksum's sum as WebAssembly SIMD: 64 bytes a round. It works on the memory that it is given, where the
 * bytes lie; nothing is copied in or out. checksum.ts is the reference that it is tested against.
 *
 *     16-bit words in the machine's (little-endian) order are added pairwise into 32-bit lanes; the lanes, then what is
 *     left over, are added up, folded, and the two bytes swapped: a one's complement sum is the same in either byte order
 *     but for that swap (RFC 1071, section 2 (B)).
 *
 * The machines' pairwise sum (pmaddwd) is of signed words: flipping a word's highest bit makes it word - 0x8000, and
 * 0x8000 for each word is added at the end: three instructions for 16 bytes, where the unsigned one takes four.
 *
 * All together stays below 2^32 for 128 KiB; a superframe has half of that.
 */
import {
  addTo,
  assemble,
  extractLane,
  get,
  I32_ADD,
  I32_AND,
  I32_DOT_I16_S,
  I32_OR,
  I32_SHL,
  I32_SHR_U,
  I32X4_ADD,
  i32,
  ifTrue,
  instantiate,
  load8,
  load16,
  load128,
  set,
  splat16,
  until,
  V128_XOR,
} from './wasm-assembler.js';

/** @returns the folded sum, 0 to 0xffff, as sum() of checksum.ts with `initial` 0 */
export type SumFunction = (offset: number, length: number) => number;

const POINTER = 0;
const LENGTH = 1;
const END = 2;
const TOTAL = 3;
const EVEN_LANES = 4;
const ODD_LANES = 5;
const HIGH_BITS = 6;
const ONES = 7;

const addWords = (lanes: number, at: number) => [
  ...[...load128(POINTER, at), ...get(HIGH_BITS), ...V128_XOR, ...get(ONES), ...I32_DOT_I16_S],
  ...[...get(lanes), ...I32X4_ADD, ...set(lanes)],
];
const endAfter = (mask: number) => [...get(POINTER), ...get(LENGTH), ...i32(mask), I32_AND, I32_ADD, ...set(END)];
const fold = [...get(TOTAL), ...i32(0xffff), I32_AND, ...get(TOTAL), ...i32(16), I32_SHR_U, I32_ADD, ...set(TOTAL)];

const MODULE = assemble({
  parameters: 2,
  wordLocals: 2,
  vectorLocals: 4,
  body: [
    ...[...splat16(0x8000), ...set(HIGH_BITS), ...splat16(1), ...set(ONES)],
    // 0x8000 for each word of the whole steps: length & ~15, halved, shifted left by 15.
    ...[...get(LENGTH), ...i32(-16), I32_AND, ...i32(14), I32_SHL, ...set(TOTAL)],
    ...endAfter(-64),
    ...until(POINTER, END, [
      ...addWords(EVEN_LANES, 0),
      ...addWords(ODD_LANES, 16),
      ...addWords(EVEN_LANES, 32),
      ...addWords(ODD_LANES, 48),
      ...addTo(POINTER, i32(64)),
    ]),
    ...endAfter(48),
    ...until(POINTER, END, [...addWords(EVEN_LANES, 0), ...addTo(POINTER, i32(16))]),
    ...[EVEN_LANES, ODD_LANES].flatMap((lanes) =>
      [0, 1, 2, 3].flatMap((lane) => addTo(TOTAL, extractLane(lanes, lane))),
    ),
    ...endAfter(14),
    ...until(POINTER, END, [...addTo(TOTAL, load16(POINTER)), ...addTo(POINTER, i32(2))]),
    // An odd last byte counts as if a 0 followed.
    ...[...get(LENGTH), ...i32(1), I32_AND, ...ifTrue(addTo(TOTAL, load8(POINTER)))],
    ...fold,
    ...fold,
    ...[...get(TOTAL), ...i32(8), I32_SHL, ...i32(0xff00), I32_AND, ...get(TOTAL), ...i32(8), I32_SHR_U, I32_OR],
  ],
});

/** @returns whether this machine's WebAssembly has SIMD (V8 on x86-64 needs SSE4.1 for it) */
export function hasSimd(): boolean {
  return WebAssembly.validate(MODULE);
}

/** Offsets count from the memory's first byte. @throws CompileError without SIMD */
export function makeSimdSum(memory: WebAssembly.Memory): SumFunction {
  return instantiate(MODULE, memory) as SumFunction;
}
