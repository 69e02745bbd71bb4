/**
 * @hot
 * The answer to a packet that is too big for its path: ICMP fragmentation needed (RFC 1191) or ICMPv6 packet too big
 * (RFC 4443), as a frame back to who sent it, in the name of whom it was sent to.
 *
 * To whom there is none, as in the kernel (net/ipv4/ip_tunnel_core.c, iptunnel_pmtud_check_icmp): IPv4 without DF or in
 * fragments, an ICMP error, broadcast and multicast, a source that is zero, loopback or a group; an MTU under 576, over
 * IPv6 under 1,280: no host takes one for true.
 */
import { readInt32, readUint16, writeUint16 } from './byte-order.js';
import { finish, pseudoHeaderSumIpv6, sum } from './checksum.js';
import {
  emitIcmp,
  ICMP_CHECKSUM_OFFSET,
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HEADER_BYTES,
  ICMP_UNREACHABLE,
  ICMPV6_PACKET_TOO_BIG,
} from './icmp.js';
import { findIp } from './inner-ip.js';
import {
  emitIpv4,
  IP_PROTOCOL_ICMP,
  IPV4_DESTINATION_OFFSET,
  IPV4_DONT_FRAGMENT,
  IPV4_HEADER_BYTES_MIN,
  IPV4_SOURCE_OFFSET,
  readIpv4Destination,
  readIpv4FlagsAndFragment,
  readIpv4HeaderBytes,
  readIpv4Protocol,
  readIpv4Source,
} from './ipv4.js';
import {
  emitIpv6,
  IP_PROTOCOL_ICMPV6,
  IPV6_DESTINATION_OFFSET,
  IPV6_HEADER_BYTES,
  IPV6_SOURCE_OFFSET,
  IPV6_WALK_FAILED,
  ipv6UpperOffset,
  ipv6UpperProtocol,
  walkIpv6,
} from './ipv6.js';

/** No answer may be sent. */
export const NOT_ANSWERED = 0;

const MAC_BYTES = 6;
const IPV4_MTU_MIN = 576;
const IPV6_MTU_MIN = 1280;
/** Whole answers, from their IP header on: RFC 1812 section 4.3.2.3; RFC 4443 section 2.4. */
const IPV4_ANSWER_BYTES_MAX = 576;
const IPV6_ANSWER_BYTES_MAX = 1280;
const TTL = 64;
const ICMPV6_ERRORS_END = 128;
/** Ethernet, two VLAN tags, and the longer of the two answers. */
export const TOO_BIG_BYTES_MAX = 22 + IPV6_ANSWER_BYTES_MAX;

/**
 * @param frameOffset of the frame that is too big, @param heldBytes of it that lie there in one piece: its headers at least
 * @param roomBytes the largest frame that fits
 * @param target where the answer goes, with room for TOO_BIG_BYTES_MAX
 * @returns the answer's bytes, or NOT_ANSWERED
 */
export function emitTooBig(
  bytes: Uint8Array,
  frameOffset: number,
  heldBytes: number,
  roomBytes: number,
  target: number,
): number {
  const ip = findIp(bytes, frameOffset, heldBytes);
  // A group's address, or a source that can't be answered.
  if (ip < 0 || ((bytes[frameOffset]! | bytes[frameOffset + MAC_BYTES]!) & 1) !== 0) return NOT_ANSWERED;
  const linkBytes = ip - frameOffset;
  const packetBytes = heldBytes - linkBytes;
  const mtuBytes = roomBytes - linkBytes;
  const answer = target + linkBytes;
  const isIpv4 = bytes[ip]! >>> 4 === 4;
  const answerBytes = isIpv4
    ? emitIpv4Answer(bytes, ip, packetBytes, mtuBytes, answer)
    : emitIpv6Answer(bytes, ip, packetBytes, mtuBytes, answer);
  if (answerBytes === NOT_ANSWERED) return NOT_ANSWERED;
  bytes.copyWithin(target, frameOffset + MAC_BYTES, frameOffset + 2 * MAC_BYTES);
  bytes.copyWithin(target + MAC_BYTES, frameOffset, frameOffset + MAC_BYTES);
  bytes.copyWithin(target + 2 * MAC_BYTES, frameOffset + 2 * MAC_BYTES, ip);
  return linkBytes + answerBytes;
}

