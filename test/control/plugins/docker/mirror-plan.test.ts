/** What a host's Docker is to show: each case, and that any beginning comes to what the registry says with nothing else touched. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DockerNetwork } from '../../../../src/control/plugins/docker/engine-api.js';
import {
  isMirror,
  type MirroredNetwork,
  type MirrorInput,
  mirrorOf,
  planMirrors,
  provisionalName,
  registryName,
} from '../../../../src/control/plugins/docker/mirror-plan.js';

const never = () => false;

function network(name: string, more: Partial<MirroredNetwork> = {}): MirroredNetwork {
  const subnets = [{ cidr: '10.0.2.0/24', gateway: '10.0.2.1' }];
  return { name, id: `id-of-${name}`, subnets, internal: false, state: 'active', options: {}, ...more };
}

function docker(Name: string, more: Partial<DockerNetwork> = {}): DockerNetwork {
  return { Id: `${Name}-0000000000000`, Name, Driver: 'vtep', Options: {}, Labels: {}, ...more };
}

/** As Docker lists what mirrorOf makes. */
function mirror(of: MirroredNetwork, Id = `m-${of.name}-00000000000`): DockerNetwork {
  const { Name, Driver, Options, Labels } = mirrorOf(of, 'vtep');
  return { Id, Name, Driver, Options: { ...Options }, Labels: { ...Labels } };
}

const unbound = { bound: new Map<string, string>(), wasRemoved: never };

const plan = (
  registry: MirroredNetwork[],
  has: DockerNetwork[],
  more: Partial<Pick<MirrorInput, 'isSettling' | 'bound' | 'wasRemoved'>> = {},
) => {
  const input = { registry, docker: has, driver: 'vtep', isSettling: never, ...unbound, ...more };
  const { steps, problems } = planMirrors(input);
  const texts = steps.map((step) => (step.do === 'create' ? `create ${step.network.name}` : `remove ${step.id}`));
  return { steps: texts, problems };
};

describe('planMirrors', () => {
  const web = network('web');
  const anew = network('web', { id: 'another' });
  const provisional = provisionalName('abcdef0123456789');

  it.each<[string, MirroredNetwork[], DockerNetwork[], string[]]>([
    ['a network that Docker lacks', [web], [], ['create web']],
    ['one that it shows', [web], [mirror(web)], []],
    ['one that is gone', [], [mirror(web)], ['remove m-web-00000000000']],
    ['one that was made anew', [anew], [mirror(web)], ['remove m-web-00000000000', 'create web']],
    ['one that is shown twice', [web], [mirror(web, 'b'), mirror(web, 'a')], ['remove b']],
    ['one being removed: neither made nor taken away', [network('web', { state: 'removing' })], [], []],
    ['one being removed, shown', [network('web', { state: 'removing' })], [mirror(web)], []],
    ['a network of a user with this driver, of the same name', [web], [docker('web')], []],
    ['the same beside a mirror', [web], [docker('web'), mirror(web)], ['remove m-web-00000000000']],
    ['a user joined it by another name', [web], [docker('mine', { Options: { 'vtep.network': 'web' } })], []],
    ['a network of a user that the registry does not know', [], [docker('web')], []],
    ['a network of another driver that looks like a mirror', [], [{ ...mirror(web), Driver: 'bridge' }], []],
    ['one that has not got its name yet', [network(provisional)], [docker('web', { Id: 'abcdef0123456789' })], []],
    ['the same on another host', [network(provisional)], [], [`create ${provisional}`]],
  ])('%s', (_, registry, has, steps) => {
    expect(plan(registry, has)).toEqual({ steps, problems: [] });
  });

  it('waits with networks that are about to get another name', () => {
    expect(plan([network(provisional), web], [], { isSettling: (name) => name === provisional }).steps).toEqual([
      'create web',
    ]);
  });

  const removed = network('web', { id: 'old' });
  const joined = docker('mine', { Options: { 'vtep.network': 'web' } });
  it.each<[string, MirroredNetwork[], DockerNetwork[], string | undefined, string[], string[]]>([
    ['goes when that was removed', [], [docker('web')], 'old', ['old'], ['remove web-0000000000000']],
    ['by another name too', [], [joined], 'old', ['old'], ['remove mine-0000000000000']],
    [
      'gives way to the one that was made anew',
      [web],
      [docker('web')],
      'old',
      ['old'],
      ['remove web-0000000000000', 'create web'],
    ],
    ['stays when the registry merely lacks it', [], [docker('web')], 'old', [], []],
    ['stays when another one was removed', [], [docker('web')], 'old', ['id-of-web'], []],
    ['stays when nobody knows what it was made as', [], [docker('web')], undefined, ['old'], []],
    ['stays while that is being removed', [{ ...removed, state: 'removing' }], [docker('web')], 'old', ['old'], []],
    ['stays when that is back', [removed], [docker('web')], 'old', ['old'], []],
    [
      'stays when that is back by another name',
      [{ ...removed, name: 'db' }],
      [docker('web')],
      'old',
      ['old'],
      ['create db'],
    ],
    ['of another driver stays', [], [docker('web', { Driver: 'bridge' })], 'old', ['old'], []],
  ])("a user's network, bound to one of the registry's: %s", (_, registry, has, id, gone, steps) => {
    const bound = new Map(id === undefined ? [] : [[has[0]!.Id, id]]);
    expect(plan(registry, has, { bound, wasRemoved: (one) => gone.includes(one) })).toEqual({ steps, problems: [] });
  });

  it('leaves a network of another driver alone, and says so', () => {
    const { steps, problems } = plan([web], [docker('web', { Driver: 'bridge', Id: '0123456789abcdef' })]);
    expect(steps).toEqual([]);
    expect(problems).toEqual([expect.stringMatching(/"web".*driver bridge, 0123456789ab\)/)]);
  });

  it("tells where another network of this driver has the name, and the registry another one's", () => {
    const { steps, problems } = plan([web, network(provisional)], [docker('web', { Id: 'abcdef0123456789' })]);
    expect(steps).toEqual([]);
    expect(problems).toEqual([expect.stringContaining('"web"')]);
  });

  it('does not show a network of IPv6 alone', () => {
    const six = network('six', { subnets: [{ cidr: 'fd00::/64', gateway: 'fd00::1' }] });
    expect(plan([six], [])).toEqual({ steps: [], problems: [expect.stringContaining('no IPv4 subnet')] });
  });
});

