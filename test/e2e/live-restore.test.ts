/**
 * vtepd goes, by SIGKILL or by a clean stop, and comes back: the containers' interfaces stay the same objects all the
 * while, and traffic flows again within 2 s of the start, without a touch to the containers. On the host that serves
 * the registry and on the one that does not.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Container, createHostPair, type HostName, type HostPair } from './host-pair.js';

const RESTORE_MS_MAX = 2000;
let pair: HostPair;
let master: Container;
let slaver: Container;

beforeAll(async () => {
  pair = await createHostPair({ registry: 'consul' });
  await pair.mustVtep('a', 'network', 'create', 'my_overlay');
  master = await pair.addContainer('a', 'master', 'my_overlay');
  slaver = await pair.addContainer('b', 'slaver', 'my_overlay');
  await pair.waitConverged('my_overlay');
});
afterAll(async () => {
  await pair?.cleanup();
});

/** What identifies the containers' interfaces; the same text before and after means the same objects. */
async function interfaces(): Promise<string> {
  const described: string[] = [];
  for (const { name, interface: device } of [master, slaver]) {
    const link = (await pair.mustExec(name, 'ip', '-json', 'addr', 'show', 'dev', device)).json()[0];
    const ips = link.addr_info.map((entry: { local: string }) => entry.local).sort();
    described.push(
      [name, link.ifindex, link.link_index, link.address, link.mtu, link.flags.includes('UP'), ips].join(' '),
    );
  }
  return described.join('\n');
}

/** Bridges and TAPs of a host: their indices. */
async function kernelObjects(host: HostName): Promise<string[]> {
  const links = (await pair.mustExec(host, 'ip', '-json', 'link')).json() as { ifname: string; ifindex: number }[];
  return links.map(({ ifname, ifindex }) => `${ifname} ${ifindex}`).sort();
}

describe.each([
  ['b', 'SIGKILL'],
  ['a', 'SIGKILL'],
  ['b', 'SIGTERM'],
  ['a', 'SIGTERM'],
] as const)('vtepd of %s, by %s', (host, signal) => {
  it('leaves the interfaces and flows again within 2 s of its start', async () => {
    expect(await pair.ping('master', slaver.ip)).toMatchObject({ lossPercent: 0 });
    const before = await interfaces();
    const objectsBefore = await kernelObjects(host);

    await pair.killDaemon(host, signal);
    expect(await interfaces()).toBe(before);
    expect(await kernelObjects(host)).toEqual(objectsBefore);
    // No ping may pass now, else the test below would measure nothing.
    expect(await pair.ping('master', slaver.ip, { count: 2, args: ['-W', '1'] })).toMatchObject({ received: 0 });

    const startedAt = performance.now();
    await pair.startDaemon(host, { ready: false });
    const first = await pair.exec('master', 'ping', '-c', '1', '-i', '0.05', '-w', '10', slaver.ip);
    const restoredMs = performance.now() - startedAt;
    expect(first.exitCode, pair.log(`vtepd-${host}`).slice(-3000)).toBe(0);
    expect(restoredMs).toBeLessThan(RESTORE_MS_MAX);

    expect(await pair.ping('slaver', master.ip)).toMatchObject({ lossPercent: 0 });
    expect(await interfaces()).toBe(before);
    expect(await kernelObjects(host)).toEqual(objectsBefore);
  });

  it('publishes its endpoints again, and both hosts see both', async () => {
    await pair.waitConverged('my_overlay');
    for (const side of ['a', 'b'] as const) {
      await expect
        .poll(
          async () => {
            const endpoints = (await pair.mustVtep(side, 'endpoint', 'ls', '--json')).json() as { name: string }[];
            return endpoints.map(({ name }) => name).sort();
          },
          { timeout: 20_000 },
        )
        .toEqual(['master', 'slaver']);
    }
  });
});

it('still attaches, detaches and removes after all of that', async () => {
  const third = await pair.addContainer('b', 'third', 'my_overlay');
  await pair.waitConverged('my_overlay');
  expect(await pair.ping('master', third.ip)).toMatchObject({ lossPercent: 0 });
  await pair.mustVtep('a', 'detach', '--network', 'my_overlay', '--netns', master.netns);
  await pair.mustVtep('b', 'detach', '--network', 'my_overlay', '--netns', slaver.netns);
  await pair.mustVtep('b', 'detach', '--network', 'my_overlay', '--netns', third.netns);
  await pair.mustVtep('b', 'network', 'rm', 'my_overlay');
  for (const host of ['a', 'b'] as const) {
    await expect.poll(() => kernelObjects(host), { timeout: 10_000 }).toHaveLength(2);
  }
});
