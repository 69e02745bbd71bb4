/**
 * What comes from the tunnel and contradicts the neighbour table: an address that is registered with one MAC, used with
 * another. While the registry is away, or a moment behind, the container that has the address by now announces it so. The
 * main thread is told, and lets requests for the registered endpoint be flooded until the registry has more to say: who
 * really has the address then answers. Nothing is learnt from it. Decapsulation, for each frame that is no IPv4. @hot
 */
import { EVENT_NEIGHBOUR_DOUBT } from '../shared/event-ring.js';
import { FAMILY_IPV6, NEIGHBOUR_KIND_MASK, NEIGHBOUR_REMOTE, neighbourScope } from '../shared/neighbour-table.js';
import { NETWORK_FLAG_SUPPRESSION } from '../shared/network-table.js';
import { ARP_OK, ARP_SENDER_MAC_OFFSET, checkArp, readArpSenderIp } from '../wire/arp.js';
import { readInt32 } from '../wire/byte-order.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV6, readEthertype } from '../wire/ethernet.js';
import {
  findNdLinkLayerOffset,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  isNeighbourMessage,
  looksLikeNeighbourMessage,
  ND_OPTION_TARGET_LINK_LAYER,
  ND_TARGET_OFFSET,
} from '../wire/icmp.js';
import { checkIpv6, IPV6_HEADER_BYTES, IPV6_OK, readIpv6PayloadBytes } from '../wire/ipv6.js';
import { macKeyHigh, macKeyLow } from '../wire/mac-key.js';
import type { WorkerContext } from './context.js';
import { report } from './learn.js';

export function noteNeighbour(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
  vtepIndex: number,
): void {
  const bytes = context.arena.bytes;
  const ethertype = readEthertype(bytes, frameOffset);
  if (ethertype !== ETHERTYPE_ARP && ethertype !== ETHERTYPE_IPV6) return;
  const packet = frameOffset + ETHERNET_HEADER_BYTES;
  const packetBytes = frameBytes - ETHERNET_HEADER_BYTES;
  if (
    ethertype === ETHERTYPE_IPV6 &&
    !looksLikeNeighbourMessage(bytes, packet, packetBytes, ICMPV6_NEIGHBOUR_ADVERTISEMENT)
  ) {
    return;
  }
  if ((context.networks.flags(networkIndex) & NETWORK_FLAG_SUPPRESSION) === 0) return;
  if (ethertype === ETHERTYPE_ARP) noteArp(context, networkIndex, packet, packetBytes, vtepIndex);
  else noteAdvertisement(context, networkIndex, packet, packetBytes, vtepIndex);
}

function noteArp(context: WorkerContext, networkIndex: number, arp: number, arpBytes: number, vtepIndex: number): void {
  const bytes = context.arena.bytes;
  if (checkArp(bytes, arp, arpBytes) !== ARP_OK) return;
  const found = context.neighbours.lookupIpv4(networkIndex, readArpSenderIp(bytes, arp));
  compare(context, networkIndex, found, arp + ARP_SENDER_MAC_OFFSET, vtepIndex);
}

function noteAdvertisement(
  context: WorkerContext,
  networkIndex: number,
  ip: number,
  ipBytes: number,
  vtepIndex: number,
): void {
  const bytes = context.arena.bytes;
  if (checkIpv6(bytes, ip, ipBytes) !== IPV6_OK) return;
  const message = ip + IPV6_HEADER_BYTES;
  const messageBytes = readIpv6PayloadBytes(bytes, ip);
  if (!isNeighbourMessage(bytes, message, messageBytes)) return;
  const mac = findNdLinkLayerOffset(bytes, message, messageBytes, ND_OPTION_TARGET_LINK_LAYER);
  if (mac < 0) return;
  const target = message + ND_TARGET_OFFSET;
  const found = context.neighbours.lookup(
    readInt32(bytes, target),
    readInt32(bytes, target + 4),
    readInt32(bytes, target + 8),
    readInt32(bytes, target + 12),
    neighbourScope(networkIndex, FAMILY_IPV6),
  );
  compare(context, networkIndex, found, mac, vtepIndex);
}

/** @param found of the last lookup. @param mac what the frame says */
function compare(context: WorkerContext, networkIndex: number, found: number, mac: number, vtepIndex: number): void {
  if ((found & NEIGHBOUR_KIND_MASK) !== NEIGHBOUR_REMOTE) return;
  const bytes = context.arena.bytes;
  const macLow = context.neighbours.macLow;
  const macHigh16 = context.neighbours.macHigh16;
  if (macKeyLow(bytes, mac) === macLow && macKeyHigh(bytes, mac) === macHigh16) return;
  report(context, EVENT_NEIGHBOUR_DOUBT, networkIndex, macLow, macHigh16, vtepIndex);
}
