/** The underlay moves to another address under the workers: same descriptors, other sockets. On loopback. */
import { createSocket } from 'node:dgram';
import { afterEach, expect, it } from 'vitest';
import { openUnderlaySockets } from '../../src/control/underlay-sockets.js';
import {
  closeWorkerDescriptors,
  moveWorkerDescriptors,
  openWorkerDescriptors,
  type WorkerDescriptors,
} from '../../src/control/worker-descriptors.js';
import { underlayToken } from '../../src/shared/worker-input.js';
import { epollWait } from '../../src/sys/libc.js';
import { addressOf } from '../../src/sys/memory.js';
import { EPOLL_DATA_WORD } from '../../src/sys/poll.js';
import { boundPort, closeUdpSocket } from '../../src/sys/udp-socket.js';
import { freePorts } from './registry/consul-server.js';

const WORKERS = 2;
let workers: WorkerDescriptors[] = [];
afterEach(() => {
  closeWorkerDescriptors(workers);
  workers = [];
});

async function options(address: string) {
  const [port] = await freePorts(1);
  return {
    listen: { address, port: port! },
    workers: WORKERS,
    sourcePorts: { first: 47_800, last: 47_890 },
    gro: false,
  };
}

/** Sends datagrams from several ports, so that either worker's socket gets some. */
async function send(address: string, port: number): Promise<void> {
  for (let i = 0; i < 16; i++) {
    const socket = createSocket('udp4');
    await new Promise((resolve) => socket.send('x', port, address, resolve));
    await new Promise<void>((resolve) => socket.close(resolve));
  }
}

/** Which workers' sets say that their underlay socket has something. */
function ready(): number[] {
  const events = new Int32Array(16);
  return workers.flatMap(({ epollFd, underlayFd }, worker) => {
    const count = epollWait(epollFd, addressOf(events), 4, 0);
    return count > 0 && events[EPOLL_DATA_WORD] === underlayToken(underlayFd) ? [worker] : [];
  });
}

it('moves each socket under its number, watched by the same set, and lets go of the old address', async () => {
  const from = await options('127.0.0.1');
  workers = openWorkerDescriptors(from);
  const before = JSON.stringify(workers);
  const to = { ...from, listen: { ...from.listen, address: '127.0.0.2' } };
  moveWorkerDescriptors(workers, to);
  expect(JSON.stringify(workers)).toBe(before);
  await send('127.0.0.1', from.listen.port);
  expect(ready()).toEqual([]);
  await send('127.0.0.2', from.listen.port);
  expect(ready()).toEqual([0, 1]);
  for (const { underlayFd, txFds } of workers) {
    expect(boundPort(underlayFd)).toBe(from.listen.port);
    expect(txFds.map(boundPort).every((port) => port >= 47_800 && port <= 47_890)).toBe(true);
  }
  // Nobody holds the old address any more.
  for (const { rxFd, txFds } of openUnderlaySockets({ ...from, workers: 1 })) {
    for (const fd of [rxFd, ...txFds]) closeUdpSocket(fd);
  }
  // And back, with what came meanwhile left behind.
  moveWorkerDescriptors(workers, from);
  expect(ready()).toEqual([]);
  await send('127.0.0.1', from.listen.port);
  expect(ready()).toEqual([0, 1]);
});

it('stays where it is if the new address cannot be had', async () => {
  const from = await options('127.0.0.1');
  workers = openWorkerDescriptors(from);
  const to = { ...from, listen: { ...from.listen, address: '192.0.2.123' } };
  expect(() => moveWorkerDescriptors(workers, to)).toThrow(expect.objectContaining({ code: 'VTEP_ERR_UNDERLAY' }));
  await send('127.0.0.1', from.listen.port);
  expect(ready()).toEqual([0, 1]);
});
