/**
 * Routes that refuse UDP_SEGMENT for real: a device with a smaller MTU than the overlay was made for, and one without
 * transmit checksum offload. Every byte arrives, the refusals are counted, and status says whose route it was.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Container, createHostPair, type HostName, type HostPair } from './host-pair.js';

const MIB = 1024 * 1024;
let pair: HostPair;
let boxA: Container;
let boxB: Container;

beforeAll(async () => {
  pair = await createHostPair();
  // An MTU by hand: one of the underlay's own would follow it.
  await pair.mustVtep('a', 'network', 'create', 'n', '--mtu', '1450');
  boxA = await pair.addContainer('a', 'box-a', 'n');
  boxB = await pair.addContainer('b', 'box-b', 'n');
  await pair.waitConverged('n');
});
afterAll(async () => {
  await pair?.cleanup();
});

const status = async (host: HostName) => (await pair.mustVtep(host, 'status', '--json')).json();
const refused = async (host: HostName): Promise<number> => (await status(host)).vteps[0].counters.tx_gso_refused;

async function setUnderlayMtu(mtuBytes: number): Promise<void> {
  for (const host of ['a', 'b'] as const) {
    await pair.mustExec(host, 'ip', 'link', 'set', 'ens33', 'mtu', String(mtuBytes));
  }
}

async function expectExact(from: Container, to: Container): Promise<void> {
  for (const bytes of [1, 1400, MIB + 1]) {
    const result = await pair.transfer(from.name, to.name, to.ip, 'tcp', bytes);
    expect(result).toMatchObject({ sentBytes: bytes, answeredBytes: bytes, exact: true });
  }
  const datagrams = await pair.transfer(from.name, to.name, to.ip, 'udp', 20_000, 4000);
  expect(datagrams).toMatchObject({ exact: true, lostDatagrams: 0 });
}

describe('UDP_SEGMENT refused by the route', () => {
  it('is refused nothing at first', async () => {
    await expectExact(boxA, boxB);
    expect([await refused('a'), await refused('b')]).toEqual([0, 0]);
    expect((await pair.mustVtep('a', 'status')).stdout).not.toContain('refused');
  });

  it('where the underlay has come to be smaller than the segments', async () => {
    // Both ends: a veth drops what is longer than the MTU of the end that receives it, unless it comes as one GSO packet.
    await setUnderlayMtu(1400);
    try {
      await expectExact(boxA, boxB);
    } finally {
      await setUnderlayMtu(1500);
    }
    const count = await refused('a');
    expect(count).toBeGreaterThan(0);
    // Runs of the refused size are not tried again and again.
    expect(count).toBeLessThan(200);
    expect((await pair.mustVtep('a', 'status')).stdout).toMatch(
      /underlay-gso \(refused \d+ times? by the route to 192\.0\.2\.2\)/,
    );
  });

  it('where the device has no transmit checksum offload, if this kernel minds', async () => {
    await pair.mustExec('b', 'ethtool', '-K', 'ens33', 'tx', 'off');
    await expectExact(boxB, boxA);
    // Linux 6.11 and later segment without it; those before answer EIO.
    const shown = (await pair.mustVtep('b', 'status')).stdout.includes('refused');
    expect(shown).toBe((await refused('b')) > 0);
  });
});
