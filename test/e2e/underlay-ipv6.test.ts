/**
 * The underlay over IPv6: host `a` has both families, `b` IPv4 alone and `c` IPv6 alone, `k` is the kernel's VXLAN over
 * IPv6; all on one switch. `a` speaks to each by the family that they share, and `b` and `c` are told that they share none.
 *
 * The registry is served by `a`; `c` reaches it by IPv6, at an address that is deprecated, so that no tunnel uses it.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostName, type HostPair, run, UNDERLAY, waitFor } from './host-pair.js';

const NETWORK = 'n';
const VNI = '4242';
const KERNEL_IP = '10.0.0.100';
const IPV6 = { a: '2001:db8::1', c: '2001:db8::3', k: '2001:db8::7', registry: '2001:db8::100' } as const;
const REGISTRY_OVER_IPV6 = `http://[${IPV6.registry}]:8500`;
let pair: HostPair;
let on: Record<HostName, Container>;

const ip = (host: string, ...args: string[]) => pair.mustExec(host, 'ip', ...args);
const status = async (host: HostName) => (await pair.mustVtep(host, 'status', '--json')).json();

async function makeWire(): Promise<void> {
  await ip('a', 'link', 'del', UNDERLAY);
  await pair.addNamespace('wire');
  await ip('wire', 'link', 'add', 'br0', 'up', 'type', 'bridge', 'mcast_snooping', '0');
  for (const host of ['c', 'k']) await pair.addNamespace(host);
  for (const host of ['a', 'b', 'c', 'k']) {
    const peer = ['peer', 'name', UNDERLAY, 'netns', pair.netns(host)];
    await ip('wire', 'link', 'add', `to-${host}`, 'master', 'br0', 'up', 'type', 'veth', ...peer);
    await ip(host, 'link', 'set', UNDERLAY, 'up');
  }
  const six = (host: string, address: string, ...more: string[]) =>
    ip(host, 'addr', 'add', `${address}/64`, 'dev', UNDERLAY, 'nodad', ...more);
  await ip('a', 'addr', 'add', '192.0.2.1/24', 'dev', UNDERLAY);
  await ip('b', 'addr', 'add', '192.0.2.2/24', 'dev', UNDERLAY);
  await six('a', IPV6.a);
  await six('a', IPV6.registry, 'preferred_lft', '0');
  for (const host of ['c', 'k'] as const) await six(host, IPV6[host]);
}

async function startDaemons(): Promise<void> {
  pair.daemonOptions = ['--embedded-registry', '[::]:8500', '--underlay-family', 'both'];
  await pair.startDaemon('a');
  pair.daemonOptions = [];
  const c = pair.startDaemon('c');
  pair.registry = ['http://192.0.2.1:8500'];
  await Promise.all([pair.startDaemon('b'), c]);
}

/** The kernel's VXLAN on `k`, with head-end entries for both hosts that it can reach. */
async function makeKernelVtep(): Promise<void> {
  const vxlan = `type vxlan id ${VNI} dstport 4789 local ${IPV6.k} dev ${UNDERLAY} learning`.split(' ');
  await ip('k', 'link', 'add', 'vx0', ...vxlan);
  for (const remote of [IPV6.a, IPV6.c]) {
    await pair.mustExec('k', 'bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', remote);
  }
  await ip('k', 'addr', 'add', `${KERNEL_IP}/24`, 'dev', 'vx0');
  await ip('k', 'link', 'set', 'vx0', 'mtu', '1430', 'up');
}

beforeAll(async () => {
  pair = await createHostPair({ startDaemons: false, registry: [REGISTRY_OVER_IPV6] });
  await makeWire();
  await Promise.all([startDaemons(), makeKernelVtep()]);
  await pair.mustVtep('c', 'network', 'create', NETWORK, '--vni', VNI, '--subnet', '10.0.0.0/24');
  const attach = (host: HostName) => pair.addContainer(host, `on-${host}`, NETWORK);
  on = { a: await attach('a'), b: await attach('b'), c: await attach('c') };
  await waitFor('a to know both', async () => (await placesOnA()).length === 2);
});
afterAll(async () => {
  await pair?.cleanup();
});

