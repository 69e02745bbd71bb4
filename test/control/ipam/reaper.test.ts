/** Addresses of dead nodes: released after the hold time and not before, and no address ever published twice. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryRegistry, pauses } from '../memory-registry.js';
import { type Clock, PaperHost, publishedAddresses, REAP_AFTER_MS, TTL_MS } from '../paper-host.js';

const LOOK_MS = 10_000;

interface World {
  readonly memory: MemoryRegistry;
  readonly clock: Clock;
  readonly hosts: PaperHost[];
}

async function newWorld(count: number): Promise<World> {
  const memory = new MemoryRegistry();
  const clock = { nowMs: 1_800_000_000_000 };
  const hosts = Array.from({ length: count }, (_, i) => new PaperHost(`cdh${i + 1}`, memory, clock));
  await hosts[0]!.store.create({ name: 'blue', subnets: ['10.0.0.0/28'] });
  for (const host of hosts) await host.beat();
  for (const host of hosts) await host.reaper.look();
  return { memory, clock, hosts };
}

/** Time passes for all: sessions run out, those that reach the registry beat and look. */
async function pass({ clock, hosts }: World, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += LOOK_MS) {
    clock.nowMs += LOOK_MS;
    for (const host of hosts) host.expireIfDue();
    for (const host of hosts) if (!host.cut) await host.beat();
    for (const host of hosts) if (!host.cut) await host.reaper.look();
  }
}

