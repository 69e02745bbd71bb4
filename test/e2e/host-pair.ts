/**
 * Two hosts on one wire, for end-to-end tests: namespaces `a` (192.0.2.1) and `b` (192.0.2.2) joined by a veth pair
 * whose both ends are `ens33`, the registry on `a`, the built vtepd on both. Containers are namespaces, attached by
 * `vtep`.
 *
 * Every name begins with a prefix of its own, so that fixtures never meet. cleanup() removes everything and rejects if
 * something is left; a guard process does the same if the test process dies before it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type CommandResult, run, runVtep } from './command.js';
import { startGuard } from './guard.js';

export { type CommandResult, run };

export const ROOT = repositoryRoot();
export const DAEMON = join(ROOT, 'dist/daemon.js');
export const CLI = join(ROOT, 'dist/cli.js');
const BYTE_PEER = join(ROOT, 'test/e2e/byte-peer.mjs');

export const UNDERLAY = 'ens33';
export const UNDERLAY_ADDRESS = { a: '192.0.2.1', b: '192.0.2.2' } as const;
export const REGISTRY_URL = `http://${UNDERLAY_ADDRESS.a}:8500`;

/** `c`: of a test that makes its wire itself (underlay-ipv6.test.ts). */
export type HostName = 'a' | 'b' | 'c';
const HOSTS = ['a', 'b'] as const;

export interface HostPairOptions {
  /** Begins every name. At most 12 characters. @default vte-<pid>-<n>- */
  prefix?: string;
  /** A list: the URLs of a registry that the test runs itself. @default 'embedded': served by the vtepd of `a` */
  registry?: HostPair['registry'];
  /** Of the underlay, in bytes. @default 1500 */
  mtu?: number;
  /** More options for both daemons. */
  daemonOptions?: readonly string[];
  /** @default true */
  startDaemons?: boolean;
  /** The built `vtep`, a process for each command of the test, instead of one in the test's own. @default false */
  cliProcess?: boolean;
}

export interface Container {
  name: string;
  host: HostName;
  netns: string;
  network: string;
  interface: string;
  id: string;
  mac: string;
  /** Without prefix length. */
  ip: string;
}

export interface PingResult {
  sent: number;
  received: number;
  lossPercent: number;
  stdout: string;
}

export interface TransferResult {
  sentBytes: number;
  answeredBytes: number;
  exact: boolean;
  lostDatagrams: number;
}

/** Found upwards, since this file also runs from where the soak and the benchmarks are compiled to. */
function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** Polls until `probe` answers true. @throws Error naming `what` after `timeoutMs` */
export async function waitFor(what: string, probe: () => Promise<boolean> | boolean, timeoutMs = 10_000) {
  const deadline = Date.now() + timeoutMs;
  while (!(await probe())) {
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await sleep(50);
  }
}