/** To which VTEPs `a` sends. */
async function placesOnA(): Promise<string[]> {
  const fdb = (await pair.mustVtep('a', 'fdb', '--json')).json() as { kind: string; vtep?: { address: string } }[];
  return fdb.filter(({ kind }) => kind === 'static').map(({ vtep }) => vtep?.address ?? '');
}

it('a host with both families speaks to each other one by what they share', async () => {
  expect((await placesOnA()).sort()).toEqual(['192.0.2.2', IPV6.c]);
  for (const [from, to] of [
    ['on-a', on.b.ip],
    ['on-b', on.a.ip],
    ['on-a', on.c.ip],
    ['on-c', on.a.ip],
  ] as const) {
    expect(await pair.ping(from, to, { count: 3 }), `${from} to ${to}`).toMatchObject({ lossPercent: 0 });
  }
  const nodes = (await pair.mustVtep('c', 'node', 'ls')).stdout;
  expect(nodes).toContain(`192.0.2.1:4789 [${IPV6.a}]:4789`);
  expect((await pair.mustVtep('a', 'status')).stdout).toContain(`192.0.2.1:4789 [${IPV6.a}]:4789`);
});

it('hosts that share no family are told, and nobody else is', async () => {
  expect((await status('a')).unreachable).toEqual([]);
  for (const [host, other, what] of [
    ['b', 'c', `has only IPv6 (${IPV6.c}) on the underlay, this host only IPv4`],
    ['c', 'b', 'has only IPv4 (192.0.2.2) on the underlay, this host only IPv6'],
  ] as const) {
    const text = (await pair.mustVtep(host, 'status')).stdout;
    expect(text).toContain(`node ${pair.prefix}${other} ${what}: no frame of network "${NETWORK}" passes`);
    expect(pair.log(`vtepd-${host}`)).toContain(what);
  }
});

it('has the MTU of the family, and carries a full one without fragments, checksums right on the wire', async () => {
  const mtus = await Promise.all(
    (['a', 'b', 'c'] as const).map(async (host) => {
      const { stdout } = await pair.mustExec(`on-${host}`, 'ip', '-json', 'link', 'show', 'dev', 'eth0');
      return JSON.parse(stdout)[0].mtu;
    }),
  );
  expect(mtus).toEqual([1430, 1450, 1430]);
  const capture = join(pair.folder, 'ipv6.pcap');
  const dumpArgs = [
    '-i',
    UNDERLAY,
    '-U',
    '--immediate-mode',
    '-Z',
    'root',
    '-w',
    capture,
    `ip6 and not tcp and not host ${IPV6.k}`,
  ];
  const dump = pair.spawn('dump', pair.netns('a'), 'tcpdump', ...dumpArgs);
  await waitFor('tcpdump', () => pair.log('dump').includes('listening on'));
  const full = ['-M', 'do', '-s', String(1430 - 28)];
  expect(await pair.ping('on-a', on.c.ip, { count: 3, args: full })).toMatchObject({ lossPercent: 0 });
  await pair.transfer('on-a', 'on-c', on.c.ip, 'udp', 1000, 100);
  const ended = new Promise((resolve) => dump.once('exit', resolve));
  dump.kill('SIGINT');
  await ended;
  const decode = async (filter: string, ...fields: string[]) => {
    const wanted = fields.flatMap((field) => ['-e', field]);
    const args = [
      '-n',
      '-r',
      capture,
      '-o',
      'udp.check_checksum:TRUE',
      '-Y',
      filter,
      '-T',
      'fields',
      '-E',
      'occurrence=f',
    ];
    const { stdout, stderr, exitCode } = await run('tshark', [...args, '-E', 'separator=|', ...wanted], 60_000);
    expect(exitCode, stderr).toBe(0);
    return stdout.split('\n').filter(Boolean);
  };
  const rows = await decode('vxlan', 'ipv6.src', 'ipv6.dst', 'udp.dstport', 'vxlan.flags', 'vxlan.vni');
  const between = [IPV6.a, IPV6.c].map((from) => `${from}|${from === IPV6.a ? IPV6.c : IPV6.a}|4789|0x0800|${VNI}`);
  expect([...new Set(rows)].sort()).toEqual(between.sort());
  expect(rows.length).toBeGreaterThan(20);
  expect(await decode('ipv6.fraghdr or (vxlan and _ws.malformed)', 'frame.number')).toEqual([]);
  // The outer checksum is there; on a veth pair it is left to the device that would send it.
  expect(await decode('vxlan and udp.checksum == 0', 'frame.number')).toEqual([]);
});

