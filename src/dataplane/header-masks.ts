/**
 * What must be the same in two segments that are coalesced: a bit mask over the headers, for each kind and length. Made
 * once into the arena; coalesce.ts compares through it.
 *
 *     Ethernet     all
 *     IPv4         all but total length, identification, header checksum      (20 bytes: options are never coalesced)
 *     IPv6         all but payload length
 *     TCP          all but sequence number, PSH, checksum; options too
 *     UDP          ports
 *
 * The excepted fields follow from the head, and are tested one by one.
 */
import { ETHERNET_HEADER_BYTES } from '../wire/ethernet.js';
import { IPV4_HEADER_BYTES_MIN } from '../wire/ipv4.js';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { MASK_STEP_BYTES } from '../wire/masked-compare.js';
import { TCP_HEADER_BYTES_MIN, TCP_PSH } from '../wire/tcp.js';
import { UDP_HEADER_BYTES } from '../wire/udp.js';
import { COALESCE_TCP4, COALESCE_TCP6, COALESCE_UDP4, COALESCE_UDP6 } from './aggregate.js';

const TCP_HEADER_BYTES_MAX = 60;
/** Ethernet 14, IPv6 40, TCP 60, in whole steps. */
const MASK_BYTES = 128;
/** Header lengths go up by four: 128 / 4 masks a kind. */
const MASKS_PER_KIND = 32;
const KINDS = 5;
export const HEADER_MASKS_BYTES = KINDS * MASKS_PER_KIND * MASK_BYTES;

/** @returns the mask's offset from the masks' begin */
export function headerMaskOffset(kind: number, headerBytes: number): number {
  return (kind * MASKS_PER_KIND + (headerBytes >> 2)) * MASK_BYTES;
}

/** How many bytes are compared; behind the headers the mask is 0. */
export function headerMaskBytes(headerBytes: number): number {
  return (headerBytes + MASK_STEP_BYTES - 1) & -MASK_STEP_BYTES;
}

/** Writes all masks at `start`. Once at start. */
export function writeHeaderMasks(bytes: Uint8Array, start: number): void {
  for (const kind of [COALESCE_TCP4, COALESCE_TCP6, COALESCE_UDP4, COALESCE_UDP6]) {
    const isTcp = kind === COALESCE_TCP4 || kind === COALESCE_TCP6;
    const isIpv4 = kind === COALESCE_TCP4 || kind === COALESCE_UDP4;
    const ip = ETHERNET_HEADER_BYTES;
    const upper = ip + (isIpv4 ? IPV4_HEADER_BYTES_MIN : IPV6_HEADER_BYTES);
    const upperBytesMin = isTcp ? TCP_HEADER_BYTES_MIN : UDP_HEADER_BYTES;
    const upperBytesMax = isTcp ? TCP_HEADER_BYTES_MAX : UDP_HEADER_BYTES;
    for (let upperBytes = upperBytesMin; upperBytes <= upperBytesMax; upperBytes += 4) {
      const mask = start + headerMaskOffset(kind, upper + upperBytes);
      bytes.fill(0xff, mask, mask + upper + upperBytes);
      if (isIpv4) {
        bytes.fill(0, mask + ip + 2, mask + ip + 6);
        bytes.fill(0, mask + ip + 10, mask + ip + 12);
      } else {
        bytes.fill(0, mask + ip + 4, mask + ip + 6);
      }
      if (isTcp) {
        bytes.fill(0, mask + upper + 4, mask + upper + 8);
        bytes[mask + upper + 13] = 0xff & ~TCP_PSH;
        bytes.fill(0, mask + upper + 16, mask + upper + 18);
      } else {
        bytes.fill(0, mask + upper + 4, mask + upper + 8);
      }
    }
  }
}
