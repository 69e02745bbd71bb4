/**
 * The outer header beside that of the kernel's own VXLAN, which answers on host `b`: what each puts there for the same
 * inner packet, and what each takes over from it when the underlay has changed it on the way.
 *
 *     host a: vtepd, box 10.0.0.2     nft marks what leaves either host     host b: the kernel's vx0 10.0.0.100
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, UNDERLAY, waitFor } from '../e2e/host-pair.js';

const NETWORK = 'mixed';
const VNI = '4242';
const KERNEL_IP = '10.0.0.100';
const KERNEL_MAC = '02:00:5e:00:00:64';
const ICMP_HEADERS_BYTES = 28;

let pair: HostPair;
let box: Container;

beforeAll(async () => {
  pair = await createHostPair({ startDaemons: false });
  await pair.startDaemon('a');
  await addKernelVtep();
  await pair.mustVtep('a', 'network', 'create', NETWORK, '--vni', VNI, '--subnet', '10.0.0.0/24');
  await pair.mustVtep('a', 'peer', 'add', '--network', NETWORK, '--address', '192.0.2.2');
  box = await pair.addContainer('a', 'box', NETWORK);
  for (const host of ['a', 'b']) {
    await pair.mustExec(host, 'nft', 'add table inet marks');
    await pair.mustExec(host, 'nft', 'add chain inet marks out { type filter hook output priority 0; }');
  }
  for (const [name, where, dev] of [
    ['wire', 'a', UNDERLAY],
    ['at-box', 'box', box.interface],
    ['at-kernel', 'b', 'vx0'],
  ] as const) {
    pair.spawn(name, pair.netns(where), 'tcpdump', '-i', dev, '-l', '-n', '-vv', '--immediate-mode', 'ip');
    await waitFor(`tcpdump of ${name}`, () => pair.log(name).includes('listening on'));
  }
  await untilReached();
});

async function addKernelVtep(...options: string[]): Promise<void> {
  const vxlan = `type vxlan id ${VNI} dstport 4789 local 192.0.2.2 dev ${UNDERLAY} learning`.split(' ');
  await pair.mustExec('b', 'ip', 'link', 'add', 'vx0', 'address', KERNEL_MAC, ...vxlan, ...options);
  await pair.mustExec('b', 'bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', '192.0.2.1');
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL_IP}/24`, 'dev', 'vx0');
  await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
}

function untilReached(): Promise<void> {
  return waitFor('both ends to know each other', async () => {
    return (await pair.ping('box', KERNEL_IP, { count: 1 })).received === 1;
  });
}

afterAll(async () => {
  await pair?.cleanup();
});

/** Inner packets are told apart by their length. */
let nextPayloadBytes = 100;

/** One echo request, whether it is answered or not. @returns its IP length */
async function echo(from: string, to: string, tos: number, df: 'do' | 'dont' = 'do'): Promise<number> {
  const payloadBytes = nextPayloadBytes++;
  const args = ['-n', '-c', '1', '-W', '0.2', '-Q', String(tos), '-M', df, '-s', String(payloadBytes), to];
  await pair.exec(from, 'ping', ...args);
  return payloadBytes + ICMP_HEADERS_BYTES;
}

interface Seen {
  tos: number;
  ttl: number;
  df: boolean;
  /** Of a UDP datagram. */
  checksum: boolean;
  length: number;
  to: string;
}

/** The IPv4 packets of a capture, outer and inner ones in the order of their headers. */
function seen(name: string): Seen[] {
  const header = /\(tos (0x[0-9a-f]+).*ttl (\d+).*flags \[(.*?)\].*length (\d+)\)\s+\S+ > (\d+\.\d+\.\d+\.\d+)(.*)/g;
  return [...pair.log(name).matchAll(header)].map(([, tos, ttl, flags, length, to, rest]) => ({
    tos: Number(tos),
    ttl: Number(ttl),
    df: flags === 'DF',
    checksum: !(rest as string).includes('[no cksum]'),
    length: Number(length),
    to: to as string,
  }));
}

const OVERHEAD_BYTES = 50;

/** The outer header under which an inner packet of this length went to a host. */
async function outerOf(length: number, to: string): Promise<Seen> {
  const find = () => seen('wire').find((packet) => packet.length === length + OVERHEAD_BYTES && packet.to === to);
  await waitFor(`a packet of ${length} bytes to ${to} on the wire`, () => find() !== undefined);
  return find() as Seen;
}

