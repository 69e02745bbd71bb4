/**
 * What a worker waits on and sends by: an epoll set of its own, an eventfd that wakes it, and its sockets. Opened and
 * closed by the main thread; a worker that fails leaves them to its successor.
 */
import { TOKEN_UNDERLAY, TOKEN_WAKE, type WorkerInput } from '../shared/worker-input.js';
import { closeEventfd, openEventfd, signalEventfd } from '../sys/eventfd.js';
import { addToEpoll, closeEpoll, openEpoll } from '../sys/poll.js';
import { overflowCount } from '../sys/udp-socket.js';
import { closeUnderlaySockets, openUnderlaySockets, type UnderlaySocketOptions } from './underlay-sockets.js';

export type WorkerDescriptors = Pick<WorkerInput, 'epollFd' | 'wakeFd' | 'underlayFd' | 'txFds'>;

/** @returns by worker index. @throws VtepError VTEP_ERR_PORT_IN_USE, VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL */
export function openWorkerDescriptors(options: UnderlaySocketOptions): WorkerDescriptors[] {
  return openUnderlaySockets(options).map(({ rxFd, txFds }) => {
    const descriptors = { epollFd: openEpoll(), wakeFd: openEventfd(), underlayFd: rxFd, txFds };
    addToEpoll(descriptors.epollFd, descriptors.wakeFd, TOKEN_WAKE);
    addToEpoll(descriptors.epollFd, descriptors.underlayFd, TOKEN_UNDERLAY);
    return descriptors;
  });
}

export function wakeAll(workers: readonly WorkerDescriptors[]): void {
  for (const { wakeFd } of workers) signalEventfd(wakeFd);
}

/** Messages that the workers' sockets had no room for. */
export function overflowCounts(workers: readonly WorkerDescriptors[]): number {
  return workers.reduce((sum, { underlayFd }) => sum + overflowCount(underlayFd), 0);
}

/** Only once the workers have ended. */
export function closeWorkerDescriptors(workers: readonly WorkerDescriptors[]): void {
  for (const { epollFd, wakeFd, underlayFd, txFds } of workers) {
    closeUnderlaySockets({ rxFd: underlayFd, txFds });
    closeEpoll(epollFd);
    closeEventfd(wakeFd);
  }
}
