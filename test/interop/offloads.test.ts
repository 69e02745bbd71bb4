/**
 * vtepd against vtepd and against the kernel's VXLAN, with every offload, without each of them in turn, and without any:
 * what is sent in streams, datagrams and superframes arrives byte for byte, both ways, over IPv4 and IPv6.
 *
 *     host a: vtepd, box-a                         host b: vtepd 192.0.2.2:4789, box-b
 *     network `ours`:  box-a <-> box-b             network `mixed`: box-k (on a) <-> the kernel's vx0, 192.0.2.66:4790
 *
 * The daemons are started again for each setting, and take over the interfaces that they find.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OFFLOAD_NAMES } from '../../src/control/offload-switches.js';
import { type Container, createHostPair, type HostPair, waitFor } from '../e2e/host-pair.js';

const PEER = new URL('./offload-peer.mjs', import.meta.url).pathname;
const PORT = '7300';
const MIB = 1024 * 1024;
const VNI = '4242';
const KERNEL = { ip: '10.1.0.100', ip6: 'fd01::100', vtep: '192.0.2.66', port: '4790' };
const UDP_SIZES = [1, 64, 1400, 1421, 1422, 1423, 4000, 65_507];
const SEGMENTED = [
  { segments: 40, bytes: 1000 },
  { segments: 2, bytes: 1 },
  { segments: 45, bytes: 1400 },
];
const PLAN = { tcp: [1, 1400, MIB], udp: UDP_SIZES, segmented: SEGMENTED };
const PLAN_IPV6 = { tcp: [1, 1400, MIB], udp: [1, 1402, 1403, 4000], segmented: SEGMENTED.slice(0, 2) };

let pair: HostPair;
let boxA: Container;
let boxB: Container;
let boxK: Container;

beforeAll(async () => {
  pair = await createHostPair();
  // The IPv6 addresses below are not vtep's.
  const open = ['--port-security', 'off'];
  await pair.mustVtep('a', 'network', 'create', 'ours', '--subnet', '10.0.0.0/24', ...open);
  await pair.mustVtep('a', 'network', 'create', 'mixed', '--subnet', '10.1.0.0/24', '--vni', VNI, ...open);
  await pair.mustVtep('a', 'peer', 'add', '--network', 'mixed', '--address', KERNEL.vtep, '--port', KERNEL.port);
  boxA = await pair.addContainer('a', 'box-a', 'ours');
  boxB = await pair.addContainer('b', 'box-b', 'ours');
  boxK = await pair.addContainer('a', 'box-k', 'mixed');
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL.vtep}/24`, 'dev', 'ens33');
  const vxlan = `type vxlan id ${VNI} dstport ${KERNEL.port} local ${KERNEL.vtep} dev ens33 nolearning`.split(' ');
  await pair.mustExec('b', 'ip', 'link', 'add', 'vx0', ...vxlan);
  // Without learning: the kernel would take its own port for a learnt VTEP's.
  const everyone = ['00:00:00:00:00:00', 'dev', 'vx0', 'dst', '192.0.2.1', 'port', '4789'];
  await pair.mustExec('b', 'bridge', 'fdb', 'append', ...everyone);
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL.ip}/24`, 'dev', 'vx0');
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL.ip6}/64`, 'dev', 'vx0', 'nodad');
  await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
  for (const [container, address] of [
    [boxA, 'fd00::2/64'],
    [boxB, 'fd00::3/64'],
    [boxK, 'fd01::2/64'],
  ] as const) {
    await pair.mustExec(container.name, 'ip', 'addr', 'add', address, 'dev', container.interface, 'nodad');
  }
  for (const where of ['box-a', 'box-b', 'box-k', 'b']) {
    pair.spawn(`peer-${where}`, pair.netns(where), process.execPath, PEER, 'server', PORT);
    await waitFor(`the server in ${where}`, () => pair.log(`peer-${where}`).includes('ready'));
  }
});
afterAll(async () => {
  await pair?.cleanup();
});

async function restart(options: readonly string[]): Promise<void> {
  for (const host of ['a', 'b'] as const) await pair.killDaemon(host, 'SIGTERM');
  pair.daemonOptions = options;
  for (const host of ['a', 'b'] as const) await pair.startDaemon(host);
  await pair.waitConverged('ours');
  const reach = async (from: string, to: string) => (await pair.ping(from, to, { count: 1 })).received === 1;
  await waitFor(
    'the peers to be known again',
    async () => (await reach('box-a', boxB.ip)) && reach('box-k', KERNEL.ip),
  );
}

/** Runs the plan against each address, and expects that nothing goes wrong. */
async function expectExact(from: string, plan: object, ...addresses: string[]): Promise<void> {
  const client = [PEER, 'client', PORT, JSON.stringify(plan), ...addresses];
  expect((await pair.mustExec(from, process.execPath, ...client)).json(), from).toEqual([]);
}

