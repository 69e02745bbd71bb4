/** Names in whole hosts: what is attached here and elsewhere is known, and an address that can't be bound fails no attach. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, expect, it, vi } from 'vitest';
import { Host } from '../../../src/control/host.js';
import { FakeForwarding } from '../fake-forwarding.js';
import { MemoryRegistry } from '../memory-registry.js';
import { inHost, Namespaces } from '../namespaces.js';

const WAIT = { timeout: 20_000, interval: 50 };
const namespaces = new Namespaces();
const hosts = new Set<Host>();
const directory = mkdtempSync(join(tmpdir(), 'vtct-names-'));

afterEach(async () => {
  for (const host of hosts) await host.close();
  await namespaces.removeAll();
  rmSync(directory, { recursive: true, force: true });
});

it('follow attach and detach here and elsewhere, and a restart', async () => {
  const registry = new MemoryRegistry();
  const boot = async (node: string, address: string, dns: boolean, netns: string): Promise<Host> => {
    const host = await Host.start({
      ...{ node, registry, forwarding: new FakeForwarding(netns), version: '0', sessionTtlSeconds: 10, holdMs: 1000 },
      vtep: { ip: address, port: 4789 },
      underlay: { interface: 'ens33', mtuBytes: 1500 },
      stateDirectory: join(directory, node),
      logger: pino({ level: 'silent' }),
      ipCommandPrefix: inHost(netns),
      ...(dns && { dns: {} }),
    });
    hosts.add(host);
    return host;
  };
  const [here, there] = [await namespaces.add(), await namespaces.add()];
  let a = await boot('a', '192.0.2.1', true, here);
  const b = await boot('b', '192.0.2.2', false, there);
  const names = async () => (await a.status()).dns?.map((served) => `${served.network} ${served.names}`);
  expect(await names()).toEqual([]);
  expect((await b.status()).dns).toBeUndefined();

  // The bridges are in the hosts' namespaces and this process is not: the gateway can't be bound here.
  const network = await a.createNetwork({ name: 'blue', subnets: ['198.18.77.0/24'] });
  await a.attach({ network: 'blue', netns: await namespaces.add(), name: 'web' });
  await b.attach({ network: 'blue', netns: await namespaces.add(), name: 'db' });
  await vi.waitFor(async () => expect(await names()).toEqual(['blue 2']), WAIT);
  await vi.waitFor(async () => {
    const [address] = (await a.status()).dns![0]!.addresses;
    expect(address).toMatchObject({ address: network.subnets[0]?.gateway, state: 'waiting' });
    expect(address?.error).toContain('EADDRNOTAVAIL');
  }, WAIT);

  hosts.delete(a);
  await a.close();
  a = await boot('a', '192.0.2.1', true, here);
  await vi.waitFor(async () => expect(await names()).toEqual(['blue 2']), WAIT);
  await b.detach({ network: 'blue', name: 'db' });
  await vi.waitFor(async () => expect(await names()).toEqual(['blue 1']), WAIT);
  await a.detach({ network: 'blue', name: 'web' });
  expect(await names()).toEqual([]);
});
