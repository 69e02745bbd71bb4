/** The underlay moves to another address under the workers: same descriptors, other sockets. On loopback. */
import { createSocket } from 'node:dgram';
import { afterEach, expect, it } from 'vitest';
import { closeUnderlaySockets, openUnderlaySockets } from '../../src/control/underlay-sockets.js';
import {
  closeWorkerDescriptors,
  moveWorkerDescriptors,
  openWorkerDescriptors,
  type WorkerDescriptors,
} from '../../src/control/worker-descriptors.js';
import { underlayFdOf } from '../../src/shared/worker-input.js';
import { epollWait } from '../../src/sys/libc.js';
import { addressOf } from '../../src/sys/memory.js';
import { EPOLL_DATA_WORD, EPOLL_EVENT_WORDS } from '../../src/sys/poll.js';
import { boundPort } from '../../src/sys/udp-socket.js';
import { freePorts } from './registry/consul-server.js';

const WORKERS = 2;
let workers: WorkerDescriptors[] = [];
afterEach(() => {
  closeWorkerDescriptors(workers);
  workers = [];
});

async function options() {
  const [port] = await freePorts(1);
  return { port: port!, workers: WORKERS, sourcePorts: { first: 47_800, last: 47_890 }, gro: false };
}

/** Sends datagrams from several ports, so that either worker's socket gets some. */
async function send(address: string, port: number): Promise<void> {
  for (let i = 0; i < 16; i++) {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    await new Promise((resolve) => socket.send('x', port, address, resolve));
    await new Promise<void>((resolve) => socket.close(resolve));
  }
}

/** Of each worker the families whose receiving socket has something, as its set says. */
function ready(): number[][] {
  const events = new Int32Array(16);
  return workers.map(({ epollFd, underlay }) => {
    const count = epollWait(epollFd, addressOf(events), 4, 0);
    const tokens = Array.from({ length: count }, (_, i) => events[i * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD] as number);
    return underlay.filter(({ rxFd }) => tokens.map(underlayFdOf).includes(rxFd)).map(({ family }) => family);
  });
}

const NOBODY = [[], []];

it('moves each socket under its number, watched by the same set, and lets go of the old address', async () => {
  const from = await options();
  workers = openWorkerDescriptors(['127.0.0.1'], from);
  const before = JSON.stringify(workers);
  moveWorkerDescriptors(workers, ['127.0.0.2'], from);
  expect(JSON.stringify(workers)).toBe(before);
  await send('127.0.0.1', from.port);
  expect(ready()).toEqual(NOBODY);
  await send('127.0.0.2', from.port);
  expect(ready()).toEqual([[4], [4]]);
  for (const { rxFd, txFds } of workers.flatMap(({ underlay }) => underlay)) {
    expect(boundPort(rxFd)).toBe(from.port);
    expect(txFds.map(boundPort).every((port) => port >= 47_800 && port <= 47_890)).toBe(true);
  }
  // Nobody holds the old address any more.
  for (const sockets of openUnderlaySockets('127.0.0.1', { ...from, workers: 1 })) closeUnderlaySockets(sockets);
  // And back, with what came meanwhile left behind.
  moveWorkerDescriptors(workers, ['127.0.0.1'], from);
  expect(ready()).toEqual(NOBODY);
  await send('127.0.0.1', from.port);
  expect(ready()).toEqual([[4], [4]]);
});

it('has both families on each worker, and moves one without the other', async () => {
  const from = await options();
  workers = openWorkerDescriptors(['127.0.0.1', '::1'], from);
  await send('::1', from.port);
  expect(ready()).toEqual([[6], [6]]);
  moveWorkerDescriptors(workers, ['127.0.0.2'], from);
  // What had come over IPv6 waits as before.
  expect(ready()).toEqual([[6], [6]]);
  await send('127.0.0.1', from.port);
  await send('127.0.0.2', from.port);
  expect(ready()).toEqual([
    [4, 6],
    [4, 6],
  ]);
});

it.each([
  ['192.0.2.123', '127.0.0.1'],
  ['2001:db8::123', '::1'],
])('stays where it is if the new address %s cannot be had', async (address, own) => {
  const from = await options();
  workers = openWorkerDescriptors(['127.0.0.1', '::1'], from);
  // The first one could be had.
  const ips = own === '::1' ? ['127.0.0.2', address] : [address];
  expect(() => moveWorkerDescriptors(workers, ips, from)).toThrow(
    expect.objectContaining({ code: 'VTEP_ERR_UNDERLAY', message: expect.stringContaining(address) }),
  );
  await send('127.0.0.1', from.port);
  await send('::1', from.port);
  expect(ready()).toEqual([
    [4, 6],
    [4, 6],
  ]);
});
