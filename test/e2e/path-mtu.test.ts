/**
 * A router with a smaller MTU between the hosts: traffic flows with the outer DF unset (the underlay fragments), and with it
 * inherited (the containers are told, and send less).
 *
 *     a 192.0.2.1 ── 1500 ── r ── 1400 ── b 192.0.2.2
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from './host-pair.js';

const ROUTER_MTU = 1400;
const OVERLAY_MTU = ROUTER_MTU - 50;
let pair: HostPair;
let boxA: Container;
let boxB: Container;

beforeAll(async () => {
  pair = await createHostPair();
  const router = await pair.addNamespace('r');
  for (const [host, ip, other] of [
    ['a', '192.0.2.1', '192.0.2.2'],
    ['b', '192.0.2.2', '192.0.2.1'],
  ] as const) {
    const names = ['name', `to-${host}`, 'netns', router, 'type', 'veth', 'peer', 'name', 'to-r', 'netns'];
    await pair.mustExec(host, 'ip', 'link', 'add', ...names, pair.netns(host));
    await pair.mustExec(host, 'ip', 'link', 'set', 'to-r', 'up');
    await pair.mustExec('r', 'ip', 'link', 'set', `to-${host}`, 'up');
    await pair.mustExec('r', 'ip', 'addr', 'add', `198.51.100.${host === 'a' ? 1 : 2}/32`, 'dev', `to-${host}`);
    await pair.mustExec('r', 'ip', 'route', 'add', ip, 'dev', `to-${host}`);
    const gateway = `198.51.100.${host === 'a' ? 1 : 2}`;
    await pair.mustExec(host, 'ip', 'route', 'add', gateway, 'dev', 'to-r');
    await pair.mustExec(host, 'ip', 'route', 'add', `${other}/32`, 'via', gateway, 'src', ip);
  }
  await pair.mustExec('r', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  // Both ends: a veth takes nothing larger than its own MTU.
  await pair.mustExec('r', 'ip', 'link', 'set', 'to-b', 'mtu', String(ROUTER_MTU));
  await pair.mustExec('b', 'ip', 'link', 'set', 'to-r', 'mtu', String(ROUTER_MTU));
  await pair.mustVtep('a', 'network', 'create', 'blue', '--subnet', '10.0.0.0/24', '--subnet', 'fd01::/64');
  boxA = await pair.addContainer('a', 'box-a', 'blue');
  boxB = await pair.addContainer('b', 'box-b', 'blue');
  await pair.waitConverged('blue');
});
afterAll(async () => {
  await pair?.cleanup();
});

const WHOLE = ['-M', 'do', '-s', String(1450 - 28)];

async function expectStreams(): Promise<void> {
  for (const [from, to, address] of [
    ['box-a', 'box-b', boxB.ip],
    ['box-b', 'box-a', boxA.ip],
  ] as const) {
    const result = await pair.transfer(from, to, address, 'tcp', 5_000_000);
    expect(result).toMatchObject({ sentBytes: 5_000_000, answeredBytes: 5_000_000, exact: true });
  }
}

const totals = async (host: 'a' | 'b') => {
  const status = (await pair.mustVtep(host, 'status', '--json')).json();
  return { answered: status.totals.too_big_answered as number, dropped: status.drops.too_big as number };
};

describe('DF unset', () => {
  it('carries packets of the whole overlay MTU in fragments, and streams', async () => {
    expect((await pair.ping('box-a', boxB.ip, { count: 2, args: WHOLE })).received).toBe(2);
    await expectStreams();
    expect(await totals('a')).toEqual({ answered: 0, dropped: 0 });
  });
});

describe('DF inherited', () => {
  beforeAll(async () => {
    for (const host of ['a', 'b'] as const) await pair.killDaemon(host, 'SIGTERM');
    pair.daemonOptions = ['--outer-df', 'inherit'];
    for (const host of ['a', 'b'] as const) await pair.startDaemon(host);
    await pair.waitConverged('blue');
    await waitFor('the containers to reach each other', async () => {
      return (await pair.ping('box-a', boxB.ip, { count: 1 })).received === 1;
    });
  });

  it('tells containers, over IPv4 and IPv6, what fits', async () => {
    const first = await pair.ping('box-a', boxB.ip, { count: 4, args: WHOLE });
    expect(first.stdout).toContain(`mtu = ${OVERLAY_MTU}`);
    expect(first.stdout).toContain(`From ${boxB.ip}`);
    const whole = ['-M', 'do', '-s', String(OVERLAY_MTU - 28)];
    expect((await pair.ping('box-a', boxB.ip, { count: 2, args: whole })).received).toBe(2);
    const address6 = (
      await pair.mustExec('box-b', 'ip', '-json', '-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global')
    )
      .json()
      .flatMap(({ addr_info = [] }) => addr_info)[0].local as string;
    const first6 = await pair.ping('box-a', address6, { count: 2, args: ['-M', 'do', '-s', String(1450 - 48)] });
    expect(first6.stdout).toContain(`From ${address6} icmp_seq=1 Packet too big: mtu=${OVERLAY_MTU}`);
    const { answered, dropped } = await totals('a');
    expect(answered).toBeGreaterThanOrEqual(2);
    expect(dropped).toBeGreaterThanOrEqual(answered);
  });

  it('carries streams, superframes among them, once they know', async () => {
    for (const box of ['box-a', 'box-b']) await pair.mustExec(box, 'ip', 'route', 'flush', 'cache');
    await expectStreams();
    expect((await totals('b')).answered).toBeGreaterThan(0);
  });

  it('fragments what has no DF', async () => {
    const loose = ['-M', 'dont', '-s', String(1450 - 28)];
    expect((await pair.ping('box-a', boxB.ip, { count: 2, args: loose })).received).toBe(2);
  });
});
