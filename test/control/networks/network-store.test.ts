/** Networks and peers in the registry: made, refused, removed, restored, and hosts that make them at the same moment. */
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { NetworkStore } from '../../../src/control/networks/network-store.js';
import { PeerStore } from '../../../src/control/networks/peer-store.js';
import { parsePools } from '../../../src/control/networks/subnet-pool.js';
import { endpointsKey, type NetworkValue, networkKey } from '../../../src/control/registry/schema.js';
import { MemoryRegistry, pauses } from '../memory-registry.js';

const cidrs = ({ subnets }: NetworkValue): string[] => subnets.map(({ cidr }) => cidr);
const noRoutes = async (): Promise<string[]> => [];

const ENDPOINTS = JSON.stringify({
  v: 1,
  endpoints: [{ id: 'e', name: 'master', mac: '02:00:5e:10:00:01', addresses: ['10.0.0.2/24'] }],
});

describe('NetworkStore', () => {
  it('gives the first network 10.0.0.0/24 and VNI 256, the second the next', async () => {
    const store = new NetworkStore(new MemoryRegistry(), noRoutes);
    const first = await store.create({ name: 'one' });
    expect(first).toMatchObject({
      vni: 256,
      subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }],
      internal: false,
      state: 'active',
      learning: true,
    });
    expect(await store.create({ name: 'two' })).toMatchObject({
      vni: 257,
      subnets: [{ cidr: '10.0.1.0/24', gateway: '10.0.1.1' }],
    });
    expect((await store.list()).map(({ name }) => name)).toEqual(['one', 'two']);
  });

  it("avoids the host's routes and given subnets; a given subnet may overlap", async () => {
    const store = new NetworkStore(new MemoryRegistry(), async () => ['10.0.0.0/23']);
    await store.create({ name: 'given', subnets: ['10.0.2.128/25'], vni: 7 });
    expect(cidrs(await store.create({ name: 'next' }))).toEqual(['10.0.3.0/24']);
    expect(cidrs(await store.create({ name: 'same', subnets: ['10.0.2.128/25'] }))).toEqual(['10.0.2.128/25']);
  });

  it('names what exists and who holds a VNI', async () => {
    const store = new NetworkStore(new MemoryRegistry(), noRoutes);
    await store.create({ name: 'one', vni: 300 });
    await expect(store.create({ name: 'one' })).rejects.toMatchObject({
      code: 'VTEP_ERR_NETWORK_EXISTS',
      message: expect.stringContaining('VNI 300'),
    });
    await expect(store.create({ name: 'two', vni: 300 })).rejects.toMatchObject({
      code: 'VTEP_ERR_VNI_IN_USE',
      message: expect.stringContaining('"one"'),
    });
  });

  it('leaves nothing behind when it removes, and gives VNI and subnet again', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    await store.create({ name: 'one' });
    await new PeerStore(registry, store).add({ network: 'one', address: '192.0.2.9', port: 4789 });
    await registry.put('addresses/one/10.0.0.9', '{}');
    await registry.put('addresses/one-more/10.0.0.9', '{}');
    await store.remove('one');
    expect([...registry.keys.keys()]).toEqual(['addresses/one-more/10.0.0.9']);
    expect(await store.create({ name: 'one' })).toMatchObject({ vni: 256, subnets: [{ cidr: '10.0.0.0/24' }] });
    await expect(store.remove('none')).rejects.toMatchObject({ code: 'VTEP_ERR_NETWORK_UNKNOWN' });
  });

  it('gives a subnet of each family from its pools, avoids routes of both, and claims both', async () => {
    const registry = new MemoryRegistry();
    const pools = parsePools('172.20.0.0/16/24,fd00:20::/48/64');
    const routes = async () => ['172.20.0.0/24', 'fd00:20::/64', '172.20.2.9', 'fd00:20:0:2::9'];
    const store = new NetworkStore(registry, routes, pools);
    expect(cidrs(await store.create({ name: 'one', ipv6: true }))).toEqual(['172.20.1.0/24', 'fd00:20:0:1::/64']);
    expect(cidrs(await store.create({ name: 'two', ipv6: true, subnets: ['10.9.0.0/16', '172.20.3.0/24'] }))).toEqual([
      ...['10.9.0.0/16', '172.20.3.0/24', 'fd00:20:0:3::/64'],
    ]);
    expect(cidrs(await store.create({ name: 'three' }))).toEqual(['172.20.4.0/24']);
    expect(registry.under('subnets/')).toEqual(
      ['172.20.1.0_24', '172.20.4.0_24', 'fd00:20:0:1::_64', 'fd00:20:0:3::_64'].map((key) => `subnets/${key}`),
    );
    for (const name of ['one', 'two', 'three']) await store.remove(name);
    expect(registry.under('')).toEqual([]);
  });

  it('says where gateways would be in the same place, and takes no offence', async () => {
    const store = new NetworkStore(new MemoryRegistry(), async () => ['10.0.4.0/24', 'fd00:4::/64']);
    const subnets = ['10.0.2.0/24'];
    const made = [
      await store.create({ name: 'one', subnets }),
      await store.create({ name: 'inside', subnets, internal: true }),
      await store.create({ name: 'bare', subnets, gateways: ['none'] }),
      await store.create({ name: 'two', subnets: ['10.0.0.0/22', 'fd00:2::/64'] }),
      await store.create({ name: 'routed', subnets: ['10.0.4.0/23', 'fd00:4::/64'] }),
    ];
    const warnings = await Promise.all(made.map((value) => store.overlaps(value)));
    expect(warnings.map((texts) => texts.length)).toEqual([1, 0, 0, 1, 2]);
    expect(warnings[3]![0]).toMatch(/^subnet 10\.0\.0\.0\/22 overlaps network "one": /);
    expect(warnings[4]![1]).toMatch(/overlaps this host's route to fd00:4::\/64/);
  });

  it('leaves another network its subnet claim', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    await store.create({ name: 'auto' });
    await store.create({ name: 'given', subnets: ['10.0.0.0/24'] });
    await store.remove('given');
    expect(registry.under('subnets/')).toEqual(['subnets/10.0.0.0_24']);
  });

  it('refuses to remove a network in use, names the endpoints, and leaves it active', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    await store.create({ name: 'one' });
    await registry.put(endpointsKey('one', 'cdh2'), ENDPOINTS);
    await expect(store.remove('one')).rejects.toMatchObject({
      code: 'VTEP_ERR_NETWORK_IN_USE',
      message: expect.stringContaining('master@cdh2'),
    });
    expect((await store.require('one')).value.state).toBe('active');
  });

  it('finishes a removal that was cut off', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    const value = await store.create({ name: 'one' });
    await registry.put(networkKey('one'), JSON.stringify({ ...value, state: 'removing' }));
    await expect(store.create({ name: 'one' })).rejects.toThrow(/being removed/);
    await store.remove('one');
    expect(registry.keys.size).toBe(0);
  });

  describe('by force', () => {
    it('drops what dead nodes have published, waits for the live ones, and takes all keys along', async () => {
      const registry = new MemoryRegistry();
      const store = new NetworkStore(registry, noRoutes);
      const made = await store.create({ name: 'one', ipv6: true });
      await registry.put('nodes/cdh1', '{}');
      await registry.put(endpointsKey('one', 'cdh1'), ENDPOINTS);
      await registry.put(endpointsKey('one', 'dead'), ENDPOINTS);
      await registry.put('addresses/one/10.0.0.2', '{}');
      const removal = store.remove('one', true);
      await vi.waitFor(() => expect(registry.under('endpoints/')).toEqual([endpointsKey('one', 'cdh1')]), 5000);
      expect((await store.require('one')).value).toMatchObject({ state: 'removing', forced: true });
      await registry.delete(endpointsKey('one', 'cdh1'));
      await removal;
      expect(registry.under('')).toEqual(['nodes/cdh1']);
      // A copy of it that was read meanwhile is not put back.
      expect(await store.restore({ ...made, state: 'removing', forced: true })).toBe(false);
    });

    it('names who has not detached, and is finished by whoever removes next', async () => {
      const registry = new MemoryRegistry();
      const store = new NetworkStore(registry, noRoutes);
      await store.create({ name: 'one' });
      await registry.put('nodes/cdh1', '{}');
      await registry.put(endpointsKey('one', 'cdh1'), ENDPOINTS);
      await expect(store.remove('one', true, 100)).rejects.toMatchObject({
        code: 'VTEP_ERR_NETWORK_IN_USE',
        message: expect.stringContaining('master@cdh1 is not detached yet'),
      });
      await registry.delete('nodes/cdh1');
      await store.remove('one');
      expect(registry.under('')).toEqual([]);
    });
  });

  it('restores a network that was lost, but not over another', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    const value = await store.create({ name: 'one' });
    registry.wipe();
    expect(await store.restore(value)).toBe(true);
    expect((await store.require('one')).value.id).toBe(value.id);
    registry.wipe();
    await store.create({ name: 'other', vni: value.vni });
    expect(await store.restore(value)).toBe(false);
  });

  it('never gives one VNI or one pool subnet twice, and one name once, however the hosts interleave', async () => {
    const turns = fc.array(fc.nat(9), { minLength: 3, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(turns, fc.integer({ min: 2, max: 8 }), async (counts, hosts) => {
        const registry = new MemoryRegistry();
        registry.pause = pauses(counts);
        const creations = Array.from({ length: hosts }, (_, host) =>
          new NetworkStore(registry, noRoutes).create({ name: host < 2 ? 'same' : `n${host}` }),
        );
        const results = await Promise.allSettled(creations);
        const made = results.filter((result) => result.status === 'fulfilled').map((result) => result.value);
        expect(made.length).toBe(hosts - 1);
        expect(made.map(({ vni }) => vni).sort()).toEqual(made.map((_, i) => 256 + i));
        expect(new Set(made.map(({ subnets }) => subnets[0]!.cidr)).size).toBe(made.length);
        expect(registry.under('networks/').length).toBe(made.length);
      }),
      { numRuns: 40 },
    );
  });
});

describe('PeerStore', () => {
  it('adds once, lists, removes once', async () => {
    const registry = new MemoryRegistry();
    const networks = new NetworkStore(registry, noRoutes);
    const peers = new PeerStore(registry, networks);
    const peer = { network: 'one', address: '192.0.2.9', port: 4789 };
    await expect(peers.add(peer)).rejects.toMatchObject({ code: 'VTEP_ERR_NETWORK_UNKNOWN' });
    await networks.create({ name: 'one' });
    await peers.add(peer);
    await expect(peers.add(peer)).rejects.toMatchObject({ code: 'VTEP_ERR_PEER_EXISTS' });
    expect(await peers.list('one')).toEqual([peer]);
    expect(await peers.list()).toEqual([peer]);
    await peers.remove('one', '192.0.2.9');
    await expect(peers.remove('one', '192.0.2.9')).rejects.toMatchObject({ code: 'VTEP_ERR_PEER_UNKNOWN' });
  });
});
