/**
 * A cluster of three real Consul servers in network namespaces of their own, joined by a bridge in a fourth. Test support.
 *
 *     c1 198.18.N.1   c2 198.18.N.2   c3 198.18.N.3   and whoever join()s, at .10 and on
 *        └──────────────┴──────┬───────┘
 *                         bridge in `switch`
 *
 * N is taken from the process id, so that two test runs on one machine do not meet. close() removes everything; a guard
 * process does the same if the test process dies before it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { startGuard } from '../../e2e/guard.js';

const SCRIPT = fileURLToPath(new URL('../../../scripts/consul.sh', import.meta.url));
export const SERVERS = ['c1', 'c2', 'c3'] as const;
export type ServerName = (typeof SERVERS)[number];
const LEADER_MS_MAX = 60_000;

let clusterCount = 0;

export class ConsulCluster {
  readonly #prefix: string;
  readonly #subnet: string;
  readonly #folder: string;
  readonly #guard: ReturnType<typeof startGuard>;
  readonly #running = new Map<ServerName, ChildProcess>();
  #binary = '';
  #joined = 0;
  #words = '';

  constructor() {
    clusterCount += 1;
    this.#prefix = `vtc${process.pid}-${clusterCount}-`;
    this.#subnet = `198.${18 + ((process.pid >> 8) & 1)}.${(process.pid + clusterCount) & 255}`;
    this.#folder = mkdtempSync(join(tmpdir(), this.#prefix));
    this.#guard = startGuard(this.#prefix, this.#folder);
  }

  url(name: ServerName): string {
    return `http://${this.#address(name)}:8500`;
  }

  get urls(): string[] {
    return SERVERS.map((name) => this.url(name));
  }

  /** The server that leads, as the first one says that runs. */
  async leader(): Promise<ServerName | undefined> {
    for (const name of this.#running.keys()) {
      const text = await this.#curl(name, `${this.url(name)}/v1/status/leader`);
      const found = SERVERS.find((server) => text.includes(`${this.#address(server)}:`));
      if (found !== undefined && this.#running.has(found)) return found;
    }
    return undefined;
  }

  /** @throws what went wrong, with the servers' last words. */
  async setUp(): Promise<void> {
    this.#binary = (await execa('bash', [SCRIPT])).stdout.trim();
    const hub = `${this.#prefix}switch`;
    await execa('ip', ['netns', 'add', hub]);
    await execa('ip', ['-n', hub, 'link', 'add', 'br0', 'up', 'type', 'bridge']);
    for (const name of SERVERS) {
      await execa('ip', ['netns', 'add', this.#prefix + name]);
      await execa('ip', ['-n', this.#prefix + name, 'link', 'set', 'lo', 'up']);
      await this.#plug(this.#prefix + name, 'eth0', this.#address(name), name);
    }
    await Promise.all(SERVERS.map((name) => this.start(name)));
    await this.waitWritable();
  }

  /**
   * Gives a namespace (without one: this test's own) an address among the servers.
   * @returns the name of its interface, which goes with the cluster.
   */
  async join(netns?: string): Promise<string> {
    this.#joined += 1;
    const device = `${this.#prefix.replaceAll('-', '')}j${this.#joined}`.slice(-15);
    await this.#plug(netns, device, `${this.#subnet}.${9 + this.#joined}`, `j${this.#joined}`);
    return device;
  }

  async start(name: ServerName): Promise<void> {
    const address = this.#address(name);
    const joins = SERVERS.flatMap((server) => ['-retry-join', this.#address(server)]);
    const args = ['agent', '-server', '-bootstrap-expect', '3', '-bind', address, '-client', '0.0.0.0', '-node', name];
    const hcl = 'disable_update_check = true performance { raft_multiplier = 1 } ports { dns = -1 grpc = -1 }';
    const data = ['-data-dir', join(this.#folder, name), '-retry-interval', '1s', ...joins, '-hcl', hcl];
    const child = spawn('ip', ['netns', 'exec', this.#prefix + name, this.#binary, ...args, ...data], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#words = (this.#words + chunk.toString()).slice(-3000);
      });
    }
    this.#running.set(name, child);
  }

  /** SIGKILL, as a host that loses its power. */
  async kill(name: ServerName): Promise<void> {
    const child = this.#running.get(name);
    this.#running.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** Until a write is taken by every server that runs. */
  async waitWritable(): Promise<void> {
    const endMs = performance.now() + LEADER_MS_MAX;
    for (const name of this.#running.keys()) {
      while ((await this.#curl(name, '-XPUT', '-d', 'x', `${this.url(name)}/v1/kv/started`)).trim() !== 'true') {
        if (performance.now() > endMs) throw new Error(`${name} takes no writes; last words:\n${this.#words}`);
        await sleep(100);
      }
    }
  }

  async close(): Promise<void> {
    for (const name of SERVERS) await this.kill(name);
    for (const name of ['switch', ...SERVERS]) {
      await execa('ip', ['netns', 'del', this.#prefix + name], { reject: false });
    }
    rmSync(this.#folder, { recursive: true, force: true });
    await this.#guard.dismiss();
  }

  #address(name: ServerName): string {
    return `${this.#subnet}.${SERVERS.indexOf(name) + 1}`;
  }

  async #plug(netns: string | undefined, device: string, address: string, port: string): Promise<void> {
    const hub = `${this.#prefix}switch`;
    const at = netns === undefined ? [] : ['-n', netns];
    const peer = ['peer', 'name', device, ...(netns === undefined ? ['netns', `${process.pid}`] : ['netns', netns])];
    await execa('ip', ['-n', hub, 'link', 'add', port, 'type', 'veth', ...peer]);
    await execa('ip', ['-n', hub, 'link', 'set', port, 'master', 'br0', 'up']);
    await execa('ip', [...at, 'addr', 'add', `${address}/24`, 'dev', device]);
    await execa('ip', [...at, 'link', 'set', device, 'up']);
  }

  async #curl(name: ServerName, ...args: string[]): Promise<string> {
    const inside = ['netns', 'exec', this.#prefix + name, 'curl', '-s', '-m', '5', ...args];
    return (await execa('ip', inside, { reject: false })).stdout;
  }
}

/** Takes some seconds. @throws with nothing left behind. */
export async function startConsulCluster(): Promise<ConsulCluster> {
  const cluster = new ConsulCluster();
  try {
    await cluster.setUp();
  } catch (error) {
    await cluster.close();
    throw error;
  }
  return cluster;
}
