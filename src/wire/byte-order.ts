/**
 * @hot
 * Integers as the wire has them: big-endian ("network order") unless the name says `Le`.
 *
 * No bounds test: the caller's check has made it. 32-bit words come in two readings: `readInt32` stays in the int32
 * range, which V8 keeps unboxed, and is what hot code compares and hashes; `readUint32` is for people and cold code.
 */

/** @returns 0 to 65535. */
export function readUint16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 8) | bytes[offset + 1]!;
}

/** @returns the 32 bits as a signed int32, -2^31 to 2^31 - 1. */
export function readInt32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!;
}

/** @returns 0 to 2^32 - 1; may be boxed, so not for the hot path. */
export function readUint32(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset) >>> 0;
}

/** Writes the low 16 bits of `value`. */
export function writeUint16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8;
  bytes[offset + 1] = value;
}

/** Writes the low 32 bits of `value`, which may be signed or unsigned. */
export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

/** Little-endian: the kernel's own structs on the hosts that vtep runs on. @returns 0 to 65535. */
export function readUint16Le(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}

/** Little-endian; writes the low 16 bits of `value`. */
export function writeUint16Le(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}