describe('what goes out', () => {
  it('has the ECN bits that the kernel gives the same packet, and not its class', async () => {
    for (const tos of [0, 1, 2, 3, 0xb8, 0xb9, 0xba, 0xbb]) {
      const [ours, theirs] = [await echo('box', KERNEL_IP, tos), await echo('b', box.ip, tos)];
      const sent = (await outerOf(ours, '192.0.2.2')).tos;
      expect([tos, sent]).toEqual([tos, (await outerOf(theirs, '192.0.2.1')).tos]);
      expect(sent).toBe((tos & 3) === 3 ? 2 : tos & 3);
    }
  });
});

describe('what comes in', () => {
  const setMark = async (mark: string) => {
    for (const host of ['a', 'b']) {
      await pair.mustExec(host, 'nft', 'flush chain inet marks out');
      await pair.mustExec(host, 'nft', `add rule inet marks out udp dport 4789 ip ecn set ${mark}`);
    }
  };
  /** TOS of the packet, or undefined: it has not come out of the tunnel, but a later one has. */
  const innerTos = (name: string, length: number) => seen(name).find((packet) => packet.length === length)?.tos;

  it.each(['not-ect', 'ect1', 'ect0', 'ce'])(
    'marked %s by the underlay: is marked or dropped as by the kernel',
    async (mark) => {
      await setMark(mark);
      const pairs: [number, number, number][] = [];
      for (const tos of [0, 1, 2, 3, 0x28, 0x2a]) {
        pairs.push([tos, await echo('b', box.ip, tos), await echo('box', KERNEL_IP, tos)]);
      }
      const last = pairs.at(-1) as [number, number, number];
      await waitFor('all to have arrived', () => {
        return innerTos('at-box', last[1]) !== undefined && innerTos('at-kernel', last[2]) !== undefined;
      });
      const here = pairs.map(([tos, toBox]) => [tos, innerTos('at-box', toBox)]);
      expect(here).toEqual(pairs.map(([tos, , toKernel]) => [tos, innerTos('at-kernel', toKernel)]));
      // Not compared only with each other: congestion reaches who takes part in ECN, and the others lose the packet.
      if (mark === 'ce') expect(here.map(([, arrived]) => arrived)).toEqual([undefined, 3, 3, 3, undefined, 0x2b]);
    },
  );

  it('is counted', async () => {
    const { totals, drops } = (await pair.mustVtep('a', 'status', '--json')).json();
    expect(totals.ecn_marked).toBeGreaterThanOrEqual(3);
    expect(drops.ecn).toBeGreaterThanOrEqual(2);
  });
});

describe('what an operator says of it', () => {
  it.each([
    [
      'inherited',
      ['--outer-tos', 'inherit', '--outer-ttl', '33', '--outer-df', 'inherit'],
      ['tos', 'inherit', 'ttl', '33', 'df', 'inherit'],
    ],
    [
      'fixed',
      ['--outer-tos', '0x50', '--outer-df', 'set', '--outer-checksum', 'off'],
      ['tos', '0x50', 'df', 'set', 'noudpcsum'],
    ],
  ])('%s: as the kernel does it', async (name, options, kernelOptions) => {
    for (const host of ['a', 'b']) await pair.mustExec(host, 'nft', 'flush chain inet marks out');
    await pair.killDaemon('a', 'SIGTERM');
    pair.daemonOptions = options;
    await pair.startDaemon('a');
    await pair.mustExec('b', 'ip', 'link', 'del', 'vx0');
    await addKernelVtep(...kernelOptions);
    await untilReached();
    for (const [tos, df] of [
      [0, 'do'],
      [0, 'dont'],
      [0xb8, 'do'],
      [0xbb, 'dont'],
    ] as const) {
      const [ours, theirs] = [await echo('box', KERNEL_IP, tos, df), await echo('b', box.ip, tos, df)];
      const { length: _1, to: _2, ...sent } = await outerOf(ours, '192.0.2.2');
      const { length: _3, to: _4, ...kernel } = await outerOf(theirs, '192.0.2.1');
      expect([tos, df, sent]).toEqual([tos, df, kernel]);
      const isInherited = name === 'inherited';
      expect(sent).toEqual({
        tos: (isInherited ? tos & 0xfc : 0x50) | ((tos & 3) === 3 ? 2 : tos & 3),
        ttl: isInherited ? 33 : 64,
        df: !isInherited || df === 'do',
        checksum: isInherited,
      });
    }
  });

  it('without checksums: UDP_SEGMENT is off and says why, and streams flow', async () => {
    const { offloads } = (await pair.mustVtep('a', 'status', '--json')).json();
    const gso = (offloads as { name: string }[]).find(({ name }) => name === 'underlay-gso');
    expect(gso).toEqual({ name: 'underlay-gso', state: 'off', detail: 'it needs --outer-checksum on' });
    const result = await pair.transfer('box', 'b', KERNEL_IP, 'tcp', 3_000_000);
    expect(result).toMatchObject({ sentBytes: 3_000_000, exact: true });
  });
});
