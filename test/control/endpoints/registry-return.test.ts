/**
 * Stopped endpoints when the registry is back: an address that one took from the stock while the registry was away is its
 * own then, and no sweep releases it. On a host without kernel and processes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NetworkStore } from '../../../src/control/networks/network-store.js';
import { MemoryRegistry } from '../memory-registry.js';
import { PaperHost } from '../plugins/docker/paper-docker.js';

const SUBNETS = ['10.0.0.0/24', 'fd00::/64'];
let directory: string;
let registry: MemoryRegistry;
let host: PaperHost;
let path: string;

beforeEach(async () => {
  directory = mkdtempSync('/dev/shm/vtct-');
  registry = new MemoryRegistry();
  await new NetworkStore(registry, async () => []).create({ name: 'blue', subnets: SUBNETS, internal: true });
  host = new PaperHost('cdh1', registry, directory);
  path = join(directory, 'web');
  await host.start();
});
afterEach(async () => {
  await host.stop();
  rmSync(directory, { recursive: true });
});

const KEYS = ['addresses/blue/10.0.0.254', 'addresses/blue/fd00::ffff:ffff:ffff:ffff'];
const claimOf = (key: string) => JSON.parse(registry.keys.get(key)?.value ?? 'null');
const attach = () => host.manager.attach({ network: 'blue', netns: path, standing: true, mayExist: true });
const restart = async () => {
  await host.stop();
  await host.start();
};

const CASES: readonly { name: string; meanwhile: () => Promise<unknown> }[] = [
  { name: 'nothing', meanwhile: async () => undefined },
  { name: 'a restart of the host', meanwhile: restart },
  { name: "the loss of the registry's addresses", meanwhile: async () => KEYS.map((key) => registry.keys.delete(key)) },
];

it.each(CASES)('$name meanwhile: what it took from the stock is its own', async ({ meanwhile }) => {
  // A neighbour keeps the network open, so that the host has spares of it.
  const other = join(directory, 'other');
  host.kernel.boot(other);
  await host.manager.attach({ network: 'blue', netns: other });
  await host.manager.idle();
  expect(KEYS.map((key) => claimOf(key)?.spare)).toEqual([true, true]);
  registry.goDown();
  host.kernel.boot(path);
  const { id, addresses } = await attach();
  host.kernel.end(path);
  await host.manager.checkLinks();
  const [stopped] = host.manager.allStopped();
  expect(stopped).toMatchObject({ id, heldAs: expect.anything() });
  await meanwhile();
  registry.down = false;
  await host.heard();
  const own = { v: 1, node: 'cdh1', endpointId: id };
  expect(KEYS.map(claimOf)).toEqual([own, own]);
  expect(host.manager.allStopped()).toMatchObject([{ id, addresses }]);
  expect(host.manager.allStopped()[0]).not.toHaveProperty('heldAs');
  // The local copy says so as well, and later sweeps leave it alone.
  await restart();
  expect(host.manager.allStopped()[0]).not.toHaveProperty('heldAs');
  expect(KEYS.map(claimOf)).toEqual([own, own]);
  host.kernel.boot(path);
  expect(await attach()).toMatchObject({ id, addresses });
  await host.manager.detachById(id);
  expect(KEYS.map((key) => claimOf(key)?.endpointId)).not.toContain(id);
});