it('a mirror has of each family the first subnet, and what the driver needs to know it by', () => {
  const subnets = [
    { cidr: 'fd00:2::/64' },
    { cidr: '10.0.2.0/24', gateway: '10.0.2.254' },
    { cidr: '10.0.3.0/24', gateway: '10.0.3.1' },
  ];
  const options = { 'vtep.network': 'web', 'vtep.id': 'id-of-web' };
  expect(mirrorOf(network('web', { subnets, internal: true }), 'vtep2')).toEqual({
    ...{ Name: 'web', Driver: 'vtep2', CheckDuplicate: true, Internal: true, EnableIPv6: true },
    IPAM: {
      ...{ Driver: 'vtep2', Options: options },
      Config: [{ Subnet: '10.0.2.0/24', Gateway: '10.0.2.254' }, { Subnet: 'fd00:2::/64' }],
    },
    ...{ Options: options, Labels: { 'vtep.mirror': '1' } },
  });
  expect(mirrorOf(network('web'), 'vtep').EnableIPv6).toBe(false);
});

const NAMES = ['a', 'b', 'c', 'bridge'];
const registryOf = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom(...NAMES),
      id: fc.constantFrom('1', '2'),
      state: fc.constantFrom('active' as const, 'active' as const, 'removing' as const),
    }),
    { selector: ({ name }) => name },
  )
  .map((list) => list.map(({ name, ...more }) => network(name, more)));
const dockerOf = fc
  .array(
    fc.record({
      kind: fc.constantFrom('mirror', 'mirror', 'own', 'joined', 'foreign'),
      name: fc.constantFrom(...NAMES),
      id: fc.constantFrom('1', '2'),
    }),
    { maxLength: 8 },
  )
  .map((list) =>
    list.map(({ kind, name, id }, index): DockerNetwork => {
      const Id = `${index}0123456789abcdef`;
      if (kind === 'mirror') return mirror(network(name, { id }), Id);
      if (kind === 'own') return docker(name, { Id });
      if (kind === 'joined') return docker(`my-${name}`, { Id, Options: { 'vtep.network': name } });
      return docker(name, { Id, Driver: 'bridge' });
    }),
  );

/** Of some of Docker's networks (by their place in the list): what they were made as. */
const boundOf = fc.dictionary(fc.constantFrom(...'01234567'), fc.constantFrom('1', '2', '3'));
const goneOf = fc.subarray(['1', '2', '3']);

it('once carried out, nothing is left to do; each network is shown once or told of; only mirrors go, and what was removed', () => {
  fc.assert(
    fc.property(registryOf, dockerOf, boundOf, goneOf, (registry, before, places, gone) => {
      const bound = new Map(Object.entries(places).map(([place, id]) => [`${place}0123456789abcdef`, id]));
      const wasRemoved = (id: string) => gone.includes(id);
      const input = { registry, driver: 'vtep', isSettling: never, bound, wasRemoved };
      const isDead = ({ Id }: DockerNetwork) => {
        const id = bound.get(Id);
        return id !== undefined && wasRemoved(id) && registry.every((one) => one.id !== id);
      };
      const first = planMirrors({ ...input, docker: before });
      let after = before;
      for (const step of first.steps) {
        if (step.do === 'create') after = [...after, mirror(step.network, `new-${step.network.name}`)];
        else {
          const going = after.find(({ Id }) => Id === step.id)!;
          expect([going.Driver, isMirror(going, 'vtep') || isDead(going)]).toEqual(['vtep', true]);
          after = after.filter(({ Id }) => Id !== step.id);
        }
      }
      for (const one of after) if (one.Driver === 'vtep' && !isMirror(one, 'vtep')) expect(isDead(one)).toBe(false);
      expect(planMirrors({ ...input, docker: after })).toEqual({ steps: [], problems: first.problems });
      const names = new Map(registry.map((one) => [one.name, one]));
      for (const { name, state, id } of registry) {
        const shows = after.filter((one) => one.Driver === 'vtep' && registryName(one, names) === name);
        const mirrors = shows.filter((one) => isMirror(one, 'vtep'));
        for (const one of mirrors) expect(one.Options['vtep.id']).toBe(id);
        expect(mirrors.length).toBeLessThanOrEqual(1);
        const told = first.problems.some((problem) => problem.includes(`"${name}"`));
        if (state === 'active') expect([name, shows.length > 0, told]).toEqual([name, !told, told]);
      }
      for (const one of after.filter((each) => isMirror(each, 'vtep'))) expect(names.has(one.Name)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});
