/**
 * Two networks with the same subnet, and even the same addresses, on the same hosts do not hear each other: neither
 * unicast nor broadcast crosses.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from './host-pair.js';

const SUBNET = '10.77.0.0/24';
let pair: HostPair;
let redA: Container;
let redB: Container;
let blueA: Container;
let blueB: Container;

beforeAll(async () => {
  pair = await createHostPair();
  await pair.mustVtep('a', 'network', 'create', 'red', '--subnet', SUBNET);
  await pair.mustVtep('b', 'network', 'create', 'blue', '--subnet', SUBNET);
  await waitFor('both networks on a', async () => {
    return (await pair.mustVtep('a', 'network', 'ls', '--json')).json().length === 2;
  });
  // The same address on both networks of host a; on b each has one that the other network lacks.
  redA = await pair.addContainer('a', 'red-a', 'red', '--ip', '10.77.0.10');
  blueA = await pair.addContainer('a', 'blue-a', 'blue', '--ip', '10.77.0.10');
  redB = await pair.addContainer('b', 'red-b', 'red', '--ip', '10.77.0.11');
  blueB = await pair.addContainer('b', 'blue-b', 'blue', '--ip', '10.77.0.21');
  await pair.waitConverged('red');
  await pair.waitConverged('blue');
});
afterAll(async () => {
  await pair?.cleanup();
});

it('gives each network its own VNI', async () => {
  const networks = (await pair.mustVtep('a', 'network', 'ls', '--json')).json() as {
    vni: number;
    subnets: { cidr: string }[];
  }[];
  expect(networks.map(({ subnets }) => subnets.map(({ cidr }) => cidr))).toEqual([[SUBNET], [SUBNET]]);
  expect(new Set(networks.map(({ vni }) => vni)).size).toBe(2);
});

it('reaches the neighbour of the same network', async () => {
  expect(await pair.ping('red-a', redB.ip)).toMatchObject({ lossPercent: 0 });
  expect(await pair.ping('blue-a', blueB.ip)).toMatchObject({ lossPercent: 0 });
});

it('does not reach an address that only the other network has', async () => {
  const short = { count: 3, args: ['-W', '1'] };
  expect(await pair.ping('red-a', blueB.ip, short)).toMatchObject({ received: 0 });
  expect(await pair.ping('blue-a', redB.ip, short)).toMatchObject({ received: 0 });
  expect(await pair.ping('red-b', blueB.ip, short)).toMatchObject({ received: 0 });
});

it('lets no frame of one network, broadcast or unicast, into the other', async () => {
  for (const name of ['blue-a', 'blue-b']) {
    pair.spawn(`dump-${name}`, pair.netns(name), 'tcpdump', '-eln', '--immediate-mode', '-i', 'eth0');
    await waitFor(`tcpdump in ${name}`, () => pair.log(`dump-${name}`).includes('listening on'));
  }
  // Broadcast (ARP for an address that nobody has), unicast to both sides, and the foreign address.
  await pair.exec('red-a', 'ip', 'neigh', 'flush', 'dev', 'eth0');
  await pair.ping('red-a', '10.77.0.99', { count: 2, args: ['-W', '1'] });
  await pair.ping('red-a', blueB.ip, { count: 2, args: ['-W', '1'] });
  expect(await pair.ping('red-a', redB.ip)).toMatchObject({ lossPercent: 0 });
  expect(await pair.ping('red-b', redA.ip)).toMatchObject({ lossPercent: 0 });
  // The proof that the capture would have shown a frame: blue's own.
  await pair.ping('blue-a', '10.77.0.98', { count: 2, args: ['-W', '1'] });
  expect(await pair.ping('blue-a', blueB.ip)).toMatchObject({ lossPercent: 0 });
  await waitFor('blue frames in the capture', () => pair.log('dump-blue-b').includes(`${blueA.mac} > ${blueB.mac}`));
  await sleep(300);
  for (const name of ['blue-a', 'blue-b']) {
    const dump = pair.log(`dump-${name}`);
    expect(dump).toContain(`${blueA.mac} >`);
    expect(dump).toContain('10.77.0.98');
    for (const red of [redA, redB]) expect(dump).not.toContain(red.mac);
    expect(dump).not.toContain('10.77.0.99');
  }
});
