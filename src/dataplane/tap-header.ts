/**
 * The virtio header that a frame from the underlay gets before it goes into the TAP. @hot
 *
 * Empty for nearly all. The kernel's VXLAN on a veth or virtio underlay leaves two things undone, in the hope of hardware
 * that is not there: the inner checksum (wire/partial-checksum.ts) and the segmentation, so that a datagram holds a
 * superframe of up to 64 KB. Both are handed on to the kernel of this host, which can finish them. TCP's segment size did
 * not travel with the superframe; the sender's was at most what the overlay's MTU allows, so that is taken. UDP's has come
 * with the message (isWholeSuperframe).
 */
import { CHECKSUMS_PARTIAL, SUPERFRAMES_IN } from '../shared/counters.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4 } from '../wire/ethernet.js';
import { CHECKSUM_FINISHED, findPartialChecksum } from '../wire/partial-checksum.js';
import { readTcpFlags, readTcpHeaderBytes, TCP_CHECKSUM_OFFSET, TCP_CWR } from '../wire/tcp.js';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from '../wire/udp.js';
import {
  clearVirtioNetHdr,
  emitVirtioNetHdr,
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../wire/virtio-net-hdr.js';
import { findLayer3Offset, readLayer3Ethertype } from '../wire/vlan.js';
import type { WorkerContext } from './context.js';

/**
 * Writes the header right before the frame.
 *
 * @param udpSegmentBytes of a UDP superframe; 0 for every other frame
 * @returns false if no packet of this size fits into the network
 */
export function writeTapHeader(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
  udpSegmentBytes: number,
): boolean {
  const bytes = context.arena.bytes;
  const header = frameOffset - VIRTIO_NET_HDR_BYTES;
  const mtuBytes = context.networks.mtuBytes(networkIndex);
  // A frame without tags has no more room for its packet than the MTU: the bridge would drop it without a word.
  const isOversize =
    frameBytes > mtuBytes + ETHERNET_HEADER_BYTES &&
    frameBytes > mtuBytes + findLayer3Offset(bytes, frameOffset, frameBytes) - frameOffset;
  const partial = findPartialChecksum(bytes, frameOffset, frameBytes);
  if (partial === CHECKSUM_FINISHED) {
    clearVirtioNetHdr(bytes, header);
    return !isOversize;
  }
  const start = partial >>> 8;
  const field = partial & 0xff;
  let gsoType = VIRTIO_NET_HDR_GSO_NONE;
  let headerBytes = 0;
  let segmentBytes = 0;
  if (udpSegmentBytes !== 0) {
    headerBytes = start + UDP_HEADER_BYTES;
    segmentBytes = udpSegmentBytes;
    gsoType = VIRTIO_NET_HDR_GSO_UDP_L4;
    context.counters.add(networkIndex, SUPERFRAMES_IN, 1);
  } else if (isOversize) {
    if (field !== TCP_CHECKSUM_OFFSET) return false;
    const ip = findLayer3Offset(bytes, frameOffset, frameBytes);
    headerBytes = start + readTcpHeaderBytes(bytes, frameOffset + start);
    segmentBytes = mtuBytes - (headerBytes - (ip - frameOffset));
    if (headerBytes >= frameBytes || segmentBytes <= 0) return false;
    gsoType = readLayer3Ethertype(bytes, ip) === ETHERTYPE_IPV4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
    if ((readTcpFlags(bytes, frameOffset + start) & TCP_CWR) !== 0) gsoType |= VIRTIO_NET_HDR_GSO_ECN;
    context.counters.add(networkIndex, SUPERFRAMES_IN, 1);
  }
  emitVirtioNetHdr(bytes, header, VIRTIO_NET_HDR_F_NEEDS_CSUM, gsoType, headerBytes, segmentBytes, start, field);
  context.counters.add(networkIndex, CHECKSUMS_PARTIAL, 1);
  return true;
}

/**
 * Whether a message that came with a segment size is no train of datagrams but one, whose inner UDP the sender's kernel
 * has left unsegmented: then the inner packet reaches to the message's end, and its checksum is unfinished.
 */
export function isWholeSuperframe(
  context: WorkerContext,
  frameOffset: number,
  frameBytes: number,
  segmentBytes: number,
): boolean {
  if (frameBytes <= segmentBytes) return false;
  const partial = findPartialChecksum(context.arena.bytes, frameOffset, frameBytes);
  return partial !== CHECKSUM_FINISHED && (partial & 0xff) === UDP_CHECKSUM_OFFSET;
}
