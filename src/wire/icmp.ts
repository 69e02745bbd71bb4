/**
 * @hot
 * ICMP (RFC 792), ICMPv6 (RFC 4443) and what neighbour discovery (RFC 4861) puts behind it:
 *
 *      0      1      2          4                        8                          24
 *      | type | code | checksum | rest, by the type      | target address (NS, NA)  | options: type, length in 8 bytes, ...
 *                               | echo: identifier, sequence
 *                               | NA: R S O flags
 *                               | fragmentation needed: 0, MTU at 6; packet too big: MTU at 4
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint16, writeUint32 } from './byte-order.js';
import { IP_PROTOCOL_ICMPV6, IPV6_HEADER_BYTES, readIpv6NextHeader } from './ipv6.js';

export const ICMP_HEADER_BYTES = 8;
export const ICMP_CHECKSUM_OFFSET = 2;

export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_ECHO_REQUEST = 8;
/** Code of ICMP_UNREACHABLE. */
export const ICMP_FRAGMENTATION_NEEDED = 4;

export const ICMPV6_PACKET_TOO_BIG = 2;
export const ICMPV6_ECHO_REQUEST = 128;
export const ICMPV6_ECHO_REPLY = 129;
export const ICMPV6_NEIGHBOUR_SOLICITATION = 135;
export const ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136;

/** Header and target address of a neighbour solicitation or advertisement; options follow. */
export const ND_BYTES_MIN = 24;
export const ND_TARGET_OFFSET = 8;
export const ND_OPTION_SOURCE_LINK_LAYER = 1;
export const ND_OPTION_TARGET_LINK_LAYER = 2;
/** Type, length and a MAC. */
export const ND_OPTION_LINK_LAYER_BYTES = 8;
export const ND_FLAG_ROUTER = 0x80;
export const ND_FLAG_SOLICITED = 0x40;
export const ND_FLAG_OVERRIDE = 0x20;

export const ICMP_OK = 0;
export const ICMP_SHORT = 1;

/** @returns ICMP_OK or ICMP_SHORT. */
export function checkIcmp(bytes: Uint8Array, offset: number, length: number): number {
  return fits(bytes, offset, length, ICMP_HEADER_BYTES) ? ICMP_OK : ICMP_SHORT;
}

export function readIcmpType(bytes: Uint8Array, offset: number): number {
  return bytes[offset]!;
}

export function readIcmpCode(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 1]!;
}

export function readIcmpChecksum(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + ICMP_CHECKSUM_OFFSET);
}

/** Echo only. */
export function readIcmpIdentifier(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 4);
}

/** Echo only. */
export function readIcmpSequence(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 6);
}

/** The four bytes after the checksum, as a signed int32. */
export function readIcmpRest(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + 4);
}

/** Writes the 8 bytes with the checksum 0; it covers the payload, so the caller completes it. */
export function emitIcmp(bytes: Uint8Array, offset: number, type: number, code: number, rest: number): void {
  bytes[offset] = type;
  bytes[offset + 1] = code;
  writeUint16(bytes, offset + ICMP_CHECKSUM_OFFSET, 0);
  writeUint32(bytes, offset + 4, rest);
}

/**
 * Whether an IPv6 packet without extension headers begins as a neighbour message of this type: the cheap question before the
 * whole check.
 *
 * @param ip of the IPv6 header, of which and of what follows `ipBytes` are there
 */
export function looksLikeNeighbourMessage(bytes: Uint8Array, ip: number, ipBytes: number, type: number): boolean {
  return (
    ipBytes >= IPV6_HEADER_BYTES + ND_BYTES_MIN &&
    readIpv6NextHeader(bytes, ip) === IP_PROTOCOL_ICMPV6 &&
    readIcmpType(bytes, ip + IPV6_HEADER_BYTES) === type
  );
}

/** RFC 4861 section 7.1: enough for the target, and code 0. @returns whether offset holds a whole NS or NA. */
export function isNeighbourMessage(bytes: Uint8Array, offset: number, length: number): boolean {
  if (!fits(bytes, offset, length, ND_BYTES_MIN) || bytes[offset + 1] !== 0) return false;
  const type = bytes[offset]!;
  return type === ICMPV6_NEIGHBOUR_SOLICITATION || type === ICMPV6_NEIGHBOUR_ADVERTISEMENT;
}

/**
 * RFC 4861 section 4.6: an option of length 0, or one that does not end with the message, has the message dropped.
 *
 * @param length the ICMPv6 message's bytes from `offset`, after isNeighbourMessage
 */
export function areNdOptionsSound(bytes: Uint8Array, offset: number, length: number): boolean {
  const end = offset + length;
  let position = offset + ND_BYTES_MIN;
  while (position < end) {
    if (position + 2 > end) return false;
    const optionBytes = bytes[position + 1]! << 3;
    if (optionBytes === 0) return false;
    position += optionBytes;
  }
  return position === end;
}

/**
 * Finds the link-layer address of a neighbour message.
 *
 * @param length the ICMPv6 message's bytes from `offset`, after isNeighbourMessage
 * @returns the offset in the buffer of the MAC, or -1 if there is no such option or the options are broken (length 0,
 *   or past the end: RFC 4861 section 4.6 has the message dropped)
 */
export function findNdLinkLayerOffset(bytes: Uint8Array, offset: number, length: number, optionType: number): number {
  const end = offset + length;
  let position = offset + ND_BYTES_MIN;
  while (position + ND_OPTION_LINK_LAYER_BYTES <= end) {
    const optionBytes = bytes[position + 1]! << 3;
    if (optionBytes === 0 || position + optionBytes > end) return -1;
    if (bytes[position] === optionType) return position + 2;
    position += optionBytes;
  }
  return -1;
}
