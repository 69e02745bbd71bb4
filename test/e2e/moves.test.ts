/**
 * What moves is followed: a container to another host, a host to another address, at run time and by a restart. Each time
 * the gap that a ping every 10 ms sees is measured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, UNDERLAY, waitFor } from './host-pair.js';
import { PingSeries } from './ping-series.js';

const MOVER = { ip: '10.0.0.77', mac: '02:00:5e:10:00:77' };
let pair: HostPair;
let watcher: Container;
let far: Container;

beforeAll(async () => {
  pair = await createHostPair({ registry: 'consul', daemonOptions: ['--workers', '2'] });
  await pair.mustVtep('a', 'network', 'create', 'n');
  watcher = await pair.addContainer('a', 'watcher', 'n');
  far = await pair.addContainer('b', 'far', 'n');
  await pair.waitConverged('n');
});
afterAll(async () => {
  await pair?.cleanup();
});

/** Where the host sends frames for the MAC: `local` or a VTEP's address. */
async function placeOf(host: 'a' | 'b', mac: string): Promise<string | undefined> {
  const fdb = (await pair.mustVtep(host, 'fdb', '--json')).json() as {
    mac: string;
    kind: string;
    vtep?: { address: string };
  }[];
  const entry = fdb.find((candidate) => candidate.mac === mac);
  return entry?.kind === 'local' ? 'local' : entry?.vtep?.address;
}

const options = ['--ip', MOVER.ip, '--mac', MOVER.mac];

it('a container that is attached on another host with its address and MAC answers within a second', async () => {
  const first = await pair.addContainer('a', 'mover', 'n', ...options);
  const next = await pair.addNamespace('mover-2');
  const series = new PingSeries(pair, 'watcher', MOVER.ip);
  await waitFor('answers from a', () => series.answers().length > 20);
  await pair.mustVtep('a', 'detach', '--network', 'n', '--netns', first.netns);
  await pair.mustVtep('b', 'attach', '--network', 'n', '--netns', next, ...options);
  const attachedAt = Date.now();
  await waitFor('answers from b', () => series.answers().some((at) => at > attachedAt));
  const answeredAt = series.answers().find((at) => at > attachedAt)!;
  const { gapMs } = await series.stop();
  console.log(
    `endpoint move: answers ${Math.round(answeredAt - attachedAt)} ms after attach, gap ${Math.round(gapMs)} ms`,
  );
  expect(answeredAt - attachedAt).toBeLessThan(1000);
  expect(await placeOf('a', MOVER.mac)).toBe('192.0.2.2');
  await pair.mustVtep('b', 'detach', '--network', 'n', '--netns', next);
});

it('the newest attachment has the MAC while the old host still publishes it, and local delivery stays', async () => {
  const old = await pair.addContainer('b', 'old', 'n', '--ip', '10.0.0.78', '--mac', MOVER.mac);
  expect(await placeOf('a', MOVER.mac)).toBe('192.0.2.2');
  const next = await pair.addNamespace('next');
  await pair.mustVtep('a', 'attach', '--network', 'n', '--netns', next, '--ip', '10.0.0.79', '--mac', MOVER.mac);
  expect(await placeOf('a', MOVER.mac)).toBe('local');
  await waitFor('b to tell of the conflict', () => pair.log('vtepd-b').includes('is attached here and on node/'));
  expect((await pair.mustVtep('b', 'status', '--json')).json().totals.mac_conflicts).toBe(1);
  expect(pair.log('vtepd-a')).toContain('is attached here and on node/');
  expect(await placeOf('b', MOVER.mac)).toBe('local');
  await pair.mustVtep('b', 'detach', '--network', 'n', '--netns', old.netns);
  await waitFor('b to send to a', async () => (await placeOf('b', MOVER.mac)) === '192.0.2.1');
  await pair.mustVtep('a', 'detach', '--network', 'n', '--netns', next);
});

it('a host whose interface gets another address is followed, its containers untouched', async () => {
  const series = new PingSeries(pair, 'watcher', far.ip);
  await waitFor('answers', () => series.answers().length > 20);
  await pair.mustExec('b', 'ip', 'addr', 'del', '192.0.2.2/24', 'dev', UNDERLAY);
  await pair.mustExec('b', 'ip', 'addr', 'add', '192.0.2.22/24', 'dev', UNDERLAY);
  const movedAt = Date.now();
  await waitFor('answers again', () => series.answers().some((at) => at > movedAt));
  const answeredAt = series.answers().find((at) => at > movedAt)!;
  await sleep(500);
  const { gapMs, lost } = await series.stop();
  console.log(
    `host move: answers ${Math.round(answeredAt - movedAt)} ms after the change, gap ${Math.round(gapMs)} ms, lost ${lost}`,
  );
  expect(answeredAt - movedAt, pair.log('vtepd-b').slice(-2000)).toBeLessThan(1000);
  expect(await placeOf('a', far.mac)).toBe('192.0.2.22');
  const status = (await pair.mustVtep('b', 'status', '--json')).json();
  expect(status.vtep.ip).toBe('192.0.2.22');
  expect(await pair.ping('far', watcher.ip)).toMatchObject({ lossPercent: 0 });
  // The old address is no member any more, and the daemon still hears of the registry.
  const vteps = (await pair.mustVtep('a', 'status', '--json')).json().vteps as { address: string }[];
  expect(vteps.map(({ address }) => address)).toEqual(['192.0.2.22']);
  await pair.mustVtep('a', 'network', 'create', 'later');
  await waitFor('b to have its session', async () => {
    const nodes = (await pair.mustVtep('b', 'node', 'ls', '--json')).json() as { vtep: { ip: string } }[];
    return nodes.some(({ vtep }) => vtep.ip === '192.0.2.22');
  });
});

it('a TCP stream is exact over several moves of its host under load', async () => {
  let isDone = false;
  const transfer = pair.transfer('watcher', 'far', far.ip, 'tcp', 300_000_001).finally(() => {
    isDone = true;
  });
  let moves = 0;
  for (let at = 22; !isDone && moves < 4; moves++) {
    await pair.mustExec('b', 'ip', 'addr', 'del', `192.0.2.${at}/24`, 'dev', UNDERLAY);
    at = 100 + moves;
    await pair.mustExec('b', 'ip', 'addr', 'add', `192.0.2.${at}/24`, 'dev', UNDERLAY);
    await waitFor('a to send there', async () => (await placeOf('a', far.mac)) === `192.0.2.${at}`);
    await sleep(300);
  }
  const result = await transfer;
  console.log(`${moves} moves during a transfer of ${result.sentBytes} bytes`);
  expect(result.exact).toBe(true);
  expect(moves).toBeGreaterThan(0);
  const { workers } = (await pair.mustVtep('b', 'status', '--json')).json();
  expect(workers).toEqual([0, 1].map((id) => expect.objectContaining({ id, state: 'running' })));
});

it('a host that starts again with another address keeps its name, and is followed', async () => {
  await pair.killDaemon('b', 'SIGKILL');
  await pair.mustExec('b', 'ip', 'addr', 'add', '192.0.2.23/24', 'dev', UNDERLAY);
  pair.daemonOptions = ['--advertise', '192.0.2.23'];
  await pair.startDaemon('b');
  await waitFor('a to send to the new address', async () => (await placeOf('a', far.mac)) === '192.0.2.23');
  expect(await pair.ping('watcher', far.ip)).toMatchObject({ lossPercent: 0 });
});
