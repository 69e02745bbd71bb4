/**
 * The registry or a host goes, with a real Consul: a death is believed in time, a lost registry takes nobody along and is
 * filled again, and a restart during the outage works from the local copy.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, REGISTRY_URL, UNDERLAY, waitFor } from './host-pair.js';
import { PingSeries } from './ping-series.js';

const TTL_SECONDS = 20;
let pair: HostPair;
let near: Container;
let far: Container;

beforeAll(async () => {
  pair = await createHostPair({ registry: 'consul', daemonOptions: ['--session-ttl', String(TTL_SECONDS)] });
  await pair.mustVtep('a', 'network', 'create', 'n');
  near = await pair.addContainer('a', 'near', 'n');
  far = await pair.addContainer('b', 'far', 'n');
  await pair.waitConverged('n');
}, 180_000);
afterAll(async () => {
  await pair?.cleanup();
});

const knows = async (host: 'a' | 'b', mac: string): Promise<boolean> =>
  ((await pair.mustVtep(host, 'fdb', '--json')).json() as { mac: string }[]).some((entry) => entry.mac === mac);

const networksOn = async (host: 'a' | 'b') =>
  ((await pair.mustVtep(host, 'network', 'ls', '--json')).json() as { name: string; vni: number }[])
    .map(({ name, vni }) => `${name} ${vni}`)
    .sort();

/** Consul's keys under the prefix; the random one is there or not like the others. */
async function keys(): Promise<string[]> {
  const answer = await pair.exec('a', 'curl', '-sf', `${REGISTRY_URL}/v1/kv/vtep/v1/?keys`);
  return answer.exitCode === 0 ? (answer.json() as string[]).sort() : [];
}

it('a registry that comes back empty is filled by its hosts, and no ping is lost', async () => {
  await pair.mustVtep('b', 'network', 'create', 'unused', '--vni', '5000');
  await pair.mustVtep('a', 'peer', 'add', '--network', 'n', '--address', '192.0.2.200');
  await waitFor('the peer on b', async () => {
    const vteps = (await pair.mustVtep('b', 'status', '--json')).json().vteps as { address: string }[];
    return vteps.some(({ address }) => address === '192.0.2.200');
  });
  const [before, networks] = [await keys(), await networksOn('a')];
  expect(networks).toEqual(['n 256', 'unused 5000']);
  const series = new PingSeries(pair, 'near', far.ip, 0.02);
  await waitFor('answers', () => series.answers().length > 20);

  await pair.killConsul({ wipe: true });
  await sleep(2000);
  await pair.startConsul();
  const startedAt = Date.now();
  await waitFor(
    'all keys to be back',
    async () => {
      const now = await keys();
      return before.every((key) => now.includes(key));
    },
    20_000,
  );
  console.log(`registry wiped: all keys are back ${Date.now() - startedAt} ms after Consul serves`);
  await waitFor('both hosts to list all networks', async () =>
    [await networksOn('a'), await networksOn('b')].every((list) => list.join() === networks.join()),
  );
  // Longer than a death takes to be believed.
  await sleep(3000);
  const { lost, sent, gapMs } = await series.stop();
  console.log(`registry wiped: ${lost} of ${sent} pings lost, longest gap ${Math.round(gapMs)} ms`);
  expect(sent).toBeGreaterThan(200);
  expect(lost).toBe(0);
  expect(pair.log('vtepd-a')).toContain('has lost its data');
});

it('a restart during the outage reaches the other host from the local copy', async () => {
  await pair.killConsul();
  await pair.killDaemon('b', 'SIGKILL');
  await pair.startDaemon('b', { ready: false });
  const startedAt = performance.now();
  const first = await pair.exec('far', 'ping', '-c', '1', '-i', '0.05', '-w', '15', near.ip);
  console.log(`restart in the outage: first answer after ${Math.round(performance.now() - startedAt)} ms`);
  expect(first.exitCode, pair.log('vtepd-b').slice(-2000)).toBe(0);
  await waitFor('the API of b', async () => (await pair.vtep('b', 'status')).exitCode === 0);
  expect((await pair.mustVtep('b', 'status', '--json')).json().registry.connected).toBe(false);
  expect(await pair.ping('near', far.ip)).toMatchObject({ lossPercent: 0 });
  const series = new PingSeries(pair, 'near', far.ip, 0.02);
  await pair.startConsul();
  await waitFor(
    'b to be connected',
    async () => (await pair.mustVtep('b', 'status', '--json')).json().registry.connected,
    20_000,
  );
  await sleep(3000);
  expect((await series.stop()).lost).toBe(0);
});

it('a host whose link was down for longer than the TTL is back a second after the link', async () => {
  await pair.mustExec('b', 'ip', 'link', 'set', UNDERLAY, 'down');
  await waitFor('a to forget b', async () => !(await knows('a', far.mac)), (TTL_SECONDS + 45) * 1000);
  // Into the longer pauses of whoever tries again.
  await sleep(5000);
  await pair.mustExec('b', 'ip', 'link', 'set', UNDERLAY, 'up');
  const upAt = Date.now();
  const first = await pair.exec('near', 'ping', '-c', '1', '-i', '0.02', '-w', '20', far.ip);
  await waitFor('a to know b', async () => knows('a', far.mac), 20_000);
  const backMs = Date.now() - upAt;
  console.log(`link down and up: back after ${backMs} ms`);
  expect(first.exitCode).toBe(0);
  expect(backMs, pair.log('vtepd-b').slice(-2000)).toBeLessThan(2000);
}, 120_000);

it('a host that dies is gone within the TTL and a second, and is back within a second', async () => {
  // What was missing when the registry was read again is held: let that time pass.
  expect(await knows('a', far.mac)).toBe(true);
  await pair.killDaemon('b', 'SIGKILL');
  await pair.mustExec('b', 'ip', 'link', 'set', UNDERLAY, 'down');
  const diedAt = Date.now();
  await waitFor('a to forget b', async () => !(await knows('a', far.mac)), (TTL_SECONDS + 15) * 1000);
  const goneMs = Date.now() - diedAt;
  await pair.mustExec('b', 'ip', 'link', 'set', UNDERLAY, 'up');
  await pair.startDaemon('b', { ready: false });
  await waitFor('b to be ready', () => pair.log('vtepd-b').split('daemon.ready').length === 4);
  const readyAt = Date.now();
  await waitFor('a to know b', async () => knows('a', far.mac));
  const backMs = Date.now() - readyAt;
  console.log(
    `host death: gone after ${goneMs} ms with a TTL of ${TTL_SECONDS} s; back ${backMs} ms after it was ready`,
  );
  expect(goneMs).toBeLessThan((TTL_SECONDS + 1) * 1000);
  expect(backMs).toBeLessThan(1000);
  expect(await pair.ping('near', far.ip)).toMatchObject({ lossPercent: 0 });
}, 90_000);
