/**
 * WebAssembly modules written down instruction by instruction: the few loops that SIMD makes faster are so short that no
 * compiler and no build step need stand between the source and what runs. Cold.
 *
 * Source: WebAssembly core specification 2.0, chapter 5 (binary format). A module here imports one memory, arena.memory,
 * and exports one function of int32 parameters that answers an int32.
 */

const I32 = 0x7f;
const V128 = 0x7b;
const END_OF_BODY = 0x0b;

export const I32_ADD = 0x6a;
export const I32_AND = 0x71;
export const I32_OR = 0x72;
export const I32_SHL = 0x74;
export const I32_SHR_U = 0x76;
const I32_GE_U = 0x4f;

export const I32_DOT_I16_S = [0xfd, 0xba, 0x01];
export const I32X4_ADD = [0xfd, 0xae, 0x01];
export const V128_XOR = [0xfd, 0x51];
export const V128_AND = [0xfd, 0x4e];
export const V128_OR = [0xfd, 0x50];
export const V128_ANY_TRUE = [0xfd, 0x53];

/** Locals are numbered: parameters first. */
export const get = (local: number) => [0x20, local];
export const set = (local: number) => [0x21, local];
export const i32 = (value: number) => [0x41, ...signedLeb(value)];
export const addTo = (local: number, code: readonly number[]) => [...get(local), ...code, I32_ADD, ...set(local)];
/** Eight times the 16-bit word. */
export const splat16 = (word: number) => [
  0xfd,
  0x0c,
  ...Array.from({ length: 8 }, () => [word & 0xff, word >> 8]).flat(),
];
/** Sixteen bytes at `pointer` + `at`, of any alignment. */
export const load128 = (pointer: number, at: number) => [...get(pointer), 0xfd, 0x00, 0, at];
export const load16 = (pointer: number) => [...get(pointer), 0x2f, 0, 0];
export const load8 = (pointer: number) => [...get(pointer), 0x2d, 0, 0];
export const extractLane = (lanes: number, lane: number) => [...get(lanes), 0xfd, 0x1b, lane];

/** `body`, which moves `pointer` on, again and again until it has reached `end`. */
export const until = (pointer: number, end: number, body: readonly number[]) => [
  ...[0x02, 0x40, 0x03, 0x40], // block, loop
  ...[...get(pointer), ...get(end), I32_GE_U, 0x0d, 1], // br_if: leave the block
  ...body,
  ...[0x0c, 0, END_OF_BODY, END_OF_BODY], // br: once more
];

/** `body` if the word on the stack is not 0. */
export const ifTrue = (body: readonly number[]) => [0x04, 0x40, ...body, END_OF_BODY];

export interface WasmFunction {
  readonly parameters: number;
  /** Locals after the parameters: int32 ones first, then vectors. All begin as 0. */
  readonly wordLocals: number;
  readonly vectorLocals: number;
  readonly body: readonly number[];
}

export function assemble({ parameters, wordLocals, vectorLocals, body }: WasmFunction): Uint8Array {
  const code = [2, wordLocals, I32, vectorLocals, V128, ...body, END_OF_BODY];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
    ...section(1, [1, 0x60, parameters, ...Array.from({ length: parameters }, () => I32), 1, I32]),
    ...section(2, [1, ...name('arena'), ...name('memory'), 0x02, 0x00, 0]), // import of a memory of any size
    ...section(3, [1, 0]), // function 0 has type 0
    ...section(7, [1, ...name('run'), 0x00, 0]), // export of function 0
    ...section(10, [1, ...leb(code.length), ...code]),
  ]);
}

/** @returns the module's function, bound to the memory. @throws CompileError where there is no SIMD */
export function instantiate(module: Uint8Array, memory: WebAssembly.Memory): unknown {
  return new WebAssembly.Instance(new WebAssembly.Module(module), { arena: { memory } }).exports.run;
}

function name(text: string): number[] {
  return [text.length, ...Array.from(text, (letter) => letter.charCodeAt(0))];
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...leb(content.length), ...content];
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
