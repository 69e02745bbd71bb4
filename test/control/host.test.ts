/** Two hosts over one registry, kernel objects in namespaces, no data plane: what needs no frames to be seen. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VtepError } from '../../src/control/errors.js';
import { Host } from '../../src/control/host.js';
import { createRegistryClient } from '../../src/control/registry/client.js';
import { startEmbeddedRegistry } from '../../src/control/registry/embedded/server.js';
import type { Registry } from '../../src/control/registry/registry.js';
import { FakeForwarding } from './fake-forwarding.js';
import { MemoryRegistry } from './memory-registry.js';
import { inHost, ip, link, linkNames, Namespaces } from './namespaces.js';

const namespaces = new Namespaces();
const WAIT = { timeout: 10_000, interval: 50 };
let directory: string;
const hosts = new Set<Host>();
const ends: (() => Promise<void>)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
});
afterEach(async () => {
  for (const host of hosts) await host.close();
  hosts.clear();
  for (const end of ends.splice(0).reverse()) await end();
  await namespaces.removeAll();
  rmSync(directory, { recursive: true });
});

interface Machine {
  readonly netns: string;
  readonly node: string;
  readonly address: string;
  forwarding: FakeForwarding;
  host: Host;
}

async function boot(registry: Registry, node: string, address: string, ttl = 20, netns?: string): Promise<Machine> {
  const where = netns ?? (await namespaces.add());
  const forwarding = new FakeForwarding(where);
  const host = await Host.start({
    ...{ node, registry, forwarding, version: '0', sessionTtlSeconds: ttl, holdMs: 1000 },
    vtep: { ip: address, port: 4789 },
    underlay: { interface: 'ens33', mtuBytes: 1500 },
    stateDirectory: join(directory, node),
    logger: pino({ level: 'silent' }),
    ipCommandPrefix: inHost(where),
  });
  hosts.add(host);
  return { netns: where, node, address, forwarding, host };
}

async function halt(machine: Machine): Promise<void> {
  hosts.delete(machine.host);
  await machine.host.close();
}

/** Stops the machine's daemon and starts it again with an empty data plane. */
async function reboot(registry: Registry, machine: Machine, ttl = 20): Promise<Machine> {
  await halt(machine);
  return boot(registry, machine.node, machine.address, ttl, machine.netns);
}

async function embedded(): Promise<Registry> {
  const server = await startEmbeddedRegistry({ listen: '127.0.0.1:0', stateDirectory: directory });
  ends.push(() => server.close());
  return createRegistryClient({ url: server.url });
}

describe.each([
  ['memory', async (): Promise<Registry> => new MemoryRegistry()],
  ['embedded', embedded],
])('two hosts over the %s registry', (_, start) => {
  it('makes a network once, sees it on both, attaches on each, tells each data plane about the other, and undoes all', async () => {
    const registry = await start();
    const a = await boot(registry, 'cdh1', '10.30.10.111');
    const b = await boot(registry, 'cdh2', '10.30.10.112');
    const network = await a.host.createNetwork({ name: 'my_overlay' });
    expect(network).toMatchObject({
      vni: 256,
      subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }],
      scope: 'global',
    });
    expect(await b.host.listNetworks()).toEqual([network]);

    const [master, slaver] = [await namespaces.add(), await namespaces.add()];
    const first = await a.host.attach({ network: 'my_overlay', netns: master });
    const second = await b.host.attach({ network: 'my_overlay', netns: slaver, name: 'slaver' });
    expect(first).toMatchObject({
      name: master,
      node: 'cdh1',
      addresses: ['10.0.0.2/24'],
      local: { state: 'published' },
    });
    expect(second).toMatchObject({
      name: 'slaver',
      addresses: ['10.0.0.3/24'],
      local: { containerInterface: 'eth0', mtuBytes: 1450 },
    });
    expect(await linkNames(a.netns)).toEqual(['vtep-b256', first.local!.hostInterface, 'vtep-t256'].sort());
    expect((await link(slaver, 'eth0')).address).toBe(second.mac);

    await vi.waitFor(() => {
      const remote = a.forwarding.networks.get(256)?.remotes.get('node/cdh2');
      expect(remote).toEqual({ address: '10.30.10.112:4789', macs: [second.mac] });
      expect(b.forwarding.networks.get(256)?.remotes.get('node/cdh1')?.macs).toEqual([first.mac]);
    }, WAIT);
    expect(a.forwarding.networks.get(256)?.local).toEqual([first.mac]);
    expect((await a.host.listEndpoints()).map(({ name, node }) => `${name}@${node}`)).toEqual([
      `${master}@cdh1`,
      'slaver@cdh2',
    ]);
    expect((await a.host.listNodes()).map(({ name, self }) => [name, self])).toEqual([
      ['cdh1', true],
      ['cdh2', false],
    ]);
    expect((await a.host.inspectNetwork('my_overlay')).local).toEqual({
      bridge: 'vtep-b256',
      tap: 'vtep-t256',
      mtuBytes: 1450,
    });

    await expect(a.host.removeNetwork('my_overlay')).rejects.toMatchObject({
      code: 'VTEP_ERR_NETWORK_IN_USE',
      message: expect.stringMatching(/slaver@cdh2/),
    });
    await b.host.detach({ network: 'my_overlay', name: 'slaver' });
    await vi.waitFor(() => expect(a.forwarding.networks.get(256)?.remotes.size).toBe(0), WAIT);
    await a.host.detach({ network: 'my_overlay', netns: master });
    await a.host.removeNetwork('my_overlay');
    expect(await linkNames(a.netns)).toEqual([]);
    expect(await linkNames(b.netns)).toEqual([]);
    expect(await linkNames(master)).toEqual([]);
    const left = (await registry.list('')).entries.map((entry) => entry.key);
    expect(left).toEqual(['journal/nodes', 'meta/registry-id', 'nodes/cdh1', 'nodes/cdh2']);
    expect(await b.host.status()).toMatchObject({ registry: { connected: true }, counts: { localEndpoints: 0 } });
  });
});

