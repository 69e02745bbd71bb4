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
const ICMP_HEADERS_BYTES = 28;

let pair: HostPair;
let box: Container;

beforeAll(async () => {
  pair = await createHostPair({ startDaemons: false });
  await pair.startDaemon('a');
  const vxlan = `type vxlan id ${VNI} dstport 4789 local 192.0.2.2 dev ${UNDERLAY} learning`.split(' ');
  await pair.mustExec('b', 'ip', 'link', 'add', 'vx0', ...vxlan);
  await pair.mustExec('b', 'bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', '192.0.2.1');
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL_IP}/24`, 'dev', 'vx0');
  await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
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
    pair.spawn(name, pair.netns(where), 'tcpdump', '-i', dev, '-l', '-n', '-v', '--immediate-mode', 'ip');
    await waitFor(`tcpdump of ${name}`, () => pair.log(name).includes('listening on'));
  }
  await waitFor('both ends to know each other', async () => {
    return (await pair.ping('box', KERNEL_IP, { count: 1 })).received === 1;
  });
});
afterAll(async () => {
  await pair?.cleanup();
});

/** Inner packets are told apart by their length. */
let nextPayloadBytes = 100;

/** One echo request, whether it is answered or not. @returns its IP length */
async function echo(from: string, to: string, tos: number): Promise<number> {
  const payloadBytes = nextPayloadBytes++;
  const args = ['-n', '-c', '1', '-W', '0.2', '-Q', String(tos), '-s', String(payloadBytes), to];
  await pair.exec(from, 'ping', ...args);
  return payloadBytes + ICMP_HEADERS_BYTES;
}

interface Seen {
  tos: number;
  length: number;
  to: string;
}

/** The IPv4 packets of a capture, outer and inner ones in the order of their headers. */
function seen(name: string): Seen[] {
  const header = /\(tos (0x[0-9a-f]+).*length (\d+)\)\s+\S+ > (\d+\.\d+\.\d+\.\d+)/g;
  return [...pair.log(name).matchAll(header)].map(([, tos, length, to]) => ({
    tos: Number(tos),
    length: Number(length),
    to: to as string,
  }));
}

const OVERHEAD_BYTES = 50;

/** The outer TOS under which an inner packet of this length went to a host. */
async function outerTosOf(length: number, to: string): Promise<number> {
  const find = () => seen('wire').find((packet) => packet.length === length + OVERHEAD_BYTES && packet.to === to);
  await waitFor(`a packet of ${length} bytes to ${to} on the wire`, () => find() !== undefined);
  return (find() as Seen).tos;
}

describe('what goes out', () => {
  it('has the ECN bits that the kernel gives the same packet, and not its class', async () => {
    for (const tos of [0, 1, 2, 3, 0xb8, 0xb9, 0xba, 0xbb]) {
      const [ours, theirs] = [await echo('box', KERNEL_IP, tos), await echo('b', box.ip, tos)];
      const sent = await outerTosOf(ours, '192.0.2.2');
      expect([tos, sent]).toEqual([tos, await outerTosOf(theirs, '192.0.2.1')]);
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
