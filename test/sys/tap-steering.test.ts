/**
 * The steering program on a real TAP in a namespace: frames go out of the interface by a packet socket, and the queue that
 * has them is looked for. Needs root, /dev/net/tun and bpf(2).
 */
import koffi from 'koffi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BpfAssembler, loadSocketFilter } from '../../src/sys/bpf.js';
import { bind, close, read, socket, write } from '../../src/sys/libc.js';
import { addressOf, pin } from '../../src/sys/memory.js';
import { closeTap, openTap, TUN_F_CSUM } from '../../src/sys/tap.js';
import { closeTapSteering, loadTapSteering, steerTap } from '../../src/sys/tap-steering.js';
import { ip, Namespaces } from '../control/namespaces.js';
import { inNamespace } from './in-namespace.js';

const QUEUES = 3;
const AF_PACKET = 17;
const SOCK_RAW = 3;
const VNET_HDR_BYTES = 10;
const A4 = '0a000002';
const B4 = '0a000003';
const A6 = '20010db8000000000000000000000002';
const B6 = '20010db8000000000000000000000003';
const MACS = '020000000003020000000002';

const ifNameToIndex = koffi.load('libc.so.6').func('unsigned int if_nametoindex(const char *name)') as (
  name: string,
) => number;
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const u16 = (value: number) => value.toString(16).padStart(4, '0');

interface Flow {
  readonly from?: string;
  readonly to?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly protocol?: 'tcp' | 'udp';
  /** Flags and fragment offset. */
  readonly fragment?: string;
  readonly options?: string;
  readonly tags?: string;
}

const back = ({ from, to, sourcePort, destinationPort, ...rest }: Required<Ends>) => ({
  ...rest,
  ...{ from: to, to: from, sourcePort: destinationPort, destinationPort: sourcePort },
});
type Ends = Pick<Flow, 'from' | 'to' | 'sourcePort' | 'destinationPort'>;

function ports({ sourcePort = 5000, destinationPort = 6000 }: Flow): string {
  return `${u16(sourcePort)}${u16(destinationPort)}${'00'.repeat(20)}`;
}

function ipv4(flow: Flow): Uint8Array {
  const { from = A4, to = B4, protocol = 'udp', fragment = '4000', options = '', tags = '' } = flow;
  const first = (0x45 + options.length / 8).toString(16);
  const bytes = u16(44 + options.length / 2);
  const next = protocol === 'tcp' ? '06' : '11';
  return hex(
    `${MACS}${tags}0800 ${first}00${bytes} 0001${fragment} 40${next}0000 ${from}${to}${options}${ports(flow)}`,
  );
}

function ipv6(flow: Flow, extension = ''): Uint8Array {
  const { from = A6, to = B6, protocol = 'udp', tags = '' } = flow;
  const next = extension !== '' ? '2c' : protocol === 'tcp' ? '06' : '11';
  const bytes = u16(24 + extension.length / 2);
  return hex(`${MACS}${tags}86dd 60000000 ${bytes}${next}40 ${from}${to}${extension}${ports(flow)}`);
}

const namespaces = new Namespaces();
let queues: number[] = [];
let plain: number[] = [];
let programFd = -1;
const senders = new Map<string, number>();

async function makeTap(name: string, netns: string): Promise<number[]> {
  const fds = inNamespace(netns, () => Array.from({ length: QUEUES }, () => openTap(name, TUN_F_CSUM)));
  await ip(netns, 'link', 'set', name, 'up');
  return fds;
}

/** A socket whose frames leave by the interface. */
function openSender(netns: string, name: string): void {
  const fd = inNamespace(netns, () => {
    const packet = socket(AF_PACKET, SOCK_RAW, 0);
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setInt32(4, ifNameToIndex(name), true);
    expect(bind(packet, addressOf(address), address.length)).toBe(0);
    return packet;
  });
  senders.set(name, fd);
}

beforeAll(async () => {
  const netns = await namespaces.add();
  queues = await makeTap('steered', netns);
  plain = await makeTap('plain', netns);
  for (const name of ['steered', 'plain']) openSender(netns, name);
  programFd = loadTapSteering();
  steerTap(queues[0] as number, programFd);
});
afterAll(async () => {
  for (const fd of senders.values()) close(fd);
  for (const fd of [...queues, ...plain]) closeTap(fd);
  if (programFd >= 0) closeTapSteering(programFd);
  await namespaces.removeAll();
});

/** @returns the queue that the kernel puts the frame in */
function queueOf(frame: Uint8Array, name = 'steered', fds = queues): number {
  const wanted = Buffer.from(frame).toString('hex');
  const buffer = new Uint8Array(2048);
  expect(write(senders.get(name) as number, addressOf(frame), frame.length)).toBe(frame.length);
  for (let wait = 0; wait < 200; wait++) {
    for (const [queue, fd] of fds.entries()) {
      for (let bytes = read(fd, addressOf(buffer), buffer.length); bytes > 0; ) {
        // The kernel's own frames (neighbour discovery) pass by.
        if (Buffer.from(buffer.subarray(VNET_HDR_BYTES, bytes)).toString('hex') === wanted) return queue;
        bytes = read(fd, addressOf(buffer), buffer.length);
      }
    }
  }
  throw new Error('no queue has the frame');
}