function emitIpv4Answer(bytes: Uint8Array, ip: number, packetBytes: number, mtuBytes: number, at: number): number {
  if (mtuBytes < IPV4_MTU_MIN || readIpv4FlagsAndFragment(bytes, ip) !== IPV4_DONT_FRAGMENT) return NOT_ANSWERED;
  const headerBytes = readIpv4HeaderBytes(bytes, ip);
  if (headerBytes < IPV4_HEADER_BYTES_MIN || headerBytes + ICMP_HEADER_BYTES > packetBytes) return NOT_ANSWERED;
  const source = bytes[ip + IPV4_SOURCE_OFFSET]!;
  // 224.0.0.0 and all above it: groups, reserved, broadcast.
  if (source === 0 || source === 127 || source >= 224 || bytes[ip + IPV4_DESTINATION_OFFSET]! >= 224)
    return NOT_ANSWERED;
  if (readIpv4Protocol(bytes, ip) === IP_PROTOCOL_ICMP && isIcmpError(bytes[ip + headerBytes]!)) return NOT_ANSWERED;
  const quotedBytes = Math.min(packetBytes, IPV4_ANSWER_BYTES_MAX - IPV4_HEADER_BYTES_MIN - ICMP_HEADER_BYTES);
  const icmp = at + IPV4_HEADER_BYTES_MIN;
  const icmpBytes = ICMP_HEADER_BYTES + quotedBytes;
  emitIpv4(
    bytes,
    at,
    0,
    IPV4_HEADER_BYTES_MIN + icmpBytes,
    0,
    0,
    TTL,
    IP_PROTOCOL_ICMP,
    readIpv4Destination(bytes, ip),
    readIpv4Source(bytes, ip),
  );
  emitIcmp(bytes, icmp, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, mtuBytes);
  bytes.copyWithin(icmp + ICMP_HEADER_BYTES, ip, ip + quotedBytes);
  writeUint16(bytes, icmp + ICMP_CHECKSUM_OFFSET, finish(sum(bytes, icmp, icmpBytes, 0)));
  return IPV4_HEADER_BYTES_MIN + icmpBytes;
}

function emitIpv6Answer(bytes: Uint8Array, ip: number, packetBytes: number, mtuBytes: number, at: number): number {
  if (mtuBytes < IPV6_MTU_MIN || bytes[ip + IPV6_DESTINATION_OFFSET] === 0xff) return NOT_ANSWERED;
  if (bytes[ip + IPV6_SOURCE_OFFSET] === 0xff || isZeroOrLoopback6(bytes, ip + IPV6_SOURCE_OFFSET)) return NOT_ANSWERED;
  const walk = walkIpv6(bytes, ip, packetBytes);
  if (walk === IPV6_WALK_FAILED) return NOT_ANSWERED;
  const upper = ipv6UpperOffset(walk);
  if (
    ipv6UpperProtocol(walk) === IP_PROTOCOL_ICMPV6 &&
    (upper >= packetBytes || bytes[ip + upper]! < ICMPV6_ERRORS_END)
  ) {
    return NOT_ANSWERED;
  }
  const quotedBytes = Math.min(packetBytes, IPV6_ANSWER_BYTES_MAX - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES);
  const icmp = at + IPV6_HEADER_BYTES;
  const icmpBytes = ICMP_HEADER_BYTES + quotedBytes;
  emitIpv6(
    bytes,
    at,
    0,
    0,
    icmpBytes,
    IP_PROTOCOL_ICMPV6,
    TTL,
    bytes,
    ip + IPV6_DESTINATION_OFFSET,
    ip + IPV6_SOURCE_OFFSET,
  );
  emitIcmp(bytes, icmp, ICMPV6_PACKET_TOO_BIG, 0, mtuBytes);
  bytes.copyWithin(icmp + ICMP_HEADER_BYTES, ip, ip + quotedBytes);
  const pseudo = pseudoHeaderSumIpv6(bytes, at, IP_PROTOCOL_ICMPV6, icmpBytes);
  writeUint16(bytes, icmp + ICMP_CHECKSUM_OFFSET, finish(sum(bytes, icmp, icmpBytes, pseudo)));
  return IPV6_HEADER_BYTES + icmpBytes;
}

/** Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792). */
function isIcmpError(type: number): boolean {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

function isZeroOrLoopback6(bytes: Uint8Array, address: number): boolean {
  const upper = readInt32(bytes, address) | readInt32(bytes, address + 4) | readInt32(bytes, address + 8);
  return upper === 0 && readUint16(bytes, address + 12) === 0 && readUint16(bytes, address + 14) <= 1;
}
