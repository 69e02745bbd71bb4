/**
 * The ground that every system stands on: two hosts (network namespaces) joined by a veth pair of MTU 1500.
 *
 *     host a  eth0 192.0.2.1/24 ══ veth ══ eth0 192.0.2.2/24  host b
 *
 * Each system has hosts of its own, so that all stand at once. Every name begins with the testbed's prefix; remove()
 * takes away what was made, and the guard process does if this process dies before it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { startGuard } from '../../test/e2e/guard.js';

const COMMAND_MS_MAX = 30_000;
const END_MS_MAX = 3000;
const UNDERLAY_MTU_BYTES = 1500;

export interface UnderlayHost {
  readonly netns: string;
  readonly device: string;
  readonly address: string;
}

/** Polls until `probe` answers true. @throws Error naming `what`, or the abort's reason */
export async function until(
  what: string,
  probe: () => Promise<boolean> | boolean,
  { timeoutMs = 15_000, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await probe())) {
    signal?.throwIfAborted();
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs / 1000} s for ${what}`);
    await sleep(20);
  }
}

/** All that one run makes. */
export class Testbed {
  readonly prefix = `vtb-${process.pid}-`;
  readonly folder = mkdtempSync(join(tmpdir(), this.prefix));
  readonly signal: AbortSignal;
  readonly #guard = startGuard(this.prefix, this.folder);
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();

  /** @param signal ends running commands; what is under way rejects with its reason. */
  constructor(signal: AbortSignal) {
    this.signal = signal;
  }

  get namespaces(): readonly string[] {
    return this.#namespaces;
  }

  /** Two fresh hosts for a system. */
  async addTopology(systemName: string): Promise<Topology> {
    const topology = new Topology(this, `${systemName}-`);
    await topology.layCable();
    return topology;
  }

  async addNamespace(name: string): Promise<string> {
    const netns = this.prefix + name;
    // Recorded first: a signal may come between the two.
    this.#namespaces.push(netns);
    await this.run('ip', ['netns', 'add', netns]);
    await this.run('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
    return netns;
  }

  /** @returns standard output. @throws Error with the command's standard error, or the abort's reason */
  async run(command: string, args: readonly string[], timeoutMs = COMMAND_MS_MAX): Promise<string> {
    this.signal.throwIfAborted();
    const result = await execa(command, args, {
      reject: false,
      timeout: timeoutMs,
      stdin: 'ignore',
      cancelSignal: this.signal,
      forceKillAfterDelay: 1000,
    });
    this.signal.throwIfAborted();
    if (result.failed) {
      const why = result.timedOut ? `still running after ${timeoutMs / 1000} s` : result.stderr || result.stdout;
      throw new Error(`${command} ${args.join(' ')}: ${why || result.shortMessage}`);
    }
    return result.stdout;
  }

  /** A long-running process; its output goes to the log, or, with `pipe`, its streams are the caller's. */
  spawn(logName: string, command: string, args: readonly string[], { pipe = false } = {}): ChildProcess {
    this.signal.throwIfAborted();
    const log = openSync(this.logPath(logName), 'a');
    const child = spawn(command, args, { stdio: pipe ? ['pipe', 'pipe', log] : ['ignore', log, log] });
    closeSync(log);
    this.#children.add(child);
    // 'error': it could not be started; there is no 'exit' then.
    child.once('exit', () => this.#children.delete(child));
    child.once('error', () => this.#children.delete(child));
    return child;
  }

  logPath(name: string): string {
    return join(this.folder, `${name}.log`);
  }

  /** The end of a log, for an error message. */
  logEnd(name: string): string {
    const path = this.logPath(name);
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').slice(-5).join('\n') : '';
  }

  /** Ends a process that spawn() made, if it runs. */
  async end(child: ChildProcess): Promise<void> {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      if (!this.#children.has(child)) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await Promise.race([ended, sleep(END_MS_MAX, undefined, { ref: false })]);
    }
  }

  /** Removes everything. @throws Error that names what is left */
  async remove(): Promise<void> {
    await Promise.all([...this.#children].map((child) => this.end(child)));
    const left: string[] = [];
    for (const netns of this.#namespaces.reverse()) {
      if (!existsSync(`/run/netns/${netns}`)) continue;
      const pids = (await execa('ip', ['netns', 'pids', netns], { reject: false })).stdout.split('\n').filter(Boolean);
      if (pids.length > 0) await execa('kill', ['-KILL', ...pids], { reject: false });
      const { failed, stderr } = await execa('ip', ['netns', 'del', netns], { reject: false });
      if (failed) left.push(`namespace ${netns} (${stderr})`);
    }
    rmSync(this.folder, { recursive: true, force: true });
    // With something left, the guard tries once more when this process has ended.
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
    await this.#guard.dismiss();
  }
}

/** One system's ground. */
export class Topology {
  readonly testbed: Testbed;
  readonly hosts: { readonly a: UnderlayHost; readonly b: UnderlayHost };
  readonly #scope: string;

  constructor(testbed: Testbed, scope: string) {
    this.testbed = testbed;
    this.#scope = scope;
    const host = (name: string, address: string) => ({ netns: testbed.prefix + scope + name, device: 'eth0', address });
    this.hosts = { a: host('a', '192.0.2.1'), b: host('b', '192.0.2.2') };
  }

  /** Of this system alone: for sockets, state, logs. */
  scoped(name: string): string {
    return this.#scope + name;
  }

  async layCable(): Promise<void> {
    const { a, b } = this.hosts;
    await this.addNamespace('a');
    await this.addNamespace('b');
    await this.ip(
      'link',
      'add',
      a.device,
      'netns',
      a.netns,
      'type',
      'veth',
      'peer',
      'name',
      b.device,
      'netns',
      b.netns,
    );
    for (const { netns, device, address } of [a, b]) {
      await this.ip('-n', netns, 'address', 'add', `${address}/24`, 'dev', device);
      await this.ip('-n', netns, 'link', 'set', device, 'mtu', String(UNDERLAY_MTU_BYTES), 'up');
    }
  }

  /** A further namespace, such as a container's; its loopback is up. @returns its full name */
  addNamespace(name: string): Promise<string> {
    return this.testbed.addNamespace(this.scoped(name));
  }

  /** iproute2's `ip`. @throws Error with what it says */
  ip(...args: string[]): Promise<string> {
    return this.testbed.run('ip', args);
  }

  /** A command in a namespace. @returns standard output. @throws Error with what it says */
  exec(netns: string, command: string, ...args: string[]): Promise<string> {
    return this.testbed.run('ip', ['netns', 'exec', netns, command, ...args]);
  }

  /** A long-running process in a namespace; it ends with the topology at the latest. Its pid is the command's. */
  spawn(netns: string, logName: string, command: string, ...args: string[]): ChildProcess {
    return this.testbed.spawn(this.scoped(logName), 'ip', ['netns', 'exec', netns, command, ...args]);
  }
}

/** Whether a process has got as far as its namespace: `ip netns exec` takes a moment. */
export function isInNamespace(pid: number, netns: string): boolean {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino === statSync(`/run/netns/${netns}`).ino;
  } catch {
    return false;
  }
}
