/**
 * A network of both families over two hosts: frames of each get across, an address that changes hosts is advertised, a
 * dead host's address comes free, its return is a conflict that is said, and removal by force ends it all.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from './host-pair.js';

const NETWORK = 'six';
const SUBNETS = ['10.66.0.0/28', 'fd00:66::/64'];

let pair: HostPair;
beforeAll(async () => {
  pair = await createHostPair({
    registry: 'consul',
    daemonOptions: ['--reap-after', '10', '--default-pool', '10.66.0.0/16/28'],
  });
});
afterAll(() => pair?.cleanup());

const inspect = async (host: 'a' | 'b') => (await pair.mustVtep(host, 'network', 'inspect', NETWORK, '--json')).json();

it('carries both families between hosts, and lets the next container have an address at once', async () => {
  const created = await pair.mustVtep(
    'a',
    'network',
    'create',
    NETWORK,
    ...SUBNETS.flatMap((cidr) => ['--subnet', cidr]),
  );
  expect(created.stdout).toContain('subnet fd00:66::/64, gateway fd00:66::1');
  const one = await pair.addContainer('a', 'one', NETWORK);
  const two = await pair.addContainer('b', 'two', NETWORK, '--ip', 'fd00:66::22', '--ip', '10.66.0.9');
  expect([one.ip, two.ip]).toEqual(['10.66.0.2', '10.66.0.9']);
  await pair.waitConverged(NETWORK);
  for (const address of ['10.66.0.9', 'fd00:66::22']) {
    expect(await pair.ping('one', address)).toMatchObject({ lossPercent: 0 });
  }
  expect(await pair.ping('two', 'fd00:66::2')).toMatchObject({ lossPercent: 0 });
  const exact = { exact: true };
  const bytes = 4 * 1024 * 1024;
  const transfer = await pair.transfer('one', 'two', 'fd00:66::22', 'tcp', bytes);
  expect(transfer).toMatchObject(exact);
  // Two spares a host where the subnet is large; they are claimed in the background.
  await waitFor('the spare addresses', async () => (await inspect('a')).usage[1]?.spare === 4);
  expect((await inspect('a')).usage).toEqual([
    { cidr: '10.66.0.0/28', used: 2, spare: 0, free: 11 },
    { cidr: 'fd00:66::/64', used: 2, spare: 4, free: Number(2n ** 64n - 8n) },
  ]);

  // The address goes to another MAC: the neighbour entry of `one` follows the advertisement, it does not age out.
  await pair.mustVtep('b', 'detach', '--network', NETWORK, '--name', 'two');
  pair.containers.splice(pair.containers.indexOf(two), 1);
  const next = await pair.addContainer('b', 'next', NETWORK, '--ip', 'fd00:66::22', '--ip', '10.66.0.9');
  await waitFor('the neighbour entries to have the new MAC', async () => {
    const { stdout } = await pair.exec('one', 'ip', 'neigh', 'show');
    return ['10.66.0.9', 'fd00:66::22'].every((ip) => new RegExp(`^${ip} .*${next.mac}`, 'm').test(stdout));
  });
  expect(await pair.ping('one', 'fd00:66::22')).toMatchObject({ lossPercent: 0 });
});

it('gives a dead host its addresses to others after the hold time, and says so to the host that returns', async () => {
  const old = pair.containers.find(({ name }) => name === 'next') as Container;
  await pair.killDaemon('b', 'SIGKILL');
  const attach = [
    'attach',
    '--network',
    NETWORK,
    '--ip',
    '10.66.0.9',
    '--json',
    '--netns',
    await pair.addNamespace('heir'),
  ];
  const refusals: string[] = [];
  const given: string[] = [];
  const tryOnce = async () => {
    const result = await pair.vtep('a', ...attach);
    if (result.exitCode === 0) given.push(...(result.json() as { addresses: string[] }).addresses);
    else refusals.push(result.stderr);
    await sleep(500);
    return given.length > 0;
  };
  await waitFor('the address to be free', tryOnce, 90_000);
  expect(given[0]).toBe('10.66.0.9/28');
  expect(refusals.find((text) => text.includes('is gone since'))).toMatch(
    /in use by endpoint .* on node .*b, which is gone since .*: it is free soon after/,
  );

  await pair.startDaemon('b');
  const conflict = async () => {
    const endpoints = (await pair.mustVtep('b', 'endpoint', 'ls', '--json')).json() as {
      id: string;
      local?: { state: string };
    }[];
    return endpoints.find(({ id }) => id === old.id)?.local?.state === 'conflict';
  };
  await waitFor('the conflict to be shown', conflict);
  expect((await pair.mustVtep('b', 'status')).stdout).toContain('1 in conflict over an address');
  expect(pair.log('vtepd-b')).toContain('no longer published');
  // It keeps its interface; nobody else is told of it.
  expect((await pair.exec('next', 'ip', 'link', 'show', 'dev', old.interface)).exitCode).toBe(0);
  const fdb = (await pair.mustVtep('a', 'fdb', '--json')).json() as { mac: string }[];
  expect(fdb.map(({ mac }) => mac)).not.toContain(old.mac);
}, 120_000);

it('is removed by force: hosts let go of it, namespaces lose the interface', async () => {
  expect((await pair.vtep('a', 'network', 'rm', NETWORK)).stderr).toContain('is in use by');
  await pair.mustVtep('a', 'network', 'rm', '--force', NETWORK);
  for (const host of ['a', 'b'] as const) {
    await waitFor(`${host} to have let go`, async () => {
      const { stdout } = await pair.exec(host, 'ip', '-brief', 'link');
      return !/vtep-/.test(stdout);
    });
  }
  for (const name of ['one', 'next', 'heir']) {
    expect((await pair.exec(name, 'ip', '-brief', 'link')).stdout).not.toMatch(/eth0/);
  }
  const created = await pair.mustVtep('b', 'network', 'create', 'again', '--ipv6');
  expect(created.stdout).toMatch(/subnet 10\.66\.0\.0\/28, .*subnet fd76:7465:7000::\/64/);
});
