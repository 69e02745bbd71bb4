/**
 * @hot
 * The IPv6 header (RFC 8200), 40 bytes, and the walk over its extension headers.
 *
 *      0                        4                 6             7           8          24            40
 *      | 6 | class | flow label | payload length  | next header | hop limit | source   | destination |
 *
 * The walk answers one integer, since hot code makes no objects:
 *
 *      bit 24            23 ... 8                                 7 ... 0
 *      | is a fragment | upper header's offset from the IPv6 one | its protocol |
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint16, writeUint32 } from './byte-order.js';

export const IPV6_HEADER_BYTES = 40;
export const IPV6_SOURCE_OFFSET = 8;
export const IPV6_DESTINATION_OFFSET = 24;
export const IPV6_ADDRESS_BYTES = 16;

export const IP_PROTOCOL_HOP_BY_HOP = 0;
export const IP_PROTOCOL_ROUTING = 43;
export const IP_PROTOCOL_FRAGMENT = 44;
export const IP_PROTOCOL_AUTHENTICATION = 51;
export const IP_PROTOCOL_ICMPV6 = 58;
export const IP_PROTOCOL_DESTINATION_OPTIONS = 60;
export const IP_PROTOCOL_MOBILITY = 135;
export const IP_PROTOCOL_HIP = 139;
export const IP_PROTOCOL_SHIM6 = 140;

/**
 * RFC 8200 section 4.1 has at most 7 headers before the upper layer (hop-by-hop, destination options, routing, fragment,
 * authentication, ESP, destination options); one to spare. Longer chains cost a sender nothing and us time.
 */
export const IPV6_EXTENSION_HEADERS_MAX = 8;

export const IPV6_OK = 0;
export const IPV6_SHORT = 1;
export const IPV6_BAD_VERSION = 2;
/** The payload length says more than what is there. */
export const IPV6_BAD_PAYLOAD_LENGTH = 3;

/** The chain leaves the packet or has more than IPV6_EXTENSION_HEADERS_MAX links. */
export const IPV6_WALK_FAILED = -1;

const WALK_FRAGMENT_BIT = 1 << 24;
const FRAGMENT_HEADER_BYTES = 8;
/** Offset and M of the fragment header; the two bits between are reserved. */
const FRAGMENT_OFFSET_AND_MORE_MASK = 0xfff9;

/** Bytes after the payload (Ethernet padding) are allowed. @returns IPV6_OK or what is wrong. */
export function checkIpv6(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, IPV6_HEADER_BYTES)) return IPV6_SHORT;
  if (bytes[offset]! >>> 4 !== 6) return IPV6_BAD_VERSION;
  if (readIpv6PayloadBytes(bytes, offset) > length - IPV6_HEADER_BYTES) return IPV6_BAD_PAYLOAD_LENGTH;
  return IPV6_OK;
}

/** DSCP in the upper six bits, ECN in the lower two. */
export function readIpv6TrafficClass(bytes: Uint8Array, offset: number): number {
  return (readUint16(bytes, offset) >>> 4) & 0xff;
}

export function readIpv6FlowLabel(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset) & 0x000fffff;
}

/** Extension headers and all that follows; not the 40 bytes. */
export function readIpv6PayloadBytes(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 4);
}

export function readIpv6NextHeader(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 6]!;
}

export function readIpv6HopLimit(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 7]!;
}

/**
 * Walks to the upper-layer header. It stops at the fragment header of a real fragment (protocol 44, fragment bit set):
 * what follows there is only in the first fragment a header. An atomic fragment (RFC 6946) is walked over.
 *
 * @param length the bytes of the packet from `offset`, at least 40
 * @returns an integer for ipv6Upper..., or IPV6_WALK_FAILED. The offset may be the packet's end: nothing follows.
 */
export function walkIpv6(bytes: Uint8Array, offset: number, length: number): number {
  let protocol = bytes[offset + 6]!;
  let position = IPV6_HEADER_BYTES;
  for (let headerIndex = 0; headerIndex <= IPV6_EXTENSION_HEADERS_MAX; headerIndex++) {
    if (!isIpv6ExtensionHeader(protocol)) return (position << 8) | protocol;
    // Every extension header is a multiple of 4 and at least 8 bytes; its first two hold next header and length.
    if (position + FRAGMENT_HEADER_BYTES > length) return IPV6_WALK_FAILED;
    const headerOffset = offset + position;
    if (protocol === IP_PROTOCOL_FRAGMENT) {
      if ((readUint16(bytes, headerOffset + 2) & FRAGMENT_OFFSET_AND_MORE_MASK) !== 0) {
        return WALK_FRAGMENT_BIT | (position << 8) | protocol;
      }
      position += FRAGMENT_HEADER_BYTES;
    } else if (protocol === IP_PROTOCOL_AUTHENTICATION) {
      // RFC 4302 section 2.2: in 4-byte words, minus 2.
      position += (bytes[headerOffset + 1]! + 2) << 2;
    } else {
      position += (bytes[headerOffset + 1]! + 1) << 3;
    }
    if (position > length) return IPV6_WALK_FAILED;
    protocol = bytes[headerOffset]!;
  }
  return IPV6_WALK_FAILED;
}

/** @param walk what walkIpv6 answered, not IPV6_WALK_FAILED. */
export function ipv6UpperProtocol(walk: number): number {
  return walk & 0xff;
}

/** @returns bytes from the IPv6 header to the upper-layer one. */
export function ipv6UpperOffset(walk: number): number {
  return (walk >>> 8) & 0xffff;
}

export function isIpv6UpperFragment(walk: number): boolean {
  return (walk & WALK_FRAGMENT_BIT) !== 0;
}

/** ESP (50) and "no next header" (59) are ends, not links. */
export function isIpv6ExtensionHeader(protocol: number): boolean {
  switch (protocol) {
    case IP_PROTOCOL_HOP_BY_HOP:
    case IP_PROTOCOL_ROUTING:
    case IP_PROTOCOL_FRAGMENT:
    case IP_PROTOCOL_AUTHENTICATION:
    case IP_PROTOCOL_DESTINATION_OPTIONS:
    case IP_PROTOCOL_MOBILITY:
    case IP_PROTOCOL_HIP:
    case IP_PROTOCOL_SHIM6:
      return true;
    default:
      return false;
  }
}

/** Writes all 40 bytes; the addresses are copied from 16 bytes each at the given places of `addresses`. */
export function emitIpv6(
  bytes: Uint8Array,
  offset: number,
  trafficClass: number,
  flowLabel: number,
  payloadBytes: number,
  nextHeader: number,
  hopLimit: number,
  addresses: Uint8Array,
  sourceOffset: number,
  destinationOffset: number,
): void {
  writeUint32(bytes, offset, (6 << 28) | ((trafficClass & 0xff) << 20) | (flowLabel & 0x000fffff));
  writeUint16(bytes, offset + 4, payloadBytes);
  bytes[offset + 6] = nextHeader;
  bytes[offset + 7] = hopLimit;
  for (let i = 0; i < IPV6_ADDRESS_BYTES; i++) {
    bytes[offset + IPV6_SOURCE_OFFSET + i] = addresses[sourceOffset + i]!;
    bytes[offset + IPV6_DESTINATION_OFFSET + i] = addresses[destinationOffset + i]!;
  }
}
