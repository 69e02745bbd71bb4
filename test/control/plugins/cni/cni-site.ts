/** A real host in a namespace, over a registry in memory, with the API in front: what the CNI tests ask. Test support. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { buildApi } from '../../../../src/control/api/server.js';
import { Host } from '../../../../src/control/host.js';
import { FakeForwarding } from '../../fake-forwarding.js';
import { MemoryRegistry } from '../../memory-registry.js';
import { inHost, Namespaces } from '../../namespaces.js';

export interface Asked {
  readonly containerId?: string | undefined;
  /** A name in /run/netns, or what is to be said instead. */
  readonly netns?: string | undefined;
  readonly ifname?: string | undefined;
  readonly args?: string;
  readonly config?: Record<string, unknown>;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test names what it expects in its assertions
  readonly body: any;
}

const logger = pino({ level: 'silent' });

export class CniSite {
  readonly registry = new MemoryRegistry();
  readonly containers = new Namespaces();
  readonly #own = new Namespaces();
  readonly #directory = mkdtempSync(join(tmpdir(), 'vtct-cni-'));
  netns = '';
  host!: Host;
  #api!: FastifyInstance;

  async start(): Promise<void> {
    if (this.netns === '') this.netns = await this.#own.add();
    this.host = await Host.start({
      ...{ node: 'cdh1', registry: this.registry, forwarding: new FakeForwarding(this.netns), version: '0' },
      ...{ vtep: { ip: '10.30.10.111', port: 4789 }, underlay: { interface: 'ens33', mtuBytes: 1500 } },
      ...{ stateDirectory: join(this.#directory, 'cdh1'), logger, ipCommandPrefix: inHost(this.netns), holdMs: 1000 },
      ...{ dns: { upstream: [] }, spareAddresses: 2 },
    });
    this.#api = buildApi(this.host, logger);
  }

  async stop(): Promise<void> {
    await this.#api?.close();
    await this.host?.close();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async remove(): Promise<void> {
    await this.stop();
    await this.containers.removeAll();
    await this.#own.removeAll();
    rmSync(this.#directory, { recursive: true });
  }

  /** As vtep-cni asks. What is undefined is left out of the environment. */
  async ask(command: string, asked: Asked = {}): Promise<Answer> {
    const { containerId, netns, ifname, args } = { containerId: 'c1', ifname: 'eth0', ...asked };
    const path = netns === undefined || netns.includes('/') ? netns : `/run/netns/${netns}`;
    const variables = { CNI_COMMAND: command, CNI_CONTAINERID: containerId, CNI_NETNS: path, CNI_IFNAME: ifname };
    const environment = Object.fromEntries(
      Object.entries({ ...variables, CNI_ARGS: args }).filter(([, value]) => value !== undefined),
    );
    const config = { cniVersion: '1.1.0', name: 'blue', type: 'vtep-cni', ...asked.config };
    const answer = await this.#api.inject({ method: 'POST', url: '/v1/cni', payload: { environment, config } });
    return { status: answer.statusCode, body: answer.body === '' ? undefined : answer.json() };
  }

  /** Every container's namespace and endpoint. */
  async clear(): Promise<void> {
    for (const { id } of await this.host.localEndpoints()) await this.host.detachById(id);
    await this.containers.removeAll();
  }

  owners(): Promise<(string | undefined)[]> {
    return this.host.localEndpoints().then((all) => all.map(({ local }) => local?.owner).sort());
  }
}
