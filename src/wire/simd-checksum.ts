/**
 * The Internet checksum's sum as WebAssembly SIMD: 64 bytes a round, four instructions for each 16. It works on the memory
 * that it is given, where it lies; nothing is copied in or out. checksum.ts is the reference that it is tested against.
 *
 * The module is small enough to be written down here instruction by instruction (WebAssembly core specification 2.0,
 * section 5.4), so that no build step and no compiler stands between the source and what runs.
 *
 *     sum(offset, length): 16-bit words in the machine's (little-endian) order are added pairwise into 32-bit lanes
 *     (i32x4.extadd_pairwise_i16x8_u); the lanes, then what is left over, are added up, folded, and the two bytes swapped:
 *     a one's complement sum is the same in either byte order but for that swap (RFC 1071, section 2 (B)).
 *
 * A lane grows by at most 2 x 0xffff for each 16 bytes: 2^32 is reached after half a megabyte; a superframe has 64 KiB.
 */

/** @returns the folded sum, 0 to 0xffff, as sum() of checksum.ts with `initial` 0 */
export type SumFunction = (offset: number, length: number) => number;

const I32 = 0x7f;
const V128 = 0x7b;

// Locals of the function, by index.
const POINTER = 0;
const LENGTH = 1;
const END = 2;
const TOTAL = 3;
const EVEN_LANES = 4;
const ODD_LANES = 5;

const END_OF_BODY = 0x0b;
const I32_ADD = 0x6a;
const I32_AND = 0x71;
const I32_OR = 0x72;
const I32_SHL = 0x74;
const I32_SHR_U = 0x76;
const I32_GE_U = 0x4f;

const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const i32 = (value: number) => [0x41, ...signedLeb(value)];
const addTo = (local: number, code: readonly number[]) => [...get(local), ...code, I32_ADD, ...set(local)];

/** `lanes` + the eight 16-bit words at POINTER + `at`, added pairwise. */
const addWords = (lanes: number, at: number) => [
  ...[...get(lanes), ...get(POINTER), 0xfd, 0x00, 0, at], // v128.load
  ...[0xfd, 0x7f], // i32x4.extadd_pairwise_i16x8_u
  ...[0xfd, 0xae, 0x01, ...set(lanes)], // i32x4.add
];

/** `body`, which moves POINTER on, again and again until POINTER has reached END. */
const untilEnd = (body: readonly number[]) => [
  ...[0x02, 0x40, 0x03, 0x40], // block, loop
  ...[...get(POINTER), ...get(END), I32_GE_U, 0x0d, 1], // br_if: leave the block
  ...body,
  ...[0x0c, 0, END_OF_BODY, END_OF_BODY], // br: once more
];

const endAfter = (mask: number) => [...get(POINTER), ...get(LENGTH), ...i32(mask), I32_AND, I32_ADD, ...set(END)];

const addLane = (lanes: number, lane: number) => addTo(TOTAL, [...get(lanes), 0xfd, 0x1b, lane]); // i32x4.extract_lane

const fold = [...get(TOTAL), ...i32(0xffff), I32_AND, ...get(TOTAL), ...i32(16), I32_SHR_U, I32_ADD, ...set(TOTAL)];

const BODY = [
  ...[2, 2, I32, 2, V128], // two runs of locals: END and TOTAL, EVEN_LANES and ODD_LANES
  ...endAfter(-64),
  ...untilEnd([
    ...addWords(EVEN_LANES, 0),
    ...addWords(ODD_LANES, 16),
    ...addWords(EVEN_LANES, 32),
    ...addWords(ODD_LANES, 48),
    ...addTo(POINTER, i32(64)),
  ]),
  ...endAfter(48),
  ...untilEnd([...addWords(EVEN_LANES, 0), ...addTo(POINTER, i32(16))]),
  ...[0, 1, 2, 3].flatMap((lane) => [...addLane(EVEN_LANES, lane), ...addLane(ODD_LANES, lane)]),
  ...endAfter(14),
  ...untilEnd([...addTo(TOTAL, [...get(POINTER), 0x2f, 0, 0]), ...addTo(POINTER, i32(2))]), // i32.load16_u
  // An odd last byte counts as if a 0 followed.
  ...[...get(LENGTH), ...i32(1), I32_AND, 0x04, 0x40], // if
  ...addTo(TOTAL, [...get(POINTER), 0x2d, 0, 0]), // i32.load8_u
  END_OF_BODY,
  ...fold,
  ...fold,
  ...[...get(TOTAL), ...i32(8), I32_SHL, ...i32(0xff00), I32_AND, ...get(TOTAL), ...i32(8), I32_SHR_U, I32_OR],
  END_OF_BODY,
];

const name = (text: string) => [text.length, ...Array.from(text, (letter) => letter.charCodeAt(0))];
const section = (id: number, content: readonly number[]) => [id, ...leb(content.length), ...content];

const MODULE = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
  ...section(1, [1, 0x60, 2, I32, I32, 1, I32]), // type 0: (i32, i32) -> i32
  ...section(2, [1, ...name('arena'), ...name('memory'), 0x02, 0x00, 0]), // import of a memory of any size
  ...section(3, [1, 0]), // function 0 has type 0
  ...section(7, [1, ...name('sum'), 0x00, 0]), // export of function 0
  ...section(10, [1, ...leb(BODY.length), ...BODY]),
]);

/** @returns whether this machine's WebAssembly has SIMD (V8 on x86-64 needs SSE4.1 for it) */
export function hasSimdChecksum(): boolean {
  return WebAssembly.validate(MODULE);
}

/** @returns the sum over the bytes of `memory`; offsets count from its first byte. @throws CompileError without SIMD */
export function makeSimdSum(memory: WebAssembly.Memory): SumFunction {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(MODULE), { arena: { memory } });
  return instance.exports.sum as SumFunction;
}

function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

function signedLeb(value: number): number[] {
  const low = value & 0x7f;
  const rest = value >> 7;
  const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
  return isLast ? [low] : [low | 0x80, ...signedLeb(rest)];
}
