/** The Docker plugin by raw requests, as dockerd makes them: networks, addresses, endpoints, and what outlives a restart. */
import { statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { linkNames } from '../../namespaces.js';
import { call, id, type Machine, pool, Site, WAIT } from './docker-site.js';

let site: Site;
beforeEach(() => {
  site = new Site();
});
afterEach(() => site.close());

const GENERIC = 'com.docker.network.generic';

/** `docker network create -d vtep --ipam-driver vtep [...]`. @returns the pool's id */
async function create(
  machine: Machine,
  networkId: string,
  options: Record<string, string> = {},
  ipam: Record<string, string> = {},
  wanted: { Pool?: string; SubPool?: string } = {},
): Promise<string> {
  const given = await machine.call('IpamDriver.RequestPool', { AddressSpace: 'vtep-local', Options: ipam, ...wanted });
  const gateway = await machine.call('IpamDriver.RequestAddress', {
    PoolID: given.PoolID,
    Address: '',
    Options: { RequestAddressType: 'com.docker.network.gateway' },
  });
  await machine.call('NetworkDriver.CreateNetwork', {
    NetworkID: networkId,
    Options: { [GENERIC]: options },
    IPv4Data: [pool(given.Pool, gateway.Address)],
    IPv6Data: null,
  });
  return given.PoolID;
}

interface Run {
  readonly network: string;
  readonly endpoint: string;
  readonly poolId: string;
  readonly address: string;
  readonly container: string;
  // biome-ignore lint/suspicious/noExplicitAny: the answer of Join, for the test to look at.
  readonly joined: any;
}

/** `docker run`, up to the interface in the container. */
async function run(machine: Machine, network: string, endpoint: string, poolId: string, options = {}): Promise<Run> {
  const { Address: address } = await machine.call('IpamDriver.RequestAddress', { PoolID: poolId, Address: '' });
  const container = await site.namespaces.add();
  const ids = { NetworkID: network, EndpointID: endpoint };
  await machine.call('NetworkDriver.CreateEndpoint', { ...ids, Interface: { Address: address }, Options: options });
  const joined = await machine.call('NetworkDriver.Join', { ...ids, SandboxKey: `/run/netns/${container}` });
  await machine.move(joined.InterfaceName.SrcName, container, `${joined.InterfaceName.DstPrefix}0`, [address]);
  return { network, endpoint, poolId, address, container, joined };
}

/** `docker rm -f`. */
async function remove(machine: Machine, { network, endpoint, poolId, address }: Run): Promise<void> {
  const ids = { NetworkID: network, EndpointID: endpoint };
  await machine.call('NetworkDriver.Leave', ids);
  await machine.call('NetworkDriver.DeleteEndpoint', ids);
  await machine.call('IpamDriver.ReleaseAddress', { PoolID: poolId, Address: address.split('/')[0] });
}

const claims = () => site.registry.under('addresses/').map((key) => key.split('/').at(-1));

describe('the socket', () => {
  it('is private, takes bodies of any content type and none, and says its capabilities', async () => {
    const a = await site.boot('cdh1');
    expect(statSync(a.socketPath).mode & 0o777).toBe(0o600);
    for (const type of [undefined, 'application/json', 'text/plain', 'application/vnd.docker.plugins.v1.2+json']) {
      const activated = await call(a.socketPath, 'Plugin.Activate', '{}', type);
      expect(activated).toEqual({
        status: 200,
        type: 'application/vnd.docker.plugins.v1.2+json',
        body: { Implements: ['NetworkDriver', 'IpamDriver'] },
      });
    }
    expect((await call(a.socketPath, 'NetworkDriver.GetCapabilities')).body).toEqual({
      Scope: 'local',
      ConnectivityScope: 'global',
    });
    expect(await a.call('IpamDriver.GetCapabilities')).toEqual({ RequiresMACAddress: false });
    expect(await a.call('NetworkDriver.DiscoverNew', { DiscoveryType: 1, DiscoveryData: { Self: true } })).toEqual({});
    expect((await call(a.socketPath, 'NetworkDriver.Nonsense', {})).status).toBe(404);
    const wrong = await call(a.socketPath, 'NetworkDriver.Join', '{"NetworkID":');
    expect([wrong.status, wrong.body.Err]).toEqual([200, expect.stringContaining('no JSON')]);
    expect((await call(a.socketPath, 'IpamDriver.ReleasePool', {})).body.Error).toContain('PoolID');
  });

  it('is refused where another process serves it, and taken where nobody does', async () => {
    const a = await site.boot('cdh1');
    const { startDockerPlugin } = await import('../../../../src/control/plugins/docker/server.js');
    const { pino } = await import('pino');
    const again = {
      host: a.host.pluginHost(),
      socketPath: a.socketPath,
      scope: 'local',
      logger: pino({ level: 'silent' }),
    };
    await expect(startDockerPlugin({ ...again, scope: 'local' })).rejects.toMatchObject({
      code: 'VTEP_ERR_SOCKET_IN_USE',
      message: expect.stringContaining('--docker-plugin'),
    });
  });
});

describe('with the plugin as IPAM', () => {
  it('makes a network on one host, adopts it on another, runs a container on each and takes all down', async () => {
    const [a, b] = [await site.boot('cdh1'), await site.boot('cdh2')];
    const named = { 'vtep.network': 'my_overlay' };
    const poolA = await create(a, id('a'), { ...named, 'vtep.vni': '5000', 'vtep.flood': 'auto' }, named);
    expect(await a.host.listNetworks()).toMatchObject([
      { name: 'my_overlay', vni: 5000, flood: 'auto', subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }] },
    ]);
    const poolB = await create(b, id('b'), named, named);

    const first = await run(a, id('a'), id('1'), poolA);
    const second = await run(b, id('b'), id('2'), poolB);
    expect([first.address, second.address]).toEqual(['10.0.0.2/24', '10.0.0.3/24']);
    expect(first.joined).toMatchObject({ Gateway: '10.0.0.1', DisableGatewayService: true });
    await vi.waitFor(async () => {
      const endpoints = await b.host.listEndpoints();
      expect(endpoints.map(({ node, addresses }) => [node, ...addresses])).toEqual([
        ['cdh1', '10.0.0.2/24'],
        ['cdh2', '10.0.0.3/24'],
      ]);
      expect(endpoints[1]?.local).toMatchObject({
        containerInterface: 'eth0',
        sandbox: `netns:/run/netns/${second.container}`,
        state: 'published',
        owner: `docker:${id('2')}`,
      });
    }, WAIT);

    await expect(a.call('NetworkDriver.DeleteNetwork', { NetworkID: id('a') })).rejects.toThrow(/docker-2222.*@cdh2/);
    await remove(b, second);
    await remove(a, first);
    expect(claims()).toEqual([]);
    expect([await a.links(), await b.links()]).toEqual([[], []]);
    await b.call('NetworkDriver.DeleteNetwork', { NetworkID: id('b') });
    expect(await a.host.listNetworks()).toEqual([]);
    for (const method of ['Leave', 'DeleteEndpoint', 'RevokeExternalConnectivity', 'ProgramExternalConnectivity']) {
      await a.call(`NetworkDriver.${method}`, { NetworkID: id('a'), EndpointID: id('1') });
    }
    await a.call('NetworkDriver.DeleteNetwork', { NetworkID: id('a') });
    await a.call('IpamDriver.ReleasePool', { PoolID: poolA });
    await a.call('IpamDriver.ReleaseAddress', { PoolID: poolA, Address: '10.0.0.1' });
  });

  it('repeats its answers, and gives an address back only to whom it was given', async () => {
    const a = await site.boot('cdh1');
    const named = { 'vtep.network': 'blue' };
    const poolId = await create(a, id('a'), named, named);
    const first = await run(a, id('a'), id('1'), poolId);
    const ids = { NetworkID: id('a'), EndpointID: id('1') };
    expect(await a.call('NetworkDriver.Join', { ...ids, SandboxKey: `/run/netns/${first.container}` })).toEqual(
      first.joined,
    );
    const again = await a.call('NetworkDriver.CreateEndpoint', { ...ids, Interface: { Address: first.address } });
    expect(Object.keys(again.Interface)).toEqual(['MacAddress']);
    // Until Docker gives it back nobody else gets it, also when the container is gone.
    await a.call('NetworkDriver.Leave', ids);
    expect(claims()).toEqual(['10.0.0.2']);
    const { Address } = await a.call('IpamDriver.RequestAddress', { PoolID: poolId, Address: '' });
    expect(Address).toBe('10.0.0.3/24');
    await expect(a.call('IpamDriver.RequestAddress', { PoolID: poolId, Address: '10.0.0.2' })).rejects.toThrow(
      /10\.0\.0\.2 of network "blue" is in use/,
    );
    await a.call('NetworkDriver.DeleteEndpoint', ids);
    await a.call('IpamDriver.ReleaseAddress', { PoolID: poolId, Address: '10.0.0.2' });
    await a.call('IpamDriver.ReleaseAddress', { PoolID: poolId, Address: '10.0.0.2' });
    expect(claims()).toEqual(['10.0.0.3']);
  });

  it('keeps networks, reservations and endpoints over restarts at each step', async () => {
    const a = await site.boot('cdh1');
    const named = { 'vtep.network': 'blue' };
    const poolId = await create(a, id('a'), named, named);
    await a.restart();
    const { Address: address } = await a.call('IpamDriver.RequestAddress', { PoolID: poolId, Address: '10.0.0.9' });
    await a.restart();
    expect(claims()).toEqual(['10.0.0.9']);
    const ids = { NetworkID: id('a'), EndpointID: id('1') };
    await a.call('NetworkDriver.CreateEndpoint', { ...ids, Interface: { Address: address } });
    await a.restart();
    const container = await site.namespaces.add();
    const joined = await a.call('NetworkDriver.Join', { ...ids, SandboxKey: `/run/netns/${container}` });
    await a.restart();
    expect(await a.links()).toContain(joined.InterfaceName.SrcName);
    await a.stop();
    await a.move(joined.InterfaceName.SrcName, container, 'eth0', [address]);
    await a.start();
    await vi.waitFor(async () => {
      const [endpoint] = await a.host.listEndpoints();
      expect(endpoint?.local).toMatchObject({ containerInterface: 'eth0', state: 'published' });
    }, WAIT);
    expect(await linkNames(container)).toEqual(['eth0']);
    await remove(a, { ...ids, network: id('a'), endpoint: id('1'), poolId, address, container, joined });
    expect(claims()).toEqual([]);
  });
});
