/**
 * Networks and addresses of three hosts against a simple reference: what exists, who has which address, who is dead.
 *
 * One step at a time, each followed by a comparison of the registry with the reference; what several hosts do at once is
 * in the tests of the parts.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { CreateNetwork } from '../../src/control/api/schema.js';
import { MemoryRegistry } from './memory-registry.js';
import { type Clock, PaperHost, publishedAddresses, REAP_AFTER_MS, TTL_MS } from './paper-host.js';

const NETWORKS = ['blue', 'green', 'red'];
const ASKED: Record<string, Omit<CreateNetwork, 'name'>> = {
  blue: { subnets: ['10.1.0.0/29'] },
  green: { subnets: ['10.2.0.0/29', '10.2.1.0/29', 'fd00:2::/120'], ranges: ['fd00:2::/125'] },
  red: { subnets: ['fd00:3::/64'] },
};
const FOUR: Record<string, string[]> = {
  blue: pool('10.1.0.', 2, 6),
  green: [...pool('10.2.0.', 2, 6), ...pool('10.2.1.', 2, 6)],
  red: [],
};
const SIX: Record<string, string[]> = { blue: [], green: pool('fd00:2::', 2, 7), red: pool('fd00:3::', 2, 400) };

function pool(prefix: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const number = first + i;
    return prefix + (prefix.includes(':') ? number.toString(16) : String(number));
  });
}

interface Held {
  readonly network: string;
  readonly addresses: readonly string[];
  readonly host: number;
}

/** What ought to be. */
class Reference {
  readonly networks = new Set<string>();
  /** By endpoint; those of dead hosts stay until they are reaped. */
  readonly held = new Map<string, Held>();
  readonly dead = [false, false, false];
  readonly diedMs = [0, 0, 0];

  /** The lowest free one a family; undefined: none is left of one of them. */
  next(network: string): string[] | undefined {
    const taken = new Set(this.on(network).flatMap(({ addresses }) => addresses));
    const families = [FOUR[network]!, SIX[network]!].filter((addresses) => addresses.length > 0);
    const free = families.map((addresses) => addresses.find((address) => !taken.has(address)));
    return free.every((address) => address !== undefined) ? free : undefined;
  }

  on(network: string): Held[] {
    return [...this.held.values()].filter((one) => one.network === network);
  }
}

interface World {
  readonly memory: MemoryRegistry;
  readonly clock: Clock;
  readonly hosts: PaperHost[];
  readonly reference: Reference;
}

const host = fc.nat(2);
const network = fc.constantFrom(...NETWORKS);
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('create' as const), host, network }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), host, network, force: fc.boolean() }) },
  { weight: 10, arbitrary: fc.record({ do: fc.constant('attach' as const), host, network }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('fixed' as const), host, network, pick: fc.nat(20) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('detach' as const), pick: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('die' as const), host }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('return' as const), host }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reap' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? String(error),
  );
const bare = (addresses: readonly string[]): string[] => addresses.map((text) => text.split('/')[0]!);

async function pass({ clock, hosts }: World, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10_000) {
    clock.nowMs += 10_000;
    for (const each of hosts) each.expireIfDue();
    for (const each of hosts) if (!each.cut) await each.beat();
    for (const each of hosts) if (!each.cut) await each.reaper.look();
  }
}

async function attach(world: World, at: number, name: string, ips?: readonly string[]): Promise<void> {
  const { reference, hosts } = world;
  const expected = ips === undefined ? reference.next(name) : undefined;
  const taken = ips?.some((ip) => reference.on(name).some(({ addresses }) => addresses.includes(ip)));
  const work = hosts[at]!.attach(name, ips);
  const code = await codeOf(work);
  if (!reference.networks.has(name)) expect(code).toBe('VTEP_ERR_NETWORK_UNKNOWN');
  else if (taken === true) expect(code).toBe('VTEP_ERR_ADDRESS_IN_USE');
  else if (ips === undefined && expected === undefined) expect(code).toBe('VTEP_ERR_POOL_EXHAUSTED');
  else if (code === 'done') {
    const { id, addresses } = await work;
    if (expected !== undefined) expect(bare(addresses)).toEqual(expected);
    for (const ip of ips ?? []) expect(bare(addresses)).toContain(ip);
    reference.held.set(id, { network: name, addresses: bare(addresses), host: at });
  } else {
    // A fixed address in one family, and none left in the other.
    expect([code, ips !== undefined && reference.next(name) === undefined]).toEqual(['VTEP_ERR_POOL_EXHAUSTED', true]);
  }
}

async function remove({ reference, hosts }: World, at: number, name: string, force: boolean): Promise<void> {
  const published = reference.on(name).filter((one) => !reference.dead[one.host]);
  if (force && published.length > 0) {
    // As Host does when it sees the network being removed by force.
    const removal = codeOf(hosts[at]!.store.remove(name, true));
    while ((await hosts[at]!.store.find(name))?.value.forced !== true) await new Promise(setImmediate);
    for (const each of hosts) {
      for (const endpoint of each.cut ? [] : [...each.endpoints.values()].filter((one) => one.network === name)) {
        each.endpoints.delete(endpoint.id);
        await each.publisher.unpublish(name);
      }
    }
    expect(await removal).toBe('done');
  } else {
    const code = await codeOf(hosts[at]!.store.remove(name, force));
    if (!reference.networks.has(name)) return expect(code).toBe('VTEP_ERR_NETWORK_UNKNOWN');
    if (published.length > 0) return expect(code).toBe('VTEP_ERR_NETWORK_IN_USE');
    expect(code).toBe('done');
  }
  reference.networks.delete(name);
  for (const [id, one] of reference.held) if (one.network === name) reference.held.delete(id);
  for (const each of hosts) each.networks.delete(name);
}

