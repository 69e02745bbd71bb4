/**
 * TCP and UDP over a path that reorders, delays and repeats, between vtepd and the kernel's VXLAN: what is coalesced and
 * split on the way gives the streams as they were sent.
 *
 *     host a: vtepd 192.0.2.1:4789 <-> relay 192.0.2.66:4791, both on host a      host b: the kernel's vx0 192.0.2.2:4790
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from '../e2e/host-pair.js';

const PEER = new URL('./offload-peer.mjs', import.meta.url).pathname;
const RELAY = new URL('./disorder-relay.mjs', import.meta.url).pathname;
const PORT = '7300';
const VNI = '4243';
const KERNEL_IP = '10.2.0.100';
const PLAN = {
  tcp: [1, 1400, 2 * 1024 * 1024],
  urgent: true,
  repeats: true,
  udp: [1, 1400, 1422, 4000],
  segmented: [{ segments: 40, bytes: 1000 }],
};

let pair: HostPair;
let box: Container;

beforeAll(async () => {
  pair = await createHostPair({ startDaemons: false });
  await pair.startDaemon('a');
  await pair.mustVtep('a', 'network', 'create', 'n', '--subnet', '10.2.0.0/24', '--vni', VNI);
  await pair.mustVtep('a', 'peer', 'add', '--network', 'n', '--address', '192.0.2.66', '--port', '4791');
  box = await pair.addContainer('a', 'box', 'n');
  await pair.mustExec('a', 'ip', 'addr', 'add', '192.0.2.66/24', 'dev', 'ens33');
  const vxlan = `type vxlan id ${VNI} dstport 4790 local 192.0.2.2 dev ens33 nolearning`.split(' ');
  await pair.mustExec('b', 'ip', 'link', 'add', 'vx0', ...vxlan);
  const everyone = ['00:00:00:00:00:00', 'dev', 'vx0', 'dst', '192.0.2.66', 'port', '4791'];
  await pair.mustExec('b', 'bridge', 'fdb', 'append', ...everyone);
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL_IP}/24`, 'dev', 'vx0');
  // Whole segments with whole checksums: each is a datagram of its own on the way.
  await pair.mustExec('b', 'ethtool', '-K', 'vx0', 'tso', 'off', 'gso', 'off', 'tx', 'off');
  await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
  pair.spawn(
    'relay',
    pair.netns('a'),
    process.execPath,
    RELAY,
    '192.0.2.66',
    '4791',
    '192.0.2.1',
    '4789',
    '192.0.2.2',
    '4790',
  );
  for (const where of ['box', 'b'])
    pair.spawn(`peer-${where}`, pair.netns(where), process.execPath, PEER, 'server', PORT);
  for (const name of ['relay', 'peer-box', 'peer-b']) await waitFor(name, () => pair.log(name).includes('ready'));
  await waitFor('the path', async () => (await pair.ping('box', KERNEL_IP, { count: 1 })).received > 0);
});
afterAll(async () => {
  await pair?.cleanup();
});

it.each([
  ['from the container', 'box', () => KERNEL_IP],
  ['to the container', 'b', () => box.ip],
])('streams and datagrams %s arrive byte for byte', async (_name, from, address) => {
  const before = (await pair.mustVtep('a', 'status', '--json')).json().totals;
  const client = [PEER, 'client', PORT, JSON.stringify(PLAN), address()];
  expect((await pair.mustExec(from, process.execPath, ...client)).json()).toEqual([]);
  const after = (await pair.mustVtep('a', 'status', '--json')).json().totals;
  // There was something to coalesce and to split in all the disorder.
  expect(after.superframes_coalesced).toBeGreaterThan(before.superframes_coalesced);
  expect(after.superframes_split).toBeGreaterThan(before.superframes_split);
  expect(after.checksums_wrong).toBe(0);
});

it('has met the disorder: segments came out of order', async () => {
  const { stdout } = await pair.mustExec('b', 'cat', '/proc/net/netstat');
  const [names, values] = stdout
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  expect(Number(values?.[names?.indexOf('TCPOFOQueue') ?? 0])).toBeGreaterThan(20);
});
