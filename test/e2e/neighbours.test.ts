/**
 * ARP and ND suppression and storm control on two hosts: a tcpdump on the underlay shows what has crossed. Known addresses
 * are answered on the asker's host, unknown ones are flooded, duplicates are defended, the gateway stays at home.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, UNDERLAY, waitFor } from './host-pair.js';

const STORM_LIMIT = 5;
let pair: HostPair;
let near: Container;
let far: Container;
let near6: string;
let far6: string;

interface Neighbour {
  network: string;
  address: string;
  mac: string;
  kind: string;
  node?: string;
  vtep?: { address: string };
}

beforeAll(async () => {
  pair = await createHostPair({ daemonOptions: ['--workers', '2'] });
  // Containers here take addresses that they were not given.
  await pair.mustVtep('a', 'network', 'create', 'n', '--ipv6', '--port-security', 'off');
  const settings = ['--arp-suppression', 'off', '--storm-limit', String(STORM_LIMIT)];
  await pair.mustVtep('a', 'network', 'create', 'off', ...settings);
  near = await pair.addContainer('a', 'near', 'n');
  far = await pair.addContainer('b', 'far', 'n');
  await pair.addContainer('a', 'off-a', 'off');
  await pair.addContainer('b', 'off-b', 'off');
  for (const network of ['n', 'off']) await pair.waitConverged(network);
  const sixOf = async (name: string) => {
    const { stdout } = await pair.mustExec(name, 'ip', '-6', '-br', 'address', 'show', 'scope', 'global');
    return /(fd[0-9a-f:]+)\//.exec(stdout)![1]!;
  };
  [near6, far6] = [await sixOf('near'), await sixOf('far')];
  // Each frame is a line, with its MACs.
  pair.spawn('dump', pair.netns('a'), 'tcpdump', '-i', UNDERLAY, '-n', '-e', '-l', '-Z', 'root', 'udp port 4789');
  await waitFor('tcpdump', () => pair.log('dump').includes('listening on'));
});
afterAll(async () => {
  await pair?.cleanup();
});

const flush = (name: string) => pair.mustExec(name, 'ip', 'neighbour', 'flush', 'dev', 'eth0');

/** Requests to everybody for the address that have crossed the underlay. */
function crossings(address: string): string[] {
  const asks = new RegExp(`(ff:ff:ff:ff:ff:ff.*who-has|33:33:ff:.*who has) ${address.replaceAll('.', '\\.')}[ ,]`);
  return pair
    .log('dump')
    .split('\n')
    .filter((line) => asks.test(line));
}

async function neighbours(host: 'a' | 'b', network = 'n'): Promise<Map<string, Neighbour>> {
  const all = (await pair.mustVtep(host, 'neigh', '--network', network, '--json')).json() as Neighbour[];
  return new Map(all.map((one) => [one.address, one]));
}

async function counter(host: 'a' | 'b', network: string, name: string): Promise<number> {
  const { networks } = (await pair.mustVtep(host, 'status', '--json')).json() as {
    networks: { network: string; counters: Record<string, number> }[];
  };
  return networks.find((one) => one.network === network)?.counters[name] ?? 0;
}

it('lists what is known: containers here and there, and the gateway', async () => {
  const known = await neighbours('a');
  const remote = { network: 'n', mac: far.mac, kind: 'remote', node: pair.netns('b'), vtep: { address: '192.0.2.2' } };
  expect(known.get(far.ip)).toMatchObject(remote);
  expect(known.get(far6)).toMatchObject(remote);
  expect(known.get(near.ip)).toMatchObject({ mac: near.mac, kind: 'local' });
  expect(known.get('10.0.0.1')).toMatchObject({ mac: '02:76:74:00:01:00', kind: 'gateway' });
  expect([...known.values()].filter(({ kind }) => kind === 'gateway')).toHaveLength(3);
  expect((await neighbours('b')).get(near6)).toMatchObject({ kind: 'remote', vtep: { address: '192.0.2.1' } });
});

it('answers for a known container, floods for an unknown one, and keeps the gateway at home', async () => {
  await flush('near');
  for (const address of [far.ip, far6]) {
    expect(await pair.ping('near', address, { count: 2 })).toMatchObject({ lossPercent: 0 });
  }
  const entries = (await pair.mustExec('near', 'ip', 'neighbour', 'show')).stdout;
  for (const address of [far.ip, far6]) expect(entries).toMatch(new RegExp(`^${address} .*${far.mac}`, 'm'));
  await pair.ping('near', '10.0.0.1', { count: 1 });
  await pair.ping('near', '10.0.0.99', { count: 1, args: ['-W', '1'] });
  await pair.ping('near', far6.replace(/[^:]*$/, '99'), { count: 1, args: ['-W', '1'] });
  await waitFor('the unknown addresses to be asked for', () =>
    ['10.0.0.99', far6.replace(/[^:]*$/, '99')].every((address) => crossings(address).length > 0),
  );
  for (const address of [far.ip, far6, near.ip, near6, '10.0.0.1']) expect(crossings(address), address).toEqual([]);
  expect(await counter('a', 'n', 'arp_suppressed')).toBeGreaterThan(0);
  expect(await counter('a', 'n', 'nd_suppressed')).toBeGreaterThan(0);
});

