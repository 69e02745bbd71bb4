/**
 * Step 2 of decapsulation: each datagram of a message, checked in the kernel's order (drivers/net/vxlan/vxlan_core.c,
 * vxlan_rcv), and its frame handed on to be coalesced or written. @hot
 *
 * The datagrams of a message have one outer source. One that also has the VXLAN header, the inner source MAC and the type
 * of the datagram before it gets the same answer, so the tables are asked once for a whole train. Where the receiver counts
 * too (rules of groups), its MAC is compared as well.
 *
 * A frame from the tunnel goes to the TAP and nowhere else: it can't go back into the tunnel (split horizon).
 */
import { VTEP_RX_BYTES, VTEP_RX_DATAGRAMS, VTEP_RX_DROPS } from '../shared/counters.js';
import {
  DROP_ECN,
  DROP_GROUP_POLICY,
  DROP_INNER_RUNT,
  DROP_INVALID_HEADER,
  DROP_MAC_INVALID_SOURCE,
  DROP_NO_VNI_FLAG,
  DROP_RESERVED_BITS,
  DROP_SOURCE_SELF,
  DROP_TRUNCATED,
  DROP_VNI_NOT_FOUND,
  DROP_VTEP_NOT_MEMBER,
} from '../shared/drop-causes.js';
import { NO_NETWORK, SELF_VTEP } from '../shared/layout.js';
import { NETWORK_FLAG_GROUP_POLICY, NETWORK_FLAG_GROUP_RULES, NETWORK_FLAG_TOLERANT } from '../shared/network-table.js';
import { VTEP_MISS } from '../shared/vtep-table.js';
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4 } from '../wire/ethernet.js';
import { groupProbeType } from '../wire/group-probe.js';
import { macKeyHigh, macKeyLow } from '../wire/mac.js';
import { isShortIp, SHORT_IP_BYTES } from '../wire/short-ip.js';
import {
  checkVxlan,
  hasGroupBitsOnly,
  isDontLearn,
  readVni,
  VXLAN_HEADER_BYTES,
  VXLAN_NO_VNI_FLAG,
  VXLAN_OK,
  VXLAN_SHORT,
} from '../wire/vxlan.js';
import { coalesce } from './coalesce.js';
import type { WorkerContext } from './context.js';
import { isLetIn } from './group-policy.js';
import { tellGroupProbe } from './group-probes.js';
import { LEARN_ACCEPT, learn } from './learn.js';
import { noteNeighbour } from './neighbour-doubt.js';
import { hasEcnMark, takeEcnMark } from './outer-header.js';
import { snoop } from './snooping.js';
import { isWholeSuperframe } from './tap-header.js';
import { deliver, flushAggregate } from './tap-tx.js';

const MAC_BYTES = 6;

/**
 * @param messageOffset of the first VXLAN header in the arena; borrowed until the aggregate is flushed
 * @param segmentBytes of each datagram but the last, or 0 for a message that is one datagram
 * @param vtep whose address the outer source is, or VTEP_MISS
 */
export function decapsulateMessage(
  context: WorkerContext,
  messageOffset: number,
  messageBytes: number,
  segmentBytes: number,
  vtep: number,
  isTruncated: boolean,
): void {
  const view = context.arena.view;
  const end = messageOffset + messageBytes;
  let stepBytes = segmentBytes > 0 ? segmentBytes : messageBytes;
  let udpSegmentBytes = 0;
  if (
    segmentBytes > 0 &&
    isWholeSuperframe(context, messageOffset + VXLAN_HEADER_BYTES, messageBytes - VXLAN_HEADER_BYTES, segmentBytes)
  ) {
    stepBytes = messageBytes;
    udpSegmentBytes = segmentBytes;
  }
  let network = NO_NETWORK;
  // Kept here, not read again: a frame that has been written has a virtio header where its VXLAN header was.
  let flags = 0;
  let vni = 0;
  let macHigh = 0;
  /** Its last two bytes and the frame's type. */
  let macEndAndType = 0;
  let hasRules = false;
  let receiverHigh = 0;
  let receiverLow = 0;
  const isMarked = hasEcnMark(context);
  let datagrams = 0;
  let at = messageOffset;
  do {
    const datagramBytes = Math.min(stepBytes, end - at);
    const frame = at + VXLAN_HEADER_BYTES;
    const frameBytes = datagramBytes - VXLAN_HEADER_BYTES;
    const isLikeBefore =
      network !== NO_NETWORK &&
      frameBytes >= ETHERNET_HEADER_BYTES &&
      view.getInt32(at) === flags &&
      view.getInt32(at + 4) === vni &&
      view.getInt32(frame + MAC_BYTES) === macHigh &&
      view.getInt32(frame + MAC_BYTES + 4) === macEndAndType &&
      (!hasRules || (view.getInt32(frame) === receiverHigh && view.getUint16(frame + 4) === receiverLow));
    if (!isLikeBefore) {
      network = admit(context, at, datagramBytes, vtep, isTruncated);
      if (network !== NO_NETWORK) {
        flags = view.getInt32(at);
        vni = view.getInt32(at + 4);
        macHigh = view.getInt32(frame + MAC_BYTES);
        macEndAndType = view.getInt32(frame + MAC_BYTES + 4);
        hasRules = (context.networks.flags(network) & NETWORK_FLAG_GROUP_RULES) !== 0;
        receiverHigh = view.getInt32(frame);
        receiverLow = view.getUint16(frame + 4);
      }
    }
    if (
      network !== NO_NETWORK &&
      (frameBytes >= SHORT_IP_BYTES || isWhole(context, vtep, network, frame, frameBytes))
    ) {
      // Each of them: announcements of several addresses come as a train.
      if ((macEndAndType & 0xffff) !== ETHERTYPE_IPV4) noteNeighbour(context, network, frame, frameBytes, vtep);
      if (((context.arena.bytes[frame] as number) & 1) !== 0) snoop(context, network, vtep, frame, frameBytes);
      if (isMarked && !takeEcnMark(context, network, frame, frameBytes)) {
        refuse(context, vtep, network, DROP_ECN);
      } else if (udpSegmentBytes === 0) {
        coalesce(context, network, frame, frameBytes);
      } else {
        flushAggregate(context);
        deliver(context, network, frame, frameBytes, udpSegmentBytes);
      }
    }
    datagrams++;
    at += stepBytes;
  } while (at < end);
  if (vtep !== VTEP_MISS) {
    context.counters.addVtep(vtep, VTEP_RX_DATAGRAMS, datagrams);
    context.counters.addVtep(vtep, VTEP_RX_BYTES, messageBytes);
  }
}

