/** Hosts with a Docker plugin over one registry in memory, and a stand-in for what dockerd does with a plugin. Test support. */
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Host } from '../../../../src/control/host.js';
import type { DockerHooks } from '../../../../src/control/plugins/docker/hooks.js';
import type { DockerScope } from '../../../../src/control/plugins/docker/network-maker.js';
import { startDockerPlugin } from '../../../../src/control/plugins/docker/server.js';
import { FakeForwarding } from '../../fake-forwarding.js';
import { MemoryRegistry } from '../../memory-registry.js';
import { inHost, ip, linkNames, Namespaces } from '../../namespaces.js';

export const WAIT = { timeout: 15_000, interval: 30 };

export interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: what a test reads of an answer is the test's to know.
  readonly body: any;
}

/** One call as dockerd makes it; `body` undefined: none at all. */
export function call(socketPath: string, method: string, body?: unknown, type?: string): Promise<Answer> {
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const headers = {
    accept: 'application/vnd.docker.plugins.v1.2+json',
    ...(type === undefined ? {} : { 'content-type': type }),
  };
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: `/${method}`, method: 'POST', headers }, (answer) => {
      let read = '';
      answer.on('data', (chunk) => {
        read += String(chunk);
      });
      answer.on('end', () => {
        resolve({ status: answer.statusCode ?? 0, type: answer.headers['content-type'], body: JSON.parse(read) });
      });
    });
    sent.on('error', reject);
    sent.end(text);
  });
}

export class Site {
  readonly namespaces = new Namespaces();
  readonly directory = mkdtempSync(join(tmpdir(), 'vtct-'));
  registry = new MemoryRegistry();
  private readonly machines = new Set<Machine>();

  async boot(node: string, options: { scope?: DockerScope; hooks?: DockerHooks } = {}): Promise<Machine> {
    const machine = new Machine(this, node, await this.namespaces.add(), options);
    await machine.start();
    this.machines.add(machine);
    return machine;
  }

  async close(): Promise<void> {
    for (const machine of this.machines) await machine.stop();
    await this.namespaces.removeAll();
    rmSync(this.directory, { recursive: true });
  }
}

let booted = 0;

export class Machine {
  host!: Host;
  readonly forwarding: FakeForwarding;
  readonly socketPath: string;
  private readonly number = ++booted;
  private plugin: { close(): Promise<void> } | undefined;

  constructor(
    private readonly site: Site,
    readonly node: string,
    readonly netns: string,
    private readonly options: { scope?: DockerScope; hooks?: DockerHooks },
  ) {
    this.forwarding = new FakeForwarding(netns);
    this.socketPath = join(site.directory, `${node}-plugins`, 'vtep.sock');
  }

  get stateDirectory(): string {
    return join(this.site.directory, this.node);
  }

  async start(): Promise<void> {
    const logger = pino({ level: process.env.VTEP_TEST_LOG ?? 'silent' });
    this.host = await Host.start({
      ...{ node: this.node, registry: this.site.registry, forwarding: this.forwarding, version: '0', holdMs: 1000 },
      vtep: { ip: `10.30.10.${this.number}`, port: 4789 },
      underlay: { interface: 'ens33', mtuBytes: 1500 },
      stateDirectory: this.stateDirectory,
      logger,
      ipCommandPrefix: inHost(this.netns),
    });
    const { scope = 'local', hooks } = this.options;
    const { socketPath } = this;
    this.plugin = await startDockerPlugin({ host: this.host.pluginHost(), socketPath, scope, logger, hooks });
  }

  async stop(): Promise<void> {
    await this.plugin?.close();
    this.plugin = undefined;
    await this.host.close();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** The answer's body. @throws Error with the plugin's sentence */
  // biome-ignore lint/suspicious/noExplicitAny: as in Answer.
  async call(method: string, body?: unknown): Promise<any> {
    const answer = await call(this.socketPath, method, body);
    const sentence = answer.body.Err ?? answer.body.Error;
    if (sentence !== undefined) throw new Error(sentence);
    return answer.body;
  }

  /** What Docker does with the answer of Join. */
  async move(srcName: string, container: string, name: string, addresses: readonly string[]): Promise<void> {
    await ip(this.netns, 'link', 'set', 'dev', srcName, 'netns', container);
    await ip(container, 'link', 'set', 'dev', srcName, 'name', name);
    for (const address of addresses) await ip(container, 'address', 'add', address, 'dev', name);
    await ip(container, 'link', 'set', 'dev', name, 'up');
  }

  links(): Promise<string[]> {
    return linkNames(this.netns);
  }
}

export const id = (letter: string): string => letter.repeat(64);

/** As Docker sends a pool to CreateNetwork. */
export function pool(cidr: string, gateway: string, space = 'vtep-local', aux: Record<string, string> = {}) {
  return { AddressSpace: space, Pool: cidr, Gateway: gateway, AuxAddresses: aux };
}
