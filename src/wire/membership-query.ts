/**
 * General queries, as a host asks its own containers (RFC 3376 section 4.1, RFC 3810 section 5.1; for switches that ask, RFC
 * 4541 section 2.1.1): whole Ethernet frames. Cold.
 *
 *     IGMPv3   Ethernet 14 | IPv4 20 + router alert 4 | IGMP 12          from 0.0.0.0 to 224.0.0.1
 *     MLDv2    Ethernet 14 | IPv6 40 | hop-by-hop: router alert 8 | 28   from a link-local address to ff02::1
 *
 * Of two queriers the one with the lower address goes on. That of 0.0.0.0 counts for none, and the link-local address is
 * high: a router of the network's own stays the querier.
 */
import { writeUint16, writeUint32 } from './byte-order.js';
import { finish, pseudoHeaderSumIpv6, sum } from './checksum.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from './ethernet.js';
import { parseIPv6 } from './ip-address.js';
import { writeIpv4Checksum } from './ipv4.js';
import { emitIpv6, IPV6_HEADER_BYTES } from './ipv6.js';

/** The prefix is kept from containers, and no network's gateway has it: there is no VNI 0. */
const SOURCE_MAC_HIGH = 0x0276;
const SOURCE_MAC_LOW = 0x74000000;
const SOURCE_IPV6 = parseIPv6('fe80::ff76:74ff:fe00:0');
const ALL_NODES = parseIPv6('ff02::1');
const IGMP_BYTES = 12;
const IPV4_BYTES = 24;
const MLD_BYTES = 28;
const OPTIONS_BYTES = 8;
const ROBUSTNESS = 2;

/** @param responseMs at most how long the answers are spread over. @param intervalSeconds until the next query */
export function igmpQuery(responseMs: number, intervalSeconds: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER_BYTES + IPV4_BYTES + IGMP_BYTES);
  emitEthernet(frame, 0, 0x0100, 0x5e000001, SOURCE_MAC_HIGH, SOURCE_MAC_LOW, ETHERTYPE_IPV4);
  const ip = ETHERNET_HEADER_BYTES;
  frame.set([0x46, 0xc0, 0, IPV4_BYTES + IGMP_BYTES, 0, 0, 0x40, 0, 1, 2, 0, 0, 0, 0, 0, 0, 224, 0, 0, 1], ip);
  frame.set([0x94, 4, 0, 0], ip + 20);
  writeIpv4Checksum(frame, ip);
  const igmp = ip + IPV4_BYTES;
  frame[igmp] = 0x11;
  frame[igmp + 1] = Math.min(127, Math.ceil(responseMs / 100));
  frame[igmp + 8] = ROBUSTNESS;
  frame[igmp + 9] = Math.min(127, intervalSeconds);
  writeUint16(frame, igmp + 2, finish(sum(frame, igmp, IGMP_BYTES, 0)));
  return frame;
}

export function mldQuery(responseMs: number, intervalSeconds: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + OPTIONS_BYTES + MLD_BYTES);
  emitEthernet(frame, 0, 0x3333, 1, SOURCE_MAC_HIGH, SOURCE_MAC_LOW, ETHERTYPE_IPV6);
  const ip = ETHERNET_HEADER_BYTES;
  const addresses = Uint8Array.from([...SOURCE_IPV6, ...ALL_NODES]);
  emitIpv6(frame, ip, 0, 0, OPTIONS_BYTES + MLD_BYTES, 0, 1, addresses, 0, 16);
  const options = ip + IPV6_HEADER_BYTES;
  writeUint32(frame, options, 0x3a000502);
  writeUint32(frame, options + 4, 0x00000100);
  const mld = options + OPTIONS_BYTES;
  frame[mld] = 130;
  writeUint16(frame, mld + 4, Math.min(32_767, responseMs));
  frame[mld + 24] = ROBUSTNESS;
  frame[mld + 25] = Math.min(127, intervalSeconds);
  const pseudo = pseudoHeaderSumIpv6(frame, ip, 58, MLD_BYTES);
  writeUint16(frame, mld + 2, finish(sum(frame, mld, MLD_BYTES, pseudo)));
  return frame;
}
