/**
 * The gateway through the built programs: two hosts with the same gateway, the world behind host `a`. Each container's
 * gateway is its own host's, and no frame of a gateway crosses the underlay; a container that moves keeps its gateway
 * entry; ports are published, refused where they are taken, and outlive vtepd.
 *
 *     world 198.51.100.9 ── 198.51.100.1 a 192.0.2.1 ── 192.0.2.2 b
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from './host-pair.js';

const WORLD = '198.51.100.9';
const WORLD6 = '2001:db8:51::9';
/** Of VNI 256. */
const GATEWAY_MAC = '02:76:74:00:01:00';
const SOURCE = 'SYSTEM:printf "$SOCAT_PEERADDR"';
let pair: HostPair;
let web: Container;

beforeAll(async () => {
  pair = await createHostPair({ registry: 'consul' });
  const world = await pair.addNamespace('world');
  await pair.mustExec('a', 'ip', 'link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', world);
  for (const [where, dev, address, address6] of [
    ['a', 'out0', '198.51.100.1/24', '2001:db8:51::1/64'],
    ['world', 'eth0', `${WORLD}/24`, `${WORLD6}/64`],
  ] as const) {
    await pair.mustExec(where, 'ip', 'address', 'add', address, 'dev', dev);
    await pair.mustExec(where, 'ip', 'address', 'add', address6, 'dev', dev, 'nodad');
    await pair.mustExec(where, 'ip', 'link', 'set', dev, 'up');
  }
  await pair.mustVtep('a', 'network', 'create', 'my_overlay', '--ipv6');
  await pair.mustVtep('a', 'network', 'create', 'closed', '--internal');
  web = await pair.addContainer('a', 'web', 'my_overlay', '--publish', '8080:80', '--publish', '5353:53/udp');
  await pair.addContainer('b', 'far', 'my_overlay');
  await pair.waitConverged('my_overlay');
  for (const [name, where, listen] of [
    ['web-server', 'web', 'TCP4-LISTEN:80,fork,reuseaddr'],
    ['world-server', 'world', 'TCP4-LISTEN:80,fork,reuseaddr'],
    ['world-server6', 'world', 'TCP6-LISTEN:80,fork,reuseaddr,ipv6only=1'],
    ['taken', 'a', 'TCP4-LISTEN:9000,fork,reuseaddr'],
  ] as const) {
    pair.spawn(name, pair.netns(where), 'socat', listen, SOURCE);
    const port = listen.split(':')[1]!.split(',')[0];
    await waitFor(name, async () => {
      const family = listen.startsWith('TCP6') ? '-6' : '-4';
      return (await pair.exec(where, 'ss', '-Hnlt', family, `sport = :${port}`)).stdout !== '';
    });
  }
});
afterAll(async () => {
  await pair?.cleanup();
});

/** The client's address as the server saw it; empty if there was no connection. */
async function sourceSeen(from: string, address: string, port: number): Promise<string> {
  const target = address.includes(':') ? `TCP6:[${address}]` : `TCP4:${address}`;
  return (await pair.exec(from, 'socat', '-u', `${target}:${port},connect-timeout=3`, '-')).stdout.trim();
}

const gatewayOf = (container: string) => pair.exec(container, 'ip', 'neighbour', 'show', '10.0.0.1');
const table = async () => (await pair.exec('a', 'nft', 'list', 'table', 'inet', 'vtep')).stdout;

it('leads out by the host, IPv4 and IPv6', async () => {
  expect((await pair.mustExec('web', 'ip', 'route')).stdout).toContain('default via 10.0.0.1 dev eth0');
  expect((await pair.mustExec('web', 'ip', '-6', 'route')).stdout).toMatch(/default via fd\S+::1 dev eth0/);
  expect(await sourceSeen('web', WORLD, 80)).toBe('198.51.100.1');
  await waitFor('IPv6', async () => (await pair.exec('web', 'ping', '-c1', '-w2', WORLD6)).exitCode === 0);
  expect(await sourceSeen('web', WORLD6, 80)).toMatch(/2001:0?db8:0*51:.*1\]?$/);
  const status = (await pair.mustVtep('a', 'status', '--json')).json();
  expect(status.gateway).toMatchObject({ problems: [] });
  expect((await pair.mustVtep('a', 'status')).stdout).toMatch(/gateways +my_overlay 10\.0\.0\.1\/24 fd/);
});

it("answers from each host's own bridge, and lets no frame of a gateway onto the underlay", async () => {
  for (const host of ['a', 'b'] as const) {
    pair.spawn(
      `dump-${host}`,
      pair.netns(host),
      'tcpdump',
      '-lnn',
      '-xx',
      '--immediate-mode',
      '-i',
      'ens33',
      'udp port 4789',
    );
    await waitFor(`tcpdump on ${host}`, () => pair.log(`dump-${host}`).includes('listening on'));
  }
  for (const name of ['web', 'far']) {
    await pair.exec(name, 'ip', 'neigh', 'flush', 'dev', 'eth0');
    expect(await pair.ping(name, '10.0.0.1')).toMatchObject({ lossPercent: 0 });
    expect((await gatewayOf(name)).stdout).toContain(GATEWAY_MAC);
  }
  // The host speaks to its own containers; to those of the other host it does not.
  expect(await pair.ping('a', web.ip)).toMatchObject({ lossPercent: 0 });
  expect(await pair.ping('b', web.ip, { count: 2, args: ['-W', '1'] })).toMatchObject({ received: 0 });
  expect(await pair.ping('far', web.ip)).toMatchObject({ lossPercent: 0 });
  await waitFor('the capture to have the last ping', () => pair.log('dump-a').length > 2000);
  await sleep(300);
  for (const host of ['a', 'b']) {
    const bytes = pair.log(`dump-${host}`).replace(/\s*0x[0-9a-f]+: +|[ \n]/g, '');
    // The proof that it would be seen: the containers' own MACs.
    expect(bytes).toContain(web.mac.replaceAll(':', ''));
    // As a source, behind the other container's MAC or a group's. As a target it is in no frame either.
    expect(bytes).not.toContain(GATEWAY_MAC.replaceAll(':', ''));
  }
  for (const host of ['a', 'b'] as const) {
    const { drops } = (await pair.mustVtep(host, 'status', '--json')).json();
    expect(drops.gateway_source, host).toBeGreaterThan(0);
    expect(drops.local_mac ?? 0, host).toBe(0);
  }
});

