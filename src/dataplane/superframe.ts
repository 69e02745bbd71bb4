/**
 * Step 2a of encapsulation: a superframe from the TAP, checked before anything is written. @hot
 *
 * A superframe is one TCP or UDP packet of up to 64 KiB that the kernel has left unsegmented (TSO, USO), its segment size
 * in the virtio header. What the header says is not trusted: hdr_len can cover the whole packet on forwarded traffic, so
 * the length of the headers is taken from the packet; the rest must agree with the packet.
 * Sources: include/linux/virtio_net.h, virtio_net_hdr_to_skb; Documentation/networking/segmentation-offloads.rst.
 */
import { DROP_TAP_GSO, DROP_TAP_VIRTIO_HEADER } from '../shared/drop-causes.js';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.js';
import {
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
  IPV4_HEADER_BYTES_MIN,
  isIpv4Fragment,
  readIpv4HeaderBytes,
  readIpv4Protocol,
} from '../wire/ipv4.js';
import {
  IPV6_HEADER_BYTES,
  IPV6_WALK_FAILED,
  ipv6UpperOffset,
  ipv6UpperProtocol,
  isIpv6UpperFragment,
  walkIpv6,
} from '../wire/ipv6.js';
import { readTcpHeaderBytes, TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES_MIN } from '../wire/tcp.js';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from '../wire/udp.js';
import {
  readVirtioCsumOffset,
  readVirtioCsumStart,
  readVirtioFlags,
  readVirtioGsoSize,
  readVirtioGsoType,
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../wire/virtio-net-hdr.js';
import { findLayer3Offset, readLayer3Ethertype } from '../wire/vlan.js';
import { FRAME_BYTES_MAX, SUPERFRAME_HEADER_BYTES_MAX } from './arena.js';

export const SUPERFRAME_OK = -1;

/**
 * 64 KiB in segments of 8 bytes, the least that the kernel's TCP sends (net.ipv4.tcp_min_snd_mss). A container may write
 * smaller ones by a packet socket: a frame that becomes 65,000 datagrams, for each member of its network.
 */
const SUPERFRAME_SEGMENTS_MAX = 8192;

/** What the check has found: of the frame at hand only. */
export class Superframe {
  isTcp = false;
  isIpv4 = false;
  /** From the arena's begin. */
  ipOffset = 0;
  upperOffset = 0;
  /** Ethernet to TCP or UDP header. */
  headerBytes = 0;
  /** Payload of each segment but the last. */
  segmentBytes = 0;
  segmentCount = 0;
}

/** @returns SUPERFRAME_OK with `superframe` filled, or the drop cause */
export function checkSuperframe(
  superframe: Superframe,
  bytes: Uint8Array,
  frameOffset: number,
  frameBytes: number,
): number {
  const virtio = frameOffset - VIRTIO_NET_HDR_BYTES;
  const type = readVirtioGsoType(bytes, virtio) & ~VIRTIO_NET_HDR_GSO_ECN;
  const isTcp = type === VIRTIO_NET_HDR_GSO_TCPV4 || type === VIRTIO_NET_HDR_GSO_TCPV6;
  if (!isTcp && type !== VIRTIO_NET_HDR_GSO_UDP_L4) return DROP_TAP_GSO;
  if ((readVirtioFlags(bytes, virtio) & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0) return DROP_TAP_VIRTIO_HEADER;
  const upperStart = readVirtioCsumStart(bytes, virtio);
  const upper = frameOffset + upperStart;
  const end = frameOffset + frameBytes;
  if (upper + (isTcp ? TCP_HEADER_BYTES_MIN : UDP_HEADER_BYTES) > end) return DROP_TAP_VIRTIO_HEADER;
  if (readVirtioCsumOffset(bytes, virtio) !== (isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET)) {
    return DROP_TAP_VIRTIO_HEADER;
  }
  const upperHeaderBytes = isTcp ? readTcpHeaderBytes(bytes, upper) : UDP_HEADER_BYTES;
  if (isTcp && upperHeaderBytes < TCP_HEADER_BYTES_MIN) return DROP_TAP_VIRTIO_HEADER;
  const headerBytes = upperStart + upperHeaderBytes;
  const segmentBytes = readVirtioGsoSize(bytes, virtio);
  if (headerBytes >= frameBytes || segmentBytes === 0) return DROP_TAP_VIRTIO_HEADER;
  if (headerBytes > SUPERFRAME_HEADER_BYTES_MAX) return DROP_TAP_GSO;
  if (headerBytes + segmentBytes > FRAME_BYTES_MAX) return DROP_TAP_GSO;
  const segmentCount = ((frameBytes - headerBytes + segmentBytes - 1) / segmentBytes) | 0;
  if (segmentCount > SUPERFRAME_SEGMENTS_MAX) return DROP_TAP_GSO;

  const ip = findLayer3Offset(bytes, frameOffset, frameBytes);
  if (ip < 0 || ip >= upper) return DROP_TAP_VIRTIO_HEADER;
  const ethertype = readLayer3Ethertype(bytes, ip);
  const protocol = isTcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
  const version = (bytes[ip] as number) >>> 4;
  if (ethertype === ETHERTYPE_IPV4) {
    if (version !== 4) return DROP_TAP_VIRTIO_HEADER;
    if (type === VIRTIO_NET_HDR_GSO_TCPV6 || upper - ip < IPV4_HEADER_BYTES_MIN) return DROP_TAP_VIRTIO_HEADER;
    if (ip + readIpv4HeaderBytes(bytes, ip) !== upper) return DROP_TAP_VIRTIO_HEADER;
    if (readIpv4Protocol(bytes, ip) !== protocol || isIpv4Fragment(bytes, ip)) return DROP_TAP_VIRTIO_HEADER;
  } else if (ethertype === ETHERTYPE_IPV6) {
    if (version !== 6) return DROP_TAP_VIRTIO_HEADER;
    if (type === VIRTIO_NET_HDR_GSO_TCPV4 || upper - ip < IPV6_HEADER_BYTES) return DROP_TAP_VIRTIO_HEADER;
    const walk = walkIpv6(bytes, ip, end - ip);
    if (walk === IPV6_WALK_FAILED || isIpv6UpperFragment(walk)) return DROP_TAP_VIRTIO_HEADER;
    if (ip + ipv6UpperOffset(walk) !== upper || ipv6UpperProtocol(walk) !== protocol) return DROP_TAP_VIRTIO_HEADER;
  } else {
    return DROP_TAP_VIRTIO_HEADER;
  }
  superframe.isTcp = isTcp;
  superframe.isIpv4 = ethertype === ETHERTYPE_IPV4;
  superframe.ipOffset = ip;
  superframe.upperOffset = upper;
  superframe.headerBytes = headerBytes;
  superframe.segmentBytes = segmentBytes;
  superframe.segmentCount = segmentCount;
  return SUPERFRAME_OK;
}
