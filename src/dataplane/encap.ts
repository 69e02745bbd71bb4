/**
 * Step 2 of encapsulation: one frame from the TAP, checked, looked up, given its VXLAN header in place, and handed to the
 * underlay's batch, once or once a member. @hot
 */
import { CHECKSUMS_COMPLETED, ENCAP_BYTES, ENCAP_FRAMES } from '../shared/counters.js';
import {
  DROP_LOCAL_DESTINATION,
  DROP_OVERSIZE,
  DROP_TAP_GSO,
  DROP_TAP_RUNT,
  DROP_TAP_VIRTIO_HEADER,
} from '../shared/drop-causes.js';
import { FDB_MISS, fdbKeyHigh, fdbKind, fdbVtep, KIND_LOCAL } from '../shared/fdb.js';
import { completeChecksum } from '../wire/checksum.js';
import { ETHERNET_HEADER_BYTES } from '../wire/ethernet.js';
import { flowHash } from '../wire/flow-hash.js';
import { macKeyHigh, macKeyLow } from '../wire/mac.js';
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
import { queueDatagram } from './underlay-tx.js';

/** @param frameOffset into the arena, with the virtio header right before it; borrowed until the burst is flushed */
export function encapsulate(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): void {
  const bytes = context.arena.bytes;
  const counters = context.counters;
  if (frameBytes < ETHERNET_HEADER_BYTES) {
    counters.drop(networkIndex, DROP_TAP_RUNT);
    return;
  }
  if (frameBytes > FRAME_BYTES_MAX) {
    counters.drop(networkIndex, DROP_OVERSIZE);
    return;
  }
  const virtio = frameOffset - VIRTIO_NET_HDR_BYTES;
  if (readVirtioGsoType(bytes, virtio) !== VIRTIO_NET_HDR_GSO_NONE) {
    counters.drop(networkIndex, DROP_TAP_GSO);
    return;
  }
  if ((readVirtioFlags(bytes, virtio) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
    const start = readVirtioCsumStart(bytes, virtio);
    if (!completeChecksum(bytes, frameOffset, frameBytes, start, readVirtioCsumOffset(bytes, virtio))) {
      counters.drop(networkIndex, DROP_TAP_VIRTIO_HEADER);
      return;
    }
    counters.add(networkIndex, CHECKSUMS_COMPLETED, 1);
  }

  const socket = flowHash(bytes, frameOffset, frameBytes) & context.txMask;
  emitVxlan(bytes, frameOffset - VXLAN_HEADER_BYTES, context.networks.vni(networkIndex));
  counters.add(networkIndex, ENCAP_FRAMES, 1);
  counters.add(networkIndex, ENCAP_BYTES, frameBytes);

  // The group bit of the destination: broadcast and multicast always flood.
  if (((bytes[frameOffset] as number) & 1) !== 0) {
    flood(context, networkIndex, socket, frameOffset, frameBytes);
    return;
  }
  const keyHigh = fdbKeyHigh(macKeyHigh(bytes, frameOffset), networkIndex);
  const value = context.fdb.lookup(macKeyLow(bytes, frameOffset), keyHigh);
  if (value === FDB_MISS) {
    flood(context, networkIndex, socket, frameOffset, frameBytes);
    return;
  }
  if (fdbKind(value) === KIND_LOCAL) {
    counters.drop(networkIndex, DROP_LOCAL_DESTINATION);
    return;
  }
  queueDatagram(context, socket, fdbVtep(value), networkIndex, frameOffset, frameBytes);
}
