/**
 * Standing endpoints on a host with kernel objects in namespaces, a registry in memory, and containers that are processes:
 * they stop, keep their addresses, and come back as they were.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Endpoint } from '../../../src/control/api/schema.js';
import { Host } from '../../../src/control/host.js';
import { ContainerFinder } from '../../../src/control/plugins/engines/container-finder.js';
import { FakeForwarding } from '../fake-forwarding.js';
import { MemoryRegistry } from '../memory-registry.js';
import { inHost, ip, linkNames, Namespaces } from '../namespaces.js';
import { FakeEngine } from '../plugins/engines/fake-engine.js';

const WAIT = { timeout: 20_000, interval: 30 };
const namespaces = new Namespaces();
const docker = new FakeEngine('docker', true);
const podman = new FakeEngine('podman', false);
const registry = new MemoryRegistry();
let directory: string;
let netns: string;
let host: Host;

async function start(): Promise<void> {
  host = await Host.start({
    ...{ node: 'cdh1', version: '0', sessionTtlSeconds: 2, holdMs: 500 },
    ...{ vtep: { ip: '10.30.10.111', port: 4789 }, underlay: { interface: 'ens33', mtuBytes: 1500 } },
    ...{ stateDirectory: directory, logger: pino({ level: 'silent' }), ipCommandPrefix: inHost(netns) },
    ...{ registry, forwarding: new FakeForwarding(netns), containers: new ContainerFinder([docker, podman]) },
  });
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
  netns = await namespaces.add();
  await start();
  await host.createNetwork({ name: 'blue', internal: true });
});
afterEach(async () => {
  for (const { id, node } of await host.listEndpoints()) if (node === 'cdh1') await host.detachById(id);
  await Promise.all([docker.end(), podman.end()]);
  docker.containers.clear();
  podman.containers.clear();
  await vi.waitFor(() => expect(registry.under('addresses/')).toEqual([]), WAIT);
});
afterAll(async () => {
  await host?.close();
  await Promise.all([docker.end(), podman.end()]);
  await namespaces.removeAll();
  rmSync(directory, { recursive: true });
});

const states = async () => (await host.listEndpoints()).map(({ name, local }) => `${name} ${local!.state}`);
const becomes = (...wanted: string[]) => vi.waitFor(async () => expect(await states()).toEqual(wanted), WAIT);
const published = () => {
  const value = registry.keys.get('endpoints/blue/cdh1')?.value;
  return value === undefined ? [] : JSON.parse(value).endpoints.map(({ id }: { id: string }) => id);
};

/** What a container's interface is: name, MAC, addresses, routes. */
async function inside(path: string, name = 'eth0'): Promise<string> {
  const [link] = JSON.parse(
    (await execa('nsenter', [`--net=${path}`, 'ip', '-json', 'addr', 'show', 'dev', name])).stdout,
  );
  const ips = link.addr_info.filter(({ family }: { family: string }) => family === 'inet');
  return [link.ifname, link.address, ...ips.map(({ local }: { local: string }) => local)].join(' ');
}

const facts = ({ id, name, mac, addresses, local }: Endpoint) => ({
  ...{ id, name, mac, addresses, sandbox: local!.sandbox, interface: local!.containerInterface },
});

