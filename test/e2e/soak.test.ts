/**
 * All at once for a while: bulk TCP both ways, hashed streams one after the other, and a thousand short connections a
 * second. None is lost, no byte is wrong, and the daemons hold as much afterwards as before. A few seconds in the tests;
 * `npm run soak:datapath` takes a minute, or SOAK_SECONDS.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostName, type HostPair, run, waitFor } from './host-pair.js';

const SECONDS = Number(process.env.SOAK_SECONDS ?? 5);
const CONNECTIONS_PER_SECOND = 1000;
const STREAM_BYTES = 16 * 1024 * 1024;
/** Bulk is held below what the hosts can do, so that the rest gets its turn on two cores. */
const BULK = '400M';
const STORM = new URL('./connection-storm.mjs', import.meta.url).pathname;
/** A heap that was just grown is not given back at once. */
const GROWTH_BYTES_MAX = 64 * 1024 * 1024;

let pair: HostPair;
let boxA: Container;
let boxB: Container;

beforeAll(async () => {
  pair = await createHostPair();
  await pair.mustVtep('a', 'network', 'create', 'n');
  boxA = await pair.addContainer('a', 'box-a', 'n');
  boxB = await pair.addContainer('b', 'box-b', 'n');
  await pair.waitConverged('n');
  // A thousand connections a second use up the ports of a minute's TIME-WAIT, unless those are used again.
  for (const [key, value] of [
    ['ip_local_port_range', '1024 65535'],
    ['tcp_tw_reuse', '1'],
    ['tcp_max_syn_backlog', '4096'],
  ] as const) {
    for (const box of [boxA, boxB]) await pair.mustExec(box.name, 'sysctl', '-qw', `net.ipv4.${key}=${value}`);
  }
  for (const box of [boxA, boxB]) await pair.mustExec(box.name, 'sysctl', '-qw', 'net.core.somaxconn=4096');
});
afterAll(async () => {
  await pair?.cleanup();
});

function holdings(host: HostName): { fds: number; bytes: number } {
  const folder = `/proc/${pair.daemonPid(host)}`;
  const rss = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`${folder}/status`, 'utf8'));
  return { fds: readdirSync(`${folder}/fd`).length, bytes: Number(rss?.[1]) * 1024 };
}

const inNetns = (box: Container, timeoutMs: number, ...command: string[]) =>
  run('ip', ['netns', 'exec', box.netns, ...command], timeoutMs);
const timeoutMs = (SECONDS + 60) * 1000;

async function bulk(from: Container, to: Container, port: string): Promise<number> {
  const server = `iperf-${to.name}`;
  pair.spawn(server, to.netns, 'iperf3', '--server', '--forceflush', '--port', port);
  await waitFor(`iperf3 in ${to.name}`, () => pair.log(server).includes('listening'));
  const options = ['--json', '--time', String(SECONDS), '--bitrate', BULK, '--port', port];
  const { end } = (await inNetns(from, timeoutMs, 'iperf3', '--client', to.ip, ...options)).json();
  return end.sum_received.bytes;
}

async function streams(from: Container, to: Container): Promise<{ count: number; inexact: number }> {
  const until = Date.now() + SECONDS * 1000;
  const result = { count: 0, inexact: 0 };
  do {
    const transfer = await pair.transfer(from.name, to.name, to.ip, 'tcp', STREAM_BYTES);
    result.count++;
    if (!transfer.exact) result.inexact++;
  } while (Date.now() < until);
  return result;
}

async function storm(): Promise<{ opened: number; answered: number; failures: object; slowestMs: number }> {
  pair.spawn('storm', boxB.netns, process.execPath, STORM, 'server', boxB.ip, '7400');
  await waitFor('the storm server', () => pair.log('storm').includes('ready'));
  const client = [STORM, 'client', boxB.ip, '7400', String(CONNECTIONS_PER_SECOND), String(SECONDS)];
  return (await inNetns(boxA, timeoutMs, process.execPath, ...client)).json();
}

it(
  `${SECONDS} seconds of everything at once lose nothing`,
  async () => {
    const before = { a: holdings('a'), b: holdings('b') };
    const [there, back, exact, connections] = await Promise.all([
      bulk(boxA, boxB, '5201'),
      bulk(boxB, boxA, '5202'),
      streams(boxA, boxB),
      storm(),
    ]);
    const summary = { bulkBytes: [there, back], streams: exact.count, connections };
    console.info(JSON.stringify(summary));
    expect(Math.min(there, back)).toBeGreaterThan(0);
    expect(exact).toEqual({ count: exact.count, inexact: 0 });
    expect(connections).toMatchObject({ answered: connections.opened, failures: {} });
    // What a busy machine leaves of a thousand a second.
    expect(connections.opened).toBeGreaterThan((CONNECTIONS_PER_SECOND * SECONDS) / 4);
    for (const host of ['a', 'b'] as const) {
      const { totals } = (await pair.mustVtep(host, 'status', '--json')).json();
      expect([totals.checksums_wrong, totals.tap_gso_refused, totals.events_lost]).toEqual([0, 0, 0]);
      // Connections to the registry come and go.
      await waitFor(`the descriptors of ${host}`, () => holdings(host).fds <= before[host].fds);
      const after = holdings(host);
      expect(after.bytes - before[host].bytes, `memory of ${host}`).toBeLessThan(GROWTH_BYTES_MAX);
    }
    expect((await pair.ping('box-a', boxB.ip)).lossPercent).toBe(0);
  },
  timeoutMs * 2,
);