/** @returns the network that the datagram's frame is for, or NO_NETWORK: then the drop is counted */
function admit(
  context: WorkerContext,
  datagramOffset: number,
  datagramBytes: number,
  vtep: number,
  isTruncated: boolean,
): number {
  const bytes = context.arena.bytes;
  const verdict = checkVxlan(bytes, datagramOffset, datagramBytes);
  if (verdict === VXLAN_SHORT) return refuse(context, vtep, NO_NETWORK, DROP_INVALID_HEADER);
  if (verdict === VXLAN_NO_VNI_FLAG) return refuse(context, vtep, NO_NETWORK, DROP_NO_VNI_FLAG);
  const network = context.networks.indexOf(readVni(bytes, datagramOffset));
  if (network === NO_NETWORK) return refuse(context, vtep, NO_NETWORK, DROP_VNI_NOT_FOUND);
  const probe = verdict === VXLAN_OK ? 0 : groupProbeType(bytes, datagramOffset, datagramBytes);
  const flags = context.networks.flags(network);
  const hasGroups = (flags & NETWORK_FLAG_GROUP_POLICY) !== 0;
  if (
    verdict !== VXLAN_OK &&
    probe === 0 &&
    (flags & NETWORK_FLAG_TOLERANT) === 0 &&
    !(hasGroups && hasGroupBitsOnly(bytes, datagramOffset))
  ) {
    return refuse(context, vtep, network, DROP_RESERVED_BITS);
  }
  if (vtep === SELF_VTEP) return refuse(context, vtep, network, DROP_SOURCE_SELF);
  if (vtep === VTEP_MISS || !context.members.has(network, vtep)) {
    return refuse(context, vtep, network, DROP_VTEP_NOT_MEMBER);
  }
  if (probe !== 0) return tellGroupProbe(context, network, datagramOffset, probe, vtep);
  if (isTruncated) return refuse(context, vtep, network, DROP_TRUNCATED);
  if (datagramBytes - VXLAN_HEADER_BYTES < ETHERNET_HEADER_BYTES) {
    return refuse(context, vtep, network, DROP_INNER_RUNT);
  }
  const source = datagramOffset + VXLAN_HEADER_BYTES + MAC_BYTES;
  const macHigh16 = macKeyHigh(bytes, source);
  const macLow = macKeyLow(bytes, source);
  if ((macHigh16 & 0x0100) !== 0 || (macHigh16 === 0 && macLow === 0)) {
    return refuse(context, vtep, network, DROP_MAC_INVALID_SOURCE);
  }
  const mayLearn = !hasGroups || !isDontLearn(bytes, datagramOffset);
  const cause = learn(context, network, macLow, macHigh16, vtep, mayLearn);
  if (cause !== LEARN_ACCEPT) return refuse(context, vtep, network, cause);
  if ((flags & NETWORK_FLAG_GROUP_RULES) !== 0 && !isLetIn(context, network, datagramOffset)) {
    return refuse(context, vtep, network, DROP_GROUP_POLICY);
  }
  return network;
}

function isWhole(
  context: WorkerContext,
  vtep: number,
  network: number,
  frameOffset: number,
  frameBytes: number,
): boolean {
  if (!isShortIp(context.arena.bytes, frameOffset, frameBytes)) return true;
  refuse(context, vtep, network, DROP_INNER_RUNT);
  return false;
}

function refuse(context: WorkerContext, vtep: number, network: number, cause: number): number {
  context.counters.drop(network, cause);
  if (vtep !== VTEP_MISS) context.counters.addVtep(vtep, VTEP_RX_DROPS, 1);
  return NO_NETWORK;
}
