/** Networks removed by force and addresses that went to others, on whole hosts: kernel objects in namespaces, no data plane. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Host } from '../../src/control/host.js';
import type { Registry } from '../../src/control/registry/registry.js';
import { FakeForwarding } from './fake-forwarding.js';
import { gated, MemoryRegistry } from './memory-registry.js';
import { inHost, linkNames, Namespaces } from './namespaces.js';

const namespaces = new Namespaces();
const WAIT = { timeout: 10_000, interval: 50 };
const hosts = new Set<Host>();
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
});
afterEach(async () => {
  for (const host of hosts) await host.close();
  hosts.clear();
  await namespaces.removeAll();
  rmSync(directory, { recursive: true });
});

async function boot(
  registry: Registry,
  node: string,
  address: string,
  ttl = 20,
): Promise<{ netns: string; host: Host }> {
  const netns = await namespaces.add();
  const host = await Host.start({
    ...{ node, registry, forwarding: new FakeForwarding(netns), version: '0', sessionTtlSeconds: ttl, holdMs: 1000 },
    ...{ vtep: { ip: address, port: 4789 }, underlay: { interface: 'ens33', mtuBytes: 1500 } },
    stateDirectory: join(directory, node),
    logger: pino({ level: 'silent' }),
    ipCommandPrefix: inHost(netns),
  });
  hosts.add(host);
  return { netns, host };
}

describe('a network that is removed by force', () => {
  it('is left by each host; the containers go on without their interface', async () => {
    const registry = new MemoryRegistry();
    const a = await boot(registry, 'cdh1', '10.30.10.111');
    const b = await boot(registry, 'cdh2', '10.30.10.112');
    const [one, two, three] = [await namespaces.add(), await namespaces.add(), await namespaces.add()];
    await a.host.createNetwork({ name: 'blue', ipv6: true });
    await a.host.createNetwork({ name: 'green' });
    await a.host.attach({ network: 'blue', netns: one });
    await a.host.attach({ network: 'blue', netns: two });
    const kept = await b.host.attach({ network: 'green', netns: three });
    await b.host.attach({ network: 'blue', netns: three });
    expect((await b.host.inspectNetwork('blue')).usage).toEqual([
      { cidr: '10.0.0.0/24', used: 3, spare: 0, free: 250 },
      { cidr: 'fd76:7465:7000::/64', used: 3, spare: 0, free: Number(2n ** 64n - 5n) },
    ]);
    await expect(b.host.removeNetwork('blue')).rejects.toMatchObject({ code: 'VTEP_ERR_NETWORK_IN_USE' });
    await b.host.removeNetwork('blue', true);
    await vi.waitFor(async () => {
      expect(await linkNames(a.netns)).toEqual([]);
      expect([...(await linkNames(one)), ...(await linkNames(two))]).toEqual([]);
      expect(await linkNames(three)).toEqual([kept.local!.containerInterface]);
    }, WAIT);
    expect(registry.under('').filter((key) => key.includes('blue'))).toEqual([]);
    expect((await a.host.listEndpoints()).map(({ network }) => network)).toEqual(['green']);
  });
});

it.each([false, true])(
  'a network removed by force while a host was cut off is not put back by it (made anew: %s)',
  async (anew) => {
    const registry = new MemoryRegistry();
    let cut = false;
    const a = await boot(
      gated(registry, () => cut),
      'cdh1',
      '10.30.10.111',
      0.6,
    );
    const b = await boot(registry, 'cdh2', '10.30.10.112');
    const one = await namespaces.add();
    await a.host.createNetwork({ name: 'blue' });
    const endpoint = await a.host.attach({ network: 'blue', netns: one });
    await vi.waitFor(async () => expect((await a.host.status()).counts.networks).toBe(1), WAIT);
    const session = registry.keys.get('nodes/cdh1')!.session!;
    cut = true;
    registry.expire(session);
    await b.host.removeNetwork('blue', true);
    const made = anew ? await b.host.createNetwork({ name: 'blue', subnets: ['10.7.0.0/24'] }) : undefined;
    cut = false;
    await vi.waitFor(() => expect(registry.under('nodes/')).toContain('nodes/cdh1'), WAIT);
    if (!anew) {
      await vi.waitFor(async () => expect(await linkNames(one)).toEqual([]), WAIT);
      expect(registry.under('').filter((key) => key.includes('blue'))).toEqual([]);
      return;
    }
    // What has the same name is another network: the old endpoint is none of it, and its container is left alone.
    await vi.waitFor(async () => expect((await a.host.listEndpoints())[0]?.local?.state).toBe('waiting'), WAIT);
    expect((await b.host.listNetworks()).map(({ id }) => id)).toEqual([made!.id]);
    expect(registry.under('endpoints/blue/')).toEqual([]);
    expect(registry.under('addresses/blue/')).toEqual([]);
    await a.host.detachById(endpoint.id);
  },
);

it('shows an endpoint whose address went to another while its host was not heard of, and publishes it no more', async () => {
  const registry = new MemoryRegistry();
  const a = await boot(registry, 'cdh1', '10.30.10.111', 0.6);
  const [one, two] = [await namespaces.add(), await namespaces.add()];
  await a.host.createNetwork({ name: 'blue' });
  const lost = await a.host.attach({ network: 'blue', netns: one });
  const kept = await a.host.attach({ network: 'blue', netns: two });
  // As reaped, claimed by another node, and the session over.
  const taken = JSON.stringify({ v: 1, node: 'cdh2', endpointId: 'newer' });
  await registry.put('addresses/blue/10.0.0.2', taken);
  registry.expire([...registry.sessions][0]!);
  await vi.waitFor(async () => {
    const states = (await a.host.listEndpoints()).map(({ id, local }) => [id, local?.state]);
    expect(new Map(states as [string, string][])).toEqual(
      new Map([
        [lost.id, 'conflict'],
        [kept.id, 'published'],
      ]),
    );
    const published = registry.keys.get('endpoints/blue/cdh1')?.value ?? '';
    expect([published.includes(lost.mac), published.includes(kept.mac)]).toEqual([false, true]);
  }, WAIT);
  expect((await a.host.status()).counts).toMatchObject({ localEndpoints: 2, addressConflicts: 1 });
  expect(await linkNames(one)).toEqual(['eth0']);
  await a.host.detachById(lost.id);
  expect(registry.keys.get('addresses/blue/10.0.0.2')?.value).toBe(taken);
  expect((await a.host.status()).counts).toMatchObject({ localEndpoints: 1, addressConflicts: 0 });
});
