/**
 * ARP requests and neighbour solicitations that would be flooded, answered on the host of the one who asks. @hot
 *
 *     the address asked for is of              what becomes of the request
 *     nobody that the registry knows           flooded
 *     the asker itself                         flooded: whoever else has it must hear of it
 *     a container behind another VTEP          answered into this network's TAP, in its name
 *     a container of this host, the gateway    kept here: the bridge has delivered it, and the gateway is on each host
 *
 * Suppress or flood, never swallow: what is malformed, tagged, an announcement or anything else than a question, and a
 * question whose answer the TAP does not take, is flooded. Who looks for a duplicate (sender 0.0.0.0 or ::) is answered
 * like anybody else, so that the address is defended. Unicast to a known MAC does not come here: whoever asks one
 * neighbour whether it is still there must hear it from that one.
 *
 * The answer is built in a place of its own in the arena, since the request may still have to be flooded.
 */
import { ARP_SUPPRESSED, ND_SUPPRESSED } from '../shared/counters.js';
import {
  FAMILY_IPV6,
  NEIGHBOUR_FLAG_ROUTER,
  NEIGHBOUR_KIND_MASK,
  NEIGHBOUR_MISS,
  NEIGHBOUR_REMOTE,
  neighbourScope,
} from '../shared/neighbour-table.js';
import {
  ARP_BYTES,
  ARP_OK,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SENDER_MAC_OFFSET,
  checkArp,
  emitArp,
  readArpOperation,
  readArpSenderIp,
  readArpTargetIp,
} from '../wire/arp.js';
import { readInt32, writeUint32 } from '../wire/byte-order.js';
import { isChecksumSound, pseudoHeaderSumIpv6, storeChecksum, sum } from '../wire/checksum.js';
import {
  ETHERNET_HEADER_BYTES,
  ETHERNET_SOURCE_OFFSET,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  emitEthernet,
  isMulticastMac,
  isUnicastMac,
  readEthertype,
} from '../wire/ethernet.js';
import {
  areNdOptionsSound,
  emitIcmp,
  findNdLinkLayerOffset,
  ICMP_CHECKSUM_OFFSET,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  isNeighbourMessage,
  looksLikeNeighbourMessage,
  ND_BYTES_MIN,
  ND_FLAG_OVERRIDE,
  ND_FLAG_ROUTER,
  ND_FLAG_SOLICITED,
  ND_OPTION_LINK_LAYER_BYTES,
  ND_OPTION_SOURCE_LINK_LAYER,
  ND_OPTION_TARGET_LINK_LAYER,
  ND_TARGET_OFFSET,
} from '../wire/icmp.js';
import {
  checkIpv6,
  emitIpv6,
  IP_PROTOCOL_ICMPV6,
  IPV6_DESTINATION_OFFSET,
  IPV6_HEADER_BYTES,
  IPV6_OK,
  IPV6_SOURCE_OFFSET,
  readIpv6HopLimit,
  readIpv6PayloadBytes,
} from '../wire/ipv6.js';
import { macKeyHigh, macKeyLow, writeMacKey } from '../wire/mac-key.js';
import { VIRTIO_NET_HDR_BYTES } from '../wire/virtio-net-hdr.js';
import type { WorkerContext } from './context.js';
import { writeAnswer } from './tap-answer.js';

const MULTICAST_FIRST_BYTE = 0xff;
/** RFC 4861 section 7.1.1: a packet that a router has forwarded has less. */
const ND_HOP_LIMIT = 255;
const ADVERTISEMENT_BYTES = ND_BYTES_MIN + ND_OPTION_LINK_LAYER_BYTES;
/** All nodes of the link: ff02::1, and its MAC (RFC 2464 section 7). */
const ALL_NODES_FIRST_WORD = 0xff020000;
const ALL_NODES_MAC_HIGH16 = 0x3333;

/** @returns whether the frame has been dealt with and counted; false: it is to be flooded */
export function suppress(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): boolean {
  const bytes = context.arena.bytes;
  const ethertype = readEthertype(bytes, frameOffset);
  const packet = frameOffset + ETHERNET_HEADER_BYTES;
  const packetBytes = frameBytes - ETHERNET_HEADER_BYTES;
  if (ethertype === ETHERTYPE_ARP) {
    if (!isQuestionArp(bytes, frameOffset, packet, packetBytes)) return false;
    return dealWithArp(context, networkIndex, frameOffset, packet);
  }
  if (ethertype !== ETHERTYPE_IPV6) return false;
  if (!looksLikeNeighbourMessage(bytes, packet, packetBytes, ICMPV6_NEIGHBOUR_SOLICITATION)) return false;
  if (!isSolicitation(bytes, frameOffset, packet, packetBytes)) return false;
  return dealWithSolicitation(context, networkIndex, frameOffset, packet);
}