async function must(command: string, ...args: string[]): Promise<string> {
  const result = await run(command, args);
  if (result.exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.stderr || result.stdout}`);
  return result.stdout;
}

export function listNamespaces(prefix: string): string[] {
  return existsSync('/run/netns') ? readdirSync('/run/netns').filter((name) => name.startsWith(prefix)) : [];
}

/** The ids of processes whose command line holds `text`, zombies left out (their command line is empty). */
export function findProcesses(text: string): number[] {
  const found: number[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      if (readFileSync(`/proc/${entry}/cmdline`, 'utf8').includes(text)) found.push(Number(entry));
    } catch {
      // It ended between the listing and the reading.
    }
  }
  return found;
}

interface Daemon {
  process: ChildProcess;
  ended: Promise<void>;
}

/** A busy machine takes its time for three daemons at once. */
const START_MS_MAX = 40_000;

let fixtureCount = 0;

export class HostPair {
  readonly prefix: string;
  readonly folder: string;
  /** For the daemons that are started from now on. */
  registry: 'embedded' | 'consul' | readonly string[];
  readonly containers: Container[] = [];
  /** More options for the daemons that are started from now on. */
  daemonOptions: readonly string[];
  readonly #cliProcess: boolean;
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();
  readonly #daemons = new Map<HostName, Daemon>();
  #consul: ChildProcess | undefined;
  readonly #guard: ReturnType<typeof startGuard>;
  readonly #servers = new Map<string, ChildProcess>();
  readonly #foldersBefore = ['/run/vtep', '/var/lib/vtep'].map((path) => ({ path, existed: existsSync(path) }));

  constructor(options: HostPairOptions) {
    fixtureCount++;
    this.prefix = options.prefix ?? `vte-${process.pid}-${fixtureCount}-`;
    this.registry = options.registry ?? 'embedded';
    this.daemonOptions = options.daemonOptions ?? [];
    this.#cliProcess = options.cliProcess ?? false;
    this.folder = mkdtempSync(join(tmpdir(), this.prefix));
    this.#guard = startGuard(this.prefix, this.folder);
  }

  /** The name of a host's or a container's network namespace. */
  netns(name: string): string {
    return this.prefix + name;
  }

  socketPath(host: HostName): string {
    return join(this.folder, `${host}.sock`);
  }

  logPath(name: string): string {
    return join(this.folder, `${name}.log`);
  }

  log(name: string): string {
    return existsSync(this.logPath(name)) ? readFileSync(this.logPath(name), 'utf8') : '';
  }

  /** The command that runs another in a namespace; it must become that other one. */
  protected entering(netns: string): string[] {
    return ['ip', 'netns', 'exec', netns];
  }

  async addNamespace(name: string): Promise<string> {
    const netns = this.netns(name);
    await must('ip', 'netns', 'add', netns);
    this.#namespaces.push(netns);
    await must('ip', '-n', netns, 'link', 'set', 'lo', 'up');
    return netns;
  }

  async setUp(mtu: number): Promise<void> {
    const [a, b] = [await this.addNamespace('a'), await this.addNamespace('b')];
    await must('ip', 'link', 'add', UNDERLAY, 'netns', a, 'type', 'veth', 'peer', 'name', UNDERLAY, 'netns', b);
    for (const host of HOSTS) {
      const netns = this.netns(host);
      await must('ip', '-n', netns, 'addr', 'add', `${UNDERLAY_ADDRESS[host]}/24`, 'dev', UNDERLAY);
      await must('ip', '-n', netns, 'link', 'set', UNDERLAY, 'mtu', String(mtu), 'up');
    }
    if (this.registry === 'consul') await this.startConsul();
  }

  /** A process in a namespace, its output in the log NAME.log. It ends with the fixture at the latest. */
  spawn(name: string, netns: string, command: string, ...args: string[]): ChildProcess {
    return this.spawnAs(name, [...this.entering(netns), command, ...args]);
  }

  /** The same, of a whole command. */
  protected spawnAs(name: string, [command, ...args]: readonly string[]): ChildProcess {
    const log = openSync(this.logPath(name), 'a');
    const child = spawn(command!, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Ends the Consul server as a crash would; with `wipe` it forgets everything. */
  async killConsul({ wipe = false } = {}): Promise<void> {
    const ended = new Promise((resolve) => this.#consul?.once('exit', resolve));
    this.#consul?.kill('SIGKILL');
    await ended;
    if (wipe) rmSync(join(this.folder, 'consul'), { recursive: true });
  }

  async startConsul(): Promise<void> {
    const binary = (await must('bash', join(ROOT, 'scripts/consul.sh'))).trim();
    const ip = UNDERLAY_ADDRESS.a;
    const args = ['agent', '-server', '-bootstrap-expect=1', `-bind=${ip}`, `-client=${ip}`, '-node=a'];
    const data = `-data-dir=${join(this.folder, 'consul')}`;
    this.#consul = this.spawn('consul', this.netns('a'), binary, ...args, data, '-hcl=disable_update_check = true');
    await waitFor(
      'Consul to elect a leader',
      async () => (await this.exec('a', 'curl', '-sf', `${REGISTRY_URL}/v1/status/leader`)).stdout.includes(':'),
      40_000,
    );
  }

  daemonArgs(host: HostName): string[] {
    const registry =
      host === 'a' && this.registry === 'embedded'
        ? ['--embedded-registry', `${UNDERLAY_ADDRESS.a}:8500`]
        : ['--registry', typeof this.registry === 'string' ? REGISTRY_URL : this.registry.join(',')];
    const own = ['--underlay', UNDERLAY, '--node', this.prefix + host, '--socket', this.socketPath(host)];
    const files = ['--state-dir', join(this.folder, host), '--log-format', 'text'];
    return [DAEMON, ...registry, ...own, ...files, ...this.daemonOptions];
  }

  /** Starts vtepd on `host`; with `ready` (the default) waits until its API answers and the registry is connected. */
  async startDaemon(host: HostName, { ready = true } = {}): Promise<void> {
    const child = this.spawn(`vtepd-${host}`, this.netns(host), process.execPath, ...this.daemonArgs(host));
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.#daemons.set(host, { process: child, ended });
    if (!ready) return;
    try {
      const isReady = async () => {
        if (child.exitCode !== null) throw new Error(`vtepd on ${host} ended with ${child.exitCode}`);
        const status = await runVtep(this.socketPath(host), ['status', '--json']);
        return status.exitCode === 0 && status.json().registry.connected === true;
      };
      await waitFor(`vtepd on ${host}`, isReady, START_MS_MAX);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.log(`vtepd-${host}`).slice(-4000)}`);
    }
  }

  daemonPid(host: HostName): number | undefined {
    return this.#daemons.get(host)?.process.pid;
  }

  /** Sends `signal` and waits for the end. @throws Error if it has not ended after 10 s */
  async killDaemon(host: HostName, signal: NodeJS.Signals): Promise<void> {
    const daemon = this.#daemons.get(host);
    if (daemon === undefined) throw new Error(`no vtepd was started on ${host}`);
    daemon.process.kill(signal);
    await Promise.race([
      daemon.ended,
      sleep(10_000, undefined, { ref: false }).then(() => {
        throw new Error(`vtepd on ${host} goes on 10 s after ${signal}\n${this.log(`vtepd-${host}`).slice(-2000)}`);
      }),
    ]);
    this.#daemons.delete(host);
  }

  /** `vtep` against the daemon of `host`. Add '--json' for json(). */
  vtep(host: HostName, ...args: string[]): Promise<CommandResult> {
    const socket = this.socketPath(host);
    return this.#cliProcess ? run(process.execPath, [CLI, '--socket', socket, ...args]) : runVtep(socket, args);
  }

  /** As vtep(), but a failure is the test's failure. */
  async mustVtep(host: HostName, ...args: string[]): Promise<CommandResult> {
    const result = await this.vtep(host, ...args);
    if (result.exitCode === 0) return result;
    const log = this.log(`vtepd-${host}`).slice(-3000);
    throw new Error(`vtep ${args.join(' ')} on ${host}: exit ${result.exitCode}: ${result.stderr}\n${log}`);
  }

  /** `where`: a host, or a container's name. */
  exec(where: string, command: string, ...args: string[]): Promise<CommandResult> {
    const [enter, ...way] = this.entering(this.netns(where));
    return run(enter!, [...way, command, ...args]);
  }

  async mustExec(where: string, command: string, ...args: string[]): Promise<CommandResult> {
    const result = await this.exec(where, command, ...args);
    if (result.exitCode === 0) return result;
    throw new Error(`in ${where}: ${command} ${args.join(' ')}: ${result.stderr || result.stdout}`);
  }

  async addContainer(host: HostName, name: string, network: string, ...options: string[]): Promise<Container> {
    const netns = await this.addNamespace(name);
    const attach = ['attach', '--network', network, '--netns', netns, '--name', name, ...options, '--json'];
    const endpoint = (await this.mustVtep(host, ...attach)).json();
    const container: Container = {
      name,
      host,
      netns,
      network,
      interface: endpoint.local.containerInterface,
      id: endpoint.id,
      mac: endpoint.mac,
      ip: endpoint.addresses[0].split('/')[0],
    };
    this.containers.push(container);
    return container;
  }

  /** Until every host that holds the network knows every MAC of it. */
  async waitConverged(network: string): Promise<void> {
    const members = this.containers.filter((container) => container.network === network);
    for (const host of new Set(members.map((container) => container.host))) {
      await waitFor(`${host} to know all MACs of ${network}`, async () => {
        const fdb = (await runVtep(this.socketPath(host), ['fdb', '--json'])).json() as {
          network: string;
          mac: string;
        }[];
        return members.every(({ mac }) => fdb.some((entry) => entry.network === network && entry.mac === mac));
      });
    }
  }

  async ping(from: string, address: string, options: { count?: number; args?: string[] } = {}): Promise<PingResult> {
    const count = options.count ?? 5;
    const args = ['-n', '-c', String(count), '-i', '0.2', '-W', '2', ...(options.args ?? []), address];
    const { stdout, stderr } = await this.exec(from, 'ping', ...args);
    const match = /(\d+) packets transmitted, (\d+) received.*?([\d.]+)% packet loss/.exec(stdout);
    if (match === null) throw new Error(`ping from ${from} to ${address}: ${stdout}${stderr}`);
    return { sent: Number(match[1]), received: Number(match[2]), lossPercent: Number(match[3]), stdout };
  }

  /** A byte-exact transfer to `address`, which must be one of container `to`, and back. Sizes in bytes. */
  async transfer(
    from: string,
    to: string,
    address: string,
    protocol: 'tcp' | 'udp',
    byteCount: number,
    datagramBytes = 1400,
  ): Promise<TransferResult> {
    const port = '7007';
    const name = `bytes-${to}-${address.replaceAll(':', '_')}`;
    if (!this.#servers.has(name)) {
      const args = [BYTE_PEER, 'server', address, port];
      this.#servers.set(name, this.spawn(name, this.netns(to), process.execPath, ...args));
      await waitFor(`the server in ${to}`, () => this.log(name).includes('ready'));
    }
    const client = [BYTE_PEER, 'client', protocol, address, port, String(byteCount), String(datagramBytes)];
    return (await this.mustExec(from, process.execPath, ...client)).json();
  }

  /** Removes everything. @throws Error that names what is left */
  async cleanup(): Promise<void> {
    for (const host of [...this.#daemons.keys()]) {
      const daemon = this.#daemons.get(host);
      if (daemon !== undefined && this.#children.has(daemon.process)) {
        daemon.process.kill('SIGTERM');
        await Promise.race([daemon.ended, sleep(5000, undefined, { ref: false })]);
      }
    }
    const ends = [...this.#children].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of [...this.#children]) child.kill('SIGKILL');
    await Promise.race([Promise.all(ends), sleep(5000, undefined, { ref: false })]);
    for (const netns of this.#namespaces.reverse()) {
      if (!existsSync(`/run/netns/${netns}`)) continue;
      for (const pid of (await must('ip', 'netns', 'pids', netns)).split('\n').filter(Boolean)) {
        await run('kill', ['-KILL', pid]);
      }
      await must('ip', 'netns', 'del', netns);
    }
    rmSync(this.folder, { recursive: true, force: true });
    await this.#guard.dismiss();
    await this.#assertNothingLeft();
  }

  async #assertNothingLeft(): Promise<void> {
    await waitFor(`the processes of ${this.prefix} to go`, () => findProcesses(this.prefix).length === 0, 3000);
    const left = listNamespaces(this.prefix).map((name) => `namespace ${name}`);
    for (const { path, existed } of this.#foldersBefore) {
      if (!existed && existsSync(path)) left.push(`folder ${path}`);
    }
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
  }
}

/** @throws Error if dist is missing, the caller is not root, or a part can't be made; nothing is left then. */
export async function createHostPair(options: HostPairOptions = {}): Promise<HostPair> {
  for (const path of [DAEMON, CLI]) {
    if (!existsSync(path)) throw new Error(`${path} is missing: build it with \`npm run build\``);
  }
  if (process.getuid?.() !== 0) throw new Error('end-to-end tests make network namespaces and need root');
  const pair = new HostPair(options);
  try {
    await pair.setUp(options.mtu ?? 1500);
    if (options.startDaemons !== false) {
      for (const host of HOSTS) await pair.startDaemon(host);
    }
  } catch (error) {
    await pair.cleanup();
    throw error;
  }
  return pair;
}
