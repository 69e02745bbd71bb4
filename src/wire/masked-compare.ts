/**
 * Whether two headers differ where a mask has bits: one WebAssembly call of some nanoseconds instead of two dozen
 * comparisons. The plain version is the reference, and what runs where there is no SIMD.
 */
import {
  addTo,
  assemble,
  get,
  I32_ADD,
  i32,
  instantiate,
  load128,
  set,
  until,
  V128_AND,
  V128_ANY_TRUE,
  V128_OR,
  V128_XOR,
} from './wasm-assembler.js';

export const MASK_STEP_BYTES = 16;

/**
 * @param length bytes to compare, a multiple of MASK_STEP_BYTES; all three areas must lie in the memory
 * @returns 0 if (one ^ other) & mask is 0 everywhere
 */
export type DifferFunction = (oneOffset: number, otherOffset: number, maskOffset: number, length: number) => number;

const ONE = 0;
const OTHER = 1;
const MASK = 2;
const LENGTH = 3;
const END = 4;
const FOUND = 5;

const MODULE = assemble({
  parameters: 4,
  wordLocals: 1,
  vectorLocals: 1,
  body: [
    ...[...get(ONE), ...get(LENGTH), I32_ADD, ...set(END)],
    ...until(ONE, END, [
      ...[...load128(ONE, 0), ...load128(OTHER, 0), ...V128_XOR, ...load128(MASK, 0), ...V128_AND],
      ...[...get(FOUND), ...V128_OR, ...set(FOUND)],
      ...[ONE, OTHER, MASK].flatMap((pointer) => addTo(pointer, i32(MASK_STEP_BYTES))),
    ]),
    ...[...get(FOUND), ...V128_ANY_TRUE],
  ],
});

/** Offsets count from the memory's first byte. @throws CompileError without SIMD */
export function makeSimdDiffer(memory: WebAssembly.Memory): DifferFunction {
  return instantiate(MODULE, memory) as DifferFunction;
}

export function makePlainDiffer(bytes: Uint8Array): DifferFunction {
  return (one, other, mask, length) => {
    for (let i = 0; i < length; i++) {
      if (((bytes[one + i]! ^ bytes[other + i]!) & bytes[mask + i]!) !== 0) return 1;
    }
    return 0;
  };
}
