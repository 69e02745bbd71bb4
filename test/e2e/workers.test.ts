/**
 * Two workers on each host: every flow is exact and in order, several flows use both, and the descriptors come and go
 * with the networks.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, run, waitFor } from './host-pair.js';

const ORDER_PEER = new URL('./order-peer.mjs', import.meta.url).pathname;
const WORKERS = 2;
let pair: HostPair;
let boxA: Container;
let boxB: Container;

beforeAll(async () => {
  pair = await createHostPair({ daemonOptions: ['--workers', String(WORKERS), '--source-ports', '20000-20099'] });
  await pair.mustVtep('a', 'network', 'create', 'n', '--vni', '256');
  boxA = await pair.addContainer('a', 'box-a', 'n');
  boxB = await pair.addContainer('b', 'box-b', 'n');
  await pair.waitConverged('n');
});
afterAll(async () => {
  await pair?.cleanup();
});

/** The daemon's open queues of TAPs. */
function tapQueues(host: 'a' | 'b'): number {
  const folder = `/proc/${pair.daemonPid(host)}/fd`;
  const target = (fd: string) => {
    try {
      return readlinkSync(join(folder, fd));
    } catch {
      return '';
    }
  };
  return readdirSync(folder).filter((fd) => target(fd) === '/dev/net/tun').length;
}

const status = async (host: 'a' | 'b') => (await pair.mustVtep(host, 'status', '--json')).json();
const turns = async (host: 'a' | 'b'): Promise<number[]> =>
  ((await status(host)).workers as { turns: number }[]).map((worker) => worker.turns);

it('status lists each worker, and that flows are steered', async () => {
  const { workers, offloads } = await status('a');
  expect(workers).toEqual([0, 1].map((id) => expect.objectContaining({ id, state: 'running' })));
  expect(offloads).toContainEqual(expect.objectContaining({ name: 'tap-steering' }));
  expect((await pair.mustVtep('a', 'status')).stdout).toMatch(/^workers +#0 running, #1 running$/m);
});

it('each worker has its socket on the VXLAN port, its eight to send from, and its queue of the TAP', async () => {
  const ports = (await pair.mustExec('a', 'ss', '-Hlun')).stdout
    .split('\n')
    .map((line) => Number(/192\.0\.2\.1:(\d+)/.exec(line)?.[1]));
  expect(ports.filter((port) => port === 4789)).toHaveLength(WORKERS);
  expect(ports.filter((port) => port >= 20_000 && port <= 20_099)).toHaveLength(8 * WORKERS);
  expect(tapQueues('a')).toBe(WORKERS);
});

it.each(['tcp', 'udp'] as const)('several %s flows are exact', async (protocol) => {
  for (let flow = 0; flow < 4; flow++) {
    const [from, to, address] = flow % 2 === 0 ? ['box-a', 'box-b', boxB.ip] : ['box-b', 'box-a', boxA.ip];
    const result = await pair.transfer(from, to, address, protocol, protocol === 'tcp' ? 1_000_001 : 14_001);
    expect(result).toMatchObject({ exact: true, lostDatagrams: 0 });
  }
});

it('one flow is in order while it is answered, each of several, and both workers of both hosts move them', async () => {
  const before = [await turns('a'), await turns('b')].flat();
  const server = pair.spawn('order', pair.netns('box-b'), process.execPath, ORDER_PEER, 'server', boxB.ip, '7100');
  await waitFor('the server', () => pair.log('order').includes('ready'));
  const args = [ORDER_PEER, 'client', boxB.ip, '7100', '24', '200'];
  const { flows } = (await pair.mustExec('box-a', process.execPath, ...args)).json();
  server.kill();
  expect(flows).toHaveLength(24);
  for (const flow of flows) {
    expect(flow).toMatchObject({ overtakenThere: 0, overtakenBack: 0 });
    // A full socket buffer loses some on a busy machine.
    expect(flow.answered).toBeGreaterThan(100);
  }
  const after = [await turns('a'), await turns('b')].flat();
  // An idle worker turns once a second.
  for (const [worker, count] of after.entries()) expect(count - (before[worker] ?? 0)).toBeGreaterThan(50);
});

it('a second vtepd on the same port is refused', async () => {
  const args = pair.daemonArgs('a').map((arg) => arg.replace(pair.folder, join(pair.folder, 'second')));
  const own = args.filter((arg, i) => arg !== '--embedded-registry' && args[i - 1] !== '--embedded-registry');
  for (const workers of ['1', '2']) {
    const argv = [process.execPath, ...own, '--registry', 'http://192.0.2.1:8500', '--workers', workers];
    const result = await run('ip', ['netns', 'exec', pair.netns('a'), ...argv], 15_000);
    expect(result.stderr).toMatch(/UDP port 4789 on 192\.0\.2\.1 is in use.*\[VTEP_ERR_PORT_IN_USE\]$/m);
    expect(result.exitCode).toBe(1);
  }
});

it('an interface that was deleted comes back with a queue for each worker', async () => {
  await pair.mustExec('a', 'ip', 'link', 'del', 'vtep-t256');
  await waitFor('the new TAP', async () => (await pair.exec('a', 'ip', 'link', 'show', 'vtep-t256')).exitCode === 0);
  await waitFor('frames', async () => (await pair.ping('box-a', boxB.ip, { count: 1 })).received === 1);
  expect(await pair.ping('box-b', boxA.ip)).toMatchObject({ lossPercent: 0 });
  await waitFor('the old queues to be closed', () => tapQueues('a') === WORKERS);
  for (let flow = 0; flow < 4; flow++) {
    const result = await pair.transfer('box-a', 'box-b', boxB.ip, 'udp', 2800);
    expect(result).toMatchObject({ exact: true, lostDatagrams: 0 });
  }
});

it('a network that goes takes all its queues along', async () => {
  await pair.mustVtep('a', 'detach', '--network', 'n', '--netns', boxA.netns);
  await waitFor('the queues to be closed', () => tapQueues('a') === 0);
});
