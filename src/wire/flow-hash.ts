/**
 * @hot
 * A hash of the inner flow: it picks the outer UDP source port, so that ECMP and RSS of the underlay spread the flows
 * and never reorder one (RFC 7348 section 5).
 *
 * What counts:   IPv4, IPv6 with ports   addresses, protocol, ports
 *                fragments, others       addresses, protocol (an IPv6 fragment: protocol 44)
 *                not IP, or broken IP    the two MACs
 *
 * VLAN tags are looked through. Both directions of a flow have the same hash, as in the kernel's flow dissector: each
 * end is hashed apart, and the two are added. Nothing beyond the frame is read.
 *
 * Nearly every frame is the same kind: TCP or UDP over IPv4 without tag, options or fragments. It is known by four reads
 * and hashed at once; the rest goes the general way, to the same hash.
 */
import { fits } from './bounds.js';
import { readInt32, readUint16 } from './byte-order.js';
import {
  ETHERNET_DESTINATION_OFFSET,
  ETHERNET_HEADER_BYTES,
  ETHERNET_SOURCE_OFFSET,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
} from './ethernet.js';
import {
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
  IPV4_DESTINATION_OFFSET,
  IPV4_HEADER_BYTES_MIN,
  IPV4_SOURCE_OFFSET,
  isIpv4Fragment,
  readIpv4HeaderBytes,
  readIpv4Protocol,
} from './ipv4.js';
import {
  IPV6_DESTINATION_OFFSET,
  IPV6_HEADER_BYTES,
  IPV6_SOURCE_OFFSET,
  IPV6_WALK_FAILED,
  ipv6UpperOffset,
  ipv6UpperProtocol,
  isIpv6UpperFragment,
  walkIpv6,
} from './ipv6.js';
import { macKeyHigh, macKeyLow } from './mac-key.js';
import { findLayer3Offset, readLayer3Ethertype } from './vlan.js';

const IP_PROTOCOL_DCCP = 33;
const IP_PROTOCOL_SCTP = 132;
const IP_PROTOCOL_UDP_LITE = 136;
/** Source and destination, the first four bytes of every protocol that has ports. */
const PORTS_BYTES = 4;

/** Up to the ports of the common kind. */
const COMMON_BYTES_MIN = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN + PORTS_BYTES;
/** Version 4, five words of header. */
const IPV4_WITHOUT_OPTIONS = 0x45;
/** Odd numbers with well mixed bits; the first is 2^32 divided by the golden ratio. */
const WORD_FACTOR = 0x9e3779b1;
const PORT_FACTOR = 0x85ebca6b;
const END_FACTOR = 0x2c1b3c6d;
const PROTOCOL_FACTOR = 0xc2b2ae35;

/** @returns a non-negative int31; 0 for a frame that ends before its Ethernet header and VLAN tags do. */
export function flowHash(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  if (fits(bytes, frameOffset, frameBytes, COMMON_BYTES_MIN)) {
    const ip = frameOffset + ETHERNET_HEADER_BYTES;
    const protocol = bytes[ip + 9]!;
    if (
      readUint16(bytes, ip - 2) === ETHERTYPE_IPV4 &&
      bytes[ip] === IPV4_WITHOUT_OPTIONS &&
      !isIpv4Fragment(bytes, ip) &&
      (protocol === IP_PROTOCOL_TCP || protocol === IP_PROTOCOL_UDP)
    ) {
      const ports = ip + IPV4_HEADER_BYTES_MIN;
      return join(
        mixEnd(readInt32(bytes, ip + IPV4_SOURCE_OFFSET), readUint16(bytes, ports)),
        mixEnd(readInt32(bytes, ip + IPV4_DESTINATION_OFFSET), readUint16(bytes, ports + 2)),
        protocol,
      );
    }
  }
  return hashAny(bytes, frameOffset, frameBytes);
}