/** A whole request for another address than the sender's own, sent by whom it says. */
function isQuestionArp(bytes: Uint8Array, frame: number, arp: number, arpBytes: number): boolean {
  return (
    checkArp(bytes, arp, arpBytes) === ARP_OK &&
    readArpOperation(bytes, arp) === ARP_REQUEST &&
    readArpSenderIp(bytes, arp) !== readArpTargetIp(bytes, arp) &&
    isUnicastMac(bytes, frame + ETHERNET_SOURCE_OFFSET) &&
    isSameMac(bytes, frame + ETHERNET_SOURCE_OFFSET, arp + ARP_SENDER_MAC_OFFSET)
  );
}

function dealWithArp(context: WorkerContext, networkIndex: number, frame: number, arp: number): boolean {
  const bytes = context.arena.bytes;
  const neighbours = context.neighbours;
  const targetIp = readArpTargetIp(bytes, arp);
  const found = neighbours.lookupIpv4(networkIndex, targetIp);
  if (!isForSomeoneElse(context, frame, found)) return false;
  if ((found & NEIGHBOUR_KIND_MASK) === NEIGHBOUR_REMOTE) {
    const askerHigh = macKeyHigh(bytes, frame + ETHERNET_SOURCE_OFFSET);
    const askerLow = macKeyLow(bytes, frame + ETHERNET_SOURCE_OFFSET);
    const macHigh16 = neighbours.macHigh16;
    const macLow = neighbours.macLow;
    const answer = context.arena.answer + VIRTIO_NET_HDR_BYTES;
    emitEthernet(bytes, answer, askerHigh, askerLow, macHigh16, macLow, ETHERTYPE_ARP);
    const reply = answer + ETHERNET_HEADER_BYTES;
    const senderIp = readArpSenderIp(bytes, arp);
    emitArp(bytes, reply, ARP_REPLY, macHigh16, macLow, targetIp, askerHigh, askerLow, senderIp);
    if (!writeAnswer(context, networkIndex, ETHERNET_HEADER_BYTES + ARP_BYTES)) return false;
  }
  context.counters.add(networkIndex, ARP_SUPPRESSED, 1);
  return true;
}

/** What RFC 4861 section 7.1.1 has a node check, and that the sender is who it says. */
function isSolicitation(bytes: Uint8Array, frame: number, ip: number, ipBytes: number): boolean {
  if (checkIpv6(bytes, ip, ipBytes) !== IPV6_OK || readIpv6HopLimit(bytes, ip) !== ND_HOP_LIMIT) return false;
  const message = ip + IPV6_HEADER_BYTES;
  const messageBytes = readIpv6PayloadBytes(bytes, ip);
  if (!isNeighbourMessage(bytes, message, messageBytes) || !areNdOptionsSound(bytes, message, messageBytes))
    return false;
  if (bytes[message + ND_TARGET_OFFSET] === MULTICAST_FIRST_BYTE) return false;
  if (!isUnicastMac(bytes, frame + ETHERNET_SOURCE_OFFSET)) return false;
  const option = findNdLinkLayerOffset(bytes, message, messageBytes, ND_OPTION_SOURCE_LINK_LAYER);
  if (isUnspecified(bytes, ip + IPV6_SOURCE_OFFSET)) {
    if (option >= 0 || bytes[ip + IPV6_DESTINATION_OFFSET] !== MULTICAST_FIRST_BYTE) return false;
  } else {
    if (bytes[ip + IPV6_SOURCE_OFFSET] === MULTICAST_FIRST_BYTE) return false;
    if (option >= 0 && !isSameMac(bytes, frame + ETHERNET_SOURCE_OFFSET, option)) return false;
  }
  const pseudo = pseudoHeaderSumIpv6(bytes, ip, IP_PROTOCOL_ICMPV6, messageBytes);
  return isChecksumSound(bytes, message, messageBytes, pseudo);
}

