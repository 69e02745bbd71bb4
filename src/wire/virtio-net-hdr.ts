/**
 * @hot
 * struct virtio_net_hdr (linux/virtio_net.h), which an IFF_VNET_HDR TAP puts before every frame, 10 bytes:
 *
 *      0       1          2         4          6            8             10
 *      | flags | gso type | hdr len | gso size | csum start | csum offset | Ethernet frame
 *
 * The 16-bit fields are in the host's own order, and vtep runs on little-endian hosts. Offsets count from the Ethernet
 * header. hdr_len is a hint of the kernel (the linear part of its buffer): it is not checked, and nobody may trust it.
 */
import { fits } from './bounds.js';
import { readUint16Le, writeUint16Le } from './byte-order.js';

export const VIRTIO_NET_HDR_BYTES = 10;
export const VIRTIO_NET_HDR_FLAGS_OFFSET = 0;
export const VIRTIO_NET_HDR_GSO_TYPE_OFFSET = 1;
export const VIRTIO_NET_HDR_HDR_LEN_OFFSET = 2;
export const VIRTIO_NET_HDR_GSO_SIZE_OFFSET = 4;
export const VIRTIO_NET_HDR_CSUM_START_OFFSET = 6;
export const VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET = 8;

/** The checksum at csum start + csum offset holds the pseudo-header sum only: see completeChecksum. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
/** The kernel has verified the checksum. */
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;

export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
/** UFO, fragmentation: gone from the kernel since 4.14, never to be asked for. */
export const VIRTIO_NET_HDR_GSO_UDP = 3;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** USO: UDP datagrams of gso_size each. */
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** A bit beside the type. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

export const VIRTIO_NET_HDR_OK = 0;
export const VIRTIO_NET_HDR_SHORT = 1;
/** NEEDS_CSUM with a checksum field that lies out of the frame. */
export const VIRTIO_NET_HDR_BAD_CSUM = 2;
/** An unknown GSO type, or one with gso size 0. */
export const VIRTIO_NET_HDR_BAD_GSO = 3;

/** @param length header and frame together, as one read of the TAP gives them. @returns a VIRTIO_NET_HDR_ verdict. */
export function checkVirtioNetHdr(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, VIRTIO_NET_HDR_BYTES)) return VIRTIO_NET_HDR_SHORT;
  if ((readVirtioFlags(bytes, offset) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
    const fieldEnd = readVirtioCsumStart(bytes, offset) + readVirtioCsumOffset(bytes, offset) + 2;
    if (fieldEnd > length - VIRTIO_NET_HDR_BYTES) return VIRTIO_NET_HDR_BAD_CSUM;
  }
  switch (readVirtioGsoType(bytes, offset) & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
      return VIRTIO_NET_HDR_OK;
    case VIRTIO_NET_HDR_GSO_TCPV4:
    case VIRTIO_NET_HDR_GSO_TCPV6:
    case VIRTIO_NET_HDR_GSO_UDP:
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return readVirtioGsoSize(bytes, offset) === 0 ? VIRTIO_NET_HDR_BAD_GSO : VIRTIO_NET_HDR_OK;
    default:
      return VIRTIO_NET_HDR_BAD_GSO;
  }
}

export function readVirtioFlags(bytes: Uint8Array, offset: number): number {
  return bytes[offset + VIRTIO_NET_HDR_FLAGS_OFFSET]!;
}

/** With VIRTIO_NET_HDR_GSO_ECN in it if the segments are to carry CWR on the first only. */
export function readVirtioGsoType(bytes: Uint8Array, offset: number): number {
  return bytes[offset + VIRTIO_NET_HDR_GSO_TYPE_OFFSET]!;
}

export function readVirtioHdrLen(bytes: Uint8Array, offset: number): number {
  return readUint16Le(bytes, offset + VIRTIO_NET_HDR_HDR_LEN_OFFSET);
}

/** Payload bytes of each segment. */
export function readVirtioGsoSize(bytes: Uint8Array, offset: number): number {
  return readUint16Le(bytes, offset + VIRTIO_NET_HDR_GSO_SIZE_OFFSET);
}

export function readVirtioCsumStart(bytes: Uint8Array, offset: number): number {
  return readUint16Le(bytes, offset + VIRTIO_NET_HDR_CSUM_START_OFFSET);
}

export function readVirtioCsumOffset(bytes: Uint8Array, offset: number): number {
  return readUint16Le(bytes, offset + VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET);
}

/** Writes all 10 bytes. */
export function emitVirtioNetHdr(
  bytes: Uint8Array,
  offset: number,
  flags: number,
  gsoType: number,
  hdrLen: number,
  gsoSize: number,
  csumStart: number,
  csumOffset: number,
): void {
  bytes[offset + VIRTIO_NET_HDR_FLAGS_OFFSET] = flags;
  bytes[offset + VIRTIO_NET_HDR_GSO_TYPE_OFFSET] = gsoType;
  writeUint16Le(bytes, offset + VIRTIO_NET_HDR_HDR_LEN_OFFSET, hdrLen);
  writeUint16Le(bytes, offset + VIRTIO_NET_HDR_GSO_SIZE_OFFSET, gsoSize);
  writeUint16Le(bytes, offset + VIRTIO_NET_HDR_CSUM_START_OFFSET, csumStart);
  writeUint16Le(bytes, offset + VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET, csumOffset);
}

/** Writes all 10 bytes as 0: a plain frame, its checksums made. */
export function clearVirtioNetHdr(bytes: Uint8Array, offset: number): void {
  emitVirtioNetHdr(bytes, offset, 0, VIRTIO_NET_HDR_GSO_NONE, 0, 0, 0, 0);
}
