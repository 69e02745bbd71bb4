/** Docker's endpoints on whole hosts: called as their containers, here, in the registry and elsewhere, over restarts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, expect, it, vi } from 'vitest';
import { Host } from '../../../../src/control/host.js';
import { FakeForwarding } from '../../fake-forwarding.js';
import { MemoryRegistry } from '../../memory-registry.js';
import { inHost, Namespaces } from '../../namespaces.js';
import { FakeEngine } from './fake-engine.js';

const WAIT = { timeout: 20_000, interval: 20 };
const namespaces = new Namespaces();
const hosts = new Set<Host>();
const directory = mkdtempSync(join(tmpdir(), 'vtct-docker-'));
const dockerd = new FakeEngine(join(directory, 'docker.sock'));

afterEach(async () => {
  for (const host of hosts) await host.close();
  await dockerd.stop();
  await namespaces.removeAll();
  rmSync(directory, { recursive: true, force: true });
});

it('are named by Docker, also while the registry is away, and keep it over a restart', async () => {
  const registry = new MemoryRegistry();
  const boot = async (node: string, address: string, hasDocker: boolean, netns: string): Promise<Host> => {
    const host = await Host.start({
      ...{ node, registry, forwarding: new FakeForwarding(netns), version: '0', sessionTtlSeconds: 10, holdMs: 1000 },
      vtep: { ip: address, port: 4789 },
      underlay: { interface: 'ens33', mtuBytes: 1500 },
      stateDirectory: join(directory, node),
      logger: pino({ level: 'silent' }),
      ipCommandPrefix: inHost(netns),
      dns: {},
      ...(hasDocker && { docker: { socketPath: dockerd.socketPath, driver: 'vtep', scope: 'local' as const } }),
    });
    hosts.add(host);
    host.docker?.start();
    return host;
  };
  await dockerd.start();
  const [here, there] = [await namespaces.add(), await namespaces.add()];
  let a = await boot('a', '192.0.2.1', true, here);
  const b = await boot('b', '192.0.2.2', false, there);
  await a.createNetwork({ name: 'blue' });
  await vi.waitFor(() => expect(dockerd.names()).toEqual(['blue']), WAIT);
  const [network] = [...dockerd.networks.values()];
  await b.attach({ network: 'blue', netns: await namespaces.add(), name: 'other' });
  await a.attach({ network: 'blue', netns: await namespaces.add(), name: 'ep-1', owner: 'docker:e1' });
  network!.Containers.c1 = { Name: 'web', EndpointID: 'e1' };
  dockerd.containers.set('c1', { [network!.Id]: ['www'] });
  a.docker!.endpointJoined(network!.Id, 'e1');
  const seen = async (host: Host) =>
    (await host.listEndpoints('blue')).map(({ name, aliases }) => [name, ...(aliases ?? [])].join(' '));
  for (const host of [a, b]) await vi.waitFor(async () => expect(await seen(host)).toEqual(['web www', 'other']), WAIT);
  const names = async (host: Host) => (await host.status()).dns?.[0]?.names;
  for (const host of [a, b]) await vi.waitFor(async () => expect(await names(host)).toBe(3), WAIT);

  registry.down = true;
  network!.Containers.c1 = { Name: 'shop', EndpointID: 'e1' };
  dockerd.tell('container', 'rename', 'c1', { name: 'shop', oldName: '/web' });
  await vi.waitFor(async () => expect(await seen(a)).toContain('shop www'), WAIT);
  registry.down = false;
  await vi.waitFor(async () => expect(await seen(b)).toContain('shop www'), WAIT);

  await dockerd.stop();
  hosts.delete(a);
  await a.close();
  a = await boot('a', '192.0.2.1', true, here);
  expect(await seen(a)).toEqual(['shop www', 'other']);
  expect((await a.status()).docker).toMatchObject({ connected: false, problems: [] });
  await a.detach({ network: 'blue', owner: 'docker:e1' });
  await vi.waitFor(async () => expect(await names(b)).toBe(1), WAIT);
});
