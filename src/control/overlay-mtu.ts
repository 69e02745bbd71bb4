/**
 * The overlay's MTU, from the underlay's and the families that this host's tunnels may use. Pure.
 *
 *     outer IPv4 20 or IPv6 40 | UDP 8 | VXLAN 8 | inner Ethernet 14 | inner packet: the overlay's MTU
 *
 * A host that has an IPv6 underlay address may have to send to any peer by it, so what its containers send must fit then.
 */
import type { IpFamily } from '../wire/ip-address.js';

const UDP_VXLAN_ETHERNET_BYTES = 8 + 8 + 14;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;

export function overlayOverheadBytes(families: readonly IpFamily[]): number {
  return UDP_VXLAN_ETHERNET_BYTES + (families.includes(6) ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES);
}

/** @param families that this host has an underlay address of */
export function overlayMtuBytes(underlayMtuBytes: number, families: readonly IpFamily[]): number {
  return underlayMtuBytes - overlayOverheadBytes(families);
}
