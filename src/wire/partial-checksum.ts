/**
 * @hot
 * A TCP or UDP checksum that its sender has left for hardware to finish, and that no hardware has finished.
 *
 * The kernel's VXLAN lets the inner checksum be when the underlay device offers checksum offload. Between namespaces and
 * between virtual machines of one host there is no such hardware: the frame arrives with the pseudo-header's sum, as it
 * is, in the checksum field (struct sk_buff, CHECKSUM_PARTIAL), and the kernel tells a UDP socket nothing of that. The
 * outer checksum has vouched for the bytes; so such a frame goes on marked NEEDS_CSUM, as it would have inside the kernel.
 *
 * A finished checksum equals that sum once in 65,536 frames. The mark is right for those as well: finishing it again from
 * the pseudo-header's sum gives the same checksum.
 */
import { readUint16 } from './byte-order.js';
import { pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from './checksum.js';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.js';
import {
  checkIpv4,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
  IPV4_OK,
  isIpv4Fragment,
  readIpv4HeaderBytes,
  readIpv4Protocol,
  readIpv4TotalBytes,
} from './ipv4.js';
import {
  checkIpv6,
  IPV6_HEADER_BYTES,
  IPV6_OK,
  IPV6_WALK_FAILED,
  ipv6UpperOffset,
  ipv6UpperProtocol,
  isIpv6UpperFragment,
  readIpv6PayloadBytes,
  walkIpv6,
} from './ipv6.js';
import { readTcpHeaderBytes, TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES_MIN } from './tcp.js';
import { readUdpBytes, UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from './udp.js';
import { findLayer3Offset, readLayer3Ethertype } from './vlan.js';

/** The frame's checksum is finished, absent, or not of a kind that is ever left unfinished. */
export const CHECKSUM_FINISHED = 0;

/**
 * @returns CHECKSUM_FINISHED, or csum_start << 8 | csum_offset as virtio_net_hdr has them: csum_start from the frame's
 *   begin, csum_offset from there to the field
 */
export function findPartialChecksum(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  const ip = findLayer3Offset(bytes, frameOffset, frameBytes);
  if (ip < 0) return CHECKSUM_FINISHED;
  const ipBytes = frameOffset + frameBytes - ip;
  const ethertype = readLayer3Ethertype(bytes, ip);
  let protocol: number;
  let upper: number;
  if (ethertype === ETHERTYPE_IPV4) {
    // A trailer behind the packet would be summed up with it: such a frame is never left unfinished.
    if (checkIpv4(bytes, ip, ipBytes) !== IPV4_OK || readIpv4TotalBytes(bytes, ip) !== ipBytes)
      return CHECKSUM_FINISHED;
    if (isIpv4Fragment(bytes, ip)) return CHECKSUM_FINISHED;
    protocol = readIpv4Protocol(bytes, ip);
    upper = ip + readIpv4HeaderBytes(bytes, ip);
  } else if (ethertype === ETHERTYPE_IPV6) {
    if (checkIpv6(bytes, ip, ipBytes) !== IPV6_OK) return CHECKSUM_FINISHED;
    if (IPV6_HEADER_BYTES + readIpv6PayloadBytes(bytes, ip) !== ipBytes) return CHECKSUM_FINISHED;
    const walk = walkIpv6(bytes, ip, ipBytes);
    if (walk === IPV6_WALK_FAILED || isIpv6UpperFragment(walk)) return CHECKSUM_FINISHED;
    protocol = ipv6UpperProtocol(walk);
    upper = ip + ipv6UpperOffset(walk);
  } else {
    return CHECKSUM_FINISHED;
  }
  const upperBytes = frameOffset + frameBytes - upper;
  let field: number;
  if (protocol === IP_PROTOCOL_TCP && upperBytes >= TCP_HEADER_BYTES_MIN) field = TCP_CHECKSUM_OFFSET;
  else if (protocol === IP_PROTOCOL_UDP && upperBytes >= UDP_HEADER_BYTES) field = UDP_CHECKSUM_OFFSET;
  else return CHECKSUM_FINISHED;
  const pseudoHeaderSum =
    ethertype === ETHERTYPE_IPV4
      ? pseudoHeaderSumIpv4(bytes, ip, protocol, upperBytes)
      : pseudoHeaderSumIpv6(bytes, ip, protocol, upperBytes);
  if (readUint16(bytes, upper + field) !== pseudoHeaderSum) return CHECKSUM_FINISHED;
  // No kernel sends a header that lies about its length: what does is handed on as it is.
  if (field === TCP_CHECKSUM_OFFSET) {
    const headerBytes = readTcpHeaderBytes(bytes, upper);
    if (headerBytes < TCP_HEADER_BYTES_MIN || headerBytes > upperBytes) return CHECKSUM_FINISHED;
  } else if (readUdpBytes(bytes, upper) !== upperBytes) {
    return CHECKSUM_FINISHED;
  }
  return ((upper - frameOffset) << 8) | field;
}
