/**
 * One Consul and one vtepd, each in a namespace of its own, joined by a veth pair that carries nothing else.
 *
 *     registry  Consul 192.0.2.1:8500 ══ eth0 ══ 192.0.2.2  host: vtepd, a sandbox with an endpoint in each watched network
 *         └ unix socket: the simulated hosts             └ unix socket: the API
 *
 * So the interface's byte counters are what this vtepd costs on the wire, TCP and IP headers included.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { endpointsPrefix, NETWORKS_PREFIX, NODES_PREFIX, PEERS_PREFIX } from '../../src/control/registry/schema.js';
import { LocalState } from '../../src/control/state/local-state.js';
import { ROOT } from '../e2e/root.js';
import { type Testbed, type Topology, until } from '../e2e/topology.js';
import { UnixHttp } from './http.js';

const DAEMON = join(ROOT, 'dist/daemon.js');
const CONSUL_START_MS_MAX = 40_000;
const WRITERS_MAX = 8;

export interface FdbRow {
  readonly network: string;
  readonly mac: string;
  readonly kind: string;
}

export interface Attached {
  readonly network: string;
  readonly mac: string;
  readonly milliseconds: number;
}

/** What the daemon's process has used. */
export interface Memory {
  readonly residentBytes: number;
  readonly peakBytes: number;
}

export class Ground {
  readonly consul: UnixHttp;
  readonly consulVersion: string;
  readonly #topology: Topology;
  readonly #vtepdArgs: readonly string[];
  readonly #consulProcess: ChildProcess;
  #api: UnixHttp;
  #vtepd: ChildProcess | undefined;

  private constructor(
    topology: Topology,
    consul: { readonly http: UnixHttp; readonly process: ChildProcess; readonly version: string },
    vtepdArgs: readonly string[],
  ) {
    this.#topology = topology;
    this.consul = consul.http;
    this.#consulProcess = consul.process;
    this.consulVersion = consul.version;
    this.#vtepdArgs = vtepdArgs;
    this.#api = new UnixHttp(this.#socketPath, 2);
  }

  /** Consul runs when this returns; vtepd does not yet. */
  static async lay(testbed: Testbed, vtepdArgs: readonly string[]): Promise<Ground> {
    if (!existsSync(DAEMON)) throw new Error(`${DAEMON} is missing: npm run build`);
    const topology = await testbed.addTopology('scale');
    const { a } = topology.hosts;
    const binary = (await testbed.run('bash', [join(ROOT, 'scripts/consul.sh')], 300_000)).trim();
    const version = /v([\d.]+)/.exec(await testbed.run(binary, ['version']))?.[1] ?? 'unknown';
    const socket = consulSocket(testbed);
    const process = topology.spawn(
      ...([a.netns, 'consul', binary, 'agent', '-dev', '-node', 'scale', '-bind', a.address] as const),
      // 1.8 counts a client's open requests: vtepd's watches all come from one address.
      ...[
        '-hcl',
        `addresses { http = "${a.address} unix://${socket}" }`,
        '-hcl',
        'limits { http_max_conns_per_client = 10000 }',
      ],
      ...['-hcl', 'disable_update_check = true', '-dns-port', '-1', '-grpc-port', '-1', '-log-level', 'warn'],
    );
    const http = new UnixHttp(socket, WRITERS_MAX);
    const isUp = async () => {
      if (process.exitCode !== null)
        throw new Error(`Consul ended at once:\n${testbed.logEnd(topology.scoped('consul'))}`);
      const answer = await http.call('PUT', '/v1/kv/started', 'yes').catch(() => undefined);
      return answer?.text.trim() === 'true';
    };
    await until('Consul to take a write', isUp, { timeoutMs: CONSUL_START_MS_MAX, signal: testbed.signal });
    return new Ground(topology, { http, process, version }, vtepdArgs);
  }

  get #socketPath(): string {
    return join(this.#topology.testbed.folder, 'vtepd.sock');
  }

  get consulSocketPath(): string {
    return consulSocket(this.#topology.testbed);
  }

  get #stateDirectory(): string {
    return join(this.#topology.testbed.folder, 'state');
  }

  get vtepdPid(): number {
    return this.#vtepd?.pid as number;
  }

  get consulPid(): number {
    return this.#consulProcess.pid as number;
  }

  /** Returns when the API answers. */
  async startVtepd(): Promise<void> {
    const { testbed, hosts } = this.#topology;
    const log = 'vtepd';
    const child = this.#topology.spawn(
      ...([hosts.b.netns, log, process.execPath, DAEMON, '--registry', `http://${hosts.a.address}:8500`] as const),
      ...['--underlay', hosts.b.device, '--node', 'real', '--socket', this.#socketPath, '--log-format', 'text'],
      ...['--state-dir', this.#stateDirectory, ...this.#vtepdArgs],
    );
    this.#vtepd = child;
    await until(
      'vtepd to answer',
      async () => {
        if (child.exitCode !== null)
          throw new Error(`vtepd ended at once:\n${testbed.logEnd(this.#topology.scoped(log))}`);
        return (await this.#api.call('GET', '/healthz').catch(() => undefined))?.status === 200;
      },
      { signal: testbed.signal, timeoutMs: 60_000 },
    );
  }

  async stopVtepd(): Promise<void> {
    if (this.#vtepd !== undefined) await this.#topology.testbed.end(this.#vtepd);
    this.#vtepd = undefined;
    this.#api.close();
    this.#api = new UnixHttp(this.#socketPath, 2);
  }

  /** What vtepd keeps of the registry is forgotten; its own endpoints stay. Only while it does not run. */
  async forgetReadings(networks: Iterable<string>): Promise<void> {
    const state = new LocalState(this.#stateDirectory);
    for (const prefix of [NODES_PREFIX, NETWORKS_PREFIX, PEERS_PREFIX]) state.removeSnapshot(prefix);
    for (const network of networks) state.removeSnapshot(endpointsPrefix(network));
    await state.close();
  }

  /** One container with an endpoint in each of the networks. */
  async attach(networks: readonly string[]): Promise<Attached[]> {
    const netns = await this.#topology.addNamespace('box');
    const attached: Attached[] = [];
    for (const network of networks) {
      this.#topology.testbed.signal.throwIfAborted();
      const begunMs = performance.now();
      const { mac } = await this.#api.json<{ mac: string }>('POST', '/v1/endpoints', { network, netns });
      attached.push({ network, mac, milliseconds: performance.now() - begunMs });
    }
    return attached;
  }

  fdb(network?: string): Promise<FdbRow[]> {
    return this.#api.json('GET', network === undefined ? '/v1/fdb' : `/v1/fdb?network=${network}`);
  }

  async counts(): Promise<{ networks: number; nodes: number }> {
    return (await this.#api.json<{ counts: { networks: number; nodes: number } }>('GET', '/v1/status')).counts;
  }

  /** Bytes on vtepd's interface, both ways. */
  wireBytes(): number {
    const line = new RegExp(`^\\s*${this.#topology.hosts.b.device}:(.*)$`, 'm').exec(
      readFileSync(`/proc/${this.vtepdPid}/net/dev`, 'utf8'),
    );
    const fields = line![1]!.trim().split(/\s+/).map(Number);
    return fields[0]! + fields[8]!;
  }

  memory(): Memory {
    const text = readFileSync(`/proc/${this.vtepdPid}/status`, 'utf8');
    const bytes = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]);
    return { residentBytes: bytes('VmRSS'), peakBytes: bytes('VmHWM') };
  }
}

const consulSocket = (testbed: Testbed): string => join(testbed.folder, 'consul.sock');
