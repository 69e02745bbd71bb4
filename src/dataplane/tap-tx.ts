/**
 * Step 3 of decapsulation: one frame into the network's TAP, its virtio header written over the VXLAN header's place. @hot
 */
import { DROP_INNER_OVERSIZE, DROP_TAP_BUSY, DROP_TAP_ERROR } from '../shared/drop-causes.js';
import { EAGAIN, EINTR, ENOBUFS, lastErrno } from '../sys/errno.js';
import { write } from '../sys/libc.js';
import { VIRTIO_NET_HDR_BYTES } from '../wire/virtio-net-hdr.js';
import type { WorkerContext } from './context.js';
import { writeTapHeader } from './tap-header.js';

/** @returns whether the kernel took the frame; if not, the drop is counted */
export function deliver(
  context: WorkerContext,
  networkIndex: number,
  frameOffset: number,
  frameBytes: number,
): boolean {
  if (!writeTapHeader(context, networkIndex, frameOffset, frameBytes)) {
    context.counters.drop(networkIndex, DROP_INNER_OVERSIZE);
    return false;
  }
  const message = context.arena.base + frameOffset - VIRTIO_NET_HDR_BYTES;
  const tapFd = context.networks.tapFd(networkIndex, context.workerIndex);
  for (;;) {
    if (write(tapFd, message, frameBytes + VIRTIO_NET_HDR_BYTES) >= 0) return true;
    const errno = lastErrno();
    if (errno === EINTR) continue;
    context.counters.drop(networkIndex, errno === EAGAIN || errno === ENOBUFS ? DROP_TAP_BUSY : DROP_TAP_ERROR);
    return false;
  }
}
