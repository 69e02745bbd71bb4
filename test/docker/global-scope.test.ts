/**
 * The classic workflow as it always was: two real dockerds of 20.10.5 (bullseye) that share networks through one real
 * Consul, with vtep as the driver, of scope global. Docker itself makes a network known to all, and gives addresses that
 * differ; vtep carries the frames and adds the names of containers of other hosts.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitFor } from '../e2e/host-pair.js';
import { DOCKER_HOSTS, DockerPair } from './docker-pair.js';
import { leftovers, waitNothingLeft } from './leftovers.js';

const NETWORK = 'my_overlay';
const address: Record<string, string> = {};
let pair: DockerPair;

beforeAll(async () => {
  const daemonOptions = ['--docker-plugin', 'on', '--docker-scope', 'global'];
  pair = await DockerPair.start({ suite: 'bullseye', clusterStore: true, daemonOptions });
  await Promise.all(DOCKER_HOSTS.map((name) => pair.startVtepd(name)));
});

afterAll(async () => {
  await pair?.cleanup();
});

it('has a network, made once by one command, on both hosts', async () => {
  await pair.docker('a', 'network', 'create', '-d', 'vtep', NETWORK);
  await pair.waitNetworks(NETWORK);
  for (const name of DOCKER_HOSTS) {
    expect(await pair.docker(name, 'network', 'ls')).toMatch(new RegExp(`${NETWORK} +vtep +global`));
  }
});

it('joins containers of both hosts, by address and by name', async () => {
  address.one = await pair.run('a', 'one', NETWORK);
  address.two = await pair.run('b', 'two', NETWORK);
  address.three = await pair.run('b', 'three', NETWORK);
  expect(new Set(Object.values(address)).size).toBe(3);
  for (const [name, container] of [
    ['a', 'one'],
    ['b', 'two'],
    ['b', 'three'],
  ] as const) {
    expect(await pair.docker(name, 'exec', container, 'ip', 'addr', 'show', 'eth0')).toContain(address[container]);
    for (const target of ['one', 'two', 'three', ...Object.values(address), '192.0.2.1', '192.0.2.2']) {
      expect(await pair.pings(name, container, target), `${container} to ${target}`).toBe(true);
    }
  }
});

it('outlives dockerd and vtepd, stopped and killed', async () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await pair.host('b').stopDockerd(signal);
    await pair.stopVtepd('b', signal);
    await pair.startVtepd('b');
    await pair.host('b').startDockerd();
    expect(await pair.pings('a', 'one', address.two!), signal).toBe(true);
    expect(await pair.pings('b', 'three', address.one!), signal).toBe(true);
    const added = await pair.run('b', 'added', NETWORK);
    expect(await pair.pings('a', 'one', added), signal).toBe(true);
    await pair.docker('b', 'rm', '-f', 'added');
  }
});

it('refuses to remove a network that containers of any host are on, and then leaves nothing', async () => {
  await pair.docker('b', 'rm', '-f', 'two', 'three');
  const refused = await pair.host('b').docker('network', 'rm', NETWORK);
  expect(refused.exitCode).not.toBe(0);
  expect(await pair.pings('a', 'one', address.one!)).toBe(true);
  // The proof that what is left would be seen.
  const seen = (await leftovers(pair, { networksToo: false })).join('\n');
  for (const kind of ['a: link vtep-p', 'a: netns', 'a: endpoint', 'consul: addresses', 'consul: endpoints']) {
    expect(seen).toContain(kind);
  }
  await pair.docker('a', 'rm', '-f', 'one');
  await waitNothingLeft(pair, { networksToo: false });
  await pair.docker('b', 'network', 'rm', NETWORK);
  await pair.waitNetworks();
  await waitFor('the end of all', async () => (await pair.networks('a')).length === 0);
  await waitNothingLeft(pair, { networksToo: true });
});
