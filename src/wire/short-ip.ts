/**
 * @hot
 * A frame whose type says IP and that ends before the IP header does: the kernel's VXLAN neither sends nor takes it
 * (skb_vlan_inet_prepare, pskb_inet_may_pull in include/net/ip_tunnels.h). Tags are looked through, eight of them, as there.
 */
import { readUint16 } from './byte-order.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.js';
import { IPV4_HEADER_BYTES_MIN } from './ipv4.js';
import { IPV6_HEADER_BYTES } from './ipv6.js';
import { isVlanEthertype, VLAN_TAG_BYTES } from './vlan.js';

/** VLAN_MAX_DEPTH of include/linux/if_vlan.h. */
const TAGS_MAX = 8;
/** A frame of so many bytes is never too short: tags and the longer of the two headers. */
export const SHORT_IP_BYTES = ETHERNET_HEADER_BYTES + TAGS_MAX * VLAN_TAG_BYTES + IPV6_HEADER_BYTES;

/** @param frameBytes at least an Ethernet header, all in the buffer */
export function isShortIp(bytes: Uint8Array, frameOffset: number, frameBytes: number): boolean {
  let layer3Bytes = frameBytes - ETHERNET_HEADER_BYTES;
  let type = readUint16(bytes, frameOffset + ETHERNET_HEADER_BYTES - 2);
  for (let tags = 0; tags < TAGS_MAX && isVlanEthertype(type); tags++) {
    layer3Bytes -= VLAN_TAG_BYTES;
    if (layer3Bytes < 0) return false;
    type = readUint16(bytes, frameOffset + frameBytes - layer3Bytes - 2);
  }
  if (type === ETHERTYPE_IPV4) return layer3Bytes < IPV4_HEADER_BYTES_MIN;
  return type === ETHERTYPE_IPV6 && layer3Bytes < IPV6_HEADER_BYTES;
}