const ENDS = () =>
  [
    ['box-a', boxB.ip, 'fd00::3'],
    ['box-b', boxA.ip, 'fd00::2'],
    ['box-k', KERNEL.ip, KERNEL.ip6],
    ['b', boxK.ip, 'fd01::2'],
  ] as const;

describe('every byte arrives', () => {
  it('of a large stream, both ways, on each kind of path', async () => {
    for (const [from, ip] of ENDS()) await expectExact(from, { tcp: [64 * MIB] }, ip);
    const { totals } = (await pair.mustVtep('a', 'status', '--json')).json();
    expect(totals.superframes_split).toBeGreaterThan(1000);
    expect(totals.superframes_coalesced).toBeGreaterThan(1000);
    expect([totals.tap_gso_refused, totals.checksums_wrong]).toEqual([0, 0]);
  });

  it.each([
    ['timestamps off', { 'net.ipv4.tcp_timestamps': 0 }],
    ['SACK off', { 'net.ipv4.tcp_sack': 0 }],
    ['timestamps and SACK off', { 'net.ipv4.tcp_timestamps': 0, 'net.ipv4.tcp_sack': 0 }],
    ['ECN', { 'net.ipv4.tcp_ecn': 1 }],
    ['small segments', { 'net.ipv4.tcp_base_mss': 536, 'net.ipv4.tcp_mtu_probing': 2 }],
  ])('of TCP with %s, urgent data among it', async (_name, settings) => {
    const places = ['box-a', 'box-b', 'box-k', 'b'];
    const set = async (values: readonly (readonly [string, string | number])[]) => {
      for (const where of places) {
        for (const [key, value] of values) await pair.mustExec(where, 'sysctl', '-qw', `${key}=${value}`);
      }
    };
    const before: [string, string][] = [];
    for (const key of Object.keys(settings)) {
      before.push([key, (await pair.mustExec('box-a', 'sysctl', '-n', key)).stdout.trim()]);
    }
    await set(Object.entries(settings));
    try {
      for (const [from, ip, ip6] of ENDS()) await expectExact(from, { tcp: [1, 300_000, MIB], urgent: true }, ip, ip6);
    } finally {
      await set(before);
    }
  });

  it.each<[string, readonly string[]]>([
    ['every offload', []],
    ...OFFLOAD_NAMES.map((name): [string, string[]] => [`no ${name}`, [`--offload-${name}`, 'off']]),
    ['no offload at all', OFFLOAD_NAMES.flatMap((name) => [`--offload-${name}`, 'off'])],
  ])('with %s', async (_name, options) => {
    if (options.length > 0) await restart(options);
    const { offloads } = (await pair.mustVtep('a', 'status', '--json')).json();
    for (const offload of offloads as { name: string; state: string }[]) {
      expect(offload.state === 'off', offload.name).toBe(options.includes(`--offload-${offload.name}`));
    }
    // Each end answers what it gets, so one of the two ends of a path exercises both ways.
    for (const [from, ip, ip6] of ENDS().filter(([from]) => from === 'box-a' || from === 'box-k')) {
      await expectExact(from, PLAN, ip);
      await expectExact(from, PLAN_IPV6, ip6);
    }
  });
});
