/**
 * The overlay's MTU follows the underlay's while frames flow: the interface grows and shrinks, and a route has an MTU.
 *
 *     box-a, box-b     network `auto`, whose MTU is the underlay's less 50
 *     own              `auto` too, but somebody has given its interface an MTU
 *     fixed            network `fixed`, made with --mtu 1450
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bridgeName, hostInterfaceName, tapName } from '../../src/control/ports/names.js';
import { type Container, createHostPair, type HostPair, UNDERLAY, waitFor } from './host-pair.js';
import { PingSeries } from './ping-series.js';

const VNI = 700;
let pair: HostPair;
let boxA: Container;
let boxB: Container;

beforeAll(async () => {
  pair = await createHostPair();
  await pair.mustVtep('a', 'network', 'create', 'auto', '--subnet', '10.0.0.0/24', '--vni', String(VNI));
  await pair.mustVtep('a', 'network', 'create', 'fixed', '--subnet', '10.1.0.0/24', '--mtu', '1450');
  boxA = await pair.addContainer('a', 'box-a', 'auto');
  boxB = await pair.addContainer('b', 'box-b', 'auto');
  await pair.addContainer('a', 'own', 'auto');
  await pair.addContainer('a', 'fixed', 'fixed');
  await pair.mustExec('own', 'ip', 'link', 'set', 'eth0', 'mtu', '1300');
  await pair.waitConverged('auto');
});
afterAll(async () => {
  await pair?.cleanup();
});

async function mtuOf(where: string, name: string): Promise<number> {
  return (await pair.mustExec(where, 'ip', '-json', 'link', 'show', 'dev', name)).json()[0].mtu;
}

/** What of network `auto` has an MTU on a host, from the inside out. */
async function mtusOn(host: 'a' | 'b', container: Container): Promise<number[]> {
  const links = (await pair.mustExec(host, 'ip', '-json', 'link', 'show')).json() as { ifname: string; mtu: number }[];
  const names = [hostInterfaceName(container.id), bridgeName(VNI), tapName(VNI)];
  const outside = names.map((name) => links.find(({ ifname }) => ifname === name)?.mtu ?? 0);
  return [await mtuOf(container.name, 'eth0'), ...outside];
}

async function setUnderlay(mtuBytes: number): Promise<void> {
  for (const host of ['a', 'b']) await pair.mustExec(host, 'ip', 'link', 'set', UNDERLAY, 'mtu', String(mtuBytes));
}

async function untilMtu(mtuBytes: number): Promise<void> {
  for (const [host, container] of [
    ['a', boxA],
    ['b', boxB],
  ] as const) {
    await waitFor(`${container.name} to have an MTU of ${mtuBytes}`, async () => {
      return (await mtusOn(host, container)).every((mtu) => mtu === mtuBytes);
    });
  }
}

describe('networks without an MTU of their own', () => {
  it('shrink and grow with the underlay, while packets that fit either way all arrive and a stream goes on', async () => {
    await untilMtu(1450);
    const pings = new PingSeries(pair, 'box-a', boxB.ip, 0.02, ['-s', '1200']);
    await waitFor('the pings to begin', () => pings.answers().length > 0);
    const stream = pair.transfer('box-a', 'box-b', boxB.ip, 'tcp', 40_000_000);
    for (const mtuBytes of [1400, 9000, 1500]) {
      await setUnderlay(mtuBytes);
      await untilMtu(mtuBytes - 50);
    }
    expect(await stream).toMatchObject({ sentBytes: 40_000_000, exact: true });
    const { lost, sent } = await pings.stop();
    expect(sent).toBeGreaterThan(10);
    expect(lost).toBe(0);
  });

  it('carry packets of the whole MTU of a jumbo underlay, and are so in status', async () => {
    await setUnderlay(9000);
    await untilMtu(8950);
    expect((await pair.mustVtep('a', 'status', '--json')).json().underlay.mtuBytes).toBe(9000);
    const { local } = (await pair.mustVtep('a', 'network', 'inspect', 'auto', '--json')).json();
    expect(local.mtuBytes).toBe(8950);
    const whole = ['-M', 'do', '-s', String(8950 - 28)];
    expect((await pair.ping('box-a', boxB.ip, { count: 2, args: whole })).received).toBe(2);
    const result = await pair.transfer('box-b', 'box-a', boxA.ip, 'tcp', 10_000_000);
    expect(result).toMatchObject({ answeredBytes: 10_000_000, exact: true });
    await setUnderlay(1500);
    await untilMtu(1450);
  });

  it("follow the MTU of a route to another VTEP, and no other's", async () => {
    await pair.mustExec('a', 'ip', 'route', 'add', '198.51.100.0/24', 'via', '192.0.2.2', 'mtu', '1000');
    await pair.mustExec('a', 'ip', 'route', 'add', '192.0.2.2/32', 'dev', UNDERLAY, 'mtu', '1380');
    await waitFor('a to follow', async () => (await mtusOn('a', boxA)).every((mtu) => mtu === 1330));
    expect(await mtuOf('box-b', 'eth0')).toBe(1450);
    await pair.mustExec('a', 'ip', 'route', 'del', '192.0.2.2/32', 'dev', UNDERLAY);
    await untilMtu(1450);
  });

  it('leave an interface that somebody else has given an MTU, and a network with one of its own', async () => {
    expect(await mtuOf('own', 'eth0')).toBe(1300);
    expect(pair.log('vtepd-a')).toContain('keeps its MTU: it is 1300, not the 1450 that it was given');
    expect(await mtuOf('fixed', 'eth0')).toBe(1450);
    expect(pair.log('vtepd-a')).toContain('network "fixed" has an MTU of 1450, and the underlay has room for 1350');
  });

  it('come up again with the MTU that is there now', async () => {
    await pair.killDaemon('a', 'SIGTERM');
    await setUnderlay(1420);
    await pair.startDaemon('a');
    await untilMtu(1370);
  });
});
