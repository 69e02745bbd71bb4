/**
 * Bytes, big-endian words and the Internet checksum, as plain as can be. Part of the reference that tests compare the
 * data plane with; it shares nothing with src, so that no fault can be in both. Test support.
 */

export function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

export function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function get16(bytes: Uint8Array, offset: number): number {
  return viewOf(bytes).getUint16(offset);
}

export function get32(bytes: Uint8Array, offset: number): number {
  return viewOf(bytes).getUint32(offset);
}

/** A copy of `bytes` with 16 bits replaced. */
export function with16(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  new DataView(copy.buffer).setUint16(offset, value % 0x1_0000);
  return copy;
}

/** A copy of `bytes` with 32 bits replaced. */
export function with32(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  new DataView(copy.buffer).setUint32(offset, value % 0x1_0000_0000);
  return copy;
}

/** A copy of `bytes` with one byte replaced. */
export function with8(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[offset] = value;
  return copy;
}

/** RFC 1071: the one's complement sum of the 16-bit words, a last odd byte followed by 0; carries added back in. */
export function onesSum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i++) {
    const value = bytes[i] as number;
    total += i % 2 === 0 ? value * 256 : value;
  }
  while (total > 0xffff) total = (total % 0x1_0000) + Math.floor(total / 0x1_0000);
  return total;
}

/** The complement of the sum: what a checksum field gets. */
export function checksumOf(bytes: Uint8Array): number {
  return 0xffff - onesSum(bytes);
}
