/**
 * Floods by a multicast group of the underlay: two vtepds with two workers each and the kernel's VXLAN with the same group,
 * on a switch that forwards a group only where it was joined.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, UNDERLAY, waitFor } from './host-pair.js';
import { createSwitchSite, SITE_ADDRESS, SWITCH, type SwitchSite } from './switch-site.js';

const PEER = new URL('./group-peer.mjs', import.meta.url).pathname;
const VNI = 4242;
/** 239 and the VNI. */
const GROUP = '239.0.16.146';
const KERNEL_IP = '10.0.0.100';
/** They fit into the receiver's buffer, however late it comes to run. */
const DATAGRAMS = 100;
let site: SwitchSite;
let boxA: Container;
let boxB: Container;
let igmp: () => string[];

beforeAll(async () => {
  site = await createSwitchSite({ hosts: ['a', 'b', 'k'], daemonOptions: ['--workers', '2'] });
  igmp = await site.capture(SWITCH, 'igmp', 'igmp');
  const vxlan = `link add vx0 type vxlan id ${VNI} dstport 4789 local ${SITE_ADDRESS.k} dev ${UNDERLAY} group ${GROUP}`;
  await site.mustExec('k', 'ip', ...vxlan.split(' '));
  await site.mustExec('k', 'ip', 'addr', 'add', `${KERNEL_IP}/24`, 'brd', '10.0.0.255', 'dev', 'vx0');
  await site.mustExec('k', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
  const create = `network create n --vni ${VNI} --subnet 10.0.0.0/24 --flood multicast --arp-suppression off`;
  await site.mustVtep('a', ...create.split(' '));
  await site.mustVtep('a', 'peer', 'add', '--network', 'n', '--address', SITE_ADDRESS.k);
  boxA = await site.addContainer('a', 'box-a', 'n');
  boxB = await site.addContainer('b', 'box-b', 'n');
  await site.waitConverged('n');
});
afterAll(async () => {
  await site?.cleanup();
});

const status = async (host: 'a' | 'b') => (await site.mustVtep(host, 'status', '--json')).json();
const counters = async (host: 'a' | 'b'): Promise<{ multicast_frames: number; flood_copies: number }> =>
  (await status(host)).networks[0].counters;

/** @returns what gives the numbers that have arrived. */
async function receive(where: string, address: string, port: number): Promise<() => string[]> {
  const name = `rx-${where}-${port}`;
  site.spawn(name, site.netns(where), process.execPath, PEER, 'receive', address, String(port));
  await waitFor(`${where} to listen`, () => site.log(name).includes('ready'));
  return () =>
    site
      .log(name)
      .split('\n')
      .filter((line) => /^\d+$/.test(line));
}

const numbers = Array.from({ length: DATAGRAMS }, (_, i) => String(i));
const inOrder = (list: string[]) => list.toSorted((a, b) => Number(a) - Number(b));

it('joins the group on the wire, and says so', async () => {
  await waitFor('the switch to see the joins', () => igmp().filter((line) => line.includes(GROUP)).length > 0);
  expect(await site.groups('a')).toContain(GROUP);
  expect(await site.groups('b')).toContain(GROUP);
  expect((await status('a')).networks[0].flood).toEqual({ via: 'multicast', group: GROUP });
  expect((await site.mustVtep('a', 'status')).stdout).toMatch(/^floods +multicast: n \(239\.0\.16\.146\)$/m);
  const inspect = (await site.mustVtep('a', 'network', 'inspect', 'n')).stdout;
  expect(inspect).toMatch(/^floods here +by multicast to 239\.0\.16\.146$/m);
});

it('answers ping between all three', async () => {
  for (const [from, to] of [
    ['box-a', KERNEL_IP],
    ['k', boxB.ip],
    ['box-b', boxA.ip],
  ] as const) {
    expect((await site.ping(from, to, { count: 2 })).lossPercent, `${from} to ${to}`).toBe(0);
  }
});

it('sends each broadcast once, to the group, and delivers it once, in both directions', async () => {
  // Inner broadcasts: the destination MAC is the first of the inner frame.
  const inner = 'udp[16:4] == 0xffffffff and udp[20:2] == 0xffff';
  const wire = await site.capture('a', 'wire', `udp port 4789 and src ${SITE_ADDRESS.a} and ${inner}`);
  const before = await counters('a');
  const arrived = { 'box-b': await receive('box-b', '10.0.0.255', 7001), k: await receive('k', '10.0.0.255', 7001) };
  await site.mustExec('box-a', process.execPath, PEER, 'send', '10.0.0.255', '7001', String(DATAGRAMS));
  for (const [name, list] of Object.entries(arrived)) {
    await waitFor(`${name} to have all`, () => list().length >= DATAGRAMS);
    expect(inOrder(list()), name).toEqual(numbers);
  }
  const after = await counters('a');
  expect(after.multicast_frames - before.multicast_frames).toBeGreaterThanOrEqual(DATAGRAMS);
  expect(after.flood_copies - before.flood_copies).toBe(after.multicast_frames - before.multicast_frames);
  await waitFor('tcpdump', () => wire().some((line) => line.includes(`> ${GROUP}.4789`)));
  const outer = wire().filter((line) => /> \S+\.4789: VXLAN/.test(line));
  expect(outer.every((line) => line.includes(`${SITE_ADDRESS.a}.`) && line.includes(`> ${GROUP}.4789`))).toBe(true);
  const ttls = wire().flatMap((line) => /^\S+ IP \(.*ttl (\d+),.*proto UDP/.exec(line)?.[1] ?? []);
  expect(new Set(ttls)).toEqual(new Set(['1']));

  const back = {
    'box-a': await receive('box-a', '10.0.0.255', 7002),
    'box-b': await receive('box-b', '10.0.0.255', 7002),
  };
  await site.mustExec('k', process.execPath, PEER, 'send', '10.0.0.255', '7002', String(DATAGRAMS));
  for (const [name, list] of Object.entries(back)) {
    await waitFor(`${name} to have all`, () => list().length >= DATAGRAMS);
    expect(inOrder(list()), name).toEqual(numbers);
  }
});

it('takes nothing from the group that is not from a member', async () => {
  const before = (await status('a')).drops.vtep_not_member;
  await site.mustVtep('a', 'peer', 'rm', '--network', 'n', '--address', SITE_ADDRESS.k);
  await waitFor('the peer to be gone', async () =>
    (await status('a')).vteps.every((v: { address: string }) => v.address !== SITE_ADDRESS.k),
  );
  const list = await receive('box-a', '10.0.0.255', 7003);
  await site.mustExec('k', process.execPath, PEER, 'send', '10.0.0.255', '7003', '5');
  await waitFor('the drops', async () => (await status('a')).drops.vtep_not_member >= before + 5);
  expect(list()).toEqual([]);
  await site.mustVtep('a', 'peer', 'add', '--network', 'n', '--address', SITE_ADDRESS.k);
});

it('follows the underlay to another address and to another interface of the same name', async () => {
  const renumber = async () => {
    await site.mustExec('b', 'ip', 'addr', 'del', `${SITE_ADDRESS.b}/24`, 'dev', UNDERLAY);
    await site.mustExec('b', 'ip', 'addr', 'add', '192.0.2.22/24', 'dev', UNDERLAY);
  };
  const replace = async () => {
    await site.mustExec('b', 'ip', 'link', 'del', UNDERLAY);
    const netns = site.netns('b');
    await site.mustExec(SWITCH, 'ip', ...`link add p-b type veth peer name ${UNDERLAY} netns ${netns}`.split(' '));
    await site.mustExec(SWITCH, 'ip', ...'link set p-b master br0 up'.split(' '));
    await site.mustExec('b', 'ip', 'addr', 'add', '192.0.2.22/24', 'dev', UNDERLAY);
    await site.mustExec('b', 'ip', 'link', 'set', UNDERLAY, 'up');
  };
  for (const [port, change] of [
    [7010, renumber],
    [7011, replace],
  ] as const) {
    await change();
    for (const [from, to] of [
      ['box-a', 'box-b'],
      ['box-b', 'box-a'],
    ] as const) {
      const list = await receive(to, '10.0.0.255', port);
      await waitFor(
        `a broadcast from ${from} after ${change.name}`,
        async () => {
          await site.mustExec(from, process.execPath, PEER, 'send', '10.0.0.255', String(port), '1');
          return list().length > 0;
        },
        20_000,
      );
    }
  }
});

it('leaves the group with the last container', async () => {
  await site.mustVtep('a', 'detach', '--network', 'n', '--name', 'box-a');
  await waitFor('a to leave', async () => !(await site.groups('a')).includes(GROUP));
  expect(await site.groups('b')).toContain(GROUP);
});
