/** Addresses: the lowest free, fixed ones, sweeps, and hosts that ask at the same moment. */
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { AddressPool } from '../../../src/control/ipam/address-pool.js';
import type { NetworkValue } from '../../../src/control/registry/schema.js';
import { MemoryRegistry, pauses } from '../memory-registry.js';

const logger = pino({ level: 'silent' });

function network(subnet: string, gateway: string): NetworkValue {
  return {
    ...{ v: 1, name: 'blue', id: 'n', vni: 256, subnets: [subnet], gateway, mtuBytes: 0, flood: 'replicate' },
    ...{ learning: true, state: 'active', createdAt: '2026-01-01T00:00:00.000Z', options: {} },
  } as NetworkValue;
}

const SMALL = network('10.0.0.0/29', '10.0.0.1');

describe('AddressPool', () => {
  it('gives the lowest free address, from the one after the gateway', async () => {
    const registry = new MemoryRegistry();
    const pool = new AddressPool(registry, 'a', logger);
    expect(await pool.claim(SMALL, 'e1')).toBe('10.0.0.2/29');
    expect(await pool.claim(SMALL, 'e2')).toBe('10.0.0.3/29');
    await pool.release('blue', '10.0.0.2', 'e1');
    expect(await pool.claim(SMALL, 'e3')).toBe('10.0.0.2/29');
    expect(await pool.claim(network('10.0.0.0/29', '10.0.0.4'), 'e4')).toBe('10.0.0.1/29');
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
    expect(await pool.claim(SMALL, 'e1', '10.0.0.5')).toBe('10.0.0.5/29');
    await expect(new AddressPool(registry, 'b', logger).claim(SMALL, 'e2', '10.0.0.5')).rejects.toMatchObject({
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
    await expect(new AddressPool(registry, 'a', logger).claim(SMALL, 'e', address)).rejects.toMatchObject({
      code: 'VTEP_ERR_INVALID',
      message: expect.stringContaining(why),
    });
    expect(registry.under('addresses/')).toEqual([]);
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
        const got = await Promise.all(claims);
        expect(new Set(got).size).toBe(hosts);
        // Lowest first: together they hold the first ones, without a gap.
        expect(registry.under('addresses/').length).toBe(hosts);
        for (let host = 0; host < hosts; host++) expect(got).toContain(`10.0.0.${host + 2}/28`);
      }),
      { numRuns: 60 },
    );
  });
});