function dealWithSolicitation(context: WorkerContext, networkIndex: number, frame: number, ip: number): boolean {
  const bytes = context.arena.bytes;
  const target = ip + IPV6_HEADER_BYTES + ND_TARGET_OFFSET;
  const found = context.neighbours.lookup(
    readInt32(bytes, target),
    readInt32(bytes, target + 4),
    readInt32(bytes, target + 8),
    readInt32(bytes, target + 12),
    neighbourScope(networkIndex, FAMILY_IPV6),
  );
  if (!isForSomeoneElse(context, frame, found)) return false;
  if ((found & NEIGHBOUR_KIND_MASK) === NEIGHBOUR_REMOTE) {
    const router = (found & NEIGHBOUR_FLAG_ROUTER) !== 0 ? ND_FLAG_ROUTER : 0;
    emitAdvertisement(context, frame, ip, router);
    const answerBytes = ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + ADVERTISEMENT_BYTES;
    if (!writeAnswer(context, networkIndex, answerBytes)) return false;
  }
  context.counters.add(networkIndex, ND_SUPPRESSED, 1);
  return true;
}

/** RFC 4861 section 7.2.4: to the asker, or to all nodes and not solicited if it has no address yet. */
function emitAdvertisement(context: WorkerContext, frame: number, ip: number, routerFlag: number): void {
  const bytes = context.arena.bytes;
  const macHigh16 = context.neighbours.macHigh16;
  const macLow = context.neighbours.macLow;
  const target = ip + IPV6_HEADER_BYTES + ND_TARGET_OFFSET;
  const answer = context.arena.answer + VIRTIO_NET_HDR_BYTES;
  const answerIp = answer + ETHERNET_HEADER_BYTES;
  const message = answerIp + IPV6_HEADER_BYTES;
  const source = ip + IPV6_SOURCE_OFFSET;
  emitIpv6(bytes, answerIp, 0, 0, ADVERTISEMENT_BYTES, IP_PROTOCOL_ICMPV6, ND_HOP_LIMIT, bytes, target, source);
  let flags = ND_FLAG_OVERRIDE | routerFlag;
  if (isUnspecified(bytes, source)) {
    emitEthernet(bytes, answer, ALL_NODES_MAC_HIGH16, 1, macHigh16, macLow, ETHERTYPE_IPV6);
    writeUint32(bytes, answerIp + IPV6_DESTINATION_OFFSET, ALL_NODES_FIRST_WORD);
    bytes[answerIp + IPV6_HEADER_BYTES - 1] = 1;
  } else {
    flags |= ND_FLAG_SOLICITED;
    const asker = frame + ETHERNET_SOURCE_OFFSET;
    const askerHigh = macKeyHigh(bytes, asker);
    emitEthernet(bytes, answer, askerHigh, macKeyLow(bytes, asker), macHigh16, macLow, ETHERTYPE_IPV6);
  }
  emitIcmp(bytes, message, ICMPV6_NEIGHBOUR_ADVERTISEMENT, 0, flags << 24);
  for (let i = 0; i < 16; i++) bytes[message + ND_TARGET_OFFSET + i] = bytes[target + i] as number;
  const option = message + ND_BYTES_MIN;
  bytes[option] = ND_OPTION_TARGET_LINK_LAYER;
  bytes[option + 1] = 1;
  writeMacKey(bytes, option + 2, macHigh16, macLow);
  const pseudo = pseudoHeaderSumIpv6(bytes, answerIp, IP_PROTOCOL_ICMPV6, ADVERTISEMENT_BYTES);
  storeChecksum(bytes, message, ICMP_CHECKSUM_OFFSET, sum(bytes, message, ADVERTISEMENT_BYTES, pseudo));
}

/**
 * Known, and not the asker itself. One that is on this host has heard only what went to a group: by a MAC that nobody here
 * has, the frame goes on.
 */
function isForSomeoneElse(context: WorkerContext, frame: number, found: number): boolean {
  if (found === NEIGHBOUR_MISS) return false;
  const bytes = context.arena.bytes;
  const asker = frame + ETHERNET_SOURCE_OFFSET;
  const neighbours = context.neighbours;
  if (macKeyLow(bytes, asker) === neighbours.macLow && macKeyHigh(bytes, asker) === neighbours.macHigh16) return false;
  return (found & NEIGHBOUR_KIND_MASK) === NEIGHBOUR_REMOTE || isMulticastMac(bytes, frame);
}

function isSameMac(bytes: Uint8Array, one: number, other: number): boolean {
  return macKeyLow(bytes, one) === macKeyLow(bytes, other) && macKeyHigh(bytes, one) === macKeyHigh(bytes, other);
}

function isUnspecified(bytes: Uint8Array, address: number): boolean {
  return (
    (readInt32(bytes, address) |
      readInt32(bytes, address + 4) |
      readInt32(bytes, address + 8) |
      readInt32(bytes, address + 12)) ===
    0
  );
}
