/** The CNI commands against a real host: kernel objects in namespaces, the registry in memory. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ip, link, linkNames } from '../../namespaces.js';
import { CniSite } from './cni-site.js';

const site = new CniSite();
const WAIT = { timeout: 10_000, interval: 50 };
const V6 = 'fd00:5::/64';
let box: string;

beforeAll(async () => {
  await site.start();
  await site.host.createNetwork({ name: 'blue', subnets: ['10.1.0.0/24'] });
  await site.host.createNetwork({ name: 'both', subnets: ['10.2.0.0/24', V6] });
  await site.host.createNetwork({ name: 'shut', subnets: ['10.3.0.0/24'], internal: true });
});
afterAll(() => site.remove());
beforeEach(async () => {
  box = await site.containers.add();
});
afterEach(() => site.clear());

const added = async (asked: Parameters<CniSite['ask']>[1] = {}) => {
  const answer = await site.ask('ADD', { netns: box, ...asked });
  expect(answer, JSON.stringify(answer.body)).toMatchObject({ status: 200 });
  return answer.body;
};

describe('ADD', () => {
  it('answers all that there is, in the form of each version', async () => {
    const netns = `/run/netns/${box}`;
    const forms: Record<string, unknown> = {};
    for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
      forms[cniVersion] = await added({ config: { cniVersion } });
      await site.ask('DEL', { config: { cniVersion } });
    }
    const full = await added({ config: { ip: '10.1.0.77' } });
    const [endpoint] = await site.host.localEndpoints();
    const port = endpoint!.local!.hostInterface;
    expect(full).toEqual({
      cniVersion: '1.1.0',
      interfaces: [
        { name: 'vtep-b256', mac: (await link(site.netns, 'vtep-b256')).address },
        { name: port, mac: (await link(site.netns, port)).address },
        { name: 'eth0', mac: (await link(box, 'eth0')).address, mtu: 1450, sandbox: netns },
      ],
      ips: [{ address: '10.1.0.77/24', gateway: '10.1.0.1', interface: 2 }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
      dns: { nameservers: ['10.1.0.1'], search: ['blue.vtep'] },
    });
    expect(await ip(box, 'route', 'show', 'default')).toContain('default via 10.1.0.1 dev eth0');
    const inside = { name: 'eth0', mac: expect.any(String), sandbox: netns };
    const old = { version: '4', address: expect.any(String), gateway: '10.1.0.1', interface: 2 };
    for (const cniVersion of ['0.3.1', '0.4.0']) {
      expect(forms[cniVersion]).toMatchObject({ cniVersion, ips: [old] });
      expect((forms[cniVersion] as typeof full).interfaces[2]).toStrictEqual(inside);
    }
    expect(forms['1.0.0']).toMatchObject({ cniVersion: '1.0.0' });
    expect((forms['1.0.0'] as typeof full).interfaces[2]).toStrictEqual(inside);
    expect((forms['1.0.0'] as typeof full).ips[0]).not.toHaveProperty('version');
  });

  it('gives both families, each with its gateway and route', async () => {
    const { ips, routes, dns } = await added({ config: { network: 'both' } });
    expect(ips).toEqual([
      { address: '10.2.0.2/24', gateway: '10.2.0.1', interface: 2 },
      { address: 'fd00:5::2/64', gateway: 'fd00:5::1', interface: 2 },
    ]);
    expect(routes).toEqual([
      { dst: '0.0.0.0/0', gw: '10.2.0.1' },
      { dst: '::/0', gw: 'fd00:5::1' },
    ]);
    expect(dns).toEqual({ nameservers: ['10.2.0.1', 'fd00:5::1'], search: ['both.vtep'] });
  });

  it.each([
    ['an internal network', { network: 'shut' }],
    ['defaultRoute no', { defaultRoute: 'no' }],
    ['defaultRoute false', { defaultRoute: false }],
  ])('sets no route: %s', async (_, config) => {
    expect((await added({ config })).routes).toEqual([]);
    expect(await ip(box, 'route', 'show', 'default')).toBe('');
  });

  it('makes the network that is not there, if it may', async () => {
    const config = { name: 'fresh', subnets: ['10.9.0.0/24'], vni: 4711, internal: true, mtuBytes: 1400 };
    const refused = await site.ask('ADD', { netns: box, config });
    expect(refused.body).toMatchObject({ code: 103, details: 'VTEP_ERR_NETWORK_UNKNOWN' });
    expect((await added({ config: { ...config, create: true } })).interfaces[2].mtu).toBe(1400);
    expect(await site.host.inspectNetwork('fresh')).toMatchObject({ vni: 4711, internal: true, mtuBytes: 1400 });
  });

  it('names the endpoint after the pod, and takes the address and the MAC that are asked for', async () => {
    const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;IP=10.1.0.40/24;MAC=02:00:5e:10:00:07';
    await added({ args });
    expect((await site.host.localEndpoints())[0]).toMatchObject({
      ...{ name: 'web-0.shop', mac: '02:00:5e:10:00:07', addresses: ['10.1.0.40/24'] },
      local: { owner: 'cni:c1/eth0@blue' },
    });
  });

  it('publishes ports itself only if it is told to', async () => {
    const runtimeConfig = { portMappings: [{ hostPort: 18080, containerPort: 80, protocol: 'tcp', hostIP: '' }] };
    await added({ config: { runtimeConfig } });
    expect((await site.host.localEndpoints())[0]!.local!.publish).toBeUndefined();
    await site.ask('DEL');
    await added({ config: { runtimeConfig, publishPorts: true } });
    expect((await site.host.localEndpoints())[0]!.local!.publish).toEqual([
      { protocol: 'tcp', hostPort: 18080, containerPort: 80 },
    ]);
  });

  it('a second time is an error that breaks nothing', async () => {
    await added();
    const before = await ip(box, '-json', 'address', 'show', 'dev', 'eth0');
    expect((await site.ask('ADD', { netns: box })).body).toMatchObject({ code: 102, cniVersion: '1.1.0' });
    // The same network under another name: two interfaces with one subnet, of which the kernel would use one.
    const twice = await site.ask('ADD', { netns: box, ifname: 'eth1' });
    expect(twice.body).toMatchObject({ code: 102, msg: expect.stringContaining('already attached to network "blue"') });
    const other = await site.ask('ADD', { netns: box, config: { name: 'both' } });
    expect(other.body).toMatchObject({ code: 102, msg: expect.stringContaining('already has an interface "eth0"') });
    expect(await ip(box, '-json', 'address', 'show', 'dev', 'eth0')).toBe(before);
    expect(await site.owners()).toEqual(['cni:c1/eth0@blue']);
  });

  it('of a container that began anew, with its former namespace gone, replaces what is left', async () => {
    await added();
    await site.containers.remove(box);
    box = await site.containers.add();
    await added();
    expect(await linkNames(box)).toEqual(['eth0']);
    expect(await site.owners()).toEqual(['cni:c1/eth0@blue']);
  });

  it('adds to what an earlier plugin of the chain made', async () => {
    await added();
    const first = await site.ask('ADD', { netns: box, ifname: 'eth1', config: { name: 'both' } });
    await site.ask('DEL', { ifname: 'eth1', config: { name: 'both' } });
    const all = await added({ ifname: 'eth2', config: { name: 'both', prevResult: first.body } });
    expect(
      all.interfaces.map(({ name }: { name: string }) => name).filter((name: string) => /^eth/.test(name)),
    ).toEqual(['eth1', 'eth2']);
    expect(all.ips.map((one: { interface: number }) => one.interface)).toEqual([2, 2, 5, 5]);
  });

  it.each<[number, string, Parameters<CniSite['ask']>[1], RegExp]>([
    [1, 'no version', { config: { cniVersion: undefined } }, /cniVersion is missing/],
    [1, 'a version that is not known', { config: { cniVersion: '0.2.0' } }, /"0\.2\.0" is not supported/],
    [2, 'an ipam plugin', { config: { ipam: { type: 'host-local' } } }, /ipam\.type "host-local"/],
    [2, 'sctp', sctp(), /protocol "sctp"/],
    [3, 'no such namespace', { netns: '/run/netns/vtct-none' }, /vtct-none does not exist/],
    [3, 'a file that is no namespace', { netns: '/etc/hostname' }, /no network namespace/],
    [4, 'no container id', { containerId: undefined }, /CNI_CONTAINERID is missing/],
    [4, 'a container id with a slash', { containerId: 'a/b' }, /CNI_CONTAINERID "a\/b"/],
    [4, 'no interface name', { ifname: undefined }, /CNI_IFNAME is missing/],
    [4, 'a long interface name', { ifname: 'sixteen-letters-' }, /CNI_IFNAME "sixteen-letters-"/],
    [4, 'no namespace', { netns: undefined }, /CNI_NETNS is missing/],
    [4, 'arguments without a value', { args: 'IP' }, /CNI_ARGS "IP"/],
    [7, 'no name', { config: { name: undefined } }, /^name is missing/],
    [7, 'a name that no network has', { config: { name: '-x' } }, /^name: "-x"/],
    [7, 'a wrong field', { config: { defaultRoute: 'maybe' } }, /^defaultRoute: "maybe"/],
    [7, 'a wrong field of a network', { config: { create: true, vni: 0 } }, /^vni: 0 must be/],
    [7, 'a wrong MAC', { config: { mac: 'ff:ff:ff:ff:ff:ff' } }, /^mac: "ff:ff:ff:ff:ff:ff"/],
    [7, 'an address outside of the network', { args: 'IP=10.99.0.1' }, /10\.99\.0\.1/],
    [7, 'two addresses of a family', { config: { ips: ['10.1.0.5', '10.1.0.6'] } }, /one address a family/],
    [7, 'a group where there is none', { config: { group: 5 } }, /no group policy/],
    [103, 'no such network', { config: { name: 'none' } }, /network "none" does not exist/],
    [7, 'the address of the gateway', { args: 'IP=10.1.0.1' }, /10\.1\.0\.1.* is the gateway/],
  ])('code %i: %s', async (code, _, asked, message) => {
    const { status, body } = await site.ask('ADD', { netns: box, ...asked });
    expect(body).toMatchObject({ code, msg: expect.stringMatching(message) });
    expect(Object.keys(body).filter((key) => !['cniVersion', 'code', 'msg', 'details'].includes(key))).toEqual([]);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(await linkNames(box)).toEqual([]);
    expect(await site.owners()).toEqual([]);
  });

  it('code 104: an address that is taken', async () => {
    await added({ containerId: 'c2', netns: await site.containers.add(), args: 'IP=10.1.0.50' });
    const { body } = await site.ask('ADD', { netns: box, args: 'IP=10.1.0.50' });
    expect(body).toMatchObject({
      code: 104,
      msg: expect.stringContaining('10.1.0.50'),
      details: 'VTEP_ERR_ADDRESS_IN_USE',
    });
  });

  it('code 11 while the registry is away and nothing is held in advance', async () => {
    site.registry.goDown();
    try {
      expect((await site.ask('ADD', { netns: box })).body).toMatchObject({ code: 11 });
    } finally {
      site.registry.down = false;
    }
  });
});

function sctp() {
  const portMappings = [{ hostPort: 1, containerPort: 1, protocol: 'sctp' }];
  return { config: { publishPorts: true, runtimeConfig: { portMappings } } };
}

describe('DEL', () => {
  it('succeeds again and again, and for what never was', async () => {
    await added();
    for (const netns of [box, box, undefined, '/run/netns/vtct-none']) {
      expect(await site.ask('DEL', { netns })).toEqual({ status: 204, body: undefined });
    }
    expect(await site.ask('DEL', { containerId: 'never' })).toMatchObject({ status: 204 });
    expect(await linkNames(box)).toEqual([]);
  });

  it('needs no namespace, no prevResult, no right fields, no network; other attachments stay', async () => {
    await added();
    const other = await site.containers.add();
    await added({ netns: other, containerId: 'c2' });
    await added({ ifname: 'eth1', config: { name: 'both' } });
    const config = { network: 17, vni: 'x', ips: 'none' };
    expect(await site.ask('DEL', { netns: undefined, config })).toMatchObject({ status: 204 });
    expect(await site.owners()).toEqual(['cni:c1/eth1@both', 'cni:c2/eth0@blue']);
    expect(await linkNames(box)).toEqual(['eth1']);
  });

  it('after a restart of vtepd, and while the registry is away', async () => {
    await added();
    await site.restart();
    expect(await site.owners()).toEqual(['cni:c1/eth0@blue']);
    site.registry.goDown();
    try {
      expect(await site.ask('DEL', { netns: undefined })).toMatchObject({ status: 204 });
      expect(await linkNames(box)).toEqual([]);
    } finally {
      site.registry.down = false;
    }
    await vi.waitFor(() => expect(site.registry.under('addresses/blue/10.1.0.2')).toEqual([]), WAIT);
  });

  it.each([
    [4, { containerId: undefined }],
    [4, { ifname: undefined }],
    [7, { config: { name: undefined } }],
    [1, { config: { cniVersion: '9.9.9' } }],
  ])('code %i: %o', async (code, asked) => {
    expect((await site.ask('DEL', asked)).body).toMatchObject({ code });
  });
});

describe('CHECK', () => {
  it('finds nothing where nothing changed, in each version that has it, for a chain with others too', async () => {
    for (const cniVersion of ['0.4.0', '1.0.0', '1.1.0']) {
      const prevResult = await added({ config: { network: 'both', cniVersion } });
      const check = (result: unknown) => site.ask('CHECK', { netns: box, config: { cniVersion, prevResult: result } });
      expect(await check(prevResult)).toEqual({ status: 204, body: undefined });
      const others = { ...prevResult, routes: [...prevResult.routes, { dst: '192.0.2.0/24', gw: '192.0.2.1' }] };
      others.interfaces = [...others.interfaces, { name: 'ifb0', mac: '02:00:00:00:00:01' }];
      expect(await check(others)).toEqual({ status: 204, body: undefined });
      await site.ask('DEL');
    }
  });

  it.each<[string, () => Promise<unknown>, RegExp]>([
    ['an address that went', () => ip(box, 'address', 'del', '10.1.0.77/24', 'dev', 'eth0'), /no address 10\.1\.0\.77/],
    ['a route that went', () => ip(box, 'route', 'del', 'default'), /no route to 0\.0\.0\.0\/0 by 10\.1\.0\.1/],
    [
      'another MAC',
      () => ip(box, 'link', 'set', 'eth0', 'address', '02:00:5e:10:00:55'),
      /has the MAC 02:00:5e:10:00:55/,
    ],
    ['a container interface that is down', () => ip(box, 'link', 'set', 'eth0', 'down'), /"eth0" is down/],
    ['an interface under another name', renamed, /"eth0" is not in the container/],
    ['another interface of that name', replaced, /"eth0" is another one/],
  ])('finds %s', async (_, change, message) => {
    const prevResult = await added({ args: 'IP=10.1.0.77' });
    // An announcement that is under way sets the MAC once more.
    await vi.waitFor(async () => {
      await change();
      const { body } = await site.ask('CHECK', { netns: box, config: { prevResult } });
      expect(body).toMatchObject({ code: 101, details: expect.stringMatching(message) });
    }, WAIT);
  });

  it('knows a container that it has not, and one that is gone', async () => {
    const prevResult = await added();
    await site.ask('DEL');
    const ask = (netns: string) => site.ask('CHECK', { netns, config: { prevResult } });
    expect((await ask(box)).body).toMatchObject({ code: 101 });
    expect((await ask('/run/netns/vtct-none')).body).toMatchObject({ code: 3, details: 'c1' });
  });

  it.each([
    [1, { config: { cniVersion: '0.3.1' } }],
    [7, {}],
    [7, { config: { prevResult: { ips: [{}] } } }],
    [4, { netns: undefined }],
  ])('code %i: %o', async (code, asked) => {
    expect((await site.ask('CHECK', { netns: box, ...asked })).body).toMatchObject({ code });
  });
});

async function renamed() {
  await ip(box, 'link', 'set', 'eth0', 'down');
  await ip(box, 'link', 'set', 'eth0', 'name', 'eth9');
}

async function replaced() {
  await renamed();
  await ip(box, 'link', 'add', 'eth0', 'type', 'bridge');
  await ip(box, 'link', 'set', 'eth0', 'up');
}

describe('GC', () => {
  const listed = (...valid: [string, string][]) => ({
    'cni.dev/valid-attachments': valid.map(([containerID, ifname]) => ({ containerID, ifname })),
  });

  it('detaches what is not listed, of its own configuration only', async () => {
    for (const containerId of ['c1', 'c2', 'c3']) {
      await added({ containerId, netns: await site.containers.add() });
    }
    await added({ containerId: 'c4', netns: await site.containers.add(), config: { name: 'second', network: 'blue' } });
    await site.host.attach({ network: 'blue', netns: box });
    expect(await site.ask('GC', { config: listed(['c2', 'eth0'], ['c3', 'eth1']) })).toMatchObject({ status: 204 });
    expect(await site.owners()).toEqual(['cni:c2/eth0@blue', 'cni:c4/eth0@second', undefined]);
    expect(await site.ask('GC', { config: listed() })).toMatchObject({ status: 204 });
    expect(await site.owners()).toEqual(['cni:c4/eth0@second', undefined]);
  });

  it('goes on after a failure, and reports all', async () => {
    for (const containerId of ['c1', 'c2', 'c3']) {
      await added({ containerId, netns: await site.containers.add() });
    }
    const detach = site.host.detachById.bind(site.host);
    const ids = (await site.host.localEndpoints()).map(({ id }) => id);
    const spy = vi.spyOn(site.host, 'detachById').mockImplementation(async (id) => {
      if (id !== ids[1]) throw new Error(`the disk is full, ${id}`);
      await detach(id);
    });
    const { body } = await site.ask('GC', { config: listed() });
    spy.mockRestore();
    expect(body).toMatchObject({ code: 106, msg: '2 stale attachments could not be removed' });
    expect(body.details).toContain(ids[0]);
    expect(body.details).toContain(ids[2]);
    expect((await site.owners()).length).toBe(2);
  });

  it.each([
    [1, { config: { cniVersion: '1.0.0', ...listed() } }],
    [7, {}],
    [7, { config: { 'cni.dev/valid-attachments': ['c1'] } }],
  ])('code %i, nothing removed: %o', async (code, asked) => {
    await added();
    expect((await site.ask('GC', asked)).body).toMatchObject({ code });
    expect(await site.owners()).toEqual(['cni:c1/eth0@blue']);
  });
});

describe('STATUS and VERSION', () => {
  it('is well where an ADD would be', async () => {
    expect(await site.ask('STATUS')).toEqual({ status: 204, body: undefined });
    expect(await site.ask('STATUS', { config: { name: 'later', create: true } })).toMatchObject({ status: 204 });
  });

  it.each([
    [50, { config: { name: 'none' } }],
    [7, { config: { name: 'blue', mac: 5 } }],
    [1, { config: { cniVersion: '1.0.0' } }],
  ])('code %i: %o', async (code, asked) => {
    expect((await site.ask('STATUS', asked)).body).toMatchObject({ code });
  });

  it('an absent registry matters where nothing is open', async () => {
    await added();
    site.registry.goDown();
    try {
      await vi.waitFor(async () => {
        expect((await site.ask('STATUS', { config: { name: 'both' } })).body).toMatchObject({ code: 50 });
      }, WAIT);
      expect(await site.ask('STATUS')).toMatchObject({ status: 204 });
    } finally {
      site.registry.down = false;
    }
  });

  it("tells its versions; an unknown command is the environment's fault", async () => {
    const version = await site.ask('VERSION', { config: { cniVersion: '1.0.0' } });
    expect(version.body).toEqual({
      cniVersion: '1.0.0',
      supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    });
    expect((await site.ask('JUMP')).body).toMatchObject({ code: 4 });
  });
});
