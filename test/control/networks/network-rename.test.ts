/** A network gets another name: what moves with it, what refuses it, and hosts that rename, make, attach and remove at once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NetworkStore } from '../../../src/control/networks/network-store.js';
import type { LocalEndpoint } from '../../../src/control/state/local-state.js';
import { MemoryRegistry, pauses } from '../memory-registry.js';
import { PaperHost, publishedAddresses } from '../paper-host.js';

const noRoutes = async (): Promise<string[]> => [];
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? String(error),
  );
const holder = (registry: MemoryRegistry, key: string) =>
  (JSON.parse(registry.keys.get(key)!.value) as { network: string }).network;

describe('NetworkStore.rename', () => {
  it('takes VNI, subnets and settings along, and leaves nothing of the old name', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    await registry.put('journal/endpoints/old', '{}');
    const before = await store.create({ name: 'old', ipv6: true, internal: true, vni: 700 });
    const after = await store.rename('old', 'my_overlay');
    expect(after).toEqual({ ...before, name: 'my_overlay' });
    expect((await store.find('my_overlay'))?.value).toEqual(after);
    expect([...registry.keys.keys()].sort()).toEqual([
      ...['networks/my_overlay', 'subnets/10.0.0.0_24', 'subnets/fd76:7465:7000::_64', 'vnis/700'],
    ]);
    for (const key of ['vnis/700', 'subnets/10.0.0.0_24', 'subnets/fd76:7465:7000::_64']) {
      expect(holder(registry, key)).toBe('my_overlay');
    }
  });

  it("leaves another network's claim of the same subnet alone", async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    await store.create({ name: 'pool' });
    await store.create({ name: 'old', subnets: ['10.0.0.0/24'] });
    await store.rename('old', 'new');
    expect(holder(registry, 'subnets/10.0.0.0_24')).toBe('pool');
  });

  it.each([
    ['addresses/old/10.0.0.2', 'VTEP_ERR_NETWORK_IN_USE', '10.0.0.2'],
    ['endpoints/old/cdh2', 'VTEP_ERR_NETWORK_IN_USE', 'cdh2'],
    ['peers/old/192.0.2.7', 'VTEP_ERR_NETWORK_IN_USE', '192.0.2.7'],
    ['networks/new', 'VTEP_ERR_NETWORK_EXISTS', '"new" exists already'],
  ])('is refused while there is %s, and nothing has changed then', async (key, code, words) => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    const before = await store.create({ name: 'old' });
    await registry.put(key, '{}');
    await expect(store.rename('old', 'new')).rejects.toMatchObject({ code, message: expect.stringContaining(words) });
    expect((await store.find('old'))?.value).toEqual(before);
    await registry.delete(key);
    expect(await codeOf(store.rename('old', 'new'))).toBe('done');
  });

  it.each(['', '.hidden', 'a/b', 'a b', 'x'.repeat(64)])('refuses "%s" as a name', async (name) => {
    const store = new NetworkStore(new MemoryRegistry(), noRoutes);
    await store.create({ name: 'old' });
    await expect(store.rename('old', name)).rejects.toMatchObject({
      code: 'VTEP_ERR_INVALID',
      message: expect.stringContaining('1 to 63 letters'),
    });
  });

  it('knows no network that is not there, and none that is being removed', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    expect(await codeOf(store.rename('none', 'new'))).toBe('VTEP_ERR_NETWORK_UNKNOWN');
    const value = await store.create({ name: 'old' });
    await registry.put('networks/old', JSON.stringify({ ...value, state: 'removing' }));
    expect(await codeOf(store.rename('old', 'new'))).toBe('VTEP_ERR_CONFLICT');
  });

  it('finishes what a renamer that died has begun, and gives it up where the name is taken by then', async () => {
    const registry = new MemoryRegistry();
    const store = new NetworkStore(registry, noRoutes);
    for (const name of ['one', 'two']) {
      const value = await store.create({ name });
      const begun = { ...value, state: 'removing', renamingTo: `${name}-new` };
      await registry.put(`networks/${name}`, JSON.stringify(begun));
    }
    expect(await codeOf(store.rename('one', 'another'))).toBe('VTEP_ERR_CONFLICT');
    expect(await store.rename('one', 'one-new')).toMatchObject({ name: 'one-new', state: 'active' });
    await store.create({ name: 'two-new' });
    expect(await codeOf(store.rename('two', 'two-new'))).toBe('VTEP_ERR_NETWORK_EXISTS');
    const { value } = (await store.find('two'))!;
    expect([value.state, value.renamingTo]).toEqual(['active', undefined]);
  });
});

const act = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('rename' as const), to: fc.constantFrom('blue', 'green') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('create' as const), to: fc.constantFrom('blue', 'green') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('attach' as const), to: fc.constantFrom('old', 'blue') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), to: fc.constantFrom('old', 'blue') }) },
);

it('whatever two hosts do at once, each network has one name, its claims, and those that are attached to it', async () => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(fc.array(act, { minLength: 1, maxLength: 4 }), fc.array(act, { minLength: 1, maxLength: 4 })),
      fc.array(fc.nat(12), { minLength: 3, maxLength: 40 }),
      async (acts, turns) => {
        const memory = new MemoryRegistry();
        const clock = { nowMs: 1_800_000_000_000 };
        const hosts = ['cdh1', 'cdh2'].map((node) => new PaperHost(node, memory, clock, async () => false));
        for (const host of hosts) await host.beat();
        await hosts[0]!.store.create({ name: 'old', subnets: ['10.9.0.0/29'] });
        memory.pause = pauses(turns);
        const attached: string[] = [];
        await Promise.all(
          hosts.map(async (host, index) => {
            for (const one of acts[index]!) {
              const { to } = one;
              const work =
                one.do === 'rename'
                  ? host.store.rename('old', to)
                  : one.do === 'create'
                    ? host.store.create({ name: to })
                    : one.do === 'remove'
                      ? host.store.remove(to)
                      : host.attach(to);
              const code = await codeOf(work);
              seen.set(`${one.do} ${code}`, (seen.get(`${one.do} ${code}`) ?? 0) + 1);
              if (one.do === 'attach' && code === 'done') {
                const { network, addresses } = (await work) as LocalEndpoint;
                attached.push(`${network} ${addresses[0]}`);
              }
            }
          }),
        );
        memory.pause = async () => undefined;
        const networks = await hosts[0]!.store.list();
        expect(networks.map(({ name }) => `networks/${name}`).sort()).toEqual(memory.under('networks/'));
        for (const { name, vni, state, renamingTo } of networks) {
          expect([state, renamingTo]).toEqual(['active', undefined]);
          expect(holder(memory, `vnis/${vni}`)).toBe(name);
        }
        expect(memory.under('vnis/').length).toBe(networks.length);
        for (const key of memory.under('subnets/'))
          expect(networks.map(({ name }) => name)).toContain(holder(memory, key));
        // Nobody's network has been taken from under him.
        expect([...publishedAddresses(memory).keys()].sort()).toEqual(attached.sort());
        for (const one of attached) expect(networks.map(({ name }) => name)).toContain(one.split(' ')[0]);
      },
    ),
    { numRuns: 120 },
  );
  expect([...seen.keys()]).toEqual(
    expect.arrayContaining([
      ...['rename done', 'rename VTEP_ERR_NETWORK_IN_USE', 'rename VTEP_ERR_NETWORK_EXISTS', 'attach done'],
      ...['attach VTEP_ERR_NETWORK_UNKNOWN', 'remove done', 'remove VTEP_ERR_NETWORK_IN_USE', 'create done'],
    ]),
  );
}, 60_000);
