/**
 * @hot
 * Multicast membership messages, of IPv4 (IGMP: RFC 1112, 2236, 3376) and IPv6 (MLD: RFC 2710, 3810): where they are in a
 * frame, and where the groups are in them.
 *
 *     IGMP in IPv4, protocol 2      0 type | 1 | 2 checksum | 4 group                    version 1, 2; a query of any
 *                                   0 type | 1 | 2 checksum | 4 | 6 count | 8 records    version 3 report
 *     MLD in ICMPv6, behind a hop-by-hop header: the same with 16-byte groups from 8 on
 *     record                        0 type | 1 words behind | 2 source count | 4 group | sources
 *
 * Only frames without a VLAN tag: a tag makes a link of its own inside the network.
 */
import { readUint16 } from './byte-order.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, readEthertype } from './ethernet.js';
import { IPV6_HEADER_BYTES } from './ipv6.js';

/** No membership message. */
export const MEMBERSHIP_NONE = 0;
export const MEMBERSHIP_QUERY = 1;
/** One group, joined; hosts that hear it do not report the same group (IGMPv1, IGMPv2, MLDv1). */
export const MEMBERSHIP_JOIN = 2;
export const MEMBERSHIP_LEAVE = 3;
/** Records (IGMPv3, MLDv2). */
export const MEMBERSHIP_RECORDS = 4;

export const RECORD_INCLUDE = 1;
export const RECORD_EXCLUDE = 2;
export const RECORD_TO_INCLUDE = 3;
export const RECORD_TO_EXCLUDE = 4;
export const RECORD_ALLOW = 5;

const IP_PROTOCOL_IGMP = 2;
const NEXT_HEADER_HOP_BY_HOP = 0;
const NEXT_HEADER_ICMPV6 = 58;
const IPV4_HEADER_BYTES_MIN = 20;

/** @returns where the message begins, from `frameOffset`'s buffer, or 0 if the frame has none */
export function membershipOffset(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  const ip = frameOffset + ETHERNET_HEADER_BYTES;
  const end = frameOffset + frameBytes;
  const ethertype = readEthertype(bytes, frameOffset);
  if (ethertype === ETHERTYPE_IPV4) {
    if (ip + IPV4_HEADER_BYTES_MIN > end || bytes[ip + 9] !== IP_PROTOCOL_IGMP) return 0;
    const message = ip + ((bytes[ip] as number) & 0x0f) * 4;
    return message >= ip + IPV4_HEADER_BYTES_MIN && message + 8 <= end ? message : 0;
  }
  if (ethertype !== ETHERTYPE_IPV6) return 0;
  const options = ip + IPV6_HEADER_BYTES;
  if (options + 8 > end || bytes[ip + 6] !== NEXT_HEADER_HOP_BY_HOP || bytes[options] !== NEXT_HEADER_ICMPV6) return 0;
  const message = options + ((bytes[options + 1] as number) + 1) * 8;
  return message + 8 <= end && membershipKind(bytes, message, true) !== MEMBERSHIP_NONE ? message : 0;
}

/** @returns MEMBERSHIP_... of the message */
export function membershipKind(bytes: Uint8Array, message: number, isIpv6: boolean): number {
  const type = bytes[message] as number;
  if (isIpv6) {
    if (type === 130) return MEMBERSHIP_QUERY;
    if (type === 131) return MEMBERSHIP_JOIN;
    if (type === 132) return MEMBERSHIP_LEAVE;
    return type === 143 ? MEMBERSHIP_RECORDS : MEMBERSHIP_NONE;
  }
  if (type === 0x11) return MEMBERSHIP_QUERY;
  if (type === 0x12 || type === 0x16) return MEMBERSHIP_JOIN;
  if (type === 0x17) return MEMBERSHIP_LEAVE;
  return type === 0x22 ? MEMBERSHIP_RECORDS : MEMBERSHIP_NONE;
}

/** How many records the message says that it has: the frame may end before. */
export function readRecordCount(bytes: Uint8Array, message: number): number {
  return readUint16(bytes, message + 6);
}

/** Bytes of the record, its sources included. */
export function readRecordBytes(bytes: Uint8Array, record: number, groupBytes: number): number {
  return 4 + groupBytes + readUint16(bytes, record + 2) * groupBytes + (bytes[record + 1] as number) * 4;
}

export function readRecordSources(bytes: Uint8Array, record: number): number {
  return readUint16(bytes, record + 2);
}