describe.each([
  ['an engine that tells', docker],
  ['an engine that has to be asked', podman],
] as const)('a container of %s', (_, engine) => {
  it('comes back as it was, again and again, also over a restart of the host', async () => {
    const first = await engine.start('web');
    const endpoint = await host.attach({ network: 'blue', container: 'web', ips: ['10.0.0.9'] });
    expect(endpoint).toMatchObject({
      ...{ name: 'web', addresses: ['10.0.0.9/24'] },
      local: { sandbox: `${engine.name}:web`, state: 'published', standing: true },
    });
    const before = await inside(first);
    await engine.stop('web');
    await becomes('web stopped');
    // Nobody gets its address, nothing of it is in the kernel, and the others hear of no such endpoint.
    expect(registry.under('addresses/')).toEqual(['addresses/blue/10.0.0.9']);
    expect(published()).toEqual([]);
    await vi.waitFor(async () => expect(await linkNames(netns)).toEqual([]), WAIT);
    const other = await namespaces.add();
    await expect(host.attach({ network: 'blue', netns: other, ips: ['10.0.0.9'] })).rejects.toMatchObject({
      code: 'VTEP_ERR_ADDRESS_IN_USE',
    });
    await expect(host.attach({ network: 'blue', netns: other, mac: endpoint.mac })).rejects.toThrow('in use');

    const second = await engine.start('web');
    await becomes('web published');
    expect(await inside(second)).toBe(before);
    expect((await host.listEndpoints()).map(facts)).toEqual([facts(endpoint)]);
    expect(published()).toEqual([endpoint.id]);

    // The host goes while it runs, and it is started anew meanwhile; then the host goes while it is stopped.
    await host.close();
    await engine.stop('web');
    const third = await engine.start('web');
    await start();
    // Published it was when the host went: only the interface tells.
    await vi.waitFor(async () => expect(await inside(third)).toBe(before), WAIT);
    await becomes('web published');
    await engine.stop('web');
    await becomes('web stopped');
    await host.close();
    await start();
    expect(await states()).toEqual(['web stopped']);
    await engine.start('web');
    await becomes('web published');
    expect((await host.listEndpoints()).map(facts)).toEqual([facts(endpoint)]);
    expect(await host.detach({ network: 'blue', container: 'web' })).toHaveLength(1);
    expect(await linkNames(netns)).toEqual([]);
  });

  it('is known again by its name when it is made anew, and not when it was detached', async () => {
    await engine.start('web');
    const { id } = await host.attach({ network: 'blue', container: 'web' });
    await engine.stop('web');
    engine.containers.delete('web');
    await becomes('web stopped');
    await engine.start('web');
    await becomes('web published');
    expect((await host.listEndpoints())[0]!.id).toBe(id);
    await engine.stop('web');
    engine.containers.delete('web');
    await becomes('web stopped');
    expect((await host.detach({ network: 'blue', container: 'web' })).map((one) => one.id)).toEqual([id]);
    expect(registry.under('addresses/')).toEqual([]);
    expect(await host.detach({ network: 'blue', container: 'web', ifExists: true })).toEqual([]);
    await expect(host.detach({ network: 'blue', container: 'web' })).rejects.toMatchObject({
      code: 'VTEP_ERR_ENDPOINT_UNKNOWN',
    });
    const asked = engine.asked;
    await engine.start('web');
    expect(await states()).toEqual([]);
    expect(engine.asked).toBe(asked);
  });
});

it('an attach that may exist answers the same endpoint, and says what is not as wanted', async () => {
  await docker.start('web');
  const wish = { network: 'blue', container: 'web', ips: ['10.0.0.7'], mayExist: true };
  const made = await host.attach(wish);
  expect(made.existed).toBeUndefined();
  expect(await host.attach(wish)).toEqual({ ...made, existed: true });
  expect(await host.attach({ network: 'blue', container: 'web', mayExist: true })).toEqual({ ...made, existed: true });
  const refused = async (other: object, message: string) =>
    expect(host.attach({ ...wish, ...other })).rejects.toMatchObject({
      code: 'VTEP_ERR_INTERFACE_EXISTS',
      message: expect.stringContaining(message),
    });
  await refused({ ips: ['10.0.0.8'] }, 'address 10.0.0.8');
  await refused({ mac: '02:00:5e:10:00:99' }, 'MAC 02:00:5e:10:00:99');
  await refused({ name: 'other' }, 'name "other"');
  await refused({ standing: false }, 'not to be standing');
  await refused({ publish: [{ protocol: 'tcp', hostPort: 8080, port: 80 }] }, 'published ports');
  await refused({ mayExist: undefined }, 'is already attached');
  const byPid = { network: 'blue', pid: docker.containers.get('web')!.process!.pid! };
  await expect(host.attach({ ...byPid, mayExist: true })).rejects.toThrow('not to be standing');

  await docker.stop('web');
  await becomes('web stopped');
  expect(await host.attach(wish)).toMatchObject({ id: made.id, existed: true, local: { state: 'stopped' } });
  await refused({ ips: ['10.0.0.8'] }, 'address 10.0.0.8');
  await refused({ mayExist: undefined }, 'comes back when it runs');
  docker.isAway = true;
  expect(await host.attach(wish)).toMatchObject({ id: made.id, local: { state: 'stopped' } });
  docker.isAway = false;
  // Asked for while it comes back: one of the two does it, and both are content.
  await docker.start('web');
  expect(await host.attach(wish)).toMatchObject({ id: made.id, existed: true, local: { state: 'published' } });
  await becomes('web published');
});

