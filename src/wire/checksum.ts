/**
 * @hot
 * The Internet checksum (RFC 1071) in plain TypeScript: the reference, and what runs where nothing faster does.
 *
 * A *sum* here is a one's complement sum of big-endian 16-bit words, folded: 0 to 0xffff, and 0 only if every byte was 0.
 * Sums add up: the sum of one part is the `initial` of the next, as long as every part but the last has an even length.
 * Where a part lies in the buffer, odd or even, does not matter.
 *
 *      sum → sum → ... → finish → store        verify: finish(sum of all, checksum included) === 0
 */
import { readUint16, writeUint16 } from './byte-order.js';

/** csum_offset of UDP, whose checksum 0 would mean "none made" (RFC 768). */
const UDP_CSUM_OFFSET = 6;
const IPV4_ADDRESSES_OFFSET = 12;
const IPV4_ADDRESSES_BYTES = 8;
const IPV6_ADDRESSES_OFFSET = 8;
const IPV6_ADDRESSES_BYTES = 32;

/** @param partial any non-negative int32. @returns 0 to 0xffff, equal to it in one's complement. */
export function fold(partial: number): number {
  const once = (partial & 0xffff) + (partial >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** @returns the checksum to store: folded and complemented, 0 to 0xffff. */
export function finish(partial: number): number {
  return ~fold(partial) & 0xffff;
}

/**
 * Upper and lower bytes are summed apart, and joined at the end: half the work of building words. Each of the two grows
 * by at most 255 for two bytes of input, so int32 holds it for 2^24 bytes; a superframe has 2^16.
 *
 * @param length bytes, at most 2^24; all must lie in the buffer. An odd last byte counts as if a 0 followed.
 * @param initial a sum to go on from, or any non-negative int32
 * @returns the sum, folded: 0 to 0xffff
 */
export function sum(bytes: Uint8Array, offset: number, length: number, initial: number): number {
  const end = offset + length;
  const unrolledEnd = end - 15;
  let upper = 0;
  let lower = 0;
  let i = offset;
  for (; i < unrolledEnd; i += 16) {
    upper =
      (upper +
        bytes[i]! +
        bytes[i + 2]! +
        bytes[i + 4]! +
        bytes[i + 6]! +
        bytes[i + 8]! +
        bytes[i + 10]! +
        bytes[i + 12]! +
        bytes[i + 14]!) |
      0;
    lower =
      (lower +
        bytes[i + 1]! +
        bytes[i + 3]! +
        bytes[i + 5]! +
        bytes[i + 7]! +
        bytes[i + 9]! +
        bytes[i + 11]! +
        bytes[i + 13]! +
        bytes[i + 15]!) |
      0;
  }
  for (; i < end - 1; i += 2) {
    upper = (upper + bytes[i]!) | 0;
    lower = (lower + bytes[i + 1]!) | 0;
  }
  if (i < end) upper = (upper + bytes[i]!) | 0;
  // Each term is at most 0xffff, the shifted one 0xffff00: no carry is lost.
  return fold((fold(upper) << 8) + fold(lower) + fold(initial));
}

/**
 * @param ipOffset of the IPv4 header
 * @param protocol of the upper layer, @param upperBytes its header and payload
 * @returns the pseudo-header's sum (RFC 9293 section 3.1)
 */
export function pseudoHeaderSumIpv4(bytes: Uint8Array, ipOffset: number, protocol: number, upperBytes: number): number {
  return sum(bytes, ipOffset + IPV4_ADDRESSES_OFFSET, IPV4_ADDRESSES_BYTES, protocol + upperBytes);
}

/** As for IPv4, by RFC 8200 section 8.1; `protocol` is the upper layer's, not that of an extension header. */
export function pseudoHeaderSumIpv6(bytes: Uint8Array, ipOffset: number, protocol: number, upperBytes: number): number {
  return sum(bytes, ipOffset + IPV6_ADDRESSES_OFFSET, IPV6_ADDRESSES_BYTES, protocol + upperBytes);
}

/** @returns whether the bytes, their checksum field included, sum up with `initial` (a pseudo-header's sum, or 0). */
export function isChecksumSound(bytes: Uint8Array, offset: number, length: number, initial: number): boolean {
  return finish(sum(bytes, offset, length, initial)) === 0;
}

/** @returns whether the field of virtio's csum_start and csum_offset lies in the frame */
export function isChecksumFieldInside(frameBytes: number, csumStart: number, csumOffset: number): boolean {
  return csumStart >= 0 && csumOffset >= 0 && csumStart + csumOffset + 2 <= frameBytes;
}

/** Stores the checksum that `wholeSum` gives in the field at `start` + `csumOffset`; for UDP 0 becomes 0xffff (RFC 768). */
export function storeChecksum(bytes: Uint8Array, start: number, csumOffset: number, wholeSum: number): void {
  const checksum = finish(wholeSum);
  writeUint16(bytes, start + csumOffset, checksum === 0 && csumOffset === UDP_CSUM_OFFSET ? 0xffff : checksum);
}

/**
 * Finishes a checksum that the sender's stack has left to us (VIRTIO_NET_HDR_F_NEEDS_CSUM): the field already holds the
 * pseudo-header's sum, so the sum from csum_start to the frame's end, field included, is the whole of it.
 *
 * @param csumStart from the frame's begin, @param csumOffset from there to the field, both as in virtio_net_hdr
 * @returns false, with nothing written, if the field does not lie in the frame or the frame not in the buffer
 */
export function completeChecksum(
  bytes: Uint8Array,
  frameOffset: number,
  frameBytes: number,
  csumStart: number,
  csumOffset: number,
): boolean {
  if (frameOffset < 0 || frameOffset > bytes.length - frameBytes) return false;
  if (!isChecksumFieldInside(frameBytes, csumStart, csumOffset)) return false;
  const start = frameOffset + csumStart;
  storeChecksum(bytes, start, csumOffset, sum(bytes, start, frameBytes - csumStart, 0));
  return true;
}

/**
 * A stored checksum after one 16-bit word under it has changed (RFC 1624 equation 3).
 *
 * @param checksumOffset of the field, which is rewritten
 */
export function updateChecksum(bytes: Uint8Array, checksumOffset: number, oldWord: number, newWord: number): void {
  const old = readUint16(bytes, checksumOffset);
  writeUint16(bytes, checksumOffset, finish((~old & 0xffff) + (~oldWord & 0xffff) + (newWord & 0xffff)));
}
