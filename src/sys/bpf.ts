/**
 * eBPF programs: a small assembler with labels, and bpf(2) to load what it makes. Cold, main thread.
 *
 *     instruction (8 bytes): opcode u8 | source register 4 bits, destination register 4 bits | offset s16 | immediate s32
 *
 * Registers: r0 result, r1 to r5 arguments, r6 to r9 keep their values. The packet loads (LD_ABS, LD_IND) want the context
 * in r6, answer in r0 in the machine's byte order, destroy r1 to r5, and end the program with 0 beyond the packet's end.
 * Source: Documentation/bpf/standardization/instruction-set.rst, include/uapi/linux/bpf.h.
 */
import { lastErrno, SystemCallError } from './errno.js';
import { syscall } from './libc.js';
import { addressOf, pin, writePointer } from './memory.js';

const SYS_BPF = process.arch === 'arm64' ? 280 : 321;
const BPF_PROG_LOAD = 5;
const PROG_TYPE_SOCKET_FILTER = 1;
/** Words of union bpf_attr for BPF_PROG_LOAD, up to and with prog_flags. */
const ATTR_WORDS = 12;
const INSTRUCTION_BYTES = 8;

const ALU = { add: 0x00, or: 0x40, and: 0x50, lsh: 0x60, rsh: 0x70, mul: 0x20, xor: 0xa0, mov: 0xb0 } as const;
type AluOperation = keyof typeof ALU;
const CLASS_ALU64 = 0x07;
const SOURCE_REGISTER = 0x08;
const SIZES = { word: 0x00, half: 0x08, byte: 0x10 } as const;
type LoadSize = keyof typeof SIZES;
const LOAD_ABSOLUTE = 0x20;
const LOAD_INDIRECT = 0x40;
const JUMP_ALWAYS = 0x05;
const JUMP_IF_EQUAL = 0x15;
const EXIT = 0x95;

/** A source: another register, or a number of 32 bits with sign. */
type Operand = { readonly register: number } | number;

export class BpfAssembler {
  readonly #instructions: { code: number; destination: number; source: number; label?: string; immediate: number }[] =
    [];
  readonly #labels = new Map<string, number>();

  alu(operation: AluOperation, destination: number, operand: Operand): this {
    const code = CLASS_ALU64 | ALU[operation];
    if (typeof operand === 'number') return this.#add(code, destination, 0, operand);
    return this.#add(code | SOURCE_REGISTER, destination, operand.register, 0);
  }

  /** r0 = the packet's bytes at `offset`. */
  load(size: LoadSize, offset: number): this {
    return this.#add(LOAD_ABSOLUTE | SIZES[size], 0, 0, offset);
  }

  /** r0 = the packet's bytes at the register's value + `offset`. */
  loadFrom(size: LoadSize, register: number, offset: number): this {
    return this.#add(LOAD_INDIRECT | SIZES[size], 0, register, offset);
  }

  jump(label: string): this {
    return this.#add(JUMP_ALWAYS, 0, 0, 0, label);
  }

  jumpIfEqual(register: number, value: number, label: string): this {
    return this.#add(JUMP_IF_EQUAL, register, 0, value, label);
  }

  label(name: string): this {
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  exit(): this {
    return this.#add(EXIT, 0, 0, 0);
  }

  #add(code: number, destination: number, source: number, immediate: number, label?: string): this {
    this.#instructions.push({ code, destination, source, immediate, ...(label !== undefined && { label }) });
    return this;
  }

  /** @throws Error for a jump to a label that is not there */
  assemble(): Uint8Array {
    const bytes = new Uint8Array(this.#instructions.length * INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [index, { code, destination, source, label, immediate }] of this.#instructions.entries()) {
      const target = label === undefined ? index + 1 : this.#labels.get(label);
      if (target === undefined) throw new Error(`no label ${label}`);
      const at = index * INSTRUCTION_BYTES;
      bytes[at] = code;
      bytes[at + 1] = (source << 4) | destination;
      view.setInt16(at + 2, target - index - 1, true);
      view.setInt32(at + 4, immediate, true);
    }
    return bytes;
  }
}

/** What bpf(2) reads. No helper is called that asks for the GPL. */
const license = pin(new TextEncoder().encode('Apache-2.0\0'));
const attr = pin(new Int32Array(ATTR_WORDS));
const attrAddress = addressOf(attr);

/**
 * @param program pinned
 * @returns the loaded program's fd
 * @throws SystemCallError: EPERM (capabilities, seccomp), EACCES or EINVAL (the verifier), ENOSYS
 */
export function loadSocketFilter(program: Uint8Array): number {
  attr[0] = PROG_TYPE_SOCKET_FILTER;
  attr[1] = program.length / INSTRUCTION_BYTES;
  writePointer(attr, 2, addressOf(program));
  writePointer(attr, 4, addressOf(license));
  const fd = syscall(SYS_BPF, BPF_PROG_LOAD, attrAddress, attr.byteLength);
  if (fd < 0) throw new SystemCallError('bpf', lastErrno());
  return fd;
}