describe('attach', () => {
  it('names what is wrong and leaves nothing behind', async () => {
    const registry = new MemoryRegistry();
    // Not renewed, and so not missed, while the test lasts.
    const a = await boot(registry, 'cdh1', '10.30.10.111', 600);
    const container = await namespaces.add();
    await expect(a.host.attach({ network: 'none', netns: container })).rejects.toMatchObject({
      code: 'VTEP_ERR_NETWORK_UNKNOWN',
    });
    await a.host.createNetwork({ name: 'blue' });
    await expect(a.host.attach({ network: 'blue', netns: 'vtct-none' })).rejects.toMatchObject({
      code: 'VTEP_ERR_NAMESPACE_UNKNOWN',
    });
    const keys = [...registry.keys.keys()];

    a.forwarding.failOpen = new VtepError('VTEP_ERR_NO_TUN', 'no tun');
    await expect(a.host.attach({ network: 'blue', netns: container })).rejects.toMatchObject({
      code: 'VTEP_ERR_NO_TUN',
    });
    a.forwarding.failOpen = undefined;
    // The session is gone before the registry is told of the endpoint: the last step fails.
    const gone = [...registry.sessions][0]!;
    registry.sessions.delete(gone);
    await expect(a.host.attach({ network: 'blue', netns: container })).rejects.toMatchObject({
      code: 'VTEP_ERR_CONFLICT',
    });
    registry.sessions.add(gone);
    expect([...registry.keys.keys()].sort()).toEqual(keys.sort());
    expect(await linkNames(a.netns)).toEqual([]);
    expect(await linkNames(container)).toEqual([]);
    expect(a.forwarding.networks.size).toBe(0);
    expect(await a.host.listEndpoints()).toEqual([]);
  });

  it('attaches a namespace to two networks, to each once', async () => {
    const a = await boot(new MemoryRegistry(), 'cdh1', '10.30.10.111');
    const container = await namespaces.add();
    await a.host.createNetwork({ name: 'blue' });
    await a.host.createNetwork({ name: 'green' });
    const both = await Promise.all([
      a.host.attach({ network: 'blue', netns: container }),
      a.host.attach({
        network: 'green',
        netns: `/run/netns/${container}`,
        ips: ['10.0.1.77'],
        mac: '02:00:5e:10:00:09',
      }),
    ]);
    expect(both.map((endpoint) => endpoint.local!.containerInterface).sort()).toEqual(['eth0', 'eth1']);
    expect(both[1]).toMatchObject({ addresses: ['10.0.1.77/24'], mac: '02:00:5e:10:00:09' });
    await expect(a.host.attach({ network: 'blue', netns: `/run/netns/${container}` })).rejects.toMatchObject({
      code: 'VTEP_ERR_INTERFACE_EXISTS',
      message: expect.stringContaining('10.0.0.2/24'),
    });
    await a.host.detachById(both[0]!.id);
    expect(await linkNames(container)).toEqual([both[1]!.local!.containerInterface]);
    await expect(a.host.detachById(both[0]!.id)).rejects.toMatchObject({ code: 'VTEP_ERR_ENDPOINT_UNKNOWN' });
    await expect(a.host.detach({ network: 'red', name: 'x' })).rejects.toMatchObject({
      code: 'VTEP_ERR_NETWORK_UNKNOWN',
    });
  });
});