/** A frame from the worker of the queue to the kernel. */
function deliver(queue: number, frame: Uint8Array, fds = queues): void {
  const message = new Uint8Array(VNET_HDR_BYTES + frame.length);
  message.set(frame, VNET_HDR_BYTES);
  expect(write(fds[queue] as number, addressOf(message), message.length)).toBe(message.length);
}

describe('one flow', () => {
  const there = { from: A4, to: B4, sourcePort: 40_000, destinationPort: 53 };

  it('stays on its queue, and its other direction is on the same', () => {
    const home = queueOf(ipv4(there));
    for (let i = 0; i < 20; i++) {
      expect(queueOf(ipv4(there))).toBe(home);
      expect(queueOf(ipv4(back(there)))).toBe(home);
    }
  });

  it('stays when the other direction is written to another queue, which moves it where nothing steers', () => {
    const home = queueOf(ipv4(there));
    const elsewhere = (home + 1) % QUEUES;
    deliver(elsewhere, ipv4(back(there)));
    expect(queueOf(ipv4(there))).toBe(home);

    for (const queue of [0, 1, 2]) {
      deliver(queue, ipv4(back(there)), plain);
      expect(queueOf(ipv4(there), 'plain', plain)).toBe(queue);
    }
  });

  it.each([
    ['one VLAN tag', '81000007'],
    ['two VLAN tags', '88a8000781000008'],
  ])('%s: is looked through', (_, tags) => {
    for (let sourcePort = 1; sourcePort <= 12; sourcePort++) {
      expect(queueOf(ipv4({ sourcePort, tags }))).toBe(queueOf(ipv4({ sourcePort })));
      expect(queueOf(ipv6({ sourcePort, tags }))).toBe(queueOf(ipv6({ sourcePort })));
    }
  });

  it('IPv4 options are looked through', () => {
    for (let sourcePort = 1; sourcePort <= 12; sourcePort++) {
      expect(queueOf(ipv4({ sourcePort, options: '0101010101010101' }))).toBe(queueOf(ipv4({ sourcePort })));
    }
  });

  it('fragments stay together, the first with the rest', () => {
    for (let last = 4; last < 16; last++) {
      const from = `0a0000${last.toString(16).padStart(2, '0')}`;
      const first = queueOf(ipv4({ from, fragment: '2000' }));
      expect(queueOf(ipv4({ from, fragment: '2010', sourcePort: last }))).toBe(first);
      expect(queueOf(ipv4({ from, fragment: '0020', sourcePort: last * 7 }))).toBe(first);
      const from6 = `${A6.slice(0, -2)}${last.toString(16).padStart(2, '0')}`;
      const fragment = '1100000100000001';
      expect(queueOf(ipv6({ from: from6, sourcePort: last }, fragment))).toBe(
        queueOf(ipv6({ from: from6, sourcePort: last * 7 }, fragment)),
      );
    }
  });
});

describe('many flows', () => {
  const spread = (frames: Uint8Array[]): number[] => {
    const counts = Array<number>(QUEUES).fill(0);
    for (const frame of frames) counts[queueOf(frame)]!++;
    return counts;
  };
  const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const byte = (i: number) => (i + 1).toString(16).padStart(2, '0');

  it.each<[string, (i: number) => Uint8Array]>([
    ['UDP ports of IPv4, in steps of one', (i) => ipv4({ sourcePort: 40_000 + i })],
    ['TCP ports of IPv4, in steps of two', (i) => ipv4({ sourcePort: 40_000 + 2 * i, protocol: 'tcp' })],
    ['UDP ports of IPv6', (i) => ipv6({ sourcePort: 40_000 + i })],
    ['TCP ports of IPv6', (i) => ipv6({ destinationPort: 40_000 + i, protocol: 'tcp' })],
    ['IPv4 addresses', (i) => ipv4({ from: `0a0000${byte(i)}` })],
    [
      'neighbouring pairs of IPv4 addresses',
      (i) => ipv4({ from: `0a0000${byte(2 * i)}`, to: `0a0000${byte(2 * i + 1)}` }),
    ],
    ['IPv6 addresses', (i) => ipv6({ to: `${A6.slice(0, -2)}${byte(i)}` })],
    ['ARP between different hosts', (i) => hex(`ffffffffffff0200000000${byte(i)}0806${'00'.repeat(46)}`)],
  ])('%s use every queue', (_, make) => {
    const counts = spread(each(96, make));
    for (const count of counts) expect(count, String(counts)).toBeGreaterThan(96 / QUEUES / 2);
  });

  it('a frame that ends within its headers has a queue as well', () => {
    for (const frame of [
      `${MACS}0800 4500`,
      `${MACS}86dd 6000`,
      `${MACS}8100`,
      `${MACS}0800 4f00002c 00014000 40110000 ${A4}${B4}`,
    ]) {
      expect(queueOf(hex(frame))).toBeLessThan(QUEUES);
    }
  });
});

describe('bpf', () => {
  it('a program that the verifier refuses is an error', () => {
    const endless = pin(new BpfAssembler().label('again').jump('again').exit().assemble());
    expect(() => loadSocketFilter(endless)).toThrow(/^bpf: E/);
    expect(() => new BpfAssembler().jump('nowhere').assemble()).toThrow('no label nowhere');
    expect(() => steerTap(-1, programFd)).toThrow('TUNSETSTEERINGEBPF: EBADF');
  });
});
