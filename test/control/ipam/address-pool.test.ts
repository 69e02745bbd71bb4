/** Addresses: the lowest free, fixed ones, sweeps, and hosts that ask at the same moment. */
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { AddressPool } from '../../../src/control/ipam/address-pool.js';
import type { NetworkValue, SubnetRecord } from '../../../src/control/registry/schema.js';
import { MemoryRegistry, pauses } from '../memory-registry.js';

const logger = pino({ level: 'silent' });

function withSubnets(...subnets: SubnetRecord[]): NetworkValue {
  return { ...network('10.0.0.0/24', '10.0.0.1'), subnets };
}

function network(subnet: string, gateway: string): NetworkValue {
  return {
    ...{
      v: 1,
      name: 'blue',
      id: 'n',
      vni: 256,
      subnets: [{ cidr: subnet, gateway }],
      internal: false,
      mtuBytes: 0,
      flood: 'replicate',
    },
    ...{ learning: true, state: 'active', createdAt: '2026-01-01T00:00:00.000Z', options: {} },
  } as NetworkValue;
}

const SMALL = network('10.0.0.0/29', '10.0.0.1');

describe('AddressPool', () => {
  it('gives the lowest free address, from the one after the gateway', async () => {
    const registry = new MemoryRegistry();
    const pool = new AddressPool(registry, 'a', logger);
    expect(await pool.claim(SMALL, 'e1')).toEqual(['10.0.0.2/29']);
    expect(await pool.claim(SMALL, 'e2')).toEqual(['10.0.0.3/29']);
    await pool.release('blue', '10.0.0.2', 'e1');
    expect(await pool.claim(SMALL, 'e3')).toEqual(['10.0.0.2/29']);
    expect(await pool.claim(network('10.0.0.0/29', '10.0.0.4'), 'e4')).toEqual(['10.0.0.1/29']);
  });

  it('says so when the pool is empty, naming network and subnet', async () => {
    const pool = new AddressPool(new MemoryRegistry(), 'a', logger);
    for (let i = 0; i < 5; i++) await pool.claim(SMALL, `e${i}`);
    await expect(pool.claim(SMALL, 'e6')).rejects.toMatchObject({
      code: 'VTEP_ERR_POOL_EXHAUSTED',
      message: expect.stringMatching(/"blue".*10\.0\.0\.0\/29/),
    });
  });

  it('takes a fixed address once and names the holder the second time', async () => {
    const registry = new MemoryRegistry();
    const pool = new AddressPool(registry, 'a', logger);
    expect(await pool.claim(SMALL, 'e1', ['10.0.0.5'])).toEqual(['10.0.0.5/29']);
    await expect(new AddressPool(registry, 'b', logger).claim(SMALL, 'e2', ['10.0.0.5'])).rejects.toMatchObject({
      code: 'VTEP_ERR_ADDRESS_IN_USE',
      message: expect.stringContaining('node a'),
    });
  });

  it.each([
    ['10.0.0.0', 'network address'],
    ['10.0.0.1', 'gateway'],
    ['10.0.0.7', 'broadcast'],
    ['10.0.0.8', 'outside'],
    ['9.255.255.255', 'outside'],
  ])('refuses %s: %s', async (address, why) => {
    const registry = new MemoryRegistry();
    await expect(new AddressPool(registry, 'a', logger).claim(SMALL, 'e', [address])).rejects.toMatchObject({
      code: 'VTEP_ERR_INVALID',
      message: expect.stringContaining(why),
    });
    expect(registry.under('addresses/')).toEqual([]);
  });

  it('gives one address a family, IPv4 first, and all or none', async () => {
    const registry = new MemoryRegistry();
    const pool = new AddressPool(registry, 'a', logger);
    const dual = withSubnets(
      { cidr: 'fd00:2::/64', gateway: 'fd00:2::1' },
      { cidr: '10.0.0.0/29', gateway: '10.0.0.1' },
    );
    expect(await pool.claim(dual, 'e1')).toEqual(['10.0.0.2/29', 'fd00:2::2/64']);
    expect(await pool.claim(dual, 'e2', ['FD00:2:0::0009'])).toEqual(['10.0.0.3/29', 'fd00:2::9/64']);
    expect(await pool.claim(dual, 'e3', ['10.0.0.6', 'fd00:2::3'])).toEqual(['10.0.0.6/29', 'fd00:2::3/64']);
    await expect(pool.claim(dual, 'e4', ['fd00:2::9'])).rejects.toMatchObject({ code: 'VTEP_ERR_ADDRESS_IN_USE' });
    await expect(pool.claim(dual, 'e4', ['10.0.0.4', '10.0.0.5'])).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
    expect(registry.under('addresses/').length).toBe(6);
    const six = withSubnets({ cidr: 'fd00:3::/64' });
    await expect(pool.claim(six, 'e5', ['10.0.0.4'])).rejects.toThrow(/no IPv4 subnet/);
    await expect(pool.claim(six, 'e5', ['fd00:3::'])).rejects.toThrow(/subnet-router anycast/);
    expect(await pool.claim(six, 'e5')).toEqual(['fd00:3::1/64']);
  });

  it('goes on to the next subnet of the family when one is full', async () => {
    const pool = new AddressPool(new MemoryRegistry(), 'a', logger);
    const two = withSubnets({ cidr: '10.0.0.0/29', gateway: '10.0.0.1' }, { cidr: '10.0.9.0/29', gateway: '10.0.9.1' });
    for (let i = 0; i < 5; i++) await pool.claim(two, `e${i}`);
    expect(await pool.claim(two, 'e6')).toEqual(['10.0.9.2/29']);
    for (let i = 0; i < 4; i++) await pool.claim(two, `f${i}`);
    await expect(pool.claim(two, 'e7')).rejects.toMatchObject({
      code: 'VTEP_ERR_POOL_EXHAUSTED',
      message: expect.stringContaining('10.0.0.0/29, 10.0.9.0/29'),
    });
  });

  it('keeps to the range and away from what is reserved; a fixed address may lie outside of the range', async () => {
    const pool = new AddressPool(new MemoryRegistry(), 'a', logger);
    const narrow = withSubnets({
      ...{ cidr: '10.0.0.0/24', gateway: '10.0.0.1', range: '10.0.0.128/30' },
      reserved: ['10.0.0.129-10.0.0.130', '10.0.0.64/29'],
    });
    expect(await pool.claim(narrow, 'e1')).toEqual(['10.0.0.128/24']);
    expect(await pool.claim(narrow, 'e2')).toEqual(['10.0.0.131/24']);
    await expect(pool.claim(narrow, 'e3')).rejects.toMatchObject({ code: 'VTEP_ERR_POOL_EXHAUSTED' });
    expect(await pool.claim(narrow, 'e3', ['10.0.0.7'])).toEqual(['10.0.0.7/24']);
    await expect(pool.claim(narrow, 'e4', ['10.0.0.66'])).rejects.toThrow(/is reserved: give one of 10\.0\.0\.1 to/);
  });

  it.each(['10.0.0.0/8', 'fd00::/64'])('finds the lowest free one of %s at once', async (cidr) => {
    const registry = new MemoryRegistry();
    const pool = new AddressPool(registry, 'a', logger);
    const large = withSubnets({
      cidr,
      reserved: [cidr === 'fd00::/64' ? 'fd00::1-fd00::ffff' : '10.0.0.1-10.200.0.0'],
    });
    const begunMs = performance.now();
    for (let i = 0; i < 50; i++) await pool.claim(large, `e${i}`);
    expect(performance.now() - begunMs).toBeLessThan(5000);
    expect(registry.under('addresses/')).toContain(
      `addresses/blue/${cidr === 'fd00::/64' ? 'fd00::1:0' : '10.200.0.1'}`,
    );
  });

  it('reads the taken addresses once, and tells what was lost by the losses', async () => {
    const registry = new MemoryRegistry();
    let lists = 0;
    const list = registry.list.bind(registry);
    registry.list = async (prefix) => {
      lists += 1;
      const answer = await list(prefix);
      // Another host takes the five lowest between the reading and the claim.
      for (let i = 2; i < 7; i++) await registry.put(`addresses/blue/10.0.0.${i}`, '{}');
      return answer;
    };
    const pool = new AddressPool(registry, 'a', logger);
    expect(await pool.claim(network('10.0.0.0/24', '10.0.0.1'), 'e')).toHaveLength(1);
    expect(lists).toBeLessThanOrEqual(2);
  });

  it('releases only what it holds for that endpoint', async () => {
    const registry = new MemoryRegistry();
    await new AddressPool(registry, 'a', logger).claim(SMALL, 'e1');
    await new AddressPool(registry, 'b', logger).release('blue', '10.0.0.2', 'e1');
    await new AddressPool(registry, 'a', logger).release('blue', '10.0.0.2', 'e2');
    expect(registry.under('addresses/')).toEqual(['addresses/blue/10.0.0.2']);
  });

  it('sweeps its own forgotten claims, leaves those under way and those of others, and claims again what was lost', async () => {
    const registry = new MemoryRegistry();
    const before = new AddressPool(registry, 'a', logger);
    await before.claim(SMALL, 'forgotten');
    await new AddressPool(registry, 'b', logger).claim(SMALL, 'of-b');
    const pool = new AddressPool(registry, 'a', logger);
    await pool.claim(SMALL, 'under-way');
    const held = [{ network: 'blue', address: '10.0.0.6', endpointId: 'kept' }];
    await pool.sweep(held, (id) => id === 'kept');
    expect(registry.under('addresses/')).toEqual(
      ['10.0.0.3', '10.0.0.4', '10.0.0.6'].map((ip) => `addresses/blue/${ip}`),
    );
    pool.settled('under-way');
    await pool.sweep(held, (id) => id === 'kept');
    expect(registry.under('addresses/')).toEqual(['10.0.0.3', '10.0.0.6'].map((ip) => `addresses/blue/${ip}`));
  });

  it('never gives two endpoints one address, however the hosts interleave', async () => {
    const turns = fc.array(fc.nat(7), { minLength: 3, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(turns, fc.integer({ min: 2, max: 12 }), async (counts, hosts) => {
        const registry = new MemoryRegistry();
        registry.pause = pauses(counts);
        const claims = Array.from({ length: hosts }, (_, host) =>
          new AddressPool(registry, `host-${host}`, logger).claim(network('10.0.0.0/28', '10.0.0.1'), `e${host}`),
        );
        const got = (await Promise.all(claims)).flat();
        expect(new Set(got).size).toBe(hosts);
        expect(registry.under('addresses/').length).toBe(hosts);
        expect(got).toContain('10.0.0.2/28');
      }),
      { numRuns: 60 },
    );
  });
});
