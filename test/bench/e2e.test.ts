/** The end-to-end benchmark as a user runs it: figures come out, nothing stays, also when it is stopped in the middle. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listNamespaces, ROOT, run, waitFor } from '../e2e/host-pair.js';

const PROGRAM = join(ROOT, '.cache/bench/bench/e2e/run.js');
const RUN_MS_MAX = 120_000;
const folder = mkdtempSync(join(tmpdir(), 'vtep-bench-test-'));

/** What a benchmark with this process id could leave. */
const leftovers = (pid: number): string[] => [
  ...listNamespaces(`vtb-${pid}-`),
  ...readdirSync(tmpdir()).filter((name) => name.startsWith(`vtb-${pid}-`)),
];

interface Started {
  child: ChildProcess;
  pid: number;
  output: () => string;
  ended: Promise<number | null>;
}

function start(...args: string[]): Started {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { child, pid: child.pid as number, output: () => output, ended };
}

// The types are checked by `npm run check`, whose project holds the benchmarks too.
beforeAll(async () => {
  const compiled = await run(
    process.execPath,
    ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.bench.json', '--noCheck'],
    60_000,
  );
  expect(compiled.stdout).toBe('');
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('measures, writes JSON and chart, and leaves nothing', { timeout: RUN_MS_MAX }, async () => {
  const [json, chart] = [join(folder, 'figures.json'), join(folder, 'chart.svg')];
  const { pid, output, ended } = start(
    ...['--quick', '--systems', 'kernel-vxlan,vtep', '--only', 'tcp1,rtt', '--json', json, '--chart', chart],
  );
  expect(await ended, output()).toBe(0);
  expect(output()).toContain('vtep : kernel-vxlan');
  const report = JSON.parse(readFileSync(json, 'utf8'));
  expect(Object.keys(report.figures)).toEqual(['tcp1', 'rttP50', 'rttP90', 'rttP99']);
  for (const { systems, ratios } of Object.values<{ systems: object; ratios: { ratio: number }[] }>(report.figures)) {
    expect(Object.keys(systems)).toEqual(['kernel-vxlan', 'vtep']);
    expect(ratios[0]!.ratio).toBeGreaterThan(0);
  }
  expect(report.failures).toEqual([]);
  expect(readFileSync(chart, 'utf8')).toMatch(/^<svg [\s\S]*TCP, 1 stream[\s\S]*<\/svg>\n$/);
  expect(leftovers(pid)).toEqual([]);
});

it.each(['SIGINT', 'SIGKILL'] as const)('leaves nothing when %s ends it', { timeout: RUN_MS_MAX }, async (signal) => {
  const { child, pid, output, ended } = start('--quick', '--systems', 'vtep', '--only', 'rtt');
  await waitFor('the first system to be up', () => output().includes('up: vtep'), 60_000);
  child.kill(signal);
  expect(await ended).toBe(signal === 'SIGINT' ? 130 : null);
  await waitFor('all to be gone', () => leftovers(pid).length === 0, signal === 'SIGINT' ? 100 : 10_000);
});

it.each([
  [['--rounds', 'many'], '--rounds many'],
  [['--systems', 'nothing'], 'there is no "nothing"'],
  [['--system', '/nowhere.mjs'], '/nowhere.mjs: there is no such file'],
])('refuses %j in one line and with 2', async (args, message) => {
  const { output, ended } = start(...args);
  expect(await ended).toBe(2);
  expect(output()).toMatch(/^bench: [^\n]+\n$/);
  expect(output()).toContain(message);
});

it('says that vtepd refused its options', { timeout: RUN_MS_MAX }, async () => {
  const { output, ended } = start('--quick', '--systems', 'vtep', '--vtepd-args', '--nonsense');
  expect(await ended).toBe(1);
  expect(output()).toContain('--nonsense');
});
