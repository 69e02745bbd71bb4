/** What networks of Docker's are in the registry: by their options, their IPAM and their scope; published ports. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { choosePorts } from '../../../../src/control/gateway/free-ports.js';
import { readNetworkOptions, readPoolOptions } from '../../../../src/control/plugins/docker/network-options.js';
import { readPortMap } from '../../../../src/control/plugins/docker/port-map.js';
import { id, type Machine, pool, Site } from './docker-site.js';

let site: Site;
beforeEach(() => {
  site = new Site();
});
afterEach(() => site.close());

const GENERIC = 'com.docker.network.generic';

interface Wish {
  readonly options?: Record<string, unknown>;
  readonly more?: Record<string, unknown>;
  readonly v4?: object[];
  readonly v6?: object[];
}

function createNetwork(machine: Machine, networkId: string, { options = {}, more = {}, v4 = [], v6 = [] }: Wish) {
  const Options = { [GENERIC]: options, ...more };
  return machine.call('NetworkDriver.CreateNetwork', { NetworkID: networkId, Options, IPv4Data: v4, IPv6Data: v6 });
}

function createEndpoint(machine: Machine, networkId: string, endpointId: string, Address = '') {
  const ids = { NetworkID: networkId, EndpointID: endpointId };
  return machine.call('NetworkDriver.CreateEndpoint', { ...ids, Interface: { Address } });
}

const docker = (cidr: string, gateway: string, space = 'LocalDefault') => [pool(cidr, gateway, space)];

describe("with Docker's own IPAM", () => {
  it('a local one gives vtep the upper half, its addresses are claimed, and no second Docker gives them', async () => {
    const [a, b] = [await site.boot('cdh1'), await site.boot('cdh2')];
    const aux = [pool('172.18.0.0/16', '172.18.0.1/16', 'LocalDefault', { router: '172.18.0.9/16' })];
    await createNetwork(a, id('a'), { v4: aux });
    const [network] = await b.host.listNetworks();
    expect(network).toMatchObject({
      name: 'docker-aaaaaaaaaaaa',
      subnets: [
        {
          ...{ cidr: '172.18.0.0/16', gateway: '172.18.0.1' },
          ...{ range: '172.18.128.0-172.18.255.255', reserved: ['172.18.0.9'] },
        },
      ],
    });
    await expect(createNetwork(b, id('b'), { v4: docker('172.18.0.0/16', '172.18.0.1/16') })).rejects.toThrow(
      /Docker on host cdh1 .*--ipam-driver vtep --ipam-opt vtep\.network=docker-aaaaaaaaaaaa/,
    );
    const adopted = { options: { 'vtep.network': network!.name }, v4: [pool('172.18.0.0/16', '172.18.0.1/16')] };
    await createNetwork(b, id('b'), adopted);
    const given = await createEndpoint(b, id('b'), id('1'));
    expect(given.Interface.Address).toBe('172.18.128.0/16');
    await createEndpoint(a, id('a'), id('2'), '172.18.0.2/16');
    await expect(createEndpoint(a, id('a'), id('3'), '172.18.128.0/16')).rejects.toThrow(
      /172\.18\.128\.0 of network .* is in use by endpoint .* on node cdh2/,
    );
    await expect(createEndpoint(a, id('a'), id('3'), '172.18.0.9/16')).rejects.toThrow(/is reserved/);
    await a.call('NetworkDriver.DeleteEndpoint', { NetworkID: id('a'), EndpointID: id('2') });
    await b.call('NetworkDriver.DeleteEndpoint', { NetworkID: id('b'), EndpointID: id('1') });
    expect(site.registry.under('addresses/')).toEqual([]);
  });

  it('a global one is found on hosts that never heard of its making, also where the local copy was lost', async () => {
    const [a, b] = [await site.boot('cdh1', { scope: 'global' }), await site.boot('cdh2', { scope: 'global' })];
    await createNetwork(a, id('a'), { v4: docker('10.9.0.0/24', '10.9.0.1/24', 'GlobalDefault') });
    expect((await a.host.listNetworks())[0]?.subnets).toEqual([{ cidr: '10.9.0.0/24', gateway: '10.9.0.1' }]);
    expect(Object.keys((await createEndpoint(b, id('a'), id('1'), '10.9.0.2/24')).Interface)).toEqual(['MacAddress']);
    await a.stop();
    rmSync(a.stateDirectory, { recursive: true });
    await a.start();
    await createEndpoint(a, id('a'), id('2'), '10.9.0.3/24');
    await expect(createEndpoint(a, id('c'), id('4'), '10.9.0.4/24')).rejects.toThrow(
      /Docker's network cccccccccccc is not known to vtep/,
    );
    await expect(a.call('NetworkDriver.Join', { NetworkID: id('a'), EndpointID: id('9') })).rejects.toThrow(
      /endpoint 999999999999 is not known to vtep/,
    );
    await b.call('NetworkDriver.DeleteNetwork', { NetworkID: id('a') });
    expect(await a.host.listNetworks()).toEqual([]);
    await a.call('NetworkDriver.DeleteNetwork', { NetworkID: id('a') });
  });
});

describe('a network that is there', () => {
  it('is adopted by what fits it, and by nothing else', async () => {
    const a = await site.boot('cdh1');
    await a.host.createNetwork({ name: 'blue', vni: 300, subnets: ['10.4.0.0/24', 'fd00:4::/64'], ipv6: true });
    const v4 = [pool('10.4.0.0/24', '10.4.0.1/24')];
    const blue = { 'vtep.network': 'blue' };
    const refused: [Wish, RegExp][] = [
      [{ options: { ...blue, 'vtep.vni': '301' }, v4 }, /"blue" is there already: vtep\.vni is 300, not 301/],
      [{ options: { ...blue, 'vtep.flood': 'auto' }, v4 }, /vtep\.flood is "replicate", not "auto"/],
      [{ options: blue, more: { 'com.docker.network.internal': true }, v4 }, /--internal is false, not true/],
      [{ options: blue, v4: docker('172.18.0.0/16', '172.18.0.1/16') }, /--ipam-opt vtep\.network=blue/],
    ];
    for (const [wish, why] of refused) await expect(createNetwork(a, id('a'), wish)).rejects.toThrow(why);
    await createNetwork(a, id('a'), { options: { ...blue, 'vtep.vni': '300' }, v4 });
    await createNetwork(a, id('a'), { options: { ...blue, 'vtep.vni': '300' }, v4 });
    // Docker did not ask for IPv6: it gets what the network has.
    const { Interface } = await createEndpoint(a, id('a'), id('1'));
    expect(Interface).toMatchObject({ Address: '10.4.0.2/24', AddressIPv6: 'fd00:4::2/64' });
    await a.host.removeNetwork('blue');
    await expect(createEndpoint(a, id('a'), id('2'))).rejects.toThrow(/network "blue" was removed from the registry/);
  });

  it('gives its subnet as a pool, but not for ever to a Docker that will not have it', async () => {
    const a = await site.boot('cdh1');
    await a.host.createNetwork({ name: 'blue', subnets: ['10.4.0.0/24'], gateways: ['none'] });
    const request = { AddressSpace: 'vtep-local', Options: { 'vtep.network': 'blue' } };
    const { PoolID, Pool } = await a.call('IpamDriver.RequestPool', request);
    expect(Pool).toBe('10.4.0.0/24');
    await expect(a.call('IpamDriver.RequestPool', request)).rejects.toThrow(/give "--subnet 10\.4\.0\.0\/24" as well/);
    expect(await a.call('IpamDriver.RequestPool', { ...request, Pool })).toMatchObject({ PoolID, Pool });
    await expect(a.call('IpamDriver.RequestPool', { ...request, Pool: '10.5.0.0/24' })).rejects.toThrow(
      /"blue" has no subnet 10\.5\.0\.0\/24: it has 10\.4\.0\.0\/24/,
    );
    const Options = { RequestAddressType: 'com.docker.network.gateway' };
    expect((await a.call('IpamDriver.RequestAddress', { PoolID, Options })).Address).toBe('10.4.0.0/24');
    // Of blocks that there is no network of yet, each is another one.
    const blocks = [await a.call('IpamDriver.RequestPool'), await a.call('IpamDriver.RequestPool', {})];
    expect(blocks.map((block) => block.Pool)).toEqual(['10.0.0.0/24', '10.0.1.0/24']);
  });
});

describe('options', () => {
  it('are those of vtep network create, and what is unknown is refused', () => {
    const read = (options: Record<string, unknown>) => readNetworkOptions({ [GENERIC]: options });
    expect(
      read({
        ...{ 'vtep.network': 'blue', 'vtep.vni': '7', 'vtep.learning': 'off', 'vtep.group-policy': 'on' },
        ...{ 'vtep.allow-groups': '1:2,3:4', 'vtep.dns': 'off', 'com.docker.network.driver.mtu': '1400', other: '1' },
      }),
    ).toMatchObject({
      network: 'blue',
      asked: { vni: 7, learning: false, groupPolicy: true, allowedGroups: ['1:2', '3:4'], mtuBytes: 1400 },
      kept: { 'vtep.dns': 'off' },
    });
    expect(read({ 'vtep.mtu': '1300', 'com.docker.network.driver.mtu': '1400' }).asked).toEqual({ mtuBytes: 1300 });
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{ 'vtep.flod': 'auto' }, /unknown option "vtep\.flod"; known: vtep\.network, .*vtep\.flood/],
      [{ 'vtep.vni': 'x' }, /^vtep\.vni: "x" must be a whole number/],
      [{ 'com.docker.network.driver.mtu': '9' }, /^com\.docker\.network\.driver\.mtu: 9 must be/],
      [{ 'vtep.snooping': 'maybe' }, /^vtep\.snooping: "maybe" must be on or off/],
      [{ 'vtep.network': 'a b' }, /^vtep\.network: "a b" must be/],
      [{ 'vtep.dns': 'no' }, /^vtep\.dns: "no" must be on or off/],
    ];
    for (const [options, why] of wrong) expect(() => read(options)).toThrow(why);
    expect(() => readPoolOptions({ 'vtep.vni': '1' })).toThrow(/unknown IPAM option "vtep\.vni"/);
  });
});

describe('published ports', () => {
  const KEY = 'com.docker.network.portmap';
  const binding = { Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 8080, HostPortEnd: 8080 };

  it('are read from what Docker says', () => {
    expect(readPortMap({})).toBeUndefined();
    expect(
      readPortMap({
        [KEY]: [
          binding,
          { ...binding, Proto: 17, HostIP: '192.0.2.1', HostPort: 0 },
          { ...binding, HostPortEnd: 8090 },
        ],
      }),
    ).toEqual([
      { protocol: 'tcp', containerPort: 80, hostPorts: { first: 8080, last: 8080 } },
      { protocol: 'udp', containerPort: 80, hostAddress: '192.0.2.1' },
      { protocol: 'tcp', containerPort: 80, hostPorts: { first: 8080, last: 8090 } },
    ]);
    expect(() => readPortMap({ [KEY]: [{ ...binding, Proto: 132 }] })).toThrow(/port 80: sctp can't be published/);
  });

  it('get the first free one of a range, any other one, and no one twice', async () => {
    const range = { protocol: 'tcp', containerPort: 80, hostPorts: { first: 8080, last: 8082 } } as const;
    const isFree = async ({ hostPort }: { hostPort: number }) => hostPort !== 8080;
    const any = { protocol: 'tcp', containerPort: 81 } as const;
    const chosen = await choosePorts([range, range, any, any], isFree);
    expect(chosen.slice(0, 2).map(({ hostPort }) => hostPort)).toEqual([8081, 8082]);
    expect(new Set(chosen.map(({ hostPort }) => hostPort)).size).toBe(4);
    expect(chosen[3]!.hostPort).toBeGreaterThanOrEqual(49_153);
    await expect(choosePorts([range, range, range], isFree)).rejects.toMatchObject({
      code: 'VTEP_ERR_HOST_PORT_IN_USE',
      message: expect.stringContaining('8080-8082/tcp'),
    });
  });
});
