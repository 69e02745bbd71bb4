/**
 * Multicast inside a network goes only to hosts with a member, over IPv4 and IPv6: three hosts, a member on one, nothing on
 * the third one's underlay. Hosts ask their containers every four seconds here, so that what takes minutes takes seconds.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, waitFor } from './host-pair.js';
import { createSwitchSite, SITE_ADDRESS, type SwitchSite } from './switch-site.js';

const PEER = new URL('./group-peer.mjs', import.meta.url).pathname;
const HOSTS = ['a', 'b', 'c'] as const;
const COUNT = 20;
let site: SwitchSite;
const boxes: Partial<Record<(typeof HOSTS)[number], Container>> = {};

beforeAll(async () => {
  site = await createSwitchSite({ hosts: HOSTS, daemonOptions: ['--query-interval', '4'] });
  await site.mustVtep('a', ...'network create n --vni 256 --subnet 10.0.0.0/24 --ipv6'.split(' '));
  for (const host of HOSTS) boxes[host] = await site.addContainer(site.as(host), `box-${host}`, 'n');
});
afterAll(async () => {
  await site?.cleanup();
});

const network = async () => (await site.mustVtep('a', 'status', '--json')).json().networks[0].counters;
const saved = async (): Promise<number> => (await network()).flood_copies_saved;

async function send(group: string, count = COUNT): Promise<void> {
  // Node.js names the interface of an IPv6 group by a zone, that of an IPv4 group by an address of it.
  const source = group.includes(':') ? `::%${boxes.a?.interface}` : (boxes.a?.ip as string);
  await site.mustExec('box-a', process.execPath, PEER, 'send', group, '7300', String(count), source);
}

async function join(host: (typeof HOSTS)[number], name: string, group: string) {
  const on = group.includes(':') ? `::%${boxes[host]?.interface}` : (boxes[host]?.ip as string);
  const child = site.spawn(name, site.netns(`box-${host}`), process.execPath, PEER, 'receive', group, '7300', on);
  await waitFor(`${name} to listen`, () => site.log(name).includes('ready'));
  const received = () =>
    site
      .log(name)
      .split('\n')
      .filter((line) => /^\d+$/.test(line)).length;
  return { child, received };
}

it.each([
  ['239.5.5.5', '0x01005e05 and udp[20:2] == 0x0505'],
  ['ff15::5:5:5', '0x33330005 and udp[20:2] == 0x0005'],
])('a group with a member on one host goes there and nowhere else: %s', async (group, mac) => {
  const wire = `${mac.slice(0, 10)}-wire`;
  const onC = await site.capture('c', wire, `udp dst port 4789 and dst ${SITE_ADDRESS.c} and udp[16:4] == ${mac}`);
  const toC = () => onC().filter((line) => line.includes('VXLAN')).length;
  await send(group, 1);
  await waitFor('a group that nobody has reported to be flooded', () => toC() === 1);

  const { child, received } = await join('b', `rx-${mac.slice(0, 10)}`, group);
  await waitFor(
    'copies to be saved',
    async () => {
      const before = await saved();
      await send(group, 1);
      return (await saved()) > before;
    },
    40_000,
  );
  const before = { toC: toC(), received: received() };
  await send(group);
  await waitFor('all on b', () => received() >= before.received + COUNT);
  await sleep(200);
  expect({ toC: toC(), received: received() }).toEqual({ toC: before.toC, received: before.received + COUNT });

  // It leaves: nobody has the group any more, so it is flooded again.
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
  await waitFor(
    'the group to be forgotten',
    async () => {
      const count = toC();
      await send(group, 1);
      await sleep(100);
      return toC() > count;
    },
    20_000,
  );
});

it("a group with members on the sender's host alone stays there, and is counted", async () => {
  await join('a', 'rx-local', '239.7.7.7');
  await waitFor(
    'frames to be kept',
    async () => {
      await send('239.7.7.7', 1);
      return ((await network()).drop_no_member ?? 0) > 0;
    },
    40_000,
  );
});

it('broadcast, neighbour discovery and 224.0.0.x reach everybody as ever', async () => {
  const { received } = await join('c', 'rx-local-link', '224.0.0.77');
  await send('224.0.0.77');
  await waitFor('all on c', () => received() >= COUNT);
  for (const box of ['box-a', 'box-c']) await site.exec(box, 'ip', 'neigh', 'flush', 'dev', 'eth0');
  expect((await site.ping('box-a', boxes.c?.ip as string, { count: 2 })).lossPercent).toBe(0);
});
