/**
 * The demo, as a newcomer runs it: it ends well, loses no packet, and leaves nothing behind, also when it is stopped in
 * the middle.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { findProcesses, ROOT, run } from './host-pair.js';

const SCRIPT = join(ROOT, 'scripts/demo.sh');
const NAMESPACES = ['cdh1', 'cdh2', 'master', 'slaver'];
const DEMO_MS_MAX = 90_000;

interface DemoEnd {
  exitCode: number | null;
  output: string;
}

/** Runs the demo in a process group of its own; `interrupt` is called on output until it returns true. */
function demo(args: string[], interrupt?: (output: string, groupId: number) => boolean): Promise<DemoEnd> {
  return new Promise((resolve, reject) => {
    // That it measures is shown here, not what: a second is enough.
    const env = { ...process.env, DEMO_IPERF_SECONDS: '1' };
    const child = spawn('bash', [SCRIPT, ...args], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let interrupted = interrupt === undefined;
    const onData = (data: Buffer) => {
      output += data.toString();
      if (!interrupted && child.pid !== undefined) interrupted = interrupt?.(output, child.pid) ?? true;
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.once('error', reject);
    child.once('exit', (exitCode) => resolve({ exitCode, output }));
  });
}

/** What a demo leaves, wherever it could: namespaces, processes, files. */
function leftovers(): string[] {
  return [
    ...NAMESPACES.filter((name) => existsSync(`/run/netns/${name}`)),
    ...readdirSync(tmpdir()).filter((name) => name.startsWith('vtep-demo.')),
    ...findProcesses('vtep-demo.').map((pid) => `process ${pid}`),
    ...['/run/vtep', '/var/lib/vtep', join(ROOT, '.cache/demo.state')].filter((path) => existsSync(path)),
  ];
}

beforeAll(() => {
  expect(leftovers(), 'a demo is standing: `npm run demo -- --cleanup`').toEqual([]);
});

it('is clean shell', async () => {
  const { stdout } = await run('shellcheck', [SCRIPT]);
  expect(stdout).toBe('');
});

it('shows the whole way, with 0 % loss both ways, and leaves nothing', { timeout: DEMO_MS_MAX }, async () => {
  const { exitCode, output } = await demo([]);
  expect(exitCode, output.slice(-4000)).toBe(0);
  expect(output.match(/5 packets transmitted, 5 received, 0% packet loss/g)).toHaveLength(2);
  expect(output).toMatch(/my_overlay.*global/);
  expect(output).toContain('10.0.0.2/24');
  expect(output).toContain('10.0.0.3/24');
  expect(output).toMatch(/overlay: +[\d.]+ Mbit\/s\nunderlay: +|overlay: +[\d.]+ Mbit\/s/);
  expect(output).toMatch(/carries [\d.]+ % of what/);
  expect(output).toContain('vtep/v1/networks/my_overlay');
  expect(output, 'colours without a terminal').not.toContain('\u001b');
  expect(leftovers()).toEqual([]);
});

describe.each([
  ['Ctrl-C while the hosts are made', 'SIGINT', 'Two hosts, cdh1', 130],
  ['Ctrl-C between daemons', 'SIGINT', 'vtepd --embedded-registry', 130],
  ['Ctrl-C while it pings', 'SIGINT', 'ping -c 5', 130],
  ['SIGTERM while it attaches', 'SIGTERM', 'attach --network', 143],
  ['a closed terminal while it pings', 'SIGHUP', 'ping -c 5', 129],
] as const)('%s', (_title, signal, at, exitCode) => {
  it('leaves nothing', { timeout: DEMO_MS_MAX }, async () => {
    const end = await demo([], (output, groupId) => {
      if (!output.includes(at)) return false;
      // The group, as a terminal does it.
      process.kill(-groupId, signal);
      return true;
    });
    expect(end.output).toContain(at);
    expect(end.output).not.toContain('All steps done');
    expect(end.exitCode, end.output.slice(-2000)).toBe(exitCode);
    expect(leftovers()).toEqual([]);
  });
});

it('fails with the reason and the logs, and leaves nothing, when a step fails', { timeout: DEMO_MS_MAX }, async () => {
  let daemonKilled = false;
  const { exitCode, output } = await demo([], (text) => {
    if (!text.includes('A network, made once')) return false;
    for (const pid of findProcesses('cdh1.sock')) {
      if (findProcesses('vtepd').includes(pid)) process.kill(pid, 'SIGKILL');
    }
    daemonKilled = true;
    return true;
  });
  expect(daemonKilled).toBe(true);
  expect(exitCode).toBe(1);
  expect(output).toMatch(/demo: failed in "\d+\. /);
  expect(output).toContain('the end of vtepd-cdh1.log');
  expect(leftovers()).toEqual([]);
});

it('stands with --keep, refuses a second run, and goes with --cleanup', { timeout: DEMO_MS_MAX }, async () => {
  const kept = await demo(['--keep']);
  expect(kept.exitCode, kept.output.slice(-4000)).toBe(0);
  expect(kept.output).toContain('npm run demo -- --cleanup');
  try {
    for (const name of NAMESPACES) expect(existsSync(`/run/netns/${name}`)).toBe(true);
    const ping = await run('ip', ['netns', 'exec', 'slaver', 'ping', '-c', '2', '-i', '0.2', '10.0.0.2']);
    expect(ping.stdout).toContain(' 0% packet loss');
    const second = await demo([]);
    expect(second.exitCode).toBe(1);
    expect(second.output.trim().split('\n')).toHaveLength(1);
    expect(second.output).toMatch(/cdh1.*--cleanup/);
    expect(existsSync('/run/netns/cdh1')).toBe(true);
  } finally {
    expect((await demo(['--cleanup'])).exitCode).toBe(0);
  }
  expect(leftovers()).toEqual([]);
});

it('never removes a namespace that it did not make', async () => {
  await run('ip', ['netns', 'add', 'slaver']);
  try {
    const { exitCode, output } = await demo([]);
    expect(exitCode).toBe(1);
    expect(output).toContain('slaver');
    expect((await demo(['--cleanup'])).exitCode).toBe(1);
    expect(existsSync('/run/netns/slaver')).toBe(true);
  } finally {
    await run('ip', ['netns', 'del', 'slaver']);
  }
  expect(leftovers()).toEqual([]);
});

it('answers a bad option with one line and exit code 2', async () => {
  const { exitCode, output } = await demo(['--colour']);
  expect(exitCode).toBe(2);
  expect(output.trim().split('\n')).toHaveLength(1);
  expect(output).toContain('--colour');
});

it('has a help', async () => {
  const { exitCode, output } = await demo(['--help']);
  expect(exitCode).toBe(0);
  for (const option of ['--keep', '--cleanup', '--consul']) expect(output).toContain(option);
});