describe('Reaper', () => {
  it('releases what a dead node left once it has been gone for the hold time, and says until when it is not', async () => {
    const world = await newWorld(3);
    const [a, b] = world.hosts as [PaperHost, PaperHost, PaperHost];
    await a.attach('blue');
    await a.attach('blue', ['10.0.0.7']);
    await b.attach('blue');
    a.cut = true;
    await pass(world, TTL_MS + LOOK_MS);
    expect(world.memory.under('nodes/')).not.toContain('nodes/cdh1');
    await expect(b.attach('blue', ['10.0.0.7'])).rejects.toMatchObject({
      code: 'VTEP_ERR_ADDRESS_IN_USE',
      message: expect.stringMatching(/on node cdh1, which is gone since 20\d\d-.*Z: it is free soon after 20\d\d-.*Z/),
    });
    await pass(world, REAP_AFTER_MS - 2 * LOOK_MS);
    expect(world.memory.under('addresses/').length).toBe(3);
    await pass(world, 3 * LOOK_MS);
    expect(world.memory.under('addresses/')).toEqual(['addresses/blue/10.0.0.3']);
    expect((await b.attach('blue', ['10.0.0.7'])).addresses).toEqual(['10.0.0.7/28']);
  });

  it('leaves a node its addresses that comes back in time, and one that is away again begins anew', async () => {
    const world = await newWorld(2);
    const [a] = world.hosts as [PaperHost, PaperHost];
    await a.attach('blue');
    for (let times = 0; times < 3; times++) {
      a.cut = true;
      await pass(world, REAP_AFTER_MS);
      a.cut = false;
      await pass(world, LOOK_MS);
    }
    expect(world.memory.under('addresses/')).toEqual(['addresses/blue/10.0.0.2']);
    expect(publishedAddresses(world.memory).size).toBe(1);
  });

  it('gives a node that returns too late its address back if nobody has it, and reports a conflict if somebody does', async () => {
    const world = await newWorld(2);
    const [a, b] = world.hosts as [PaperHost, PaperHost];
    const lost = await a.attach('blue');
    const kept = await a.attach('blue');
    a.cut = true;
    await pass(world, TTL_MS + REAP_AFTER_MS + 3 * LOOK_MS);
    expect(world.memory.under('addresses/')).toEqual([]);
    const newer = await b.attach('blue');
    expect(newer.addresses).toEqual(lost.addresses);
    a.cut = false;
    await pass(world, LOOK_MS);
    expect(publishedAddresses(world.memory)).toEqual(
      new Map([
        ['blue 10.0.0.2/28', [`cdh2 ${newer.id}`]],
        ['blue 10.0.0.3/28', [`cdh1 ${kept.id}`]],
      ]),
    );
    expect([...a.pool.allConflicts()]).toEqual([
      [lost.id, { network: 'blue', address: '10.0.0.2', holder: `endpoint ${newer.id} on node cdh2` }],
    ]);
    // It ends when the other goes.
    await b.detach(newer.id);
    await a.publishAll();
    expect(a.pool.allConflicts().size).toBe(0);
    expect(publishedAddresses(world.memory).get('blue 10.0.0.2/28')).toEqual([`cdh1 ${lost.id}`]);
  });

  it('counts from anew after the registry was out of sight, for all', async () => {
    const world = await newWorld(3);
    const [a, b] = world.hosts as [PaperHost, PaperHost, PaperHost];
    await a.attach('blue');
    a.cut = true;
    await pass(world, REAP_AFTER_MS);
    // The registry goes for all and comes back empty of sessions: nobody is dead for that.
    for (const host of world.hosts) host.cut = true;
    await pass(world, 2 * REAP_AFTER_MS);
    for (const host of world.hosts) host.cut = host === a;
    await b.beat();
    await b.reaper.look();
    await pass(world, REAP_AFTER_MS - 2 * LOOK_MS);
    expect(world.memory.under('addresses/').length).toBe(1);
    await pass(world, 4 * LOOK_MS);
    expect(world.memory.under('addresses/')).toEqual([]);
  });

  it('finds what was left before it began to look, and judges nobody while it is not entered itself', async () => {
    const world = await newWorld(2);
    await world.memory.put('addresses/blue/10.0.0.9', JSON.stringify({ v: 1, node: 'long-gone', endpointId: 'e' }));
    const late = new PaperHost('cdh3', world.memory, world.clock);
    await late.reaper.look();
    expect(late.reaper.absence('long-gone')).toBeUndefined();
    await late.beat();
    world.hosts.push(late);
    await pass(world, REAP_AFTER_MS + 4 * LOOK_MS);
    expect(world.memory.under('addresses/')).toEqual([]);
  });

  it('has one host do the work and the others find it done', async () => {
    const world = await newWorld(8);
    const [a] = world.hosts as [PaperHost];
    for (let i = 0; i < 4; i++) await a.attach('blue');
    a.cut = true;
    let deletions = 0;
    const transaction = world.memory.transaction.bind(world.memory);
    world.memory.transaction = async (operations) => {
      if (operations.some(({ verb, key }) => verb === 'delete-cas' && key.startsWith('addresses/'))) deletions += 1;
      return transaction(operations);
    };
    await pass(world, TTL_MS + 2 * REAP_AFTER_MS);
    expect(world.memory.under('addresses/')).toEqual([]);
    expect(deletions).toBe(4);
  });

  it('never are two endpoints published with one address, whoever is cut off, dies and returns', async () => {
    const host = fc.nat(2);
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('attach' as const), host }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('detach' as const), host }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('cut' as const), host }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('heal' as const), host }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('beat' as const), host }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('look' as const), host }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('time' as const), host: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('age' as const), host }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('wipe' as const), host }) },
    );
    let [conflicts, reaped] = [0, 0];
    const run = async (world: World, one: { do: string; host: number }) => {
      const who = world.hosts[one.host]!;
      switch (one.do) {
        case 'attach':
          return who.attach('blue');
        case 'detach':
          return who.detach([...who.endpoints.keys()][0] ?? '');
        case 'cut':
          who.cut = true;
          return;
        case 'heal':
          who.cut = false;
          return who.beat();
        case 'beat':
          return who.beat();
        case 'look':
          return who.reaper.look();
        case 'wipe':
          world.memory.wipe();
          return;
        case 'age':
          // All that goes on while one host is away for too long.
          who.cut = true;
          await pass(world, TTL_MS + REAP_AFTER_MS + 4 * LOOK_MS);
          for (const other of world.hosts) if (!other.cut) await other.attach('blue');
          return;
        default:
          world.clock.nowMs += one.host * 5000;
          for (const each of world.hosts) each.expireIfDue();
      }
    };
    const batches = fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 5, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(batches, fc.array(fc.nat(6), { minLength: 3, maxLength: 20 }), async (all, turns) => {
        const world = await newWorld(3);
        for (const each of world.hosts) await each.attach('blue');
        world.memory.pause = pauses(turns);
        for (const batch of all) {
          const before = world.memory.under('addresses/').length;
          // What a cut makes fail is no failure of the property.
          await Promise.allSettled(batch.map((one) => run(world, one)));
          for (const [what, holders] of publishedAddresses(world.memory))
            expect([what, holders.length]).toEqual([what, 1]);
          conflicts += world.hosts.reduce((sum, { pool }) => sum + pool.allConflicts().size, 0);
          if (world.memory.under('addresses/').length < before) reaped += 1;
        }
      }),
      { numRuns: 150 },
    );
    // The runs met what they are about.
    expect(conflicts).toBeGreaterThan(0);
    expect(reaped).toBeGreaterThan(0);
  }, 60_000);
});