async function run(world: World, one: Step): Promise<void> {
  const { reference, hosts, memory } = world;
  if ('host' in one && one.do !== 'return' && reference.dead[one.host]) return;
  switch (one.do) {
    case 'create': {
      const code = await codeOf(hosts[one.host]!.store.create({ name: one.network, ...ASKED[one.network] }));
      expect(code).toBe(reference.networks.has(one.network) ? 'VTEP_ERR_NETWORK_EXISTS' : 'done');
      reference.networks.add(one.network);
      return;
    }
    case 'remove':
      return remove(world, one.host, one.network, one.force);
    case 'attach':
      return attach(world, one.host, one.network);
    case 'fixed': {
      const candidates = [...FOUR[one.network]!, ...SIX[one.network]!];
      return attach(world, one.host, one.network, [candidates[one.pick % candidates.length]!]);
    }
    case 'detach': {
      const living = [...reference.held].filter(([, held]) => !reference.dead[held.host]);
      const [id, held] = living[one.pick % living.length] ?? [];
      if (id === undefined || held === undefined) return;
      await hosts[held.host]!.detach(id);
      reference.held.delete(id);
      return;
    }
    case 'die':
      // Without a word, and its containers with it; one host is always left.
      if (reference.dead.filter((dead) => !dead).length < 2) return;
      reference.dead[one.host] = true;
      reference.diedMs[one.host] = world.clock.nowMs;
      hosts[one.host]!.cut = true;
      hosts[one.host]!.endpoints.clear();
      return pass(world, TTL_MS + 10_000);
    case 'return': {
      if (!reference.dead[one.host]) return;
      reference.dead[one.host] = false;
      hosts[one.host] = new PaperHost(`cdh${one.host + 1}`, memory, world.clock);
      await hosts[one.host]!.beat();
      for (const [id, held] of reference.held) if (held.host === one.host) reference.held.delete(id);
      return;
    }
    case 'reap':
      // The hold time, and the turns of two hosts.
      await pass(world, REAP_AFTER_MS + 20_000);
      for (const [id, held] of reference.held) if (reference.dead[held.host]) reference.held.delete(id);
  }
}

/** Time passes in other steps too: what a dead host held may be reaped from the hold time on. */
function noteReaped({ memory, reference, clock }: World): void {
  for (const [id, one] of reference.held) {
    const goneMs = clock.nowMs - reference.diedMs[one.host]!;
    if (!reference.dead[one.host] || goneMs < TTL_MS + REAP_AFTER_MS) continue;
    const left = one.addresses.filter((address) => memory.keys.has(`addresses/${one.network}/${address}`));
    if (left.length === 0) reference.held.delete(id);
  }
}

function compare({ memory, reference, hosts }: World): void {
  expect(memory.under('networks/')).toEqual([...reference.networks].sort().map((name) => `networks/${name}`));
  expect(memory.under('vnis/').length).toBe(reference.networks.size);
  const claimed = [...reference.held.values()].flatMap((one) =>
    one.addresses.map((a) => `addresses/${one.network}/${a}`),
  );
  expect(memory.under('addresses/')).toEqual(claimed.sort());
  const published = [...publishedAddresses(memory)].map(([what, holders]) => [
    what.replace(/\/\d+$/, ''),
    holders.length,
  ]);
  const living = [...reference.held.values()].filter((one) => !reference.dead[one.host]);
  const expected = living.flatMap((one) => one.addresses.map((address) => [`${one.network} ${address}`, 1]));
  expect(published.sort()).toEqual(expected.sort());
  for (const each of hosts) expect(each.pool.allConflicts().size).toBe(0);
}

it('networks and addresses are as the reference says, whatever is made, removed, attached, detached, dies and returns', async () => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      const memory = new MemoryRegistry();
      const clock = { nowMs: 1_800_000_000_000 };
      const hosts = [1, 2, 3].map((number) => new PaperHost(`cdh${number}`, memory, clock));
      const world = { memory, clock, hosts, reference: new Reference() };
      for (const each of hosts) await each.beat();
      for (const name of ['blue', 'green']) await run(world, { do: 'create', host: 0, network: name });
      for (const one of steps) {
        const before = world.reference.held.size;
        await run(world, one);
        noteReaped(world);
        compare(world);
        if (world.reference.held.size !== before) seen.set(one.do, (seen.get(one.do) ?? 0) + 1);
      }
    }),
    { numRuns: 100 },
  );
  // The runs met what they are about.
  expect([...seen.keys()]).toEqual(expect.arrayContaining(['attach', 'detach', 'fixed', 'reap', 'remove', 'return']));
}, 120_000);