it('carries TCP as superframes by UDP_SEGMENT and UDP_GRO, exact, both ways', async () => {
  for (const [from, to] of [
    ['a', 'c'],
    ['c', 'a'],
  ] as const) {
    const result = await pair.transfer(`on-${from}`, `on-${to}`, on[to].ip, 'tcp', 3_000_001);
    expect(result).toMatchObject({ sentBytes: 3_000_001, exact: true });
  }
  for (const host of ['a', 'c'] as const) {
    const { totals, offloads, vteps } = await status(host);
    expect(totals.superframes_split).toBeGreaterThan(10);
    expect(totals.superframes_coalesced).toBeGreaterThan(10);
    const other = vteps.find(({ address }: { address: string }) => address === IPV6[host === 'a' ? 'c' : 'a']);
    expect(other.counters).toMatchObject({ tx_errors: 0, tx_gso_refused: 0 });
    for (const name of ['underlay-gso', 'underlay-gro']) {
      expect(offloads).toContainEqual({ name, state: 'on' });
    }
  }
});

it('carries in fragments what does not fit, as the kernel does, and sends such segments one by one', async () => {
  const floods = ['--flood', 'multicast', '--arp-suppression', 'off'];
  await pair.mustVtep('a', 'network', 'create', 'big', '--mtu', '1450', '--subnet', '10.0.1.0/24', ...floods);
  await pair.addContainer('a', 'big-a', 'big');
  const far = await pair.addContainer('c', 'big-c', 'big');
  await pair.waitConverged('big');
  const full = ['-M', 'do', '-s', String(1450 - 28)];
  expect(await pair.ping('big-a', far.ip, { count: 2, args: full })).toMatchObject({ lossPercent: 0 });
  expect(await pair.transfer('big-a', 'big-c', far.ip, 'tcp', 300_001)).toMatchObject({ exact: true });
  const to = (await status('a')).vteps.find(({ address }: { address: string }) => address === IPV6.c);
  expect(to.counters.tx_gso_refused).toBeGreaterThan(0);
  expect(to.counters.tx_errors).toBe(0);
});

it('floods by multicast to each group, and by copies to those that the group of IPv4 does not reach', async () => {
  const of = async (host: HostName) => {
    const { counters } = (await status(host)).networks.find(({ network }: { network: string }) => network === 'big');
    return { multicast: counters.multicast_frames as number, copies: counters.flood_copies as number };
  };
  const before = { a: await of('a'), c: await of('c') };
  for (const [from, to] of [
    ['big-a', 'big-c'],
    ['big-c', 'big-a'],
  ] as const) {
    // Nothing but a flood finds it again.
    await pair.mustExec(from, 'ip', 'neigh', 'flush', 'dev', 'eth0');
    const other = pair.containers.find(({ name }) => name === to) as Container;
    expect(await pair.ping(from, other.ip, { count: 2 }), from).toMatchObject({ lossPercent: 0 });
  }
  // Of `a` one to the group of IPv4 and one to `c`, of `c` one to the group of IPv6.
  for (const [host, copies] of [
    ['a', 2],
    ['c', 1],
  ] as const) {
    const after = await of(host);
    const multicast = after.multicast - before[host].multicast;
    expect(multicast).toBeGreaterThan(0);
    expect(after.copies - before[host].copies).toBe(multicast * copies);
  }
});