it('tells the data plane of the peers of each network that is here, and of no other', async () => {
  const a = await boot(new MemoryRegistry(), 'cdh1', '10.30.10.111');
  for (const name of ['blue', 'blue-2', 'red']) await a.host.createNetwork({ name });
  await a.host.addPeer({ network: 'blue-2', address: '192.0.2.52', port: 4789 });
  await a.host.addPeer({ network: 'red', address: '192.0.2.53', port: 4789 });
  for (const network of ['blue', 'blue-2']) await a.host.attach({ network, netns: await namespaces.add() });
  const sources = (vni: number) => [...(a.forwarding.networks.get(vni)?.remotes.keys() ?? [])];
  await vi.waitFor(() => expect(sources(257)).toEqual(['peer/192.0.2.52']), WAIT);
  await a.host.addPeer({ network: 'blue', address: '192.0.2.51', port: 4789 });
  await a.host.removePeer({ network: 'blue-2', address: '192.0.2.52', port: 4789 });
  await vi.waitFor(() => expect([sources(256), sources(257)]).toEqual([['peer/192.0.2.51'], []]), WAIT);
  expect(a.forwarding.calls.filter((call) => call.includes('192.0.2.53'))).toEqual([]);
});

describe('live restore', () => {
  it('works from the local copy while the registry is away, container untouched, then takes up where it was', async () => {
    const registry = new MemoryRegistry();
    let a = await boot(registry, 'cdh1', '10.30.10.111');
    const b = await boot(registry, 'cdh2', '10.30.10.112');
    const [one, two] = [await namespaces.add(), await namespaces.add()];
    await a.host.createNetwork({ name: 'blue' });
    await a.host.addPeer({ network: 'blue', address: '192.0.2.50', port: 4789 });
    const mine = await a.host.attach({ network: 'blue', netns: one });
    const theirs = await b.host.attach({ network: 'blue', netns: two });
    await vi.waitFor(() => expect(a.forwarding.networks.get(256)?.remotes.size).toBe(2), WAIT);
    // The container's kernel gives itself a link-local address, and takes a second or two to be sure of it.
    await vi.waitFor(async () => {
      const addresses = await ip(one, '-json', 'address');
      expect([addresses.includes('fe80:'), addresses.includes('tentative')]).toEqual([true, false]);
    }, WAIT);
    const before = await ip(one, '-json', 'address');

    registry.goDown();
    a = await reboot(registry, a);
    const told = a.forwarding.networks.get(256);
    expect(told?.local).toEqual([mine.mac]);
    expect(told?.remotes.get('node/cdh2')).toEqual({ address: '10.30.10.112:4789', macs: [theirs.mac] });
    expect(told?.remotes.has('peer/192.0.2.50')).toBe(true);
    expect(await ip(one, '-json', 'address')).toBe(before);
    expect(await a.host.status()).toMatchObject({ registry: { connected: false }, counts: { localEndpoints: 1 } });
    await expect(a.host.listNetworks()).rejects.toMatchObject({ code: 'VTEP_ERR_REGISTRY_UNREACHABLE' });
    const keys = registry.under('');

    registry.down = false;
    await vi.waitFor(async () => expect((await a.host.listEndpoints())[0]?.local?.state).toBe('published'), WAIT);
    expect(registry.under('')).toEqual(keys);
    expect(a.forwarding.calls.some((call) => call.startsWith('gone') || call.startsWith('close'))).toBe(false);
  });

  it('gives back what belonged to a container that ended meanwhile', async () => {
    const registry = new MemoryRegistry();
    let a = await boot(registry, 'cdh1', '10.30.10.111');
    const [one, two] = [await namespaces.add(), await namespaces.add()];
    await a.host.createNetwork({ name: 'blue' });
    await a.host.createNetwork({ name: 'green' });
    await a.host.attach({ network: 'blue', netns: one });
    await a.host.attach({ network: 'green', netns: one });
    const kept = await a.host.attach({ network: 'blue', netns: two });
    await halt(a);
    await namespaces.remove(one);
    await vi.waitFor(
      async () => expect((await linkNames(a.netns)).filter((name) => name.startsWith('vtep-p')).length).toBe(1),
      WAIT,
    );
    a = await boot(registry, a.node, a.address, 20, a.netns);
    expect(registry.under('addresses/')).toEqual(['addresses/blue/10.0.0.3']);
    expect(registry.under('endpoints/')).toEqual(['endpoints/blue/cdh1']);
    expect(a.forwarding.networks.get(256)?.local).toEqual([kept.mac]);
    expect(await linkNames(a.netns)).toEqual(['vtep-b256', kept.local!.hostInterface, 'vtep-t256'].sort());
  });

  it('puts everything back into a registry that lost its data', async () => {
    const registry = new MemoryRegistry();
    const a = await boot(registry, 'cdh1', '10.30.10.111', 0.6);
    const one = await namespaces.add();
    const network = await a.host.createNetwork({ name: 'blue' });
    await a.host.attach({ network: 'blue', netns: one });
    registry.wipe();
    const keys = [
      ...['addresses/blue/10.0.0.2', 'endpoints/blue/cdh1', 'journal/endpoints/blue', 'journal/nodes'],
      ...['meta/registry-id', 'networks/blue', 'nodes/cdh1'],
      ...['subnets/10.0.0.0_24', 'vnis/256'],
    ];
    await vi.waitFor(() => expect(registry.under('')).toEqual(keys), WAIT);
    expect((await a.host.listNetworks())[0]?.id).toBe(network.id);
  });
});

