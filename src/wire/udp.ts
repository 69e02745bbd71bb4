/**
 * @hot
 * The UDP header (RFC 768), 8 bytes:
 *
 *      0             2                  4        6          8
 *      | source port | destination port | length | checksum |
 */
import { fits } from './bounds.js';
import { readUint16, writeUint16 } from './byte-order.js';

export const UDP_HEADER_BYTES = 8;
export const UDP_CHECKSUM_OFFSET = 6;

export const UDP_OK = 0;
export const UDP_SHORT = 1;
/** The length field is under 8 or more than what is there. */
export const UDP_BAD_LENGTH = 2;

/** @returns UDP_OK or what is wrong. */
export function checkUdp(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, UDP_HEADER_BYTES)) return UDP_SHORT;
  const datagramBytes = readUdpBytes(bytes, offset);
  return datagramBytes < UDP_HEADER_BYTES || datagramBytes > length ? UDP_BAD_LENGTH : UDP_OK;
}

export function readUdpSourcePort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset);
}

export function readUdpDestinationPort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 2);
}

/** The length field: header and payload. */
export function readUdpBytes(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 4);
}

/** 0 means that the sender made none (IPv4 only, and tunnels over IPv6: RFC 6935). */
export function readUdpChecksum(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + UDP_CHECKSUM_OFFSET);
}

/** Writes all 8 bytes. `datagramBytes` counts the header too. */
export function emitUdp(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  datagramBytes: number,
  checksum: number,
): void {
  writeUint16(bytes, offset, sourcePort);
  writeUint16(bytes, offset + 2, destinationPort);
  writeUint16(bytes, offset + 4, datagramBytes);
  writeUint16(bytes, offset + UDP_CHECKSUM_OFFSET, checksum);
}