it('floods all where it is off', async () => {
  const { ip } = pair.containers.find(({ name }) => name === 'off-b')!;
  await flush('off-a');
  expect(await pair.ping('off-a', ip, { count: 1 })).toMatchObject({ lossPercent: 0 });
  await waitFor('the request to cross', () => crossings(ip).length > 0);
  expect(await counter('a', 'off', 'arp_suppressed')).toBe(0);
});

it('defends an address that is registered on another host, and lets others be taken', async () => {
  const addresses = async () => (await pair.mustExec('near', 'ip', '-6', 'address', 'show', 'dev', 'eth0')).stdout;
  const free = far6.replace(/[^:]*$/, 'aaaa');
  await pair.mustExec('near', 'ip', '-6', 'address', 'add', `${far6}/64`, 'dev', 'eth0');
  await pair.mustExec('near', 'ip', '-6', 'address', 'add', `${free}/64`, 'dev', 'eth0');
  await waitFor('the duplicate to be found', async () => new RegExp(`${far6}/64.*dadfailed`).test(await addresses()));
  await waitFor('the other to be taken', async () => new RegExp(`${free}/64 scope global *\n`).test(await addresses()));
  await pair.mustExec('near', 'ip', '-6', 'address', 'del', `${far6}/64`, 'dev', 'eth0');
  expect(await pair.ping('near', far6, { count: 1 })).toMatchObject({ lossPercent: 0 });
  await waitFor('the look for a duplicate to cross', () => crossings(free).length > 0);
  expect(crossings(far6)).toEqual([]);
});

it('follows an address to another container on another host, at once', async () => {
  const ip = '10.0.0.77';
  const old = await pair.addContainer('a', 'old', 'n', '--ip', ip);
  await waitFor('b to know it', async () => (await neighbours('b')).get(ip)?.mac === old.mac);
  expect(await pair.ping('far', ip, { count: 1 })).toMatchObject({ lossPercent: 0 });
  await pair.mustVtep('a', 'detach', '--network', 'n', '--netns', old.netns);
  await waitFor('b to forget it', async () => (await neighbours('b')).get(ip) === undefined);
  const next = await pair.addContainer('b', 'next', 'n', '--ip', ip);
  expect((await neighbours('b')).get(ip)).toMatchObject({ mac: next.mac, kind: 'local' });
  await waitFor('a to know it', async () => (await neighbours('a')).get(ip)?.mac === next.mac);
  await flush('near');
  expect(await pair.ping('near', ip, { count: 2 })).toMatchObject({ lossPercent: 0 });
  const entry = (await pair.mustExec('near', 'ip', 'neighbour', 'show', ip)).stdout;
  expect(entry).toContain(next.mac);
});

it('floods what somebody else says to have, until the host that has it publishes again', async () => {
  const taken = '10.0.0.77';
  expect((await neighbours('a')).has(taken)).toBe(true);
  await pair.mustExec('far', 'ip', 'address', 'add', `${taken}/32`, 'dev', 'eth0');
  // With arp_notify, which vtepd has set, the kernel announces all that it has.
  await pair.mustExec('far', 'ip', 'link', 'set', 'dev', 'eth0', 'address', far.mac);
  await waitFor('a to hear of it', async () => !(await neighbours('a')).has(taken));
  await pair.mustExec('far', 'ip', 'address', 'del', `${taken}/32`, 'dev', 'eth0');
  expect((await neighbours('a')).has(far.ip)).toBe(true);
  await flush('near');
  expect(await pair.ping('near', taken, { count: 1 })).toMatchObject({ lossPercent: 0 });
  await waitFor('the request to cross', () => crossings(taken).length > 0);
  await pair.addContainer('b', 'news', 'n');
  await waitFor('a to believe it again', async () => (await neighbours('a')).has(taken));
});

it('lets a container flood so much in a second, and counts the rest', async () => {
  const { ip } = pair.containers.find(({ name }) => name === 'off-a')!;
  const before = await counter('a', 'off', 'flooded_frames');
  const startedAt = Date.now();
  await pair.exec('off-a', 'ping', '-c', '200', '-i', '0.002', '-w', '1', '-b', '-q', ip.replace(/[0-9]+$/, '255'));
  const seconds = Math.ceil((Date.now() - startedAt) / 1000) + 1;
  const dropped = await counter('a', 'off', 'drop_storm_limit');
  const flooded = (await counter('a', 'off', 'flooded_frames')) - before;
  expect(dropped).toBeGreaterThan(0);
  expect(flooded).toBeGreaterThan(0);
  // Two workers, of which each counts what it sees.
  expect(flooded).toBeLessThanOrEqual(2 * STORM_LIMIT * seconds);
  expect(await counter('a', 'n', 'drop_storm_limit')).toBe(0);
});
