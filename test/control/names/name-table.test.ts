/** The name table beside a slow, obvious one; the forms of a name; what a change costs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type NamedEndpoint, NameTable } from '../../../src/control/names/name-table.js';

const at = (name: string, ...addresses: string[]): NamedEndpoint => ({ name, addresses });

describe('forms of a name', () => {
  const table = new NameTable();
  table.setNode('my_overlay', 'a', [at('Web', '10.0.0.2/24', 'fd00::2/64'), at('db.main', '10.0.0.3/24')]);
  table.setNode('main', 'a', [at('db', '10.0.1.2/24')]);

  it.each([
    ['web', '10.0.0.2'],
    ['WEB', '10.0.0.2'],
    ['web.my_overlay', '10.0.0.2'],
    ['wEb.My_Overlay.VTEP', '10.0.0.2'],
    ['db.main', '10.0.0.3'],
    ['db.main.my_overlay.vtep', '10.0.0.3'],
  ])('%s is found', (name, address) => {
    expect(table.lookup('my_overlay', name)?.ipv4).toEqual([address]);
  });

  it.each(['', '.', 'web.vtep', 'web.main', 'my_overlay', '.my_overlay', 'db', 'web.my_overlay.vtep.', 'w'])(
    '"%s" is not',
    (name) => {
      expect(table.lookup('my_overlay', name)).toBeUndefined();
    },
  );

  it('another network has its own', () => {
    expect(table.lookup('main', 'db.main')?.ipv4).toEqual(['10.0.1.2']);
    expect(table.lookup('main', 'web')).toBeUndefined();
    expect(table.lookup('none', 'web')).toBeUndefined();
  });

  it('an address leads back to the full name, as it was written', () => {
    expect(table.reverse('my_overlay', 'fd00::2')).toEqual(['Web.my_overlay.vtep']);
    expect(table.reverse('main', 'fd00::2')).toEqual([]);
  });

  it('the domain can be another', () => {
    const other = new NameTable('lab.example');
    other.setNode('n', 'a', [at('x', '10.0.0.2/24')]);
    expect(other.lookup('n', 'x.n.lab.example')?.ipv4).toEqual(['10.0.0.2']);
    expect(other.lookup('n', 'x.n.vtep')).toBeUndefined();
    expect(other.reverse('n', '10.0.0.2')).toEqual(['x.n.lab.example']);
  });
});

it.each(['', '.', 'a..b', '.a', 'a.', 'a b', 'ä', 'a/b', 'x'.repeat(64), 'a\nb'])('"%s" is no name', (name) => {
  const table = new NameTable();
  table.setNode('n', 'a', [at(name, '10.0.0.2/24')]);
  expect(table.size('n')).toBe(0);
  expect(table.reverse('n', '10.0.0.2')).toEqual([]);
});

it('an address that is none is left out, and the canonical form answers', () => {
  const table = new NameTable();
  table.setNode('n', 'a', [at('x', 'nonsense', '10.0.0.2', 'FD00:0::2/64')]);
  expect(table.lookup('n', 'x')).toEqual({ ipv4: ['10.0.0.2'], ipv6: ['fd00::2'] });
});

it('endpoints of one name on several nodes answer all addresses, each first in its turn', () => {
  const table = new NameTable();
  for (const n of [2, 3, 4]) table.setNode('n', `node${n}`, [at('web', `10.0.0.${n}/24`)]);
  const firsts = [1, 2, 3, 4].map(() => table.lookup('n', 'web')!.ipv4);
  expect(firsts.map(([first]) => first)).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.2']);
  for (const all of firsts) expect([...all].sort()).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4']);
});

it('a change of one node looks at nothing of the others', () => {
  const table = new NameTable();
  let reads = 0;
  const watched = (name: string, address: string): NamedEndpoint => ({
    get name() {
      reads++;
      return name;
    },
    addresses: [address],
  });
  table.setNode(
    'n',
    'big',
    Array.from({ length: 2000 }, (_, i) => watched(`c${i}`, `10.1.${i >> 8}.${i & 255}/16`)),
  );
  expect(reads).toBeGreaterThanOrEqual(2000);
  reads = 0;
  for (let i = 0; i < 200; i++) table.setNode('n', 'small', [at('x', `10.0.0.${i}/24`)]);
  table.removeNode('n', 'small');
  expect(reads).toBe(0);
  expect(table.size('n')).toBe(2000);
  table.removeNode('n', 'big');
  expect(reads).toBeGreaterThanOrEqual(2000);
  expect(table.size('n')).toBe(0);
});

const anyName = fc.constantFrom('a', 'A', 'b', 'b.n', 'c', 'bad..name');
const anyAddress = fc.constantFrom('10.0.0.1/24', '10.0.0.2/24', '10.0.0.3/24', 'fd00::1/64', 'FD00::0:1/64');
const anyEndpoints = fc.array(
  fc.record({
    name: anyName,
    aliases: fc.option(fc.array(anyName, { maxLength: 2 }), { nil: undefined }),
    addresses: fc.array(anyAddress, { maxLength: 3 }),
  }),
  { maxLength: 4 },
);
const anyStep = fc.oneof(
  fc.record({
    do: fc.constant('set' as const),
    network: fc.constantFrom('n', 'm'),
    node: fc.constantFrom('1', '2', '3'),
    endpoints: anyEndpoints,
  }),
  fc.record({
    do: fc.constant('remove' as const),
    network: fc.constantFrom('n', 'm'),
    node: fc.constantFrom('1', '2', '3'),
  }),
  fc.record({ do: fc.constant('close' as const), network: fc.constantFrom('n', 'm') }),
);

it('says what a table that is made anew from all endpoints says', () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 30 }), (steps) => {
      const table = new NameTable();
      const model = new Map<string, Map<string, readonly NamedEndpoint[]>>([
        ['n', new Map()],
        ['m', new Map()],
      ]);
      for (const step of steps) {
        const nodes = model.get(step.network)!;
        if (step.do === 'set') {
          table.setNode(step.network, step.node, step.endpoints);
          nodes.set(step.node, step.endpoints);
        } else if (step.do === 'remove') {
          table.removeNode(step.network, step.node);
          nodes.delete(step.node);
        } else {
          table.removeNetwork(step.network);
          nodes.clear();
        }
        for (const [network, all] of model) {
          const endpoints = [...all.values()].flat();
          for (const name of ['a', 'b', 'b.n', 'c']) {
            const addresses = new Set(
              endpoints
                .filter((one) => [one.name, ...(one.aliases ?? [])].some((each) => each.toLowerCase() === name))
                .flatMap((endpoint) => endpoint.addresses.map((text) => text.split('/')[0]!.toLowerCase()))
                .map((text) => (text === 'fd00::0:1' ? 'fd00::1' : text)),
            );
            // `b.n` is also the longer form of `b` in the network n.
            if (name === 'b.n' && network === 'n' && addresses.size === 0) continue;
            const found = table.lookup(network, name);
            expect([...(found?.ipv4 ?? []), ...(found?.ipv6 ?? [])].sort()).toEqual([...addresses].sort());
          }
          expect(table.lookup(network, 'bad..name')).toBeUndefined();
          const back = new Set(
            endpoints
              .filter(({ name }) => name !== 'bad..name')
              .filter(({ addresses }) => addresses.some((text) => /^fd00::(0:)?1/i.test(text)))
              .map(({ name }) => `${name}.${network}.vtep`),
          );
          expect(table.reverse(network, 'fd00::1')).toEqual([...back].sort());
        }
      }
    }),
    { numRuns: 300 },
  );
});
