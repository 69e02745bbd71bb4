/**
 * The ground of a chaos run: hosts and a Consul server as namespaces on one bridge, the built vtepd on each host,
 * containers as namespaces; and everything that can be broken and mended about them.
 *
 *     host 1 ens33 192.0.2.11 ──┐
 *     host 2 ens33 192.0.2.12 ──┼── bridge in the namespace `lan` ── eth0 192.0.2.100 registry
 *     host 3 ens33 192.0.2.13 ──┘
 *
 * Every name begins with a prefix of its own. remove() takes all away but the logs; a guard process does if this process
 * dies before it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { ROOT } from '../../bench/e2e/root.js';
import { startGuard } from '../e2e/guard.js';
import type { HostNumber } from './actions.js';
import { type ApiAnswer, callApi } from './api-client.js';

const DAEMON = join(ROOT, 'dist/daemon.js');
export const UNDERLAY = 'ens33';
const REGISTRY_IP = '192.0.2.100';
const REGISTRY_URL = `http://${REGISTRY_IP}:8500`;
/** vtepd takes no less. */
const SESSION_TTL_SECONDS = 20;
const END_MS_MAX = 15_000;
const START_MS_MAX = 30_000;

interface Process {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
}

let worldCount = 0;

export class World {
  readonly prefix: string;
  /** Kept: logs and the recording. */
  readonly folder: string;
  readonly hosts: readonly HostNumber[];
  /** What ended without having been told to. */
  readonly accidents: string[] = [];
  readonly #scratch: string;
  readonly #namespaces: string[] = [];
  readonly #processes = new Map<string, Process>();
  readonly #ending = new Set<ChildProcess>();
  readonly #guard: ReturnType<typeof startGuard>;
  readonly #addresses = new Map<HostNumber, string>();
  #consul = '';

  constructor(hostCount: number) {
    worldCount++;
    this.prefix = `vtc-${process.pid}-${worldCount}-`;
    this.folder = mkdtempSync(join(tmpdir(), `${this.prefix}logs-`));
    this.#scratch = mkdtempSync(join(tmpdir(), `${this.prefix}run-`));
    this.hosts = Array.from({ length: hostCount }, (_, index) => index + 1);
    this.#guard = startGuard(this.prefix, this.#scratch);
  }

  /** @throws Error if dist is missing or something can't be made */
  async setUp(): Promise<void> {
    if (!existsSync(DAEMON)) throw new Error(`${DAEMON} is missing: build it with \`npm run build\``);
    this.#consul = (await this.must('bash', join(ROOT, 'scripts/consul.sh'))).trim();
    const lan = await this.addNamespace('lan');
    await this.must('ip', '-n', lan, 'link', 'add', 'br0', 'up', 'type', 'bridge', 'stp_state', '0');
    await this.#addStation('registry', 'eth0', `${REGISTRY_IP}/24`);
    for (const host of this.hosts) {
      this.#addresses.set(host, `192.0.2.${10 + host}`);
      await this.#addStation(nodeName(host), UNDERLAY, `${this.address(host)}/24`);
    }
    this.startRegistry();
    await this.waitForRegistry();
  }

