/**
 * The scale benchmark as a user runs it, in its short form: each change arrives, the tables end right, nothing stays.
 * Nothing here looks at a time: those are for quiet machines.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endpointsOperation, Population, WIDE_NETWORK } from '../../bench/scale/population.js';
import { parseEndpointsKey } from '../../src/control/registry/schema.js';
import { listNamespaces, ROOT, run, waitFor } from '../e2e/host-pair.js';

const PROGRAM = join(ROOT, '.cache/bench-scale/bench/scale/run.js');
const RUN_MS_MAX = 180_000;
const SHORT = ['--hosts', '50', '--endpoints', '600', '--networks', '20', '--watched', '4', '--changes', '1'];
const folder = mkdtempSync(join(tmpdir(), 'vtep-scale-test-'));

const leftovers = (pid: number): string[] => [
  ...listNamespaces(`vtb-${pid}-`),
  ...readdirSync(tmpdir()).filter((name) => name.startsWith(`vtb-${pid}-`)),
];

function start(...args: string[]) {
  const child: ChildProcess = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { child, pid: child.pid as number, output: () => output, ended };
}

// The types are checked by `npm run check`, whose project holds the benchmarks too.
beforeAll(async () => {
  const compile = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.bench.json', '--noCheck'];
  compile.push('--outDir', '.cache/bench-scale');
  expect((await run(process.execPath, compile, 60_000)).stdout).toBe('');
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('sees every change arrive, and leaves nothing', { timeout: RUN_MS_MAX }, async () => {
  const json = join(folder, 'figures.json');
  const { pid, output, ended } = start(...SHORT, '--seconds', '1', '--rate', '10', '--json', json);
  expect(await ended, output()).toBe(0);
  const report = JSON.parse(readFileSync(json, 'utf8'));
  expect(report.missing).toEqual([]);
  const { hosts, endpoints, networks } = report.options;
  expect({ hosts, endpoints, networks }).toEqual({ hosts: 50, endpoints: 600, networks: 20 });
  const watched = Array.from({ length: 4 }, (_, index) => `net-000${index}`);
  // Those of the beginning and the ten of the load: what came in between has gone again.
  expect(report.tableEntries).toBe(new Population(report.options).macsOf(new Set(watched)).size + 10);
  expect(report.load.changes).toBe(10);
  for (const [kind, { count, bytes }] of Object.entries<{ count: number; bytes: number }>(report.kinds)) {
    expect(count, kind).toBe(1);
    expect(bytes, kind).toEqual(expect.any(Number));
  }
  expect(report.watchers.map(({ way }: { way: string }) => way)).toHaveLength(5);
  for (const { bodyBytes } of report.watchers) expect(bodyBytes).toBeGreaterThan(50 * 20);
  expect(report.attachMs.p50).toBeGreaterThan(0);
  expect(report.memory.full.residentBytes).toBeGreaterThan(0);
  expect(leftovers(pid)).toEqual([]);
});

it('leaves nothing when it is ended in the middle', { timeout: RUN_MS_MAX }, async () => {
  const { child, pid, output, ended } = start(...SHORT);
  await waitFor('the registry to be full', () => output().includes('filled:'), 90_000);
  child.kill('SIGTERM');
  expect(await ended, output()).toBe(143);
  expect(leftovers(pid)).toEqual([]);
});

it.each([
  [['--hosts', 'many'], '--hosts many: must be a whole number from 1 to 4000'],
  [['--networks', '10', '--watched', '11'], '--watched 11: must be at most --networks 10'],
  [['--networks', '1', '--watched', '1'], '--networks 1: must be at least 2'],
  [['--hosts', '10', '--endpoints', '9'], '--endpoints 9: must be at least --hosts 10'],
  [['--nonsense'], '--nonsense'],
])('refuses %j in one line and with 2', async (args, message) => {
  const { output, ended } = start(...args);
  expect(await ended).toBe(2);
  expect(output()).toMatch(/^scale: [^\n]+\n$/);
  expect(output()).toContain(message);
});

describe('the population', () => {
  const counts = { hosts: 30, endpoints: 400, networks: 12 };

  it('has as many endpoints as asked, one of each host in the wide network, each with a MAC and an id of its own', () => {
    const { hosts } = new Population(counts);
    const all = hosts.flatMap(({ byNetwork }) => [...byNetwork.values()].flat());
    expect(all).toHaveLength(400);
    expect(new Set(all.map(({ mac }) => mac)).size).toBe(400);
    expect(new Set(all.map(({ id }) => id)).size).toBe(400);
    for (const { byNetwork } of hosts) expect(byNetwork.get(WIDE_NETWORK)).toHaveLength(1);
    expect(new Set(all.map(({ network }) => network)).size).toBe(12);
  });

  it('writes one key for a host and a network, and deletes it with the last endpoint', () => {
    const population = new Population(counts);
    const host = population.hosts[3]!;
    population.addEndpoint(host, WIDE_NETWORK);
    const write = endpointsOperation(host, WIDE_NETWORK, 'session');
    expect(write).toMatchObject({ verb: 'lock', session: 'session' });
    expect(parseEndpointsKey(write.key)).toEqual({ network: WIDE_NETWORK, node: host.name });
    population.removeEndpoint(host, WIDE_NETWORK);
    population.removeEndpoint(host, WIDE_NETWORK);
    expect(endpointsOperation(host, WIDE_NETWORK, 'session')).toEqual({ verb: 'delete', key: write.key });
    expect(() => population.removeEndpoint(host, WIDE_NETWORK)).toThrow(/has no endpoint/);
  });
});
