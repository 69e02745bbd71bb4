/**
 * Step 2 of encapsulation: one frame from the TAP, checked, looked up, given its VXLAN header in place, and handed to the
 * underlay's batch, once or once a member. @hot
 */
import { CHECKSUMS_COMPLETED, ENCAP_BYTES, ENCAP_FRAMES, SUPERFRAMES_SPLIT } from '../shared/counters.js';
import {
  DROP_GATEWAY_SOURCE,
  DROP_LOCAL_DESTINATION,
  DROP_OVERSIZE,
  DROP_TAP_RUNT,
  DROP_TAP_VIRTIO_HEADER,
} from '../shared/drop-causes.js';
import { FDB_MISS, fdbKeyHigh, fdbKind, fdbVtep, KIND_LOCAL } from '../shared/fdb.js';
import { GATEWAY_MAC_HIGH16, gatewayMacLow } from '../shared/gateway-mac.js';
import { NETWORK_FLAG_GROUP_POLICY } from '../shared/network-table.js';
import { isChecksumFieldInside, storeChecksum } from '../wire/checksum.js';
import { ETHERNET_HEADER_BYTES, ETHERNET_SOURCE_OFFSET, ETHERNET_TYPE_OFFSET } from '../wire/ethernet.js';
import { flowHash } from '../wire/flow-hash.js';
import { macKeyHigh, macKeyLow } from '../wire/mac.js';
import { isShortIp, SHORT_IP_BYTES } from '../wire/short-ip.js';
import {
  readVirtioCsumOffset,
  readVirtioCsumStart,
  readVirtioFlags,
  readVirtioGsoType,
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
} from '../wire/virtio-net-hdr.js';
import { emitVxlan, VXLAN_HEADER_BYTES } from '../wire/vxlan.js';
import { FRAME_BYTES_MAX } from './arena.js';
import type { WorkerContext } from './context.js';
import { flood } from './flood.js';
import { mayFlood } from './flood-gate.js';
import { tagGroup } from './group-policy.js';
import { splitBytes, splitSuperframe } from './gso.js';
import { outerTos, PLAIN_IPV4_WORD, placeByDf } from './outer-header.js';
import { checkSuperframe, SUPERFRAME_OK } from './superframe.js';
import { queueFrame } from './underlay-tx.js';

/** @param frameOffset into the arena, with the virtio header right before it; borrowed until the burst is flushed */
export function encapsulate(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): void {
  const bytes = context.arena.bytes;
  const counters = context.counters;
  if (
    frameBytes < ETHERNET_HEADER_BYTES ||
    (frameBytes < SHORT_IP_BYTES && isShortIp(bytes, frameOffset, frameBytes))
  ) {
    counters.drop(networkIndex, DROP_TAP_RUNT);
    return;
  }
  const vni = context.networks.vni(networkIndex);
  const source = frameOffset + ETHERNET_SOURCE_OFFSET;
  // Hardly any other MAC gets as far as the second comparison.
  if (macKeyHigh(bytes, source) === GATEWAY_MAC_HIGH16 && macKeyLow(bytes, source) === gatewayMacLow(vni)) {
    counters.drop(networkIndex, DROP_GATEWAY_SOURCE);
    return;
  }
  const virtio = frameOffset - VIRTIO_NET_HDR_BYTES;
  const isSuperframe = readVirtioGsoType(bytes, virtio) !== VIRTIO_NET_HDR_GSO_NONE;
  if (isSuperframe) {
    const cause = checkSuperframe(context.superframe, bytes, frameOffset, frameBytes);
    if (cause !== SUPERFRAME_OK) {
      counters.drop(networkIndex, cause);
      return;
    }
  } else {
    if (frameBytes > FRAME_BYTES_MAX) {
      counters.drop(networkIndex, DROP_OVERSIZE);
      return;
    }
    if ((readVirtioFlags(bytes, virtio) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
      const start = readVirtioCsumStart(bytes, virtio);
      const field = readVirtioCsumOffset(bytes, virtio);
      if (!isChecksumFieldInside(frameBytes, start, field)) {
        counters.drop(networkIndex, DROP_TAP_VIRTIO_HEADER);
        return;
      }
      // The field holds the pseudo-header's sum, so the sum from there to the frame's end is the whole of it.
      storeChecksum(bytes, frameOffset + start, field, context.sum(frameOffset + start, frameBytes - start));
      counters.add(networkIndex, CHECKSUMS_COMPLETED, 1);
    }
  }

  const isPlain = context.arena.view.getInt32(frameOffset + ETHERNET_TYPE_OFFSET) === PLAIN_IPV4_WORD;
  context.frameTos = isPlain ? context.outerTos : outerTos(context, frameOffset, frameBytes);
  let place = flowHash(bytes, frameOffset, frameBytes) & context.txMask;
  if (context.inheritsDf) place = placeByDf(context, place, frameOffset, frameBytes);
  emitVxlan(bytes, frameOffset - VXLAN_HEADER_BYTES, vni);
  if ((context.networks.flags(networkIndex) & NETWORK_FLAG_GROUP_POLICY) !== 0) {
    tagGroup(context, networkIndex, frameOffset);
  }
  if (isSuperframe) {
    counters.add(networkIndex, SUPERFRAMES_SPLIT, 1);
    counters.add(networkIndex, ENCAP_FRAMES, context.superframe.segmentCount);
    counters.add(networkIndex, ENCAP_BYTES, splitBytes(context, frameBytes));
  } else {
    counters.add(networkIndex, ENCAP_FRAMES, 1);
    counters.add(networkIndex, ENCAP_BYTES, frameBytes);
  }

  let value = FDB_MISS;
  // The group bit of the destination: broadcast and multicast always flood.
  if (((bytes[frameOffset] as number) & 1) === 0) {
    const keyHigh = fdbKeyHigh(macKeyHigh(bytes, frameOffset), networkIndex);
    value = context.fdb.lookup(macKeyLow(bytes, frameOffset), keyHigh);
  }
  if (value === FDB_MISS) {
    if (mayFlood(context, networkIndex, frameOffset, frameBytes, isSuperframe)) {
      flood(context, networkIndex, place, frameOffset, frameBytes, isSuperframe);
    }
    return;
  }
  if (fdbKind(value) === KIND_LOCAL) {
    counters.dropMany(networkIndex, DROP_LOCAL_DESTINATION, isSuperframe ? context.superframe.segmentCount : 1);
    return;
  }
  if (isSuperframe) splitSuperframe(context, networkIndex, place, fdbVtep(value), frameOffset, frameBytes);
  else queueFrame(context, place, fdbVtep(value), networkIndex, frameOffset, frameBytes);
}
