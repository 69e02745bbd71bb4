/** A vtepd on each host of a topology, one registry (embedded, on host a), driven by the built `vtep`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './root.js';
import type { DaemonProcess, SystemOptions } from './system.js';
import { type Topology, type UnderlayHost, until } from './topology.js';

const DAEMON = join(ROOT, 'dist/daemon.js');
const CLI = join(ROOT, 'dist/cli.js');
const REGISTRY_PORT = 8500;

export interface Attached {
  readonly netns: string;
  readonly mac: string;
  /** With prefix length. */
  readonly address: string;
  readonly bridge: string;
  readonly containerInterface: string;
}

interface FdbRow {
  readonly network: string;
  readonly mac: string;
}

export class VtepPair {
  readonly daemons: DaemonProcess[] = [];
  readonly #topology: Topology;
  readonly #options: SystemOptions;

  private constructor(topology: Topology, options: SystemOptions) {
    this.#topology = topology;
    this.#options = options;
  }

  static async start(topology: Topology, options: SystemOptions): Promise<VtepPair> {
    for (const path of [DAEMON, CLI]) if (!existsSync(path)) throw new Error(`${path} is missing: npm run build`);
    const pair = new VtepPair(topology, options);
    const { a, b } = topology.hosts;
    await pair.#startDaemon('a', a, ['--embedded-registry', `${a.address}:${REGISTRY_PORT}`]);
    await pair.#startDaemon('b', b, ['--registry', `http://${a.address}:${REGISTRY_PORT}`]);
    return pair;
  }

  async #startDaemon(name: 'a' | 'b', host: UnderlayHost, registry: readonly string[]): Promise<void> {
    const { testbed } = this.#topology;
    const log = `vtepd-${name}`;
    const child = this.#topology.spawn(
      ...([host.netns, log, process.execPath, DAEMON, ...registry, '--underlay', host.device] as const),
      ...['--node', host.netns, '--socket', this.#socketPath(name), '--log-format', 'text'],
      ...['--state-dir', join(testbed.folder, this.#topology.scoped(name)), ...this.#options.vtepdArgs],
    );
    const ended = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
    const explain = (why: string) => new Error(`${why}\n${testbed.logEnd(this.#topology.scoped(log))}`);
    const ready = until(
      `vtepd on ${host.netns}`,
      async () => {
        if (ended()) throw explain(`vtepd on ${host.netns} ended at once:`);
        // A Node for each look would take from the start that it waits for.
        if (!existsSync(this.#socketPath(name))) return false;
        const answer = await this.#vtep(name, 'status', '--json').catch(() => '{}');
        return JSON.parse(answer).registry?.connected === true;
      },
      { signal: testbed.signal },
    );
    await ready.catch((error: Error) => {
      throw error.message.startsWith('waited') ? explain(error.message) : error;
    });
    this.daemons.push({ name: log, pid: child.pid as number });
  }

  #socketPath(host: 'a' | 'b'): string {
    return join(this.#topology.testbed.folder, `${this.#topology.scoped(host)}.sock`);
  }

  #vtep(host: 'a' | 'b', ...args: string[]): Promise<string> {
    return this.#topology.testbed.run(process.execPath, [CLI, '--socket', this.#socketPath(host), ...args]);
  }

  async createNetwork(network: string): Promise<void> {
    await this.#vtep('a', 'network', 'create', network);
  }

  async attach(host: 'a' | 'b', network: string, netns: string): Promise<Attached> {
    const text = await this.#vtep(host, 'attach', '--network', network, '--netns', netns, '--json');
    const { mac, addresses, local } = JSON.parse(text);
    return {
      netns,
      mac,
      address: addresses[0],
      containerInterface: local.containerInterface,
      bridge: await this.#bridgeOf(host, network),
    };
  }

  async #bridgeOf(host: 'a' | 'b', network: string): Promise<string> {
    return JSON.parse(await this.#vtep(host, 'network', 'inspect', network, '--json')).local.bridge;
  }

  /** Until each host knows the MACs of both. */
  async waitConverged(network: string, members: readonly Attached[]): Promise<void> {
    for (const host of ['a', 'b'] as const) {
      await until(
        `vtepd of ${this.#topology.hosts[host].netns} to know all MACs`,
        async () => {
          const rows: FdbRow[] = JSON.parse(await this.#vtep(host, 'fdb', '--json'));
          return members.every(({ mac }) => rows.some((row) => row.network === network && row.mac === mac));
        },
        { signal: this.#topology.testbed.signal },
      );
    }
  }
}