  async #addStation(name: string, device: string, cidr: string): Promise<void> {
    const netns = await this.addNamespace(name);
    const lan = this.netns('lan');
    await this.must(
      ...(['ip', 'link', 'add', device, 'netns', netns] as const),
      ...['type', 'veth', 'peer', 'name', name, 'netns', lan],
    );
    await this.must('ip', '-n', lan, 'link', 'set', name, 'master', 'br0', 'up');
    await this.must('ip', '-n', netns, 'address', 'add', cidr, 'dev', device);
    await this.must('ip', '-n', netns, 'link', 'set', device, 'up');
  }

  netns(name: string): string {
    return this.prefix + name;
  }

  address(host: HostNumber): string {
    return this.#addresses.get(host)!;
  }

  stateFile(host: HostNumber): string {
    return join(this.#scratch, nodeName(host), 'state.lmdb');
  }

  async addNamespace(name: string): Promise<string> {
    const netns = this.netns(name);
    await this.must('ip', 'netns', 'add', netns);
    this.#namespaces.push(netns);
    await this.must('ip', '-n', netns, 'link', 'set', 'lo', 'up');
    return netns;
  }

  hasNamespace(name: string): boolean {
    return existsSync(`/run/netns/${this.netns(name)}`);
  }

  async deleteNamespace(name: string): Promise<void> {
    if (this.hasNamespace(name)) await this.must('ip', 'netns', 'del', this.netns(name));
  }

  async run(command: string, args: readonly string[], timeoutMs = 30_000): Promise<{ stdout: string; ok: boolean }> {
    const result = await execa(command, args, { reject: false, timeout: timeoutMs, stdin: 'ignore' });
    return { stdout: result.stdout, ok: !result.failed };
  }

  /** @returns standard output. @throws Error with the command's words */
  async must(command: string, ...args: string[]): Promise<string> {
    const result = await execa(command, args, { reject: false, timeout: 30_000, stdin: 'ignore' });
    if (result.failed) throw new Error(`${command} ${args.join(' ')}: ${result.stderr || result.shortMessage}`);
    return result.stdout;
  }

  /** A process in a namespace, its output in NAME.log. What ends unasked is an accident. */
  spawn(name: string, netns: string, command: string, ...args: string[]): ChildProcess {
    const log = openSync(join(this.folder, `${name}.log`), 'a');
    const child = spawn('ip', ['netns', 'exec', this.netns(netns), command, ...args], { stdio: ['ignore', log, log] });
    closeSync(log);
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.#processes.set(name, { child, ended });
    child.once('exit', (code, signal) => {
      if (!this.#ending.has(child)) this.accidents.push(`${name} ended by itself: ${signal ?? `status ${code}`}`);
    });
    return child;
  }

  isRunning(name: string): boolean {
    return this.#processes.has(name);
  }

  pid(name: string): number | undefined {
    return this.#processes.get(name)?.child.pid;
  }

  /** Ends a process and waits for it; one that goes on is an accident, and is killed. */
  async end(name: string, signal: NodeJS.Signals): Promise<void> {
    const found = this.#processes.get(name);
    if (found === undefined) return;
    this.#processes.delete(name);
    this.#ending.add(found.child);
    found.child.kill(signal);
    const late = await Promise.race([found.ended, sleep(END_MS_MAX, 'late', { ref: false })]);
    if (late === undefined) return;
    this.accidents.push(`${name} went on ${END_MS_MAX} ms after ${signal}`);
    found.child.kill('SIGKILL');
    await found.ended;
  }

  /** Waits until its API answers. One that does not start is an accident. */
  async startDaemon(host: HostNumber): Promise<void> {
    const node = nodeName(host);
    if (this.isRunning(node)) return;
    const files = ['--socket', this.#socket(host), '--state-dir', join(this.#scratch, node), '--log-format', 'text'];
    const own = ['--underlay', UNDERLAY, '--node', node, '--session-ttl', String(SESSION_TTL_SECONDS)];
    mkdirSync(join(this.#scratch, node), { recursive: true });
    const child = this.spawn(node, node, process.execPath, DAEMON, '--registry', REGISTRY_URL, ...own, ...files);
    const deadline = performance.now() + START_MS_MAX;
    while (child.exitCode === null && child.signalCode === null) {
      if ((await this.api(host, 'GET', '/healthz')).status === 200) return;
      if (performance.now() > deadline) {
        this.accidents.push(`vtepd on ${node} does not answer ${START_MS_MAX} ms after its start`);
        return;
      }
      await sleep(50);
    }
    this.#processes.delete(node);
  }

  #socket(host: HostNumber): string {
    return join(this.#scratch, `${nodeName(host)}.sock`);
  }

  api(host: HostNumber, method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    return callApi(this.#socket(host), method, path, body);
  }

  startRegistry(): void {
    if (this.isRunning('registry')) return;
    const addresses = [`-bind=${REGISTRY_IP}`, `-client=${REGISTRY_IP}`, '-node=registry'];
    const data = `-data-dir=${join(this.#scratch, 'consul')}`;
    const hcl = ['-hcl=disable_update_check = true', '-hcl=performance { raft_multiplier = 1 }'];
    const args = ['agent', '-server', '-bootstrap-expect=1', '-log-level=warn', ...addresses, data, ...hcl];
    this.spawn('registry', 'registry', this.#consul, ...args);
  }

  wipeRegistry(): void {
    rmSync(join(this.#scratch, 'consul'), { recursive: true, force: true });
  }

  /** A GET of Consul's own API, from its namespace. undefined: no answer, or none that is JSON. */
  async registry<T>(path: string): Promise<T | undefined> {
    const { stdout } = await this.run('ip', [
      ...['netns', 'exec', this.netns('registry'), 'curl', '-s', '-m', '10', `${REGISTRY_URL}${path}`],
    ]);
    try {
      return JSON.parse(stdout) as T;
    } catch {
      return undefined;
    }
  }

  /** Until it takes a write: a leader is known before that. @throws Error after 60 s */
  async waitForRegistry(): Promise<void> {
    const deadline = performance.now() + 60_000;
    const put = ['curl', '-s', '-m', '5', '-X', 'PUT', '-d', 'yes', `${REGISTRY_URL}/v1/kv/chaos/ready`];
    while (performance.now() < deadline) {
      const { stdout } = await this.run('ip', ['netns', 'exec', this.netns('registry'), ...put]);
      if (stdout.trim() === 'true') return;
      await sleep(200);
    }
    throw new Error('Consul took no write within 60 s of its start');
  }

  async partition(host: HostNumber, from: 'all' | 'registry', how: 'link' | 'silent' | 'unreachable'): Promise<void> {
    const netns = this.netns(nodeName(host));
    const lan = this.netns('lan');
    if (from === 'all' && how === 'link') await this.must('ip', '-n', lan, 'link', 'set', nodeName(host), 'down');
    else if (from === 'all') await this.must('bridge', '-n', lan, 'link', 'set', 'dev', nodeName(host), 'state', '0');
    // Nobody has that MAC.
    else if (how === 'silent') await this.must('ip', '-n', netns, 'neigh', 'replace', ...lostNeighbour());
    else await this.must('ip', '-n', netns, 'route', 'replace', 'unreachable', `${REGISTRY_IP}/32`);
  }

  /** Idempotent. */
  async heal(host: HostNumber): Promise<void> {
    const lan = this.netns('lan');
    await this.must('ip', '-n', lan, 'link', 'set', nodeName(host), 'up');
    await this.must('bridge', '-n', lan, 'link', 'set', 'dev', nodeName(host), 'state', '3');
    const netns = this.netns(nodeName(host));
    await this.run('ip', ['-n', netns, 'neigh', 'del', REGISTRY_IP, 'dev', UNDERLAY]);
    await this.run('ip', ['-n', netns, 'route', 'del', 'unreachable', `${REGISTRY_IP}/32`]);
  }

  /** Takes the host's address away and gives it the next one of its row: 192.0.2.11, .21, .31, ... */
  async renumber(host: HostNumber): Promise<void> {
    const netns = this.netns(nodeName(host));
    const last = Number(this.address(host).split('.')[3]) + 10;
    const next = `192.0.2.${last > 90 ? 10 + host : last}`;
    await this.must('ip', '-n', netns, 'address', 'flush', 'dev', UNDERLAY);
    await this.must('ip', '-n', netns, 'address', 'add', `${next}/24`, 'dev', UNDERLAY);
    this.#addresses.set(host, next);
  }

  /** Removes everything but the logs. @throws Error that names what is left */
  async remove({ keepLogs = false } = {}): Promise<void> {
    for (const host of this.hosts) await this.end(nodeName(host), 'SIGTERM');
    for (const name of [...this.#processes.keys()]) await this.end(name, 'SIGKILL');
    const left: string[] = [];
    for (const netns of this.#namespaces.reverse()) {
      if (!existsSync(`/run/netns/${netns}`)) continue;
      const pids = (await this.run('ip', ['netns', 'pids', netns])).stdout.split('\n').filter(Boolean);
      if (pids.length > 0) await this.run('kill', ['-KILL', ...pids]);
      if (!(await this.run('ip', ['netns', 'del', netns])).ok) left.push(netns);
    }
    rmSync(this.#scratch, { recursive: true, force: true });
    if (!keepLogs) rmSync(this.folder, { recursive: true, force: true });
    // With something left, the guard tries once more when this process has ended.
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
    await this.#guard.dismiss();
  }
}

function lostNeighbour(): string[] {
  return [REGISTRY_IP, 'lladdr', '02:00:00:00:00:01', 'dev', UNDERLAY, 'nud', 'permanent'];
}

export function nodeName(host: HostNumber): string {
  return `h${host}`;
}
