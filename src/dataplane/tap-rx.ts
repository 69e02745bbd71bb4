/**
 * Step 1 of encapsulation: frames from a network's TAP, one behind the other, at most a burst; then what they became is sent. @hot
 *
 * How many a burst takes follows the traffic: one, as long as frames come one by one, so that each is sent before anybody
 * asks for a next one; four times as many whenever that was not enough. What is left is taken in the next turn.
 */
import { EAGAIN, EINTR, lastErrno } from '../sys/errno.js';
import { read } from '../sys/libc.js';
import { removeFromEpoll } from '../sys/poll.js';
import { VIRTIO_NET_HDR_BYTES } from '../wire/virtio-net-hdr.js';
import {
  BURST_FRAMES,
  SLOT_BYTES,
  SLOT_FRAME_OFFSET,
  SLOT_VIRTIO_OFFSET,
  TAP_AREA_BYTES,
  TAP_STEP_BYTES,
  TAP_STEP_SHIFT,
} from './arena.js';
import type { WorkerContext } from './context.js';
import { encapsulate } from './encap.js';
import { flushUnderlay } from './underlay-tx.js';

const READ_BYTES_MAX = SLOT_BYTES - SLOT_VIRTIO_OFFSET;
/** From here on a frame of the largest size has no room left. */
const LAST_STEP = (TAP_AREA_BYTES - SLOT_BYTES) >> TAP_STEP_SHIFT;

const BURST_GROWTH_SHIFT = 2;

/** @returns frames read */
export function drainTap(context: WorkerContext, networkIndex: number): number {
  const arena = context.arena;
  const tapFd = context.networks.tapFd(networkIndex, context.workerIndex);
  const burst = context.tapBurst;
  let isEmpty = false;
  let count = 0;
  let step = 0;
  while (count < burst && step <= LAST_STEP) {
    const bytes = read(tapFd, arena.addresses.tapSteps[step] as number, READ_BYTES_MAX);
    if (bytes < 0) {
      const errno = lastErrno();
      if (errno === EINTR) continue;
      // EBADFD: the interface was deleted. Its fd would be ready for ever; the reconciler brings a new one.
      if (errno !== EAGAIN) removeFromEpoll(context.epollFd, tapFd);
      isEmpty = true;
      break;
    }
    const frame = arena.tapArea + (step << TAP_STEP_SHIFT) + SLOT_FRAME_OFFSET;
    encapsulate(context, networkIndex, frame, bytes - VIRTIO_NET_HDR_BYTES);
    step += (SLOT_VIRTIO_OFFSET + bytes + TAP_STEP_BYTES - 1) >> TAP_STEP_SHIFT;
    count++;
  }
  flushUnderlay(context);
  context.tapBurst = isEmpty ? Math.max(count, 1) : Math.min(burst << BURST_GROWTH_SHIFT, BURST_FRAMES);
  return count;
}