function hashAny(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  const layer3Offset = findLayer3Offset(bytes, frameOffset, frameBytes);
  if (layer3Offset < 0) return 0;
  const layer3Bytes = frameOffset + frameBytes - layer3Offset;
  const ethertype = readLayer3Ethertype(bytes, layer3Offset);
  if (ethertype === ETHERTYPE_IPV4 && layer3Bytes >= IPV4_HEADER_BYTES_MIN && bytes[layer3Offset]! >>> 4 === 4) {
    return hashIpv4(bytes, layer3Offset, layer3Bytes);
  }
  if (ethertype === ETHERTYPE_IPV6 && layer3Bytes >= IPV6_HEADER_BYTES && bytes[layer3Offset]! >>> 4 === 6) {
    return hashIpv6(bytes, layer3Offset, layer3Bytes);
  }
  const source = frameOffset + ETHERNET_SOURCE_OFFSET;
  const destination = frameOffset + ETHERNET_DESTINATION_OFFSET;
  return join(
    mixEnd(macKeyLow(bytes, source), macKeyHigh(bytes, source)),
    mixEnd(macKeyLow(bytes, destination), macKeyHigh(bytes, destination)),
    0,
  );
}

function hashIpv4(bytes: Uint8Array, offset: number, length: number): number {
  const protocol = readIpv4Protocol(bytes, offset);
  const headerBytes = readIpv4HeaderBytes(bytes, offset);
  let sourcePort = 0;
  let destinationPort = 0;
  if (
    hasPorts(protocol) &&
    headerBytes >= IPV4_HEADER_BYTES_MIN &&
    headerBytes + PORTS_BYTES <= length &&
    !isIpv4Fragment(bytes, offset)
  ) {
    sourcePort = readUint16(bytes, offset + headerBytes);
    destinationPort = readUint16(bytes, offset + headerBytes + 2);
  }
  return join(
    mixEnd(readInt32(bytes, offset + IPV4_SOURCE_OFFSET), sourcePort),
    mixEnd(readInt32(bytes, offset + IPV4_DESTINATION_OFFSET), destinationPort),
    protocol,
  );
}

function hashIpv6(bytes: Uint8Array, offset: number, length: number): number {
  const walk = walkIpv6(bytes, offset, length);
  let protocol = 0;
  let sourcePort = 0;
  let destinationPort = 0;
  if (walk !== IPV6_WALK_FAILED) {
    protocol = ipv6UpperProtocol(walk);
    const upperOffset = ipv6UpperOffset(walk);
    if (hasPorts(protocol) && !isIpv6UpperFragment(walk) && upperOffset + PORTS_BYTES <= length) {
      sourcePort = readUint16(bytes, offset + upperOffset);
      destinationPort = readUint16(bytes, offset + upperOffset + 2);
    }
  }
  return join(
    mixEnd(mixAddress(bytes, offset + IPV6_SOURCE_OFFSET), sourcePort),
    mixEnd(mixAddress(bytes, offset + IPV6_DESTINATION_OFFSET), destinationPort),
    protocol,
  );
}

function hasPorts(protocol: number): boolean {
  return (
    protocol === IP_PROTOCOL_TCP ||
    protocol === IP_PROTOCOL_UDP ||
    protocol === IP_PROTOCOL_SCTP ||
    protocol === IP_PROTOCOL_DCCP ||
    protocol === IP_PROTOCOL_UDP_LITE
  );
}

/** The four words of an address in one. */
function mixAddress(bytes: Uint8Array, offset: number): number {
  const network = mixEnd(readInt32(bytes, offset), readInt32(bytes, offset + 4));
  const host = mixEnd(readInt32(bytes, offset + 8), readInt32(bytes, offset + 12));
  return (Math.imul(network, PROTOCOL_FACTOR) ^ host) | 0;
}

/** One end of the flow: its address and its port. The shift brings the upper bits of the sum to where they spread. */
function mixEnd(word: number, port: number): number {
  const mixed = (Math.imul(word, WORD_FACTOR) + Math.imul(port, PORT_FACTOR)) | 0;
  return Math.imul(mixed ^ (mixed >>> 15), END_FACTOR);
}

/** The sum knows no order. Then a final mix (Wellons' lowbias32): each bit of the input reaches each bit of the result. */
function join(oneEnd: number, otherEnd: number, protocol: number): number {
  let hash = (oneEnd + otherEnd + Math.imul(protocol, PROTOCOL_FACTOR)) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return (hash ^ (hash >>> 16)) & 0x7fffffff;
}
