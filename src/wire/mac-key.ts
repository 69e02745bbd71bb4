/**
 * @hot
 * A MAC address as two integers, the form in which the FDB keys it: no string, no 48-bit number.
 *
 *      byte  0    1  |  2    3    4    5
 *           macKeyHigh      macKeyLow
 *           uint16          int32, big-endian
 */
import { readInt32, readUint16, writeUint16, writeUint32 } from './byte-order.js';

/** @returns bytes 0 and 1 of the MAC at `offset`, 0 to 65535. */
export function macKeyHigh(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset);
}

/** @returns bytes 2 to 5 of the MAC at `offset` as a signed int32. */
export function macKeyLow(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + 2);
}

/** Writes all six bytes from the two halves. */
export function writeMacKey(bytes: Uint8Array, offset: number, high: number, low: number): void {
  writeUint16(bytes, offset, high);
  writeUint32(bytes, offset + 2, low);
}
