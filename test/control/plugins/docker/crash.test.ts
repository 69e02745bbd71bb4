/**
 * vtepd dies after each single effect of each of Docker's calls and starts again; dockerd repeats the call, or has died as
 * well and only cleans up. What the registry holds is what the host says that it has, at once, and in the end nothing.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NetworkStore } from '../../../../src/control/networks/network-store.js';
import type { NetworkValue } from '../../../../src/control/registry/schema.js';
import { MemoryRegistry } from '../../memory-registry.js';
import { PaperContainer, PaperHost } from './paper-docker.js';

const NETWORK = 'a'.repeat(64);
const ENDPOINT = 'e'.repeat(64);
const OTHER = 'f'.repeat(64);
const EFFECTS_MAX = 60;
let directory: string;
let registry: MemoryRegistry;
let blue: NetworkValue;

beforeEach(async () => {
  directory = mkdtempSync('/dev/shm/vtct-');
  registry = new MemoryRegistry();
  blue = await new NetworkStore(registry, async () => []).create({ name: 'blue' });
});
afterEach(() => rmSync(directory, { recursive: true }));

let count = 0;

async function newHost(): Promise<PaperHost> {
  const host = new PaperHost(`h${++count}`, registry, directory);
  await host.start();
  await host.bindings.bind(NETWORK, blue);
  return host;
}

function newContainer(host: PaperHost, endpointId = ENDPOINT): PaperContainer {
  return new PaperContainer(host, `net:${blue.id}:10.0.0.0/24`, NETWORK, endpointId);
}

/** The registry's claims and this host's own account of them are the same. */
function agree(host: PaperHost): void {
  expect(Object.fromEntries(host.claims())).toEqual(Object.fromEntries(host.held()));
}

async function expectNothing(host: PaperHost): Promise<void> {
  await host.heard();
  agree(host);
  expect([...host.held().keys()]).toEqual([]);
  expect([...host.kernel.all.keys()]).toEqual([]);
  expect(host.bindings.endpoints()).toEqual([]);
  expect(registry.under('endpoints/')).toEqual([]);
}

const NAMES = ['requestAddress', 'createEndpoint', 'join', 'move', 'leave', 'deleteEndpoint', 'releaseAddress'];

it.each(NAMES)('dies in %s, and dockerd calls again', async (name) => {
  const at = NAMES.indexOf(name);
  for (let effects = 0; ; effects++) {
    expect(effects).toBeLessThan(EFFECTS_MAX);
    const host = await newHost();
    const container = newContainer(host);
    for (const before of NAMES.slice(0, at)) await container.calls[before]!();
    const died = await host.die(effects, container.calls[name]!);
    if (died) await host.start();
    agree(host);
    // Another container, whose address is another one.
    const neighbour = newContainer(host, OTHER);
    for (const call of ['requestAddress', 'createEndpoint', 'join', 'move']) await neighbour.calls[call]!();
    for (const after of NAMES.slice(died ? at : at + 1)) {
      await container.calls[after]!();
      agree(host);
    }
    expect([...host.held().keys()]).toContain(neighbour.address.split('/')[0]);
    for (const call of ['leave', 'deleteEndpoint', 'releaseAddress']) await neighbour.calls[call]!();
    await host.later();
    await expectNothing(host);
    await host.stop();
    if (!died) break;
  }
});

it.each(NAMES)('dies in %s, and dockerd with it', async (name) => {
  const at = NAMES.indexOf(name);
  for (let effects = 0; ; effects++) {
    expect(effects).toBeLessThan(EFFECTS_MAX);
    const host = await newHost();
    const container = newContainer(host);
    for (const before of NAMES.slice(0, at)) await container.calls[before]!();
    const died = await host.die(effects, container.calls[name]!);
    container.end();
    if (died) await host.start();
    await host.manager.checkLinks();
    agree(host);
    // What a dockerd that starts again knows of: endpoints that it has stored. It may not have come to storing this one.
    if (effects % 2 === 0) for (const call of ['leave', 'deleteEndpoint']) await container.calls[call]!();
    await host.later();
    const there = host.manager.all();
    // The end of a veth that nobody has moved is nobody's; only Docker can say that it is not to be any more.
    for (const { id } of there) await host.manager.detachById(id);
    await host.driver.deleteEndpoint(ENDPOINT);
    await host.later();
    await expectNothing(host);
    await host.stop();
    if (!died) break;
  }
});

it("gives the host's spare addresses while the registry is away, and tells it when it is back", async () => {
  const host = await newHost();
  const first = newContainer(host);
  for (const call of ['requestAddress', 'createEndpoint', 'join', 'move']) await first.calls[call]!();
  await host.manager.idle();
  registry.goDown();
  const second = newContainer(host, OTHER);
  for (const call of ['requestAddress', 'createEndpoint', 'join', 'move']) await second.calls[call]!();
  expect(second.address).not.toBe(first.address);
  await expect(newContainer(host, 'd'.repeat(64)).calls.requestAddress!()).rejects.toMatchObject({
    code: 'VTEP_ERR_REGISTRY_UNREACHABLE',
  });
  for (const call of ['leave', 'deleteEndpoint', 'releaseAddress']) await first.calls[call]!();
  registry.down = false;
  await host.heard();
  agree(host);
  expect([...host.held().keys()]).toEqual([second.address.split('/')[0]]);
  for (const call of ['leave', 'deleteEndpoint', 'releaseAddress']) await second.calls[call]!();
  await expectNothing(host);
  await host.stop();
});
