/** A registry that has lost its data is filled again; one in which something was removed is not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NetworkStore } from '../../../src/control/networks/network-store.js';
import { PeerStore } from '../../../src/control/networks/peer-store.js';
import { GuardedReadings } from '../../../src/control/reconcile/guarded-readings.js';
import { RegistryKeeper } from '../../../src/control/reconcile/registry-keeper.js';
import type { RegistryListing } from '../../../src/control/registry/registry.js';
import { watchPrefix } from '../../../src/control/registry/watcher.js';
import { LocalState } from '../../../src/control/state/local-state.js';
import { MemoryRegistry } from '../memory-registry.js';

const ends: (() => Promise<void> | void)[] = [];
let registry: MemoryRegistry;
let networks: NetworkStore;
let peers: PeerStore;

beforeEach(() => {
  registry = new MemoryRegistry();
  networks = new NetworkStore(registry, async () => []);
  peers = new PeerStore(registry, networks);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function newState(): LocalState {
  const directory = mkdtempSync(join(tmpdir(), 'vtct-'));
  const state = new LocalState(directory);
  ends.push(async () => {
    await state.close();
    rmSync(directory, { recursive: true });
  });
  return state;
}

/** A host's keeper with what it reads; it follows the registry until stop(). */
function follow(state = newState(), url?: string) {
  const seen = url === undefined ? registry : Object.assign(Object.create(registry), { url, urls: [url] });
  const logger = pino({ level: 'silent' });
  const keeper = new RegistryKeeper({ registry: seen, state, networks, logger, spreadMs: 20, removedAgainMs: 50 });
  const abort = new AbortController();
  const read = new Map<string, string[]>();
  const watches = ['networks/', 'peers/'].map((prefix) => {
    const guard = new GuardedReadings({
      ...{ prefix, registry, state, keeper, signal: abort.signal },
      onEntries: (entries, came) => {
        read.set(
          prefix,
          entries.map(({ key }) => key),
        );
        if (prefix === 'networks/') keeper.noteAppeared(came);
      },
    });
    const onChange = (listing: RegistryListing) => guard.offer(listing.entries);
    return watchPrefix(registry, prefix, { signal: abort.signal, onChange, onError: () => undefined }).then(() =>
      guard.close(),
    );
  });
  const stop = async () => {
    abort.abort();
    await Promise.all(watches);
    keeper.close();
  };
  ends.push(stop);
  return { keeper, state, read, stop };
}

const known = (host: ReturnType<typeof follow>, count: number) =>
  vi.waitFor(() => expect(host.state.snapshot('networks/')).toHaveLength(count));

describe('RegistryKeeper', () => {
  it('finds the loss by whichever server of a cluster it asks', async () => {
    const state = newState();
    const first = follow(state, 'http://one');
    await first.keeper.check();
    await networks.create({ name: 'blue' });
    await known(first, 1);
    await first.stop();
    registry.wipe();
    const elsewhere = Object.assign(Object.create(registry), { url: 'http://two', urls: ['http://one', 'http://two'] });
    const logger = pino({ level: 'silent' });
    const keeper = new RegistryKeeper({ registry: elsewhere, state, networks, logger, spreadMs: 20 });
    expect(await keeper.check()).toBe(true);
    keeper.close();
    expect((await networks.list()).map(({ name }) => name)).toEqual(['blue']);
  });

  it('puts networks without endpoints back, with VNI, subnet and peers, by one host or several', async () => {
    const [a, b] = [follow(), follow()];
    await networks.create({ name: 'blue' });
    await networks.create({ name: 'green', subnets: ['172.20.0.0/24'] });
    await peers.add({ network: 'blue', address: '192.0.2.50', port: 4789 });
    await a.keeper.check();
    await b.keeper.check();
    const [before, values] = [registry.under(''), [...(await networks.list())]];
    for (const host of [a, b]) await known(host, 2);
    for (const host of [a, b]) await vi.waitFor(() => expect(host.state.snapshot('peers/')).toHaveLength(1));
    registry.wipe();
    await vi.waitFor(() => expect(registry.under('')).toEqual(expect.arrayContaining(before)));
    expect(await networks.list()).toEqual(values);
    for (const host of [a, b]) {
      await vi.waitFor(() => expect(host.read.get('networks/')).toEqual(['networks/blue', 'networks/green']));
      await vi.waitFor(() => expect(host.read.get('peers/')).toHaveLength(1));
    }
    // As each does when its session is new.
    for (const host of [a, b]) await host.keeper.check();
    expect(a.state.registry).toEqual(b.state.registry);
  });

  it('leaves removed what was removed, also when the registry is lost later', async () => {
    const a = follow();
    await a.keeper.check();
    await networks.create({ name: 'blue' });
    await networks.create({ name: 'green' });
    await known(a, 2);
    await networks.remove('blue');
    await known(a, 1);
    registry.wipe();
    await vi.waitFor(async () => expect((await networks.list()).map(({ name }) => name)).toEqual(['green']));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(registry.under('networks/')).toEqual(['networks/green']);
  });

  it('removes again what a host put back that had been away while it was removed', async () => {
    const [a, away] = [follow(), follow()];
    await a.keeper.check();
    await away.keeper.check();
    await networks.create({ name: 'blue' });
    for (const host of [a, away]) await known(host, 1);
    await away.stop();
    await networks.remove('blue');
    await known(a, 0);
    registry.wipe();
    await a.keeper.check();
    const back = follow(away.state);
    await vi.waitFor(() => expect(back.read.get('networks/')).toEqual(['networks/blue']));
    await vi.waitFor(() => expect(registry.under('networks/')).toEqual([]));
    await vi.waitFor(() => expect(back.read.get('networks/')).toEqual([]));
  });

  it('leaves what an operator has restored in the same registry', async () => {
    const a = follow();
    await a.keeper.check();
    await networks.create({ name: 'blue' });
    await known(a, 1);
    const backup = new Map(registry.keys);
    await networks.remove('blue');
    await known(a, 0);
    for (const [key, { value }] of backup) await registry.put(key, value);
    await known(a, 1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(registry.under('networks/')).toEqual(['networks/blue']);
  });

  it('puts nothing into another registry', async () => {
    const a = follow();
    await a.keeper.check();
    await networks.create({ name: 'blue' });
    await known(a, 1);
    await a.stop();
    registry.wipe();
    const b = follow(a.state, 'memory://elsewhere');
    await vi.waitFor(() => expect(b.read.get('networks/')).toEqual([]));
    expect(registry.under('networks/')).toEqual([]);
    expect(a.state.registry?.url).toBe('memory://elsewhere');
  });

  it('keeps the local copy while the registry goes away in the middle, and fills it when it is back', async () => {
    const a = follow();
    await a.keeper.check();
    await networks.create({ name: 'blue' });
    await known(a, 1);
    registry.pause = async () => {
      registry.pause = async () => undefined;
      registry.down = true;
      setTimeout(() => {
        registry.down = false;
      }, 300);
    };
    registry.wipe();
    await vi.waitFor(() => expect(registry.under('networks/')).toEqual(['networks/blue']), { timeout: 10_000 });
    expect(a.state.snapshot('networks/')).toHaveLength(1);
  });
});
