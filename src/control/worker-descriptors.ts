/**
 * What a worker waits on and sends by: an epoll set of its own, an eventfd that wakes it, and its sockets. Opened and
 * closed by the main thread; a worker that fails leaves them to its successor.
 */
import { TOKEN_WAKE, type UnderlaySockets, underlayToken, type WorkerInput } from '../shared/worker-input.js';
import { closeEventfd, openEventfd, signalEventfd } from '../sys/eventfd.js';
import { addToEpoll, closeEpoll, openEpoll } from '../sys/poll.js';
import { overflowCount, replaceUdpSocket } from '../sys/udp-socket.js';
import { closeUnderlaySockets, openUnderlaySockets, type UnderlaySocketOptions } from './underlay-sockets.js';

export type WorkerDescriptors = Pick<WorkerInput, 'epollFd' | 'wakeFd' | 'underlay'>;

/**
 * @param ips this host's, at most one of each family
 * @returns by worker index. @throws VtepError VTEP_ERR_PORT_IN_USE, VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL
 */
export function openWorkerDescriptors(ips: readonly string[], options: UnderlaySocketOptions): WorkerDescriptors[] {
  return openAll(ips, options).map((underlay) => {
    const descriptors = { epollFd: openEpoll(), wakeFd: openEventfd(), underlay };
    addToEpoll(descriptors.epollFd, descriptors.wakeFd, TOKEN_WAKE);
    for (const { rxFd } of underlay) addToEpoll(descriptors.epollFd, rxFd, underlayToken(rxFd));
    return descriptors;
  });
}

/** By worker index, and in the order of the addresses. */
function openAll(ips: readonly string[], options: UnderlaySocketOptions): UnderlaySockets[][] {
  const workers: UnderlaySockets[][] = Array.from({ length: options.workers }, () => []);
  try {
    for (const ip of ips) {
      for (const [worker, sockets] of openUnderlaySockets(ip, options).entries()) workers[worker]?.push(sockets);
    }
    return workers;
  } catch (error) {
    for (const sockets of workers.flat()) closeUnderlaySockets(sockets);
    throw error;
  }
}

/**
 * Sockets on other addresses take the place of the present ones of their family, each under the same number: a worker that
 * is about to use one meets the old or the new, and needs no word of it. @param ips those that are new, of families that
 * the workers have. @throws as openWorkerDescriptors; then nothing has changed
 */
export function moveWorkerDescriptors(
  workers: readonly WorkerDescriptors[],
  ips: readonly string[],
  options: UnderlaySocketOptions,
): void {
  for (const [worker, moved] of openAll(ips, options).entries()) {
    const { epollFd, underlay } = workers[worker] as WorkerDescriptors;
    for (const { family, rxFd, txFds } of moved) {
      const before = underlay.find((sockets) => sockets.family === family) as UnderlaySockets;
      for (const [i, fd] of txFds.entries()) replaceUdpSocket(fd, before.txFds[i] as number);
      replaceUdpSocket(rxFd, before.rxFd);
      // The set forgot the old socket when its last descriptor was closed.
      addToEpoll(epollFd, before.rxFd, underlayToken(before.rxFd));
    }
  }
}

export function wakeAll(workers: readonly WorkerDescriptors[]): void {
  for (const { wakeFd } of workers) signalEventfd(wakeFd);
}

/** Messages that the workers' sockets had no room for. */
export function overflowCounts(workers: readonly WorkerDescriptors[]): number {
  const rxFds = workers.flatMap(({ underlay }) => underlay.map(({ rxFd }) => rxFd));
  return rxFds.reduce((sum, fd) => sum + overflowCount(fd), 0);
}

/** Only once the workers have ended. */
export function closeWorkerDescriptors(workers: readonly WorkerDescriptors[]): void {
  for (const { epollFd, wakeFd, underlay } of workers) {
    for (const sockets of underlay) closeUnderlaySockets(sockets);
    closeEpoll(epollFd);
    closeEventfd(wakeFd);
  }
}