describe('the kernel changes under it', () => {
  it('knows an endpoint by its owner, over a restart and without its namespace', async () => {
    const registry = new MemoryRegistry();
    let a = await boot(registry, 'cdh1', '10.30.10.111');
    await a.host.createNetwork({ name: 'my_overlay' });
    const netns = await namespaces.add();
    const owner = 'cni:4f2a/eth0';
    const endpoint = await a.host.attach({ network: 'my_overlay', netns, owner });
    expect(endpoint.local).toMatchObject({ owner });
    const other = { network: 'my_overlay', netns: await namespaces.add(), owner };
    await expect(a.host.attach(other)).rejects.toMatchObject({ code: 'VTEP_ERR_INTERFACE_EXISTS' });
    a = await reboot(registry, a);
    expect((await a.host.listEndpoints())[0]?.local?.owner).toBe(owner);
    await expect(a.host.detach({ network: 'my_overlay', owner: 'cni:4f2a/eth1' })).rejects.toMatchObject({
      code: 'VTEP_ERR_ENDPOINT_UNKNOWN',
    });
    expect((await a.host.detach({ network: 'my_overlay', owner })).map(({ id }) => id)).toEqual([endpoint.id]);
    expect(await a.host.listEndpoints()).toEqual([]);
  });

  it('detaches a container that ended, with the registry and without', async () => {
    const registry = new MemoryRegistry();
    const a = await boot(registry, 'cdh1', '10.30.10.111', 0.6);
    const [one, two] = [await namespaces.add(), await namespaces.add()];
    await a.host.createNetwork({ name: 'blue' });
    await a.host.attach({ network: 'blue', netns: one });
    await a.host.attach({ network: 'blue', netns: two });
    await namespaces.remove(one);
    await vi.waitFor(() => expect(registry.under('addresses/')).toEqual(['addresses/blue/10.0.0.3']), WAIT);
    registry.goDown();
    await namespaces.remove(two);
    await vi.waitFor(async () => expect(await linkNames(a.netns)).toEqual([]), WAIT);
    expect(registry.under('addresses/').length).toBe(1);
    registry.down = false;
    await vi.waitFor(
      () => expect([...registry.under('addresses/'), ...registry.under('endpoints/')]).toEqual([]),
      WAIT,
    );
  });

  it('makes a bridge and a TAP again that were removed by hand', async () => {
    const a = await boot(new MemoryRegistry(), 'cdh1', '10.30.10.111');
    const one = await namespaces.add();
    await a.host.createNetwork({ name: 'blue' });
    const endpoint = await a.host.attach({ network: 'blue', netns: one });
    for (const victim of ['vtep-b256', 'vtep-t256']) {
      await ip(a.netns, 'link', 'del', victim);
      await vi.waitFor(async () => {
        for (const port of ['vtep-t256', endpoint.local!.hostInterface]) {
          expect(await link(a.netns, port)).toMatchObject({ master: 'vtep-b256', mtu: 1450 });
        }
      }, WAIT);
    }
    expect((await a.host.listEndpoints()).length).toBe(1);
  });
});

