/** What attach and detach do while the registry is away, and what is left of it when it is back: addresses above all. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Host } from '../../src/control/host.js';
import { FakeForwarding } from './fake-forwarding.js';
import { MemoryRegistry } from './memory-registry.js';
import { inHost, ip, link, linkNames, Namespaces } from './namespaces.js';

const namespaces = new Namespaces();
const WAIT = { timeout: 20_000, interval: 50 };
let directory: string;
let registry: MemoryRegistry;
const hosts = new Set<Host>();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
  registry = new MemoryRegistry();
});
afterEach(async () => {
  for (const host of hosts) await host.close();
  hosts.clear();
  await namespaces.removeAll();
  rmSync(directory, { recursive: true });
});

interface Machine {
  readonly host: Host;
  readonly forwarding: FakeForwarding;
  readonly netns: string;
  readonly node: string;
  readonly address: string;
}

async function boot(node = 'cdh1', options: { netns?: string; spareAddresses?: number; address?: string } = {}) {
  const netns = options.netns ?? (await namespaces.add());
  const address = options.address ?? '10.30.10.111';
  const forwarding = new FakeForwarding(netns);
  const host = await Host.start({
    ...{ node, registry, forwarding, version: '0', sessionTtlSeconds: 2, holdMs: 1000 },
    ...{ vtep: { ip: address, port: 4789 }, underlay: { interface: 'ens33', mtuBytes: 1500 } },
    ...{ stateDirectory: join(directory, node), logger: pino({ level: 'silent' }), ipCommandPrefix: inHost(netns) },
    spareAddresses: options.spareAddresses ?? 2,
  });
  hosts.add(host);
  return { host, forwarding, netns, node, address };
}

async function reboot({ host, node, netns, address }: Machine): Promise<Machine> {
  hosts.delete(host);
  await host.close();
  return boot(node, { netns, address });
}

const addresses = () => registry.under('addresses/').map((key) => key.slice('addresses/'.length));
const holderOf = (address: string) => JSON.parse(registry.keys.get(`addresses/blue/${address}`)!.value);
const spares = () =>
  addresses().filter((address) => JSON.parse(registry.keys.get(`addresses/${address}`)!.value).spare);
const SPARES = ['blue/10.0.0.253', 'blue/10.0.0.254'];

async function away(host: Host): Promise<void> {
  registry.goDown();
  await vi.waitFor(async () => expect((await host.status()).registry.connected).toBe(false), WAIT);
}

async function back(host: Host): Promise<void> {
  registry.down = false;
  await vi.waitFor(async () => {
    const mine = (await host.listEndpoints()).filter(({ local }) => local !== undefined);
    expect(mine.filter(({ local }) => local?.state === 'waiting')).toEqual([]);
    expect((await host.status()).registry.connected).toBe(true);
  }, WAIT);
}

describe('spare addresses', () => {
  it('are claimed from the top when a network opens, marked as spare, and go when it closes', async () => {
    const { host } = await boot();
    await host.createNetwork({ name: 'blue' });
    expect(addresses()).toEqual([]);
    const [one, two] = [await namespaces.add(), await namespaces.add()];
    const first = await host.attach({ network: 'blue', netns: one });
    await vi.waitFor(() => expect(spares()).toEqual(SPARES), WAIT);
    expect(holderOf('10.0.0.254')).toMatchObject({ node: 'cdh1', spare: true });
    const second = await host.attach({ network: 'blue', netns: two });
    expect([first.addresses[0], second.addresses[0]]).toEqual(['10.0.0.2/24', '10.0.0.3/24']);
    await host.detachById(first.id);
    expect(spares()).toEqual(SPARES);
    await host.detachById(second.id);
    expect(addresses()).toEqual([]);
  });

  it('are not taken from small pools, nor kept where half of one is used', async () => {
    const { host } = await boot();
    await host.createNetwork({ name: 'small', subnets: ['10.1.0.0/27'] });
    await host.attach({ network: 'small', netns: await namespaces.add() });
    await host.createNetwork({ name: 'blue', subnets: ['10.0.0.0/26'] });
    await host.attach({ network: 'blue', netns: await namespaces.add() });
    await vi.waitFor(() => expect(spares()).toEqual(['blue/10.0.0.61', 'blue/10.0.0.62']), WAIT);
    for (let last = 3; last < 34; last++) {
      await registry.put(`addresses/blue/10.0.0.${last}`, JSON.stringify({ v: 1, node: 'x', endpointId: 'x' }));
    }
    await host.attach({ network: 'blue', netns: await namespaces.add() });
    await vi.waitFor(() => expect(spares()).toEqual([]), WAIT);
  });

  it('can be asked for by name on their own host, and serve a pool that is exhausted', async () => {
    const { host } = await boot();
    await host.createNetwork({ name: 'blue' });
    await host.attach({ network: 'blue', netns: await namespaces.add() });
    await vi.waitFor(() => expect(spares()).toEqual(SPARES), WAIT);
    const named = await host.attach({ network: 'blue', netns: await namespaces.add(), ips: ['10.0.0.254'] });
    expect(named).toMatchObject({ addresses: ['10.0.0.254/24'], local: { state: 'published' } });
    expect(holderOf('10.0.0.254')).toEqual({ v: 1, node: 'cdh1', endpointId: named.id });
  });
});

describe('while the registry is away', () => {
  it('attach takes a spare at once, waits, is published on return under its own name, and the stock is filled again', async () => {
    const machine = await boot();
    const { host, forwarding } = machine;
    const other = await boot('cdh2', { address: '10.30.10.112' });
    await host.createNetwork({ name: 'blue', ipv6: true, subnets: ['10.0.0.0/24'] });
    await host.attach({ network: 'blue', netns: await namespaces.add() });
    const theirs = await other.host.attach({ network: 'blue', netns: await namespaces.add() });
    await vi.waitFor(() => expect(spares().length).toBe(8), WAIT);
    await vi.waitFor(() => expect(forwarding.networks.get(256)?.remotes.size).toBe(1), WAIT);
    await away(host);

    const container = await namespaces.add();
    const beganMs = performance.now();
    const waiting = await host.attach({ network: 'blue', netns: container });
    const tookMs = performance.now() - beganMs;
    expect(waiting.local?.state).toBe('waiting');
    expect(waiting.addresses.map((address) => address.includes(':'))).toEqual([false, true]);
    const held = waiting.addresses.map((address) => `blue/${address.split('/')[0]}`);
    expect(spares()).toEqual(expect.arrayContaining(held));
    for (const address of waiting.addresses) expect(await ip(container, 'address')).toContain(address);
    expect(forwarding.networks.get(256)?.local).toContain(waiting.mac);
    // The kernel's own commands take what they take on a busy machine; the registry's part is a moment.
    expect(tookMs).toBeLessThan(5000);
    const listed = await host.listEndpoints('blue');
    expect(listed.find(({ id }) => id === waiting.id)?.local?.state).toBe('waiting');
    expect(listed.find(({ id }) => id === theirs.id)).toMatchObject({ stale: true });

    await back(host);
    for (const key of held)
      expect(JSON.parse(registry.keys.get(`addresses/${key}`)!.value).endpointId).toBe(waiting.id);
    await vi.waitFor(() => expect(spares().length).toBe(8), WAIT);
    expect(registry.keys.get('endpoints/blue/cdh1')!.value).toContain(waiting.id);
  });

  it('says what is missing: no spare, another address, a network that is not known', async () => {
    const { host } = await boot('cdh1', { spareAddresses: 1 });
    await host.createNetwork({ name: 'blue' });
    await host.createNetwork({ name: 'green' });
    await host.attach({ network: 'blue', netns: await namespaces.add() });
    await vi.waitFor(() => expect(spares()).toEqual(['blue/10.0.0.254']), WAIT);
    await vi.waitFor(async () => expect((await host.status()).counts.networks).toBe(2), WAIT);
    await away(host);
    const container = await namespaces.add();
    const attempt = (network: string, ips?: string[]) =>
      host.attach({ network, netns: container, ...(ips && { ips }) });
    const refusal = (text: RegExp) => ({
      ...{ code: 'VTEP_ERR_REGISTRY_UNREACHABLE', retryable: true },
      message: expect.stringMatching(text),
    });
    await expect(attempt('blue', ['10.0.0.77'])).rejects.toMatchObject(
      refusal(/10\.0\.0\.77.*no such spare.*try again/),
    );
    await expect(attempt('green')).rejects.toMatchObject(refusal(/no spare IPv4 address of network "green"/));
    await expect(attempt('red')).rejects.toMatchObject(refusal(/"red" is not in this host's copy/));
    expect(await linkNames(container)).toEqual([]);
    expect((await attempt('blue', ['10.0.0.254'])).addresses).toEqual(['10.0.0.254/24']);
    await expect(host.attach({ network: 'blue', netns: await namespaces.add() })).rejects.toMatchObject(
      refusal(/no spare IPv4 address of network "blue" left/),
    );
  });

  it('an address that a detach gave back is given again, over a restart, and each claim is released once', async () => {
    let machine = await boot('cdh1', { spareAddresses: 0 });
    await machine.host.createNetwork({ name: 'blue' });
    const [one, two, three] = [await namespaces.add(), await namespaces.add(), await namespaces.add()];
    await machine.host.attach({ network: 'blue', netns: one });
    await machine.host.attach({ network: 'blue', netns: two });
    await away(machine.host);
    await machine.host.detach({ network: 'blue', netns: one });
    await machine.host.detach({ network: 'blue', netns: two });
    expect(await linkNames(machine.netns)).toEqual([]);
    expect(addresses()).toEqual(['blue/10.0.0.2', 'blue/10.0.0.3']);

    machine = await reboot(machine);
    const again = await machine.host.attach({ network: 'blue', netns: three, ips: ['10.0.0.3'] });
    expect(again).toMatchObject({ addresses: ['10.0.0.3/24'], local: { state: 'waiting' } });
    machine = await reboot(machine);
    const released: string[] = [];
    const { compareAndDelete } = registry;
    registry.compareAndDelete = async (key, index) => {
      const done = await compareAndDelete.call(registry, key, index);
      if (done && key.startsWith('addresses/')) released.push(key);
      return done;
    };
    await back(machine.host);
    await vi.waitFor(() => expect(released).toEqual(['addresses/blue/10.0.0.2']), WAIT);
    expect(holderOf('10.0.0.3')).toEqual({ v: 1, node: 'cdh1', endpointId: again.id });
    expect((await link(three, 'eth0')).address).toBe(again.mac);
  });

  it('an address that the registry has given away meanwhile is not published: told, and the other one stays', async () => {
    const { host } = await boot('cdh1', { spareAddresses: 1 });
    await host.createNetwork({ name: 'blue' });
    await host.attach({ network: 'blue', netns: await namespaces.add() });
    await vi.waitFor(() => expect(spares()).toEqual(['blue/10.0.0.254']), WAIT);
    await away(host);
    const waiting = await host.attach({ network: 'blue', netns: await namespaces.add() });
    registry.down = false;
    await registry.put('addresses/blue/10.0.0.254', JSON.stringify({ v: 1, node: 'cdh9', endpointId: 'theirs' }));
    await vi.waitFor(async () => expect((await host.status()).registry.connected).toBe(true), WAIT);
    await vi.waitFor(() => expect(registry.keys.get('endpoints/blue/cdh1')).toBeDefined(), WAIT);
    expect(registry.keys.get('endpoints/blue/cdh1')!.value).not.toContain(waiting.id);
    expect(holderOf('10.0.0.254').endpointId).toBe('theirs');
    await host.detachById(waiting.id);
    expect(holderOf('10.0.0.254').endpointId).toBe('theirs');
  });
});

describe('the local copy is gone', () => {
  it('endpoints are taken up from the kernel and the registry, container untouched', async () => {
    let machine = await boot();
    await machine.host.createNetwork({ name: 'blue' });
    const container = await namespaces.add();
    const before = await machine.host.attach({ network: 'blue', netns: container, name: 'web' });
    await vi.waitFor(() => expect(spares()).toEqual(SPARES), WAIT);
    // The container's kernel gives itself a link-local address, and takes a second or two to be sure of it.
    await vi.waitFor(async () => {
      const text = await ip(container, '-json', 'address');
      expect([text.includes('fe80:'), text.includes('tentative')]).toEqual([true, false]);
    }, WAIT);
    const seen = await ip(container, '-json', 'address');
    hosts.delete(machine.host);
    await machine.host.close();
    rmSync(join(directory, 'cdh1'), { recursive: true });
    machine = await boot('cdh1', { netns: machine.netns });
    const [after] = await machine.host.listEndpoints();
    expect(after).toEqual(before);
    expect(await ip(container, '-json', 'address')).toBe(seen);
    expect(machine.forwarding.networks.get(256)?.local).toEqual([before.mac]);
    await vi.waitFor(() => expect(addresses()).toEqual(['blue/10.0.0.2', ...SPARES]), WAIT);
    await machine.host.detach({ network: 'blue', netns: container });
    expect(addresses()).toEqual([]);
    expect(await linkNames(machine.netns)).toEqual([]);
  });

  it('also when the registry is away at first: by the claim and the container; with no claim it is left alone', async () => {
    let machine = await boot('cdh1', { spareAddresses: 0 });
    await machine.host.createNetwork({ name: 'blue' });
    const [kept, lost] = [await namespaces.add(), await namespaces.add()];
    const before = await machine.host.attach({ network: 'blue', netns: kept });
    const other = await machine.host.attach({ network: 'blue', netns: lost });
    hosts.delete(machine.host);
    await machine.host.close();
    rmSync(join(directory, 'cdh1'), { recursive: true });
    await registry.delete('addresses/blue/10.0.0.3');
    registry.goDown();
    machine = await boot('cdh1', { netns: machine.netns, spareAddresses: 0 });
    expect((await linkNames(machine.netns)).length).toBe(4);
    registry.down = false;
    await vi.waitFor(async () => expect(await machine.host.listEndpoints()).toHaveLength(1), WAIT);
    expect((await machine.host.listEndpoints())[0]).toMatchObject({
      ...{ id: before.id, mac: before.mac, addresses: ['10.0.0.2/24'] },
      local: { sandbox: `netns:${kept}`, containerInterface: 'eth0' },
    });
    expect(await linkNames(machine.netns)).toContain(other.local!.hostInterface);
    expect(addresses()).toEqual(['blue/10.0.0.2']);
  });
});