it("the kernel's VXLAN over IPv6 is a peer, both ways", async () => {
  const add = ['peer', 'add', '--network', NETWORK, '--address', '2001:DB8:0::7'];
  expect((await pair.mustVtep('c', ...add)).stdout).toBe(`peer [${IPV6.k}]:4789 added to ${NETWORK}`);
  expect((await pair.vtep('a', ...add)).stderr).toContain(`already has the peer ${IPV6.k}`);
  for (const host of ['a', 'c'] as const) {
    await waitFor(`${host} to know the peer`, async () =>
      (await status(host)).vteps.some(({ address }: { address: string }) => address === IPV6.k),
    );
  }
  for (const host of ['a', 'c'] as const) {
    expect(await pair.ping(`on-${host}`, KERNEL_IP, { count: 3 })).toMatchObject({ lossPercent: 0 });
    expect(await pair.ping('k', on[host].ip, { count: 3 })).toMatchObject({ lossPercent: 0 });
  }
  for (const [from, to, address] of [
    ['on-c', 'k', KERNEL_IP],
    ['k', 'on-c', on.c.ip],
  ] as const) {
    expect(await pair.transfer(from, to, address, 'tcp', 1_000_001)).toMatchObject({ exact: true });
    expect(await pair.transfer(from, to, address, 'udp', 5 * 1402, 1402)).toMatchObject({ exact: true });
  }
  await waitFor('b to be told of it', async () => (await status('b')).unreachable.length === 2);
  expect((await pair.mustVtep('b', 'status')).stdout).toContain(`peer ${IPV6.k} has only IPv6`);
});

it('follows an IPv6 address that moves, and leaves the other family alone', async () => {
  const move = async (host: HostName, from: string, to: string) => {
    await ip(host, 'addr', 'del', `${from}/64`, 'dev', UNDERLAY);
    await ip(host, 'addr', 'add', `${to}/64`, 'dev', UNDERLAY, 'nodad');
  };
  await move('c', IPV6.c, '2001:db8::33');
  await waitFor('a to send there', async () => (await placesOnA()).includes('2001:db8::33'));
  expect(await pair.ping('on-a', on.c.ip, { count: 2 })).toMatchObject({ lossPercent: 0 });
  await move('a', IPV6.a, '2001:db8::11');
  const toA = async () => (await status('c')).vteps.map(({ address }: { address: string }) => address);
  await waitFor('c to send there', async () => (await toA()).includes('2001:db8::11'));
  expect(await pair.ping('on-c', on.a.ip, { count: 2 })).toMatchObject({ lossPercent: 0 });
  expect(await pair.ping('on-b', on.a.ip, { count: 2 })).toMatchObject({ lossPercent: 0 });
  expect((await status('a')).vtep).toEqual({ ip: '192.0.2.1', otherIp: '2001:db8::11', port: 4789 });
  expect(pair.log('vtepd-a')).not.toContain('moved from 192.0.2.1');
});

it('a host that starts again on IPv6 alone reaches the other one without IPv4, and nobody is told any more', async () => {
  await pair.killDaemon('b', 'SIGTERM');
  // The kernel is not sure of it for the next seconds; vtepd waits.
  await ip('b', 'addr', 'add', '2001:db8::2/64', 'dev', UNDERLAY);
  pair.daemonOptions = ['--underlay-family', 'ipv6'];
  await pair.startDaemon('b');
  await waitFor('c to know it', async () =>
    (await status('c')).vteps.some(({ address }: { address: string }) => address === '2001:db8::2'),
  );
  expect(await pair.ping('on-b', on.c.ip, { count: 3 })).toMatchObject({ lossPercent: 0 });
  expect(await pair.ping('on-a', on.b.ip, { count: 3 })).toMatchObject({ lossPercent: 0 });
  for (const host of ['a', 'b', 'c'] as const) expect((await status(host)).unreachable).toEqual([]);
});
