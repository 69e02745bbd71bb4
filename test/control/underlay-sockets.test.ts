/** The underlay's sockets on loopback: a group for several workers, its ports, and who is kept out. */
import { createSocket } from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import {
  closeUnderlaySockets,
  openUnderlaySockets,
  type UnderlaySocketOptions,
} from '../../src/control/underlay-sockets.js';
import type { UnderlaySockets } from '../../src/shared/worker-input.js';
import { getsockname, read } from '../../src/sys/libc.js';
import { addressOf } from '../../src/sys/memory.js';
import { closeUdpSocket, openUdpSocket } from '../../src/sys/udp-socket.js';

const LOOPBACK = Uint8Array.of(127, 0, 0, 1);
const PORT = 47_893;
const RANGE = { first: 47_900, last: 47_923 };
const open: UnderlaySockets[] = [];

afterEach(() => {
  for (const sockets of open.splice(0)) closeUnderlaySockets(sockets);
});

function start(options: Partial<UnderlaySocketOptions>, ip = '127.0.0.1'): UnderlaySockets[] {
  const sockets = openUnderlaySockets(ip, { port: PORT, workers: 1, sourcePorts: RANGE, gro: false, ...options });
  open.push(...sockets);
  return sockets;
}

function portOf(fd: number): number {
  const address = new Uint8Array(28);
  const bytes = Int32Array.of(address.length);
  expect(getsockname(fd, addressOf(address), addressOf(bytes))).toBe(0);
  return new DataView(address.buffer).getUint16(2);
}

/** How many datagrams wait. */
function drain(fd: number): number {
  const buffer = new Uint8Array(64);
  let count = 0;
  while (read(fd, addressOf(buffer), buffer.length) >= 0) count++;
  return count;
}

describe('source ports', () => {
  it.each([1, 2, 3])('%i workers: 8 each, all different, all in the range', (workers) => {
    const sockets = start({ workers });
    expect(sockets.map(({ txFds }) => txFds.length)).toEqual(Array(workers).fill(8));
    const ports = sockets.flatMap(({ txFds }) => txFds.map(portOf));
    expect(new Set(ports).size).toBe(workers * 8);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(RANGE.first);
    expect(Math.max(...ports)).toBeLessThanOrEqual(RANGE.last);
  });

  it('a port that another has is passed over; too few are an error that leaves nothing open', () => {
    const taken = openUdpSocket({ address: LOOPBACK, port: RANGE.first + 3 });
    try {
      const tight = { workers: 1, sourcePorts: { first: RANGE.first, last: RANGE.first + 8 } };
      expect(start(tight)[0]?.txFds.map(portOf)).not.toContain(RANGE.first + 3);
      for (const sockets of open.splice(0)) closeUnderlaySockets(sockets);
      const failing = () => start({ workers: 3 });
      expect(failing).toThrow(
        'of the UDP source ports 47900-47923 on 127.0.0.1 only 23 are free, and 3 x 8 are needed: give a wider range',
      );
      expect(failing).toThrow(expect.objectContaining({ code: 'VTEP_ERR_PORT_IN_USE' }));
    } finally {
      closeUdpSocket(taken);
    }
    start({ workers: 3 });
  });
});

describe('the VXLAN port', () => {
  const inUse = expect.objectContaining({ code: 'VTEP_ERR_PORT_IN_USE', message: expect.stringContaining('--port') });

  it.each([1, 2])('a second group is refused by one of %i workers, whatever its own size', (workers) => {
    start({ workers });
    const sourcePorts = { first: 48_000, last: 48_100 };
    for (const others of [1, 2]) expect(() => start({ workers: others, sourcePorts })).toThrow(inUse);
  });

  it.each([true, false])('a foreign socket that has the port (SO_REUSEPORT %s) is seen', (reusePort) => {
    const foreign = openUdpSocket({ address: LOOPBACK, port: PORT, reusePort });
    try {
      for (const workers of [1, 2]) expect(() => start({ workers })).toThrow(inUse);
    } finally {
      closeUdpSocket(foreign);
    }
  });

  it('is had on both families at once, with the same source ports', () => {
    const of4 = start({ workers: 2, gro: true });
    const of6 = start({ workers: 2, gro: true }, '::1');
    for (const [sockets, family] of [
      [of4, 4],
      [of6, 6],
    ] as const) {
      expect(sockets.map((worker) => [worker.family, portOf(worker.rxFd)])).toEqual(Array(2).fill([family, PORT]));
    }
    expect(() => start({ sourcePorts: { first: 48_000, last: 48_100 } }, '::1')).toThrow(
      'UDP port 47893 on ::1 is in use',
    );
  });

  it('a flow stays on one socket, and flows use several', async () => {
    const sockets = start({ workers: 2 });
    const seen = new Set<number>();
    for (let flow = 0; flow < 24; flow++) {
      const sender = createSocket('udp4');
      for (let i = 0; i < 5; i++) {
        await new Promise<void>((resolve, reject) => {
          sender.send('x', PORT, '127.0.0.1', (error) => (error ? reject(error) : resolve()));
        });
      }
      sender.close();
      await new Promise((resolve) => setTimeout(resolve, 5));
      const counts = sockets.map(({ rxFd }) => drain(rxFd));
      expect(counts.toSorted()).toEqual([0, 5]);
      seen.add(counts.indexOf(5));
    }
    expect([...seen].toSorted()).toEqual([0, 1]);
  });
});
