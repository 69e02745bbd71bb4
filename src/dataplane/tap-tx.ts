/**
 * Step 4 of decapsulation: frames and superframes into the network's TAP, one writev each. @hot
 *
 *     a frame        [ virtio + frame ]                                 in place, the virtio header over what came before
 *     a superframe   [ virtio + headers + payload 0 ][ payload 1 ] ...  NEEDS_CSUM, the segment size, the pseudo-header's sum
 *
 * The virtio header goes over the eight bytes of VXLAN and two of the datagram before: whatever came before is written by
 * then (coalesce.ts flushes first). A kernel that refuses a superframe (EINVAL: TUN writes of Linux 6.1.103, 6.6.44 and
 * 6.10.3) gets its segments one by one, as they came, and no superframe of that protocol any more.
 */
import {
  DECAP_BYTES,
  DECAP_FRAMES,
  SEGMENTS_COALESCED,
  SUPERFRAMES_COALESCED,
  TAP_GSO_REFUSED,
} from '../shared/counters.js';
import { DROP_INNER_OVERSIZE, DROP_TAP_BUSY, DROP_TAP_ERROR } from '../shared/drop-causes.js';
import { IOV_LEN_WORD, IOVEC_WORDS } from '../sys/batch-io.js';
import { EAGAIN, EINTR, EINVAL, ENOBUFS, lastErrno } from '../sys/errno.js';
import { writev } from '../sys/libc.js';
import { pseudoHeaderSumIpv4, pseudoHeaderSumIpv6, updateChecksum } from '../wire/checksum.js';
import { ETHERNET_HEADER_BYTES } from '../wire/ethernet.js';
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, IPV4_CHECKSUM_OFFSET } from '../wire/ipv4.js';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { TCP_CHECKSUM_OFFSET, TCP_PSH } from '../wire/tcp.js';
import { UDP_CHECKSUM_OFFSET } from '../wire/udp.js';
import {
  emitVirtioNetHdr,
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../wire/virtio-net-hdr.js';
import { type Aggregate, COALESCE_TCP4, COALESCE_TCP6, COALESCE_UDP4 } from './aggregate.js';
import type { WorkerContext } from './context.js';
import { writeTapHeader } from './tap-header.js';

const WRITTEN = 0;

/** One frame as it came. Nothing that came before it may still wait. */
export function deliverFrame(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): void {
  deliver(context, networkIndex, frameOffset, frameBytes, 0);
}

/** @param udpSegmentBytes of a UDP superframe that the sender's kernel left whole; 0 for every other frame */
export function deliver(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
  udpSegmentBytes: number,
): void {
  if (!writeTapHeader(context, networkIndex, frameOffset, frameBytes, udpSegmentBytes)) {
    context.counters.drop(networkIndex, DROP_INNER_OVERSIZE);
    return;
  }
  writeFirstIovec(context, frameOffset, frameBytes);
  const errno = writeTap(context, networkIndex, 1);
  count(context, networkIndex, 1, frameBytes, errno);
}

/** Writes what has been coalesced, if there is anything. */
export function flushAggregate(context: WorkerContext): void {
  const aggregate = context.aggregate;
  const segments = aggregate.count;
  if (segments === 0) return;
  aggregate.count = 0;
  const networkIndex = aggregate.networkIndex;
  const firstBytes = aggregate.headerBytes + aggregate.segmentBytes;
  if (segments === 1) {
    deliverFrame(context, networkIndex, aggregate.frameOffset, firstBytes);
    return;
  }
  writeSuperframeHeaders(context, aggregate);
  writeFirstIovec(context, aggregate.frameOffset, firstBytes);
  const errno = writeTap(context, networkIndex, segments);
  if (errno === EINVAL) {
    deliverOneByOne(context, aggregate, segments);
    return;
  }
  const frameBytes = aggregate.payloadBytes + segments * aggregate.headerBytes;
  count(context, networkIndex, segments, frameBytes, errno);
  if (errno !== WRITTEN) return;
  context.counters.add(networkIndex, SUPERFRAMES_COALESCED, 1);
  context.counters.add(networkIndex, SEGMENTS_COALESCED, segments);
}

function writeSuperframeHeaders(context: WorkerContext, aggregate: Aggregate): void {
  const bytes = context.arena.bytes;
  const view = context.arena.view;
  const frame = aggregate.frameOffset;
  const ip = frame + ETHERNET_HEADER_BYTES;
  const upper = aggregate.upperOffset;
  const isTcp = aggregate.kind === COALESCE_TCP4 || aggregate.kind === COALESCE_TCP6;
  const isIpv4 = aggregate.kind === COALESCE_TCP4 || aggregate.kind === COALESCE_UDP4;
  const upperBytes = frame + aggregate.headerBytes - upper + aggregate.payloadBytes;
  const protocol = isTcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
  let pseudo: number;
  if (isIpv4) {
    const totalBytes = upper - ip + upperBytes;
    aggregate.savedIpLength = view.getUint16(ip + 2);
    aggregate.savedIpChecksum = view.getUint16(ip + IPV4_CHECKSUM_OFFSET);
    view.setUint16(ip + 2, totalBytes);
    updateChecksum(bytes, ip + IPV4_CHECKSUM_OFFSET, aggregate.savedIpLength, totalBytes);
    pseudo = pseudoHeaderSumIpv4(bytes, ip, protocol, upperBytes);
  } else {
    aggregate.savedIpLength = view.getUint16(ip + 4);
    view.setUint16(ip + 4, upper - ip - IPV6_HEADER_BYTES + upperBytes);
    pseudo = pseudoHeaderSumIpv6(bytes, ip, protocol, upperBytes);
  }
  const field = isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET;
  aggregate.savedUpperChecksum = view.getUint16(upper + field);
  view.setUint16(upper + field, pseudo);
  let gsoType = VIRTIO_NET_HDR_GSO_UDP_L4;
  if (isTcp) {
    gsoType = isIpv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
    aggregate.savedUpperWord = view.getUint16(upper + 12);
    if (aggregate.hasPush) view.setUint16(upper + 12, aggregate.savedUpperWord | TCP_PSH);
  } else {
    aggregate.savedUpperWord = view.getUint16(upper + 4);
    view.setUint16(upper + 4, upperBytes);
  }
  emitVirtioNetHdr(
    bytes,
    frame - VIRTIO_NET_HDR_BYTES,
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    gsoType,
    aggregate.headerBytes,
    aggregate.segmentBytes,
    upper - frame,
    field,
  );
}

/** The kernel has refused the superframe: its segments as they came, each behind an empty virtio header. */
function deliverOneByOne(context: WorkerContext, aggregate: Aggregate, segments: number): void {
  const arena = context.arena;
  const view = arena.view;
  const ip = aggregate.frameOffset + ETHERNET_HEADER_BYTES;
  const upper = aggregate.upperOffset;
  const isTcp = aggregate.kind === COALESCE_TCP4 || aggregate.kind === COALESCE_TCP6;
  const isIpv4 = aggregate.kind === COALESCE_TCP4 || aggregate.kind === COALESCE_UDP4;
  if (isTcp) context.coalesceTcp = false;
  else context.coalesceUdp = false;
  context.counters.add(aggregate.networkIndex, TAP_GSO_REFUSED, 1);
  view.setUint16(ip + (isIpv4 ? 2 : 4), aggregate.savedIpLength);
  if (isIpv4) view.setUint16(ip + IPV4_CHECKSUM_OFFSET, aggregate.savedIpChecksum);
  view.setUint16(upper + (isTcp ? 12 : 4), aggregate.savedUpperWord);
  view.setUint16(upper + (isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET), aggregate.savedUpperChecksum);

  const first = arena.tapIovecs >> 2;
  const headerBytes = aggregate.headerBytes;
  for (let segment = 0; segment < segments; segment++) {
    // The segment's own headers still stand before its payload.
    const iovec = first + segment * IOVEC_WORDS;
    const frameOffset =
      segment === 0 ? aggregate.frameOffset : (((arena.words[iovec] as number) - arena.baseLow) | 0) - headerBytes;
    const frameBytes =
      headerBytes + (segment === 0 ? aggregate.segmentBytes : (arena.words[iovec + IOV_LEN_WORD] as number));
    writeFirstIovec(context, frameOffset, frameBytes);
    // In order: the segment before is written, so its last two bytes may go.
    arena.bytes.fill(0, frameOffset - VIRTIO_NET_HDR_BYTES, frameOffset);
    count(context, aggregate.networkIndex, 1, frameBytes, writeTap(context, aggregate.networkIndex, 1));
  }
}

function writeFirstIovec(context: WorkerContext, frameOffset: number, frameBytes: number): void {
  const arena = context.arena;
  const iovec = arena.tapIovecs >> 2;
  arena.writePointer(iovec, frameOffset - VIRTIO_NET_HDR_BYTES);
  arena.words[iovec + IOV_LEN_WORD] = VIRTIO_NET_HDR_BYTES + frameBytes;
}

/** @returns WRITTEN or the errno */
function writeTap(context: WorkerContext, networkIndex: number, iovecs: number): number {
  const tapFd = context.networks.tapFd(networkIndex, context.workerIndex);
  for (;;) {
    if (writev(tapFd, context.arena.addresses.tapIovecs, iovecs) >= 0) return WRITTEN;
    const errno = lastErrno();
    if (errno !== EINTR) return errno;
  }
}

function count(context: WorkerContext, networkIndex: number, frames: number, bytes: number, errno: number): void {
  if (errno === WRITTEN) {
    context.counters.add(networkIndex, DECAP_FRAMES, frames);
    context.counters.add(networkIndex, DECAP_BYTES, bytes);
    return;
  }
  const cause = errno === EAGAIN || errno === ENOBUFS ? DROP_TAP_BUSY : DROP_TAP_ERROR;
  context.counters.dropMany(networkIndex, cause, frames);
}
