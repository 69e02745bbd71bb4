/** @hot The IP header of a frame, if there is one: VLAN tags are looked through, and nothing is believed but the bytes. */
import { readUint16 } from './byte-order.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.js';
import { IPV4_HEADER_BYTES_MIN } from './ipv4.js';
import { IPV6_HEADER_BYTES } from './ipv6.js';
import { findLayer3Offset, readLayer3Ethertype } from './vlan.js';

/** @returns the offset of a whole IPv4 or IPv6 header, of the version that the EtherType says; or -1. */
export function findIp(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  let ip = frameOffset + ETHERNET_HEADER_BYTES;
  if (frameBytes < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN) return -1;
  let ethertype = readUint16(bytes, ip - 2);
  if (ethertype !== ETHERTYPE_IPV4 && ethertype !== ETHERTYPE_IPV6) {
    ip = findLayer3Offset(bytes, frameOffset, frameBytes);
    if (ip < 0) return -1;
    ethertype = readLayer3Ethertype(bytes, ip);
  }
  const ipBytes = frameOffset + frameBytes - ip;
  if (ethertype === ETHERTYPE_IPV4) return ipBytes >= IPV4_HEADER_BYTES_MIN && bytes[ip]! >>> 4 === 4 ? ip : -1;
  if (ethertype === ETHERTYPE_IPV6) return ipBytes >= IPV6_HEADER_BYTES && bytes[ip]! >>> 4 === 6 ? ip : -1;
  return -1;
}
