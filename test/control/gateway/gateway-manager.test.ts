/** The gateway in real namespaces (root): who reaches whom, by which address, and what is put right again. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ip } from '../namespaces.js';
import { GatewaySite, HOST, WORLD } from './gateway-site.js';

const BLUE = {
  ...{ name: 'blue', vni: 256, internal: false },
  subnets: [
    { cidr: '10.0.0.0/24', gateway: '10.0.0.1' },
    { cidr: 'fd00:1::/64', gateway: 'fd00:1::1' },
  ],
};
const GREEN = { name: 'green', vni: 257, internal: false, subnets: [{ cidr: '10.0.1.0/24', gateway: '10.0.1.1' }] };
const INTERNAL = { ...GREEN, internal: true };

let site: GatewaySite;
beforeEach(async () => {
  site = await GatewaySite.make();
});
afterEach(() => site.cleanup());

describe('a network that leads outside', () => {
  it('gets its containers out with the address of the host, IPv4 and IPv6', async () => {
    await site.open(BLUE);
    const one = await site.attach(BLUE, ['10.0.0.2/24', 'fd00:1::2/64']);
    for (const family of [4, 6] as const) {
      await site.serve(site.world, 8000 + family, family);
      await vi.waitFor(async () => expect(await site.pings(one, WORLD[family])).toBe(true), 15_000);
      expect(await site.sourceSeen(one, WORLD[family], 8000 + family)).toBe(HOST[family]);
    }
    expect(site.gateway.status()).toEqual({
      networks: [{ network: 'blue', addresses: ['10.0.0.1/24', 'fd00:1::1/64'] }],
      problems: [],
    });
    // The gateway itself, with its own MAC.
    expect(await site.pings(one, '10.0.0.1')).toBe(true);
    expect(await ip(one, 'neighbour')).toMatch(/10\.0\.0\.1 dev eth0 lladdr 02:76:74:00:01:00/);
    expect(await ip(one, 'neighbour')).toMatch(/fd00:1::1 dev eth0 lladdr 02:76:74:00:01:00/);
    // The host's own services are reached, as with Docker's bridges.
    await site.serve(site.host, 8080);
    expect(await site.sourceSeen(one, HOST[4], 8080)).toBe('10.0.0.2');
  });

  it('lets nobody in who was not asked, and no network into another', async () => {
    await site.open(BLUE);
    await site.open(GREEN);
    const one = await site.attach(BLUE, ['10.0.0.2/24']);
    const two = await site.attach(GREEN, ['10.0.1.2/24']);
    expect(await site.pings(one, WORLD[4])).toBe(true);
    expect(await site.pings(two, WORLD[4])).toBe(true);
    await ip(site.world, 'route', 'add', '10.0.0.0/23', 'via', HOST[4]);
    expect(await site.pings(site.world, '10.0.0.2', 2)).toBe(false);
    expect(await site.pings(one, '10.0.1.2', 2)).toBe(false);
    expect(await site.pings(two, '10.0.0.2', 2)).toBe(false);
    expect(await site.pings(site.host, '10.0.0.2')).toBe(true);
  });

  it('leaves alone what its bridge carries: the source stays, and conntrack sees none of it', async () => {
    expect((await site.exec(site.host, 'cat', '/proc/sys/net/bridge/bridge-nf-call-iptables')).stdout).toBe('1');
    await site.open(BLUE);
    const [one, two] = [await site.attach(BLUE, ['10.0.0.2/24']), await site.attach(BLUE, ['10.0.0.3/24'])];
    await site.serve(two, 7000);
    expect(await site.sourceSeen(one, '10.0.0.3', 7000)).toBe('10.0.0.2');
    // The proof that it would be seen.
    expect(await site.pings(one, WORLD[4])).toBe(true);
    const tracked = (await site.exec(site.host, 'cat', '/proc/net/nf_conntrack')).stdout;
    expect(tracked).toContain('src=10.0.0.2 dst=192.0.2.9');
    expect(tracked).not.toContain('src=10.0.0.2 dst=10.0.0.3');
  });

  it('forwards no address that is not of the network', async () => {
    await site.open(BLUE);
    const one = await site.attach(BLUE, ['10.0.0.2/24']);
    await ip(one, 'address', 'add', '198.51.100.7/32', 'dev', 'eth0');
    await ip(site.world, 'route', 'add', '198.51.100.7', 'via', HOST[4]);
    await ip(site.host, 'route', 'add', '198.51.100.7', 'dev', 'vtep-b256');
    const { exitCode } = await site.exec(one, 'ping', '-c', '1', '-w', '2', '-I', '198.51.100.7', WORLD[4]);
    expect(exitCode).not.toBe(0);
  });
});

describe('an internal network', () => {
  it('has a gateway for names and ping, and nothing behind it', async () => {
    await site.open(INTERNAL);
    await site.open(BLUE);
    const one = await site.attach(INTERNAL, ['10.0.1.2/24']);
    await site.attach(INTERNAL, ['10.0.1.3/24']);
    expect(await site.pings(one, '10.0.1.3')).toBe(true);
    expect(await site.pings(one, '10.0.1.1')).toBe(true);
    await ip(one, 'route', 'add', 'default', 'via', '10.0.1.1');
    expect(await site.pings(one, WORLD[4], 2)).toBe(false);
    await site.serve(site.host, 53);
    await site.serve(site.host, 8080);
    expect(await site.sourceSeen(one, '10.0.1.1', 53)).toBe('10.0.1.2');
    expect(await site.sourceSeen(one, '10.0.1.1', 8080)).toBeUndefined();
    expect(await site.sourceSeen(one, HOST[4], 53)).toBeUndefined();
    expect(await site.pings(site.host, '10.0.1.3')).toBe(true);
    const publication = { id: 'e', name: 'web', network: 'green', addresses: ['10.0.1.3/24'] };
    const publish = [{ protocol: 'tcp', hostPort: 8081, containerPort: 80 } as const];
    await expect(site.gateway.publish({ ...publication, publish })).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
  });
});

describe('published ports', () => {
  const web = { id: 'e1', name: 'web', network: 'blue', addresses: ['10.0.0.2/24', 'fd00:1::2/64'] };
  const tcp = (hostPort: number, containerPort = 80) => ({ protocol: 'tcp', hostPort, containerPort }) as const;

  it('are reached from the world, from the host, from another network and from their own, until they are not', async () => {
    await site.open(BLUE);
    await site.open(GREEN);
    const one = await site.attach(BLUE, ['10.0.0.2/24', 'fd00:1::2/64'], true);
    const two = await site.attach(BLUE, ['10.0.0.3/24']);
    const other = await site.attach(GREEN, ['10.0.1.2/24']);
    await site.serve(one, 80);
    await site.serve(one, 80, 6);
    expect(await site.sourceSeen(site.world, HOST[4], 8080)).toBeUndefined();
    await site.gateway.publish({ ...web, publish: [tcp(8080)] });
    expect(await site.sourceSeen(site.world, HOST[4], 8080)).toBe(WORLD[4]);
    expect(await site.sourceSeen(site.world, HOST[6], 8080)).toBe(WORLD[6]);
    // From the host by each address of its own, and hairpins: the container sees the gateway.
    for (const address of [HOST[4], '127.0.0.1', '10.0.0.1']) {
      expect(await site.sourceSeen(site.host, address, 8080), address).toBe('10.0.0.1');
    }
    expect(await site.sourceSeen(site.host, HOST[6], 8080)).toBe('fd00:1::1');
    expect(await site.sourceSeen(two, HOST[4], 8080)).toBe('10.0.0.1');
    expect(await site.sourceSeen(one, HOST[4], 8080)).toBe('10.0.0.1');
    expect(await site.sourceSeen(other, HOST[4], 8080)).toBe('10.0.0.1');
    // Only that port.
    expect(await site.sourceSeen(site.world, HOST[4], 80)).toBeUndefined();
    await site.gateway.unpublish('e1');
    expect(await site.sourceSeen(site.world, HOST[4], 8080)).toBeUndefined();
    expect(await site.rules()).not.toContain('8080');
  });

  it('let no container in at 127.0.0.1 of the host', async () => {
    await site.open(BLUE);
    const one = await site.attach(BLUE, ['10.0.0.2/24']);
    await ip(one, 'link', 'set', 'lo', 'down');
    await ip(one, 'address', 'del', '127.0.0.1/8', 'dev', 'lo');
    await ip(one, 'route', 'add', '127.0.0.0/8', 'via', '10.0.0.1', 'src', '10.0.0.2');
    await site.exec(one, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet');
    await site.serve(site.host, 9000);
    expect(await site.sourceSeen(site.host, '127.0.0.1', 9000)).toBe('127.0.0.1');
    expect(await site.sourceSeen(one, '127.0.0.1', 9000)).toBeUndefined();
  });

  it('are refused where another endpoint or a program of the host has the port, and leave nothing', async () => {
    await site.open(BLUE);
    await site.gateway.publish({ ...web, publish: [tcp(8080)] });
    const rules = await site.rules();
    const second = { ...web, id: 'e2', name: 'web-2', addresses: ['10.0.0.3/24'] };
    await expect(site.gateway.publish({ ...second, publish: [tcp(8080)] })).rejects.toMatchObject({
      code: 'VTEP_ERR_HOST_PORT_IN_USE',
      message: expect.stringMatching(/8080\/tcp.*"web"/),
    });
    await site.serve(site.host, 9000);
    await expect(site.gateway.publish({ ...second, publish: [tcp(9000)] })).rejects.toMatchObject({
      code: 'VTEP_ERR_HOST_PORT_IN_USE',
      message: expect.stringMatching(/9000\/tcp.*listening on 0\.0\.0\.0/),
    });
    expect(await site.rules()).toBe(rules);
    await site.gateway.publish({ ...second, publish: [{ ...tcp(9000), hostAddress: '192.0.2.77' }, tcp(8081)] }).then(
      () => expect.unreachable('0.0.0.0 has every address'),
      () => undefined,
    );
    await site.gateway.publish({ ...second, publish: [tcp(8081)] });
    expect(await site.rules()).toContain('8081');
  });
});

describe('what others do', () => {
  it('puts back an address and rules that were removed or changed by hand', async () => {
    await site.open(BLUE);
    const rules = await site.rules();
    await ip(site.host, 'address', 'del', '10.0.0.1/24', 'dev', 'vtep-b256');
    await site.gateway.check();
    expect(await ip(site.host, 'address', 'show', 'dev', 'vtep-b256')).toContain('10.0.0.1/24');
    for (const command of ['delete table inet vtep', 'flush chain inet vtep forward', 'add chain inet vtep mine']) {
      await site.exec(site.host, 'nft', ...command.split(' '));
      expect(await site.rules(), command).not.toBe(rules);
      await site.gateway.check();
      expect(await site.rules(), command).toBe(rules);
    }
  });

  it('changes nothing where all is as it should be', async () => {
    await site.open(BLUE);
    const monitor = site.exec(site.host, 'timeout', '4', 'nft', 'monitor');
    for (let i = 0; i < 3; i++) await site.gateway.check();
    expect((await monitor).stdout).toBe('');
  });

  it("says so where somebody's chain drops what is forwarded, and leaves it alone", async () => {
    await site.exec(site.host, 'nft', 'add table ip filter');
    await site.exec(
      site.host,
      'nft',
      'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }',
    );
    await site.open(BLUE);
    expect(site.gateway.status().problems).toEqual([expect.stringMatching(/"ip filter FORWARD".*drops/)]);
    await site.gateway.closeNetwork('blue');
    expect((await site.exec(site.host, 'nft', 'list', 'tables')).stdout).toBe('table ip filter');
    expect(site.gateway.status()).toEqual({ networks: [], problems: [] });
  });

  it('gives a subnet that is in use no gateway, names the user, and gives it when that one is gone', async () => {
    const twin = { ...GREEN, name: 'twin', vni: 300, subnets: [{ cidr: '10.0.0.0/16', gateway: '10.0.0.1' }] };
    const lan = { ...GREEN, name: 'lan', vni: 301, subnets: [{ cidr: '192.0.2.0/25', gateway: '192.0.2.100' }] };
    await site.open(BLUE);
    await site.open(twin);
    await site.open(lan);
    expect(site.gateway.gateways('twin')).toEqual([]);
    expect(site.gateway.status().problems).toEqual([
      expect.stringMatching(/"twin" has no gateway 10\.0\.0\.1.*overlaps with network "blue"/),
      expect.stringMatching(/"lan" has no gateway 192\.0\.2\.100.*overlaps with the host's route 192\.0\.2\.0\/24/),
    ]);
    const one = await site.attach(BLUE, ['10.0.0.2/24']);
    const [two, three] = [await site.attach(twin, ['10.0.0.2/16']), await site.attach(twin, ['10.0.0.3/16'])];
    expect(await site.pings(two, '10.0.0.3')).toBe(true);
    expect(await site.pings(one, WORLD[4])).toBe(true);
    // Neither the gateway of the other nor anything behind it.
    expect(await site.pings(two, '10.0.0.1', 2)).toBe(false);
    await ip(three, 'route', 'add', 'default', 'via', '10.0.0.1');
    await ip(three, 'neighbour', 'add', '10.0.0.1', 'lladdr', '02:76:74:00:01:2c', 'dev', 'eth0');
    expect(await site.pings(three, WORLD[4], 2)).toBe(false);
    // The one that was first keeps it when vtepd starts again, in whatever order.
    await site.gateway.close();
    site.gateway = site.manager();
    site.gateway.restore([twin, lan, BLUE], []);
    await site.gateway.restored();
    expect(site.gateway.status().networks.find(({ network }) => network === 'twin')?.addresses).toEqual([]);
    await ip(site.host, 'link', 'del', 'vtep-b256');
    await site.gateway.closeNetwork('blue');
    expect(site.gateway.gateways('twin')).toHaveLength(1);
    expect(await site.pings(three, WORLD[4])).toBe(true);
  });

  it('without nft there is no gateway, and everything else', async () => {
    site.gateway = site.manager('vtep-no-nft');
    await site.open(BLUE);
    expect(site.gateway.gateways('blue')).toEqual([]);
    expect(site.gateway.status().problems).toEqual([expect.stringMatching(/"blue".*nft is not installed/)]);
    const one = await site.attach(BLUE, ['10.0.0.2/24']);
    await site.attach(BLUE, ['10.0.0.3/24']);
    expect(await site.pings(one, '10.0.0.3')).toBe(true);
    expect(await ip(site.host, '-4', 'address', 'show', 'dev', 'vtep-b256')).toBe('');
    expect((await site.exec(site.host, 'cat', '/proc/sys/net/ipv4/ip_forward')).stdout).toBe('0');
    const publication = { id: 'e', name: 'web', network: 'blue', addresses: ['10.0.0.2/24'] };
    const publish = [{ protocol: 'tcp', hostPort: 8081, containerPort: 80 } as const];
    await expect(site.gateway.publish({ ...publication, publish })).rejects.toMatchObject({
      code: 'VTEP_ERR_KERNEL',
      message: expect.stringMatching(/nft is not installed/),
    });
  });
});

it('stays while vtepd is away, is taken up again with its ports, and goes with the last network', async () => {
  await site.open(BLUE);
  const one = await site.attach(BLUE, ['10.0.0.2/24']);
  const web = { id: 'e1', name: 'web', network: 'blue', addresses: ['10.0.0.2/24'] };
  const publish = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 } as const];
  await site.gateway.publish({ ...web, publish });
  const rules = await site.rules();
  await site.gateway.close();
  expect(await site.rules()).toBe(rules);
  expect(await site.pings(one, WORLD[4])).toBe(true);
  site.gateway = site.manager();
  site.gateway.restore([BLUE], [{ ...web, publish }]);
  await site.gateway.open(BLUE);
  await site.gateway.restored();
  expect(await site.rules()).toBe(rules);
  await site.gateway.unpublish('e1');
  await site.gateway.closeNetwork('blue');
  expect(await site.rules()).toBe('');
});
