/**
 * Step 1 of encapsulation: frames from a network's TAP into slots, at most a burst; then what they became is sent. @hot
 */
import { EAGAIN, EINTR, lastErrno } from '../sys/errno.js';
import { read } from '../sys/libc.js';
import { removeFromEpoll } from '../sys/poll.js';
import { VIRTIO_NET_HDR_BYTES } from '../wire/virtio-net-hdr.js';
import { BURST_FRAMES, SLOT_BYTES, SLOT_FRAME_OFFSET, SLOT_VIRTIO_OFFSET } from './arena.js';
import type { WorkerContext } from './context.js';
import { encapsulate } from './encap.js';
import { flushUnderlay } from './underlay-tx.js';

const READ_BYTES_MAX = SLOT_BYTES - SLOT_VIRTIO_OFFSET;

/** @returns frames read; BURST_FRAMES means that there may be more */
export function drainTap(context: WorkerContext, networkIndex: number): number {
  const arena = context.arena;
  const tapFd = context.networks.tapFd(networkIndex, context.workerIndex);
  let count = 0;
  while (count < BURST_FRAMES) {
    const slot = arena.tapSlots + count * SLOT_BYTES;
    const bytes = read(tapFd, arena.base + slot + SLOT_VIRTIO_OFFSET, READ_BYTES_MAX);
    if (bytes < 0) {
      const errno = lastErrno();
      if (errno === EINTR) continue;
      // EBADFD: the interface was deleted. Its fd would be ready for ever; the reconciler brings a new one.
      if (errno !== EAGAIN) removeFromEpoll(context.epollFd, tapFd);
      break;
    }
    encapsulate(context, networkIndex, slot + SLOT_FRAME_OFFSET, bytes - VIRTIO_NET_HDR_BYTES);
    count++;
  }
  flushUnderlay(context);
  return count;
}