it('a host that moves to another address tells the others at once, its endpoints untouched', async () => {
  const registry = new MemoryRegistry();
  const [a, b] = [await boot(registry, 'cdh1', '10.30.10.111'), await boot(registry, 'cdh2', '10.30.10.112')];
  await a.host.createNetwork({ name: 'blue' });
  const mine = await a.host.attach({ network: 'blue', netns: await namespaces.add() });
  await b.host.attach({ network: 'blue', netns: await namespaces.add() });
  const told = () => b.forwarding.networks.get(256)?.remotes.get('node/cdh1');
  await vi.waitFor(() => expect(told()?.address).toBe('10.30.10.111:4789'), WAIT);
  a.host.moveUnderlay({ ip: '10.30.10.199' });
  await vi.waitFor(() => expect(told()).toEqual({ address: '10.30.10.199:4789', macs: [mine.mac] }), WAIT);
  expect(a.forwarding.calls).toContain('move 10.30.10.199');
  expect(b.forwarding.calls.some((call) => call.startsWith('gone'))).toBe(false);
  expect(await a.host.status()).toMatchObject({ vtep: { ip: '10.30.10.199', port: 4789 } });
  await expect(a.host.addPeer({ network: 'blue', address: '10.30.10.199', port: 4789 })).rejects.toMatchObject({
    code: 'VTEP_ERR_INVALID',
  });
});

it('an endpoint with a MAC that another host publishes is the newer one, whatever that host has for the time', async () => {
  const registry = new MemoryRegistry();
  const a = await boot(registry, 'cdh1', '10.30.10.111');
  await a.host.createNetwork({ name: 'blue' });
  const mac = '02:00:5e:10:00:09';
  const attachedAt = Date.now() + 3_600_000;
  const theirs = { id: 'x', name: 'c', mac, addresses: ['10.0.0.9/24'], attachedAt };
  await registry.put('endpoints/blue/cdh9', JSON.stringify({ v: 1, endpoints: [theirs] }));
  await a.host.attach({ network: 'blue', netns: await namespaces.add(), mac });
  const value = JSON.parse((await registry.get('endpoints/blue/cdh1'))!.value);
  expect(value.endpoints[0].attachedAt).toBe(attachedAt + 1);
});

it('a restart while others are held knows them still', async () => {
  const registry = new MemoryRegistry();
  let a = await boot(registry, 'cdh1', '10.30.10.111', 0.6);
  const b = await boot(registry, 'cdh2', '10.30.10.112', 20);
  await a.host.createNetwork({ name: 'blue' });
  await a.host.attach({ network: 'blue', netns: await namespaces.add() });
  await b.host.attach({ network: 'blue', netns: await namespaces.add() });
  await vi.waitFor(() => expect(a.forwarding.networks.get(256)?.remotes.size).toBe(1), WAIT);
  await halt(b);
  registry.wipe();
  await vi.waitFor(() => expect(registry.under('nodes/')).toEqual(['nodes/cdh1']), WAIT);
  a = await reboot(registry, a);
  expect(a.forwarding.networks.get(256)?.remotes.has('node/cdh2')).toBe(true);
  await vi.waitFor(() => expect(a.forwarding.networks.get(256)?.remotes.size).toBe(0), WAIT);
});

describe('a node name', () => {
  it('is refused to a second host', async () => {
    const registry = new MemoryRegistry();
    await boot(registry, 'cdh1', '10.30.10.111');
    const other = join(directory, 'other');
    await expect(
      Host.start({
        ...{ node: 'cdh1', registry, forwarding: new FakeForwarding(), version: '0', stateDirectory: other },
        ...{ vtep: { ip: '10.30.10.112', port: 4789 }, underlay: { interface: 'ens33', mtuBytes: 1500 } },
        ...{ logger: pino({ level: 'silent' }), ipCommandPrefix: inHost(await namespaces.add()) },
      }),
    ).rejects.toMatchObject({ code: 'VTEP_ERR_NODE_NAME_IN_USE' });
  });
});
