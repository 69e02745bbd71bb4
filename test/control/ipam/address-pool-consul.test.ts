/** Fifty hosts, each with its own connection and session, ask one real Consul at once; some die between claim and use. */
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AddressPool } from '../../../src/control/ipam/address-pool.js';
import { Reaper } from '../../../src/control/ipam/reaper.js';
import { NetworkStore } from '../../../src/control/networks/network-store.js';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import type { Registry } from '../../../src/control/registry/registry.js';
import { addressesPrefix, nodeKey, parseAddress } from '../../../src/control/registry/schema.js';
import { type ConsulServer, startConsul } from '../registry/consul-server.js';

const HOSTS = 50;
const DEAD = 15;
const REAP_AFTER_MS = 60_000;
const logger = pino({ level: 'silent' });
const noRoutes = async (): Promise<string[]> => [];

interface Asking {
  readonly node: string;
  readonly registry: Registry;
  readonly session: string;
  readonly pool: AddressPool;
}

let consul: ConsulServer;
beforeAll(async () => {
  consul = await startConsul();
}, 60_000);
afterAll(() => consul?.close());

async function enter(node: string, prefix: string): Promise<Asking> {
  const registry = createRegistryClient({ url: consul.url, prefix });
  const session = await registry.createSession(node, 60);
  await registry.transaction([{ verb: 'lock', key: nodeKey(node), value: '{}', session }]);
  return { node, registry, session, pool: new AddressPool(registry, node, logger, { session: () => session }) };
}

const enterAll = (prefix: string) => Promise.all(Array.from({ length: HOSTS }, (_, i) => enter(`cdh${i}`, prefix)));

describe('fifty hosts at one Consul', () => {
  it('get fifty addresses of each family; those of the dead come free, those of the living stay', async () => {
    const hosts = await enterAll('vtep-claims/');
    const [first] = hosts as [Asking];
    const store = new NetworkStore(first.registry, noRoutes);
    const network = await store.create({ name: 'blue', subnets: ['10.0.0.0/26', 'fd00:2::/64'] });
    let requests = 0;
    for (const { registry } of hosts) {
      const compareAndSet = registry.compareAndSet.bind(registry);
      registry.compareAndSet = (...args) => {
        requests += 1;
        return compareAndSet(...args);
      };
    }
    const claims = await Promise.all(hosts.map(({ pool, node }) => pool.claim(network, `e-${node}`)));
    expect(new Set(claims.flat()).size).toBe(2 * HOSTS);
    // Each would lose to each before it in turn if all tried for the lowest: 1275 for each family.
    expect(requests).toBeLessThan(1275);

    // Dead before they publish: nothing but the claims is left of them.
    const dead = hosts.slice(-DEAD);
    await Promise.all(dead.map(({ registry, session }) => registry.destroySession(session)));
    let nowMs = Date.now();
    const alive = hosts.slice(0, HOSTS - DEAD);
    const reapers = alive.slice(0, 5).map(({ registry, node }) => {
      return new Reaper({ registry, node, logger, reapAfterMs: REAP_AFTER_MS, now: () => nowMs });
    });
    const look = () => Promise.all(reapers.map((reaper) => reaper.look()));
    await look();
    await expect(first.pool.claim(network, 'e-new', [claims.at(-1)![0]!.split('/')[0]!])).rejects.toThrow(
      /on node cdh49, which is gone/,
    );
    const read = async () =>
      (await first.registry.list(addressesPrefix('blue'))).entries.map((e) => parseAddress(e)!.node);
    for (let passed = 0; passed < REAP_AFTER_MS; passed += 10_000) {
      expect((await read()).length).toBe(2 * HOSTS);
      nowMs += 10_000;
      await look();
    }
    // The others' turns pass too, and find nothing left to do.
    for (let turn = 0; turn < 4; turn++) {
      nowMs += 10_000;
      await look();
    }
    const left = await read();
    expect(left.sort()).toEqual(alive.flatMap(({ node }) => [node, node]).sort());

    // All of the room is there again: a /26 has 61 addresses for containers.
    const room = 61 - alive.length;
    const more = await Promise.all(Array.from({ length: room }, (_, i) => alive[i % 7]!.pool.claim(network, `m${i}`)));
    const kept = claims.slice(0, alive.length);
    expect(new Set([...kept, ...more].flat()).size).toBe(2 * 61);
    await expect(first.pool.claim(network, 'one-too-many')).rejects.toMatchObject({ code: 'VTEP_ERR_POOL_EXHAUSTED' });
  }, 120_000);

  it('make networks of both families at once, without two on one VNI, one subnet or one name', async () => {
    const makers = Array.from({ length: 16 }, () =>
      createRegistryClient({ url: consul.url, prefix: 'vtep-networks/' }),
    );
    const results = await Promise.allSettled(
      makers.map((registry, i) => {
        const store = new NetworkStore(registry, noRoutes);
        return store.create({ name: i < 4 ? 'same' : `n${i}`, ipv6: true });
      }),
    );
    const made = results.filter((result) => result.status === 'fulfilled').map(({ value }) => value);
    expect(made.length).toBe(13);
    expect(new Set(made.map(({ vni }) => vni)).size).toBe(13);
    expect(new Set(made.flatMap(({ subnets }) => subnets.map(({ cidr }) => cidr))).size).toBe(26);
    const store = new NetworkStore(makers[0]!, noRoutes);
    for (const { name } of made) await store.remove(name, true);
    expect((await makers[0]!.list('')).entries).toEqual([]);
  }, 120_000);
});
