/**
 * The whole way, on each registry: a network made once is seen on both hosts, containers reach each other without loss,
 * every byte arrives as it was sent, and everything can be taken down again.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from './host-pair.js';

const NETWORK = 'my_overlay';
const MIB = 1024 * 1024;

describe.each(['embedded', 'consul'] as const)('two hosts, %s registry', (registry) => {
  let pair: HostPair;
  let master: Container;
  let slaver: Container;

  beforeAll(async () => {
    pair = await createHostPair({ registry, cliProcess: registry === 'embedded' });
  });
  afterAll(async () => {
    await pair?.cleanup();
  });

  it('shows both nodes on both hosts', async () => {
    for (const host of ['a', 'b'] as const) {
      await waitFor(`both nodes on ${host}`, async () => {
        const nodes = (await pair.mustVtep(host, 'node', 'ls', '--json')).json() as { name: string }[];
        return nodes.length === 2;
      });
      const nodes = (await pair.mustVtep(host, 'node', 'ls', '--json')).json() as {
        name: string;
        self: boolean;
        vtep: { ip: string; port: number };
      }[];
      expect(nodes.map(({ name, vtep }) => [name, vtep.ip, vtep.port]).sort()).toEqual([
        [pair.netns('a'), '192.0.2.1', 4789],
        [pair.netns('b'), '192.0.2.2', 4789],
      ]);
      expect(nodes.filter(({ self }) => self).map(({ name }) => name)).toEqual([pair.netns(host)]);
    }
  });

  it('makes a network once and shows it on both', async () => {
    await pair.mustVtep('a', 'network', 'create', NETWORK);
    await waitFor(`${NETWORK} on b`, async () => (await pair.mustVtep('b', 'network', 'ls')).stdout.includes(NETWORK));
    for (const host of ['a', 'b'] as const) {
      const networks = (await pair.mustVtep(host, 'network', 'ls', '--json')).json();
      expect(networks).toHaveLength(1);
      expect(networks[0]).toMatchObject({
        name: NETWORK,
        subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }],
        scope: 'global',
      });
      expect(networks[0].vni).toBeGreaterThanOrEqual(256);
      expect((await pair.mustVtep(host, 'network', 'ls')).stdout).toMatch(/my_overlay.*10\.0\.0\.0\/24.*global/);
    }
  });

  it('attaches a container on each host, with addresses from the pool', async () => {
    master = await pair.addContainer('a', 'master', NETWORK);
    slaver = await pair.addContainer('b', 'slaver', NETWORK);
    expect([master.ip, slaver.ip]).toEqual(['10.0.0.2', '10.0.0.3']);
    await pair.waitConverged(NETWORK);
    for (const container of [master, slaver]) {
      const addresses = (await pair.mustExec(container.name, 'ip', '-json', 'addr', 'show', 'dev', 'eth0')).json();
      expect(addresses[0]).toMatchObject({ address: container.mac, operstate: 'UP', mtu: 1450 });
      expect(addresses[0].addr_info).toContainEqual(
        expect.objectContaining({ family: 'inet', local: container.ip, prefixlen: 24 }),
      );
    }
  });

  it('pings both ways without loss', async () => {
    expect(await pair.ping('master', slaver.ip)).toMatchObject({ sent: 5, received: 5, lossPercent: 0 });
    expect(await pair.ping('slaver', master.ip)).toMatchObject({ sent: 5, received: 5, lossPercent: 0 });
  });

  it('carries a full overlay MTU, and no byte more, unfragmented', async () => {
    const full = { count: 2, args: ['-M', 'do', '-s', '1422'] };
    expect(await pair.ping('master', slaver.ip, full)).toMatchObject({ lossPercent: 0 });
    const tooLong = await pair.exec('master', 'ping', '-c', '1', '-W', '1', '-M', 'do', '-s', '1423', slaver.ip);
    expect(tooLong.exitCode).not.toBe(0);
  });

  it.each([1, 100, 1400, MIB, 5 * MIB + 7])('carries %d bytes of TCP exactly, both ways', async (byteCount) => {
    const exact = { sentBytes: byteCount, answeredBytes: byteCount, exact: true };
    expect(await pair.transfer('master', 'slaver', slaver.ip, 'tcp', byteCount)).toMatchObject(exact);
    expect(await pair.transfer('slaver', 'master', master.ip, 'tcp', byteCount)).toMatchObject(exact);
  });

  // 20,000-byte datagrams travel as IP fragments.
  it.each([
    [1, 1],
    [100, 100],
    [1400, 1400],
    [MIB + 5, 1390],
    [MIB, 20_000],
  ])('carries %d bytes of UDP in datagrams of %d exactly, both ways', async (byteCount, datagramBytes) => {
    const exact = { sentBytes: byteCount, answeredBytes: byteCount, exact: true, lostDatagrams: 0 };
    expect(await pair.transfer('master', 'slaver', slaver.ip, 'udp', byteCount, datagramBytes)).toEqual(exact);
    expect(await pair.transfer('slaver', 'master', master.ip, 'udp', byteCount, datagramBytes)).toEqual(exact);
  });

  it('shows both endpoints in inspect and endpoint ls, on both hosts', async () => {
    for (const host of ['a', 'b'] as const) {
      const detail = (await pair.mustVtep(host, 'network', 'inspect', NETWORK, '--json')).json();
      const listed = (await pair.mustVtep(host, 'endpoint', 'ls', '--json')).json();
      for (const endpoints of [detail.endpoints, listed]) {
        expect(endpoints).toHaveLength(2);
        for (const { name, host: node, mac, ip, id } of [master, slaver]) {
          expect(endpoints).toContainEqual(
            expect.objectContaining({
              id,
              name,
              network: NETWORK,
              node: pair.netns(node),
              mac,
              addresses: [`${ip}/24`],
            }),
          );
        }
      }
    }
  });

  it('refuses to remove the network while endpoints are on it, naming them', async () => {
    const refused = await pair.vtep('b', 'network', 'rm', NETWORK);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr.trim().split('\n')).toHaveLength(1);
    expect(refused.stderr).toContain('master');
    expect(refused.stderr).toContain('slaver');
    expect((await pair.mustVtep('a', 'network', 'ls')).stdout).toContain(NETWORK);
  });

  it('detaches, and gives the address back', async () => {
    await pair.mustVtep('a', 'detach', '--network', NETWORK, '--netns', master.netns);
    expect((await pair.exec('master', 'ip', 'link', 'show', 'dev', 'eth0')).exitCode).not.toBe(0);
    await waitFor('the endpoint to go on b', async () => {
      const endpoints = (await pair.mustVtep('b', 'endpoint', 'ls', '--json')).json();
      return endpoints.length === 1;
    });
    await waitFor('the MAC to go from the FDB of b', async () => {
      return !(await pair.mustVtep('b', 'fdb')).stdout.includes(master.mac);
    });
    const again = (await pair.mustVtep('a', 'attach', '--network', NETWORK, '--netns', master.netns, '--json')).json();
    expect(again.addresses).toHaveLength(1);
    expect(again.addresses[0]).toMatch(/^10\.0\.0\.(?!1\/|3\/)\d+\/24$/);
    await pair.mustVtep('a', 'detach', '--network', NETWORK, '--netns', master.netns);
  });

  it('removes the network, and with it every kernel object and every key', async () => {
    await pair.mustVtep('b', 'detach', '--network', NETWORK, '--netns', slaver.netns);
    await waitFor('the last endpoint to go', async () => {
      return (await pair.mustVtep('a', 'endpoint', 'ls', '--json')).json().length === 0;
    });
    await pair.mustVtep('a', 'network', 'rm', NETWORK);
    for (const host of ['a', 'b'] as const) {
      await waitFor(`the network to go on ${host}`, async () => {
        return (await pair.mustVtep(host, 'network', 'ls', '--json')).json().length === 0;
      });
      await waitFor(`bridge and TAP to go on ${host}`, async () => {
        const links = (await pair.mustExec(host, 'ip', '-json', 'link')).json() as { ifname: string }[];
        return (
          links
            .map(({ ifname }) => ifname)
            .sort()
            .join() === 'ens33,lo'
        );
      });
    }
    const keys = (
      await pair.mustExec('a', 'curl', '-s', 'http://192.0.2.1:8500/v1/kv/vtep/v1/?keys')
    ).json() as string[];
    // What is left is the hosts, and the mark by which they tell a registry that lost its data.
    const left = ['vtep/v1/journal/nodes', 'vtep/v1/meta/registry-id'];
    expect(keys.filter((key) => !key.startsWith('vtep/v1/nodes/'))).toEqual(left);
  });
});