it('publishes ports to the world and to the host, shows them, and refuses those that are taken', async () => {
  expect(await sourceSeen('world', '198.51.100.1', 8080)).toBe(WORLD);
  expect(await sourceSeen('a', '127.0.0.1', 8080)).toBe('10.0.0.1');
  expect(await sourceSeen('b', '192.0.2.1', 8080)).toBe('192.0.2.2');
  const endpoints = (await pair.mustVtep('a', 'endpoint', 'ls', '--json')).json();
  expect(endpoints.find(({ name }: { name: string }) => name === 'web').local.publish).toEqual([
    { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
    { protocol: 'udp', hostPort: 5353, containerPort: 53 },
  ]);
  const netns = await pair.addNamespace('second');
  const attach = ['attach', '--network', 'my_overlay', '--netns', netns];
  for (const [port, message] of [
    ['8080:80', /8080\/tcp.*published by endpoint "web"/],
    ['9000:80', /9000\/tcp.*listening/],
    // vtepd's own.
    ['4789:80/udp', /4789\/udp.*listening/],
  ] as const) {
    const refused = await pair.vtep('a', ...attach, '--publish', port);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toMatch(message);
  }
  expect((await pair.exec('second', 'ip', 'link', 'show', 'eth0')).exitCode).not.toBe(0);
  await pair.mustVtep('a', ...attach, '--default-route', 'no');
  expect((await pair.mustExec('second', 'ip', 'route')).stdout).not.toContain('default');
  await pair.mustVtep('a', 'detach', '--network', 'my_overlay', '--netns', netns);
});

it('keeps an internal network in', async () => {
  await pair.addContainer('a', 'in-a', 'closed');
  expect((await pair.mustExec('in-a', 'ip', 'route')).stdout).not.toContain('default');
  await pair.mustExec('in-a', 'ip', 'route', 'add', 'default', 'via', '10.0.1.1');
  expect(await pair.ping('in-a', WORLD, { count: 2, args: ['-W', '1'] })).toMatchObject({ received: 0 });
  expect(await pair.ping('in-a', web.ip, { count: 2, args: ['-W', '1'] })).toMatchObject({ received: 0 });
  const refused = await pair.vtep('a', 'attach', '--network', 'closed', '--netns', web.netns, '--publish', '81:80');
  expect(refused.stderr).toMatch(/internal/);
});

it('lasts while vtepd is killed, and is the same when it is back', async () => {
  const before = await table();
  await pair.killDaemon('a', 'SIGKILL');
  expect(await sourceSeen('web', WORLD, 80)).toBe('198.51.100.1');
  expect(await sourceSeen('world', '198.51.100.1', 8080)).toBe(WORLD);
  await pair.startDaemon('a');
  expect(await table()).toBe(before);
  expect(await sourceSeen('world', '198.51.100.1', 8080)).toBe(WORLD);
});

it('puts back an address that somebody deletes, and the rules with the next look', async () => {
  const before = await table();
  await pair.mustExec('a', 'nft', 'delete', 'table', 'inet', 'vtep');
  await pair.mustExec('a', 'ip', 'address', 'del', '10.0.0.1/24', 'dev', 'vtep-b256');
  await waitFor('the address', async () => {
    return (await pair.exec('a', 'ip', 'address', 'show', 'dev', 'vtep-b256')).stdout.includes('10.0.0.1/24');
  });
  expect(await table()).toBe(before);
});

it('keeps the gateway entry of a container that goes to the other host', async () => {
  // Its interface is new there, with the same address, MAC and neighbours.
  const { ip, mac, netns } = web;
  await pair.mustVtep('a', 'detach', '--network', 'my_overlay', '--netns', netns);
  expect(await table()).not.toContain('8080');
  await pair.mustVtep('b', 'attach', '--network', 'my_overlay', '--netns', netns, '--ip', ip, '--mac', mac);
  await pair.mustExec(
    'web',
    'ip',
    'neighbour',
    'replace',
    '10.0.0.1',
    'lladdr',
    GATEWAY_MAC,
    'dev',
    'eth0',
    'nud',
    'permanent',
  );
  expect(await pair.ping('web', '10.0.0.1')).toMatchObject({ lossPercent: 0 });
  // By host b, which has no way to the world but knows the underlay.
  expect(await pair.ping('web', '192.0.2.1')).toMatchObject({ lossPercent: 0 });
});

it('goes with the last network', async () => {
  await pair.mustVtep('a', 'detach', '--network', 'closed', '--name', 'in-a');
  expect((await pair.exec('a', 'nft', 'list', 'tables')).stdout).not.toContain('vtep');
});
