/**
 * The queues of one network's TAP: one a worker, each with the same offloads, each in its worker's epoll set. The main
 * thread opens and closes them, and closes only what no worker can hold any more (EpochWriter.quiesce).
 */
import { addToEpoll, removeFromEpoll } from '../sys/poll.js';
import { closeTap, isTapAlive, openTap } from '../sys/tap.js';
import { steerTap } from '../sys/tap-steering.js';
import { VtepError } from './errors.js';
import type { Offloads } from './offloads.js';
import type { WorkerDescriptors } from './worker-descriptors.js';

export class TapQueues {
  /** By worker index. */
  readonly fds: readonly number[];
  readonly #workers: readonly WorkerDescriptors[];

  /** Opens; nobody reads yet. @throws VtepError VTEP_ERR_NO_TUN, VTEP_ERR_NOT_ROOT, VTEP_ERR_KERNEL */
  constructor(tapName: string, workers: readonly WorkerDescriptors[], offloads: Offloads) {
    const fds: number[] = [];
    try {
      for (let worker = 0; worker < workers.length; worker++) fds.push(openTap(tapName, offloads.tapFlags));
      if (offloads.steeringFd !== undefined) steerTap(fds[0] as number, offloads.steeringFd);
    } catch (cause) {
      for (const fd of fds) closeTap(fd);
      throw explain(tapName, cause);
    }
    this.fds = fds;
    this.#workers = workers;
  }

  /** @returns whether the interface still exists: it takes all its queues along */
  isAlive(): boolean {
    return isTapAlive(this.fds[0] as number);
  }

  /** Each worker gets `token` when its queue has frames. */
  watch(token: number): void {
    for (const [worker, { epollFd }] of this.#workers.entries()) addToEpoll(epollFd, this.fds[worker] as number, token);
  }

  unwatch(): void {
    for (const [worker, { epollFd }] of this.#workers.entries()) removeFromEpoll(epollFd, this.fds[worker] as number);
  }

  /** The interface stays. */
  close(): void {
    for (const fd of this.fds) closeTap(fd);
  }
}

function explain(tapName: string, cause: unknown): VtepError {
  const { code, message } = cause as { code?: string; message: string };
  if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO') {
    const hint = `/dev/net/tun can't be opened (${code}): load it with "modprobe tun"`;
    return new VtepError('VTEP_ERR_NO_TUN', hint, { cause });
  }
  if (code === 'EPERM' || code === 'EACCES') {
    const hint = `TAP ${tapName} can't be opened (${code}): run vtepd as root`;
    return new VtepError('VTEP_ERR_NOT_ROOT', hint, { cause });
  }
  return new VtepError('VTEP_ERR_KERNEL', `TAP ${tapName} can't be opened: ${message}`, { cause });
}
