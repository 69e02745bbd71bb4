/**
 * A network that chooses by itself: three hosts on a switch that carries multicast find it out and use it; when one of them
 * no longer gets it, floods go by copies again, and back when it does. A host that was reached all the time has lost no
 * broadcast and got none twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitFor } from './host-pair.js';
import { createSwitchSite, SITE_ADDRESS, type SwitchSite } from './switch-site.js';

const PEER = new URL('./group-peer.mjs', import.meta.url).pathname;
const GROUP = '239.0.1.0';
const HOSTS = ['a', 'b', 'c'] as const;
type Host = (typeof HOSTS)[number];
const PORT = '7100';
let site: SwitchSite;

beforeAll(async () => {
  site = await createSwitchSite({ hosts: HOSTS, daemonOptions: ['--multicast-from', '2'] });
  await site.mustVtep('a', ...'network create n --vni 256 --subnet 10.0.0.0/24 --flood auto'.split(' '));
  for (const host of HOSTS) await site.addContainer(site.as(host), `box-${host}`, 'n');
});
afterAll(async () => {
  await site?.cleanup();
});

interface Flood {
  via: string;
  group?: string;
  reason?: string;
}
const flood = async (host: Host): Promise<Flood> =>
  (await site.mustVtep(site.as(host), 'network', 'inspect', 'n', '--json')).json().local.flood;
const until = (host: Host, via: string) =>
  waitFor(`${host} to flood by ${via}`, async () => (await flood(host)).via === via, 40_000);

const received = (where: string): string[] =>
  site
    .log(`rx-${where}`)
    .split('\n')
    .filter((line) => /^\d+$/.test(line));

async function receive(where: string): Promise<void> {
  site.spawn(`rx-${where}`, site.netns(where), process.execPath, PEER, 'receive', '10.0.0.255', PORT);
  await waitFor(`${where} to listen`, () => site.log(`rx-${where}`).includes('ready'));
}

it('every host joins at once, and uses the group when it is proved', async () => {
  for (const host of HOSTS) expect(await site.groups(host)).toContain(GROUP);
  for (const host of HOSTS) await until(host, 'multicast');
  expect(await flood('a')).toEqual({ via: 'multicast', group: GROUP, reason: 'the group reaches all 2 other hosts' });
  const text = (await site.mustVtep('a', 'status')).stdout;
  expect(text).toMatch(/^floods +multicast: n \(239\.0\.1\.0: the group reaches all 2 other hosts\)$/m);
});

it('falls back where one host gets no multicast, still reaches it, and returns; nobody loses or doubles anything', async () => {
  await receive('box-b');
  await receive('box-c');
  const sender = site.spawn('tx', site.netns('box-a'), process.execPath, PEER, 'stream', '10.0.0.255', PORT, '20');
  await waitFor('the stream', () => received('box-b').length > 5);

  const chain = 'add table inet blocked; add chain inet blocked pre { type filter hook prerouting priority 0; }';
  await site.mustExec('b', 'nft', `${chain}; add rule inet blocked pre ip daddr 239.0.0.0/8 drop`);
  await until('a', 'replicate');
  await until('c', 'replicate');
  const { reason } = await flood('a');
  expect(reason).toBe(`the group does not reach ${SITE_ADDRESS.b} any more`);
  const before = received('box-b').length;
  await waitFor('broadcasts on b', () => received('box-b').length > before + 5);
  // The others' way back to this host is not concerned: what b sends reaches everybody.
  expect((await flood('b')).via).toBe('multicast');

  await site.mustExec('b', 'nft', 'delete table inet blocked');
  await until('a', 'multicast');
  const atReturn = received('box-b').length;
  await waitFor('broadcasts on b', () => received('box-b').length > atReturn + 5);
  const ended = new Promise((resolve) => sender.once('exit', resolve));
  sender.kill('SIGTERM');
  await ended;
  const sent = Number(/sent (\d+)/.exec(site.log('tx'))?.[1]);
  await waitFor('the last broadcast', () => received('box-c').at(-1) === String(sent - 1));
  await sleep(200);
  expect(received('box-c')).toEqual(Array.from({ length: sent }, (_, i) => String(i)));
  expect(new Set(received('box-b')).size).toBe(received('box-b').length);
});

it('a host that leaves is not waited for, and one that comes is reached from the first frame', async () => {
  await site.mustVtep(site.as('c'), 'detach', '--network', 'n', '--name', 'box-c');
  await waitFor('c to be gone', async () => (await flood('a')).reason?.includes('all 1 ') === true, 20_000);
  expect(await site.groups('c')).not.toContain(GROUP);
  const log = () =>
    site
      .log('vtepd-a')
      .split('\n')
      .filter((line) => line.includes('floods by')).length;
  const changes = log();
  await site.addContainer(site.as('c'), 'box-c2', 'n');
  await waitFor('a to send copies', () => log() > changes);
  await until('a', 'multicast');
});
