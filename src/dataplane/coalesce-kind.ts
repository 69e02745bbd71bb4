/**
 * Which frames may be coalesced at all, by what the frame alone says. @hot
 *
 * Never, and why:
 *     VLAN tags, IPv4 options, IPv6 extension headers   rare; the kernel's own rules for them differ between versions
 *     fragments                                         their checksum covers what is not here
 *     a length field that does not match the frame      a trailer would move into the middle
 *     TCP flags but ACK and PSH                          SYN, FIN, RST, URG, ECE, CWR, AE mean this segment and no other
 *     no payload                                         a pure ACK counts: TCP's clock
 *     UDP without a checksum                             the superframe's segments would get one
 */
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.js';
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, IPV4_HEADER_BYTES_MIN } from '../wire/ipv4.js';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { TCP_ACK, TCP_HEADER_BYTES_MIN, TCP_PSH } from '../wire/tcp.js';
import { UDP_HEADER_BYTES } from '../wire/udp.js';
import { COALESCE_NONE, COALESCE_TCP4, COALESCE_TCP6, COALESCE_UDP4, COALESCE_UDP6 } from './aggregate.js';
import type { WorkerContext } from './context.js';

const IPV4_VERSION_AND_LENGTH = 0x45;
/** All of flags and fragment offset but DF. */
const IPV4_FRAGMENT_MASK = 0xbfff;
/** The bits behind the data offset, the reserved ones too: one is AccECN's AE. */
const TCP_FLAGS_BUT_PSH = 0x0fff & ~TCP_PSH;

/** @returns COALESCE_... */
export function coalesceKind(context: WorkerContext, frameOffset: number, frameBytes: number): number {
  const view = context.arena.view;
  if (frameBytes < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN + UDP_HEADER_BYTES) return COALESCE_NONE;
  const ethertype = view.getUint16(frameOffset + 12);
  const ip = frameOffset + ETHERNET_HEADER_BYTES;
  const ipBytes = frameBytes - ETHERNET_HEADER_BYTES;
  let upper: number;
  let protocol: number;
  if (ethertype === ETHERTYPE_IPV4) {
    if (view.getUint8(ip) !== IPV4_VERSION_AND_LENGTH || view.getUint16(ip + 2) !== ipBytes) return COALESCE_NONE;
    if ((view.getUint16(ip + 6) & IPV4_FRAGMENT_MASK) !== 0) return COALESCE_NONE;
    protocol = view.getUint8(ip + 9);
    upper = ip + IPV4_HEADER_BYTES_MIN;
  } else if (ethertype === ETHERTYPE_IPV6) {
    if (frameBytes < ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + UDP_HEADER_BYTES) return COALESCE_NONE;
    if (view.getUint8(ip) >>> 4 !== 6 || view.getUint16(ip + 4) + IPV6_HEADER_BYTES !== ipBytes) return COALESCE_NONE;
    protocol = view.getUint8(ip + 6);
    upper = ip + IPV6_HEADER_BYTES;
  } else {
    return COALESCE_NONE;
  }
  const upperBytes = frameOffset + frameBytes - upper;
  if (protocol === IP_PROTOCOL_TCP) {
    if (!context.coalesceTcp || upperBytes <= TCP_HEADER_BYTES_MIN) return COALESCE_NONE;
    const headerBytes = (view.getUint8(upper + 12) >>> 4) << 2;
    if (headerBytes < TCP_HEADER_BYTES_MIN || upperBytes <= headerBytes) return COALESCE_NONE;
    if ((view.getUint16(upper + 12) & TCP_FLAGS_BUT_PSH) !== TCP_ACK) return COALESCE_NONE;
    return ethertype === ETHERTYPE_IPV4 ? COALESCE_TCP4 : COALESCE_TCP6;
  }
  if (protocol === IP_PROTOCOL_UDP) {
    if (!context.coalesceUdp || upperBytes <= UDP_HEADER_BYTES) return COALESCE_NONE;
    if (view.getUint16(upper + 4) !== upperBytes || view.getUint16(upper + 6) === 0) return COALESCE_NONE;
    return ethertype === ETHERTYPE_IPV4 ? COALESCE_UDP4 : COALESCE_UDP6;
  }
  return COALESCE_NONE;
}
