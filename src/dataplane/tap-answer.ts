/** A frame that this host answers a container with, from its own place in the arena into the network's TAP. @hot */
import { EINTR, lastErrno } from '../sys/errno.js';
import { write } from '../sys/libc.js';
import { VIRTIO_NET_HDR_BYTES } from '../wire/virtio-net-hdr.js';
import type { WorkerContext } from './context.js';

/** The virtio header before the answer is empty: nothing ever writes there. @returns whether the TAP has taken it */
export function writeAnswer(context: WorkerContext, networkIndex: number, frameBytes: number): boolean {
  const tapFd = context.networks.tapFd(networkIndex, context.workerIndex);
  const address = context.arena.addresses.answer;
  for (;;) {
    if (write(tapFd, address, VIRTIO_NET_HDR_BYTES + frameBytes) >= 0) return true;
    if (lastErrno() !== EINTR) return false;
  }
}
