/**
 * @hot
 * The IPv4 header (RFC 791), 20 to 60 bytes.
 *
 *      0        1       2               4               6               8       9        10
 *      | 4 | IHL | TOS  | total length  | identification | flags, offset | TTL  | protocol | header checksum |
 *      12                       16                       20
 *      | source                 | destination            | options
 *
 * checkIpv4 trusts nothing but the buffer. It does not verify the header checksum: that is isIpv4HeaderSound, for those
 * who deliver (a tunnel carries what it is given).
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint16, writeUint32 } from './byte-order.js';
import { finish, sum } from './checksum.js';

export const IPV4_HEADER_BYTES_MIN = 20;
export const IPV4_SOURCE_OFFSET = 12;
export const IPV4_DESTINATION_OFFSET = 16;
export const IPV4_CHECKSUM_OFFSET = 10;

export const IP_PROTOCOL_ICMP = 1;
export const IP_PROTOCOL_IGMP = 2;
export const IP_PROTOCOL_TCP = 6;
export const IP_PROTOCOL_UDP = 17;

export const IPV4_DONT_FRAGMENT = 0x4000;
export const IPV4_MORE_FRAGMENTS = 0x2000;
export const IPV4_FRAGMENT_OFFSET_MASK = 0x1fff;

export const IPV4_OK = 0;
export const IPV4_SHORT = 1;
export const IPV4_BAD_VERSION = 2;
/** IHL under 5, or a header longer than what is there. */
export const IPV4_BAD_HEADER_LENGTH = 3;
/** Total length under the header's, or more than what is there. */
export const IPV4_BAD_TOTAL_LENGTH = 4;

/** Bytes after the total length (Ethernet padding) are allowed. @returns IPV4_OK or what is wrong. */
export function checkIpv4(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, IPV4_HEADER_BYTES_MIN)) return IPV4_SHORT;
  if (bytes[offset]! >>> 4 !== 4) return IPV4_BAD_VERSION;
  const headerBytes = readIpv4HeaderBytes(bytes, offset);
  if (headerBytes < IPV4_HEADER_BYTES_MIN || headerBytes > length) return IPV4_BAD_HEADER_LENGTH;
  const totalBytes = readIpv4TotalBytes(bytes, offset);
  if (totalBytes < headerBytes || totalBytes > length) return IPV4_BAD_TOTAL_LENGTH;
  return IPV4_OK;
}

export function readIpv4HeaderBytes(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! & 0x0f) << 2;
}

/** DSCP in the upper six bits, ECN in the lower two. */
export function readIpv4Tos(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 1]!;
}

/** Header and payload. */
export function readIpv4TotalBytes(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 2);
}

export function readIpv4Identification(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 4);
}

/** @returns the 16 bits of flags and fragment offset. */
export function readIpv4FlagsAndFragment(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 6);
}

/** Also the first fragment is one: its ports are there, those of its brothers are not. */
export function isIpv4Fragment(bytes: Uint8Array, offset: number): boolean {
  return (readUint16(bytes, offset + 6) & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET_MASK)) !== 0;
}

export function isIpv4DontFragment(bytes: Uint8Array, offset: number): boolean {
  return (readUint16(bytes, offset + 6) & IPV4_DONT_FRAGMENT) !== 0;
}

export function readIpv4Ttl(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 8]!;
}

export function readIpv4Protocol(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 9]!;
}

export function readIpv4Checksum(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV4_CHECKSUM_OFFSET);
}

/** @returns a signed int32. */
export function readIpv4Source(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + IPV4_SOURCE_OFFSET);
}

/** @returns a signed int32. */
export function readIpv4Destination(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + IPV4_DESTINATION_OFFSET);
}

/** After checkIpv4. @returns whether the header, options included, sums up. */
export function isIpv4HeaderSound(bytes: Uint8Array, offset: number): boolean {
  return finish(sum(bytes, offset, readIpv4HeaderBytes(bytes, offset), 0)) === 0;
}

/** Recomputes the header checksum after a change of the header. */
export function writeIpv4Checksum(bytes: Uint8Array, offset: number): void {
  writeUint16(bytes, offset + IPV4_CHECKSUM_OFFSET, 0);
  const headerSum = sum(bytes, offset, readIpv4HeaderBytes(bytes, offset), 0);
  writeUint16(bytes, offset + IPV4_CHECKSUM_OFFSET, finish(headerSum));
}

/** Writes a header of 20 bytes without options, its checksum included. Addresses are 32-bit words. */
export function emitIpv4(
  bytes: Uint8Array,
  offset: number,
  tos: number,
  totalBytes: number,
  identification: number,
  flagsAndFragment: number,
  ttl: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  bytes[offset] = 0x45;
  bytes[offset + 1] = tos;
  writeUint16(bytes, offset + 2, totalBytes);
  writeUint16(bytes, offset + 4, identification);
  writeUint16(bytes, offset + 6, flagsAndFragment);
  bytes[offset + 8] = ttl;
  bytes[offset + 9] = protocol;
  writeUint32(bytes, offset + IPV4_SOURCE_OFFSET, source);
  writeUint32(bytes, offset + IPV4_DESTINATION_OFFSET, destination);
  writeIpv4Checksum(bytes, offset);
}
