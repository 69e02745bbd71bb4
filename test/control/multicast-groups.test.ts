/**
 * Memberships of the underlay's groups in a namespace with one interface: more groups than one socket may join, networks
 * that share one, workers that share them, an interface that comes late and one that comes back under another index.
 */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from '../../src/control/log.js';
import { MulticastGroups } from '../../src/control/multicast-groups.js';
import { defaultGroup } from '../../src/control/networks/multicast-group.js';
import { isMulticastGroup } from '../../src/control/networks/network-settings.js';
import { closeEpoll, openEpoll } from '../../src/sys/poll.js';
import { inNamespace } from '../sys/in-namespace.js';
import { ip, Namespaces } from './namespaces.js';

const namespaces = new Namespaces();
const INTERFACE = 'u0';
const WORKERS = 2;
const lines: string[] = [];
let name: string;
let groups: MulticastGroups;
let epollFds: number[];
let interfaces: number[];

beforeEach(async () => {
  name = await namespaces.add();
  epollFds = Array.from({ length: WORKERS }, openEpoll);
  interfaces = [];
  lines.length = 0;
  const logger = createLogger({ level: 'info', format: 'json', stream: { write: (line) => void lines.push(line) } });
  groups = inNamespace(name, () => {
    return new MulticastGroups({
      ...{ interfaceName: INTERFACE, port: 4789, gro: true, epollFds, settle: async () => undefined, logger },
      onInterface: (index) => void interfaces.push(index),
    });
  });
});
afterEach(async () => {
  await groups.close();
  for (const fd of epollFds) closeEpoll(fd);
  await namespaces.removeAll();
});

const addInterface = () => ip(name, ...`link add ${INTERFACE} up type bridge`.split(' '));
const here = (work: () => void) => inNamespace(name, work);

/** @returns the groups of vtep that the interface is a member of. */
async function joined(): Promise<string[]> {
  const shown = JSON.parse(await ip(name, '-json', 'maddr', 'show', 'dev', INTERFACE)) as {
    maddr: { address?: string }[];
  }[];
  const all = shown.flatMap(({ maddr }) => maddr.flatMap(({ address }) => address ?? []));
  return all.filter((group) => group.startsWith('239.') || group.startsWith('ff15:')).sort();
}

/** How many sockets are in each worker's set. */
function watched(): number[] {
  return epollFds.map((fd) => readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').match(/^tfd:/gm)?.length ?? 0);
}

it('joins more groups than one socket may, once each, and spreads them over the workers', async () => {
  await addInterface();
  const all = [4, 6].flatMap((family) =>
    Array.from({ length: 25 }, (_, i) => defaultGroup(0x010000 + i, family as 4 | 6)),
  );
  here(() => {
    groups.rejoin();
    for (const group of all) groups.join(group);
    groups.join(all[0] as string);
  });
  expect(await joined()).toEqual([...all].sort());
  expect(all.map((group) => groups.problem(group)).filter((problem) => problem !== undefined)).toEqual([]);
  expect(watched()).toEqual([25, 25]);
  here(() => {
    for (const group of all) groups.leave(group);
  });
  // Two networks had it.
  expect(await joined()).toEqual([all[0]]);
  here(() => groups.leave(all[0] as string));
  expect(await joined()).toEqual([]);
  expect(watched().toSorted()).toEqual([0, 0]);
});

it('joins on an interface that comes later, and again on one that takes its place', async () => {
  here(() => groups.join('239.0.1.0'));
  expect(groups.problem('239.0.1.0')).toBe('there is no interface "u0"');
  expect(lines.filter((line) => line.includes('multicast.join-failed'))).toHaveLength(1);
  for (let i = 0; i < 2; i++) {
    await addInterface();
    const index = JSON.parse(await ip(name, '-json', 'link', 'show', 'dev', INTERFACE))[0].ifindex as number;
    here(() => groups.look());
    expect(await joined()).toEqual(['239.0.1.0']);
    expect(groups.problem('239.0.1.0')).toBeUndefined();
    expect(interfaces.at(-1)).toBe(index);
    await ip(name, 'link', 'del', INTERFACE);
  }
  // The interfaces of a namespace have their indices anew: two that are the same would prove nothing.
  expect(new Set(interfaces).size).toBe(2);
  here(() => groups.look());
  expect(groups.problem('239.0.1.0')).toBe('there is no interface "u0"');
});

it.each([
  [1, 4, '239.0.0.1'],
  [256, 4, '239.0.1.0'],
  [0xffffff, 4, '239.255.255.255'],
  [1, 6, 'ff15::7674:8000:1'],
  [0x123456, 6, 'ff15::7674:8012:3456'],
  [0xffffff, 6, 'ff15::7674:80ff:ffff'],
] as const)('the group of VNI %i over IPv%i is %s', (vni, family, group) => {
  expect(defaultGroup(vni, family)).toBe(group);
  expect(isMulticastGroup(group)).toBe(true);
});
