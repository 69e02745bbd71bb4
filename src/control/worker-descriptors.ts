/**
 * What a worker waits on and sends by: an epoll set of its own, an eventfd that wakes it, and its sockets. Opened and
 * closed by the main thread; a worker that fails leaves them to its successor.
 */
import { TOKEN_WAKE, underlayToken, type WorkerInput } from '../shared/worker-input.js';
import { closeEventfd, openEventfd, signalEventfd } from '../sys/eventfd.js';
import { addToEpoll, closeEpoll, openEpoll } from '../sys/poll.js';
import { overflowCount, replaceUdpSocket } from '../sys/udp-socket.js';
import { closeUnderlaySockets, openUnderlaySockets, type UnderlaySocketOptions } from './underlay-sockets.js';

export type WorkerDescriptors = Pick<WorkerInput, 'epollFd' | 'wakeFd' | 'underlayFd' | 'txFds'>;

/** @returns by worker index. @throws VtepError VTEP_ERR_PORT_IN_USE, VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL */
export function openWorkerDescriptors(options: UnderlaySocketOptions): WorkerDescriptors[] {
  return openUnderlaySockets(options).map(({ rxFd, txFds }) => {
    const descriptors = { epollFd: openEpoll(), wakeFd: openEventfd(), underlayFd: rxFd, txFds };
    addToEpoll(descriptors.epollFd, descriptors.wakeFd, TOKEN_WAKE);
    addToEpoll(descriptors.epollFd, rxFd, underlayToken(rxFd));
    return descriptors;
  });
}

/**
 * Sockets on another address take the place of the present ones, each under the same number: a worker that is about to
 * use one meets the old or the new, and needs no word of it. @throws as openWorkerDescriptors; then nothing has changed
 */
export function moveWorkerDescriptors(workers: readonly WorkerDescriptors[], options: UnderlaySocketOptions): void {
  for (const [worker, { rxFd, txFds }] of openUnderlaySockets(options).entries()) {
    const { epollFd, underlayFd, txFds: before } = workers[worker] as WorkerDescriptors;
    for (const [i, fd] of txFds.entries()) replaceUdpSocket(fd, before[i] as number);
    replaceUdpSocket(rxFd, underlayFd);
    // The set forgot the old socket when its last descriptor was closed.
    addToEpoll(epollFd, underlayFd, underlayToken(underlayFd));
  }
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