it('refuses containers that are not there, do not run, or are of two engines', async () => {
  const attach = (container: string, more = {}) => host.attach({ network: 'blue', container, ...more });
  const unknown = { code: 'VTEP_ERR_CONTAINER_UNKNOWN' };
  await expect(attach('none')).rejects.toMatchObject({
    ...unknown,
    message: expect.stringContaining('docker or podman'),
  });
  docker.create('web');
  await expect(attach('web')).rejects.toMatchObject({
    ...unknown,
    message: expect.stringContaining('docker start web'),
  });
  await expect(attach('web', { engine: 'nerdctl' })).rejects.toMatchObject(unknown);
  podman.create('web');
  await expect(attach('web')).rejects.toMatchObject({
    ...{ code: 'VTEP_ERR_INVALID', message: expect.stringContaining('docker and podman: say which with --engine') },
  });
  await podman.start('web');
  const endpoint = await attach('web', { engine: 'podman', standing: false });
  expect(endpoint.local).toMatchObject({ sandbox: 'podman:web' });
  expect(endpoint.local!.standing).toBeUndefined();
  docker.isAway = true;
  await expect(attach('other')).rejects.toMatchObject({ code: 'VTEP_ERR_ENGINE_UNREACHABLE' });
  docker.isAway = false;
  // Not standing: its address is free when it has stopped.
  await podman.stop('web');
  await becomes();
});

it('a namespace stands only if it is asked for; one of the same name takes the place of one that lives on', async () => {
  const container = await namespaces.add();
  await host.attach({ network: 'blue', netns: container });
  await ip(container, 'link', 'del', 'eth0');
  await becomes();
  const endpoint = await host.attach({ network: 'blue', netns: container, standing: true, name: 'n' });
  const before = await inside(`/run/netns/${container}`);
  await namespaces.remove(container);
  await becomes('n stopped');
  await execa('ip', ['netns', 'add', container]);
  await becomes('n published');
  expect(await inside(`/run/netns/${container}`)).toBe(before);

  const holder = execa('nsenter', [`--net=/run/netns/${container}`, 'sleep', '600'], { reject: false });
  const old = `/proc/${holder.pid}/ns/net`;
  await vi.waitFor(async () => expect(await inside(old)).toBe(before), WAIT);
  // What is left of the name for a moment when a namespace is made or removed is a plain file.
  await execa('umount', [`/run/netns/${container}`]);
  await sleep(700);
  expect(await states()).toEqual(['n published']);
  await execa('ip', ['netns', 'del', container]);
  expect(await states()).toEqual(['n published']);
  await execa('ip', ['netns', 'add', container]);
  await vi.waitFor(async () => expect(await inside(`/run/netns/${container}`)).toBe(before), WAIT);
  await expect(inside(old)).rejects.toThrow();
  holder.kill();
  expect((await host.listEndpoints()).map(facts)).toEqual([facts(endpoint)]);
  await host.detach({ network: 'blue', netns: container });
  await execa('ip', ['netns', 'del', container]);
});

it('waits on when its address went to another meanwhile, and comes back when that one is gone', async () => {
  await docker.start('web');
  const { id } = await host.attach({ network: 'blue', container: 'web', ips: ['10.0.0.9'] });
  await docker.stop('web');
  await becomes('web stopped');
  const key = 'addresses/blue/10.0.0.9';
  await registry.put(key, JSON.stringify({ v: 1, node: 'cdh2', endpointId: 'e-9' }));
  await docker.start('web');
  await vi.waitFor(async () => expect((await host.status()).counts.addressConflicts).toBe(1), WAIT);
  expect(await states()).toEqual(['web stopped']);
  expect(await linkNames(netns)).toEqual([]);
  await registry.delete(key);
  await becomes('web published');
  expect((await host.listEndpoints())[0]!.id).toBe(id);
});

it('ends with its network', async () => {
  await host.createNetwork({ name: 'red', internal: true });
  await docker.start('web');
  await host.attach({ network: 'red', container: 'web' });
  await docker.stop('web');
  await becomes('web stopped');
  await host.removeNetwork('red');
  await becomes();
});
