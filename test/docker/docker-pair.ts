/**
 * Two hosts, each with a real dockerd, on one wire, and one real Consul on the first: what HostPair makes, with a
 * DockerHost on each. vtepd runs where its host's dockerd does, so that both see the same /run/docker. Test support.
 */

import { join } from 'node:path';
import type { CommandResult } from '../e2e/command.js';
import { createHostPair, type HostPair, REGISTRY_URL, UNDERLAY_ADDRESS, waitFor } from '../e2e/host-pair.js';
import { DockerHost, type DockerSuite, endProcess, type HostProcess } from './docker-host.js';
import { IMAGE } from './image.js';

export type DockerHostName = 'a' | 'b';
export const DOCKER_HOSTS: readonly DockerHostName[] = ['a', 'b'];

export interface DockerPairOptions {
  suite: DockerSuite;
  /** Whether dockerd shares networks through Consul; only bullseye's can. @default false */
  clusterStore?: boolean;
  /** More options for both vtepds. */
  daemonOptions?: readonly string[];
}

const START_MS_MAX = 60_000;
const FOREVER = ['sleep', '1000000'];

export class DockerPair {
  readonly wire: HostPair;
  readonly #hosts = new Map<DockerHostName, DockerHost>();
  readonly #daemons = new Map<DockerHostName, HostProcess>();

  private constructor(wire: HostPair) {
    this.wire = wire;
  }

  /** Both dockerds run, Consul too; vtepd is started by startVtepd(). */
  static async start(options: DockerPairOptions): Promise<DockerPair> {
    const daemonOptions = options.daemonOptions ?? [];
    const wire = await createHostPair({ registry: [REGISTRY_URL], startDaemons: false, daemonOptions });
    const pair = new DockerPair(wire);
    try {
      const consul = wire.startConsul();
      const starts = DOCKER_HOSTS.map(async (name) => {
        if (options.clusterStore) await consul;
        const folder = join(wire.folder, `docker-${name}`);
        const configuration = options.clusterStore ? clusterStore(name) : {};
        const host = await DockerHost.start({ suite: options.suite, netns: wire.netns(name), folder, configuration });
        pair.#hosts.set(name, host);
      });
      for (const result of await Promise.allSettled([consul, ...starts]))
        if (result.status === 'rejected') throw result.reason;
    } catch (error) {
      await pair.cleanup();
      throw error;
    }
    return pair;
  }

  host(name: DockerHostName): DockerHost {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`no docker host ${name}`);
    return host;
  }

  /** The docker command on a host; a failure is the test's failure. @returns its output */
  docker(name: DockerHostName, ...args: string[]): Promise<string> {
    return this.host(name).mustDocker(...args);
  }

  /** Starts a container that sleeps; what it is run with goes before the image. @returns its IPv4 address */
  async run(name: DockerHostName, container: string, network: string, ...options: string[]): Promise<string> {
    await this.docker(name, 'run', '-d', '--name', container, '--network', network, ...options, IMAGE, ...FOREVER);
    return this.address(name, container, network);
  }

  /** What `docker inspect` shows. */
  async address(name: DockerHostName, container: string, network: string, key = 'IPAddress'): Promise<string> {
    const format = `{{(index .NetworkSettings.Networks "${network}").${key}}}`;
    return (await this.docker(name, 'inspect', '-f', format, container)).trim();
  }

  /** Whether one of some pings from a container is answered. A name is asked for anew each time. */
  async pings(name: DockerHostName, container: string, target: string, seconds = 10): Promise<boolean> {
    const deadline = Date.now() + seconds * 1000;
    const ping = ['exec', container, 'ping', '-c', '1', '-W', '1', target];
    do {
      if ((await this.host(name).docker(...ping)).exitCode === 0) return true;
    } while (Date.now() < deadline);
    return false;
  }

  async networks(name: DockerHostName): Promise<string[]> {
    return (await this.docker(name, 'network', 'ls', '--filter', 'driver=vtep', '--format', '{{.Name}}'))
      .split('\n')
      .filter(Boolean)
      .sort();
  }

  /** Until exactly these networks are on both hosts. */
  async waitNetworks(...wanted: string[]): Promise<void> {
    for (const name of DOCKER_HOSTS) {
      let seen: string[] = [];
      const isSame = async () => {
        seen = await this.networks(name);
        return seen.join() === [...wanted].sort().join();
      };
      await waitFor(`${name} to have the networks ${wanted.join(', ') || 'none'}`, isSame, 20_000).catch((error) => {
        throw new Error(
          `${error.message}; it has ${seen.join(', ') || 'none'}\n${this.host(name).log('vtepd').slice(-3000)}`,
        );
      });
    }
  }

  /** Starts vtepd and waits until it is connected to the registry. */
  async startVtepd(name: DockerHostName): Promise<void> {
    const host = this.host(name);
    this.#daemons.set(name, await host.spawn('vtepd', process.execPath, ...this.wire.daemonArgs(name)));
    const isReady = async () => {
      const status = await this.wire.vtep(name, 'status', '--json');
      return status.exitCode === 0 && status.json().registry.connected === true;
    };
    await waitFor(`vtepd on ${name}`, isReady, START_MS_MAX).catch((error) => {
      throw new Error(`${error.message}\n${host.log('vtepd').slice(-4000)}`);
    });
  }

  /** Ends vtepd by `signal` and waits for its end. */
  async stopVtepd(name: DockerHostName, signal: NodeJS.Signals): Promise<void> {
    const daemon = this.#daemons.get(name);
    if (daemon === undefined) throw new Error(`no vtepd was started on ${name}`);
    await endProcess(daemon, signal);
    this.#daemons.delete(name);
  }

  /** The built vtep against a host's vtepd; a failure is the test's failure. Add '--json' for json(). */
  async vtep(name: DockerHostName, ...args: string[]): Promise<CommandResult> {
    const result = await this.wire.vtep(name, ...args);
    if (result.exitCode === 0) return result;
    const words = this.host(name).log('vtepd').slice(-3000);
    throw new Error(`vtep ${args.join(' ')} on ${name}: exit ${result.exitCode}: ${result.stderr}\n${words}`);
  }

  /** Removes everything. @throws Error that names what is left */
  async cleanup(): Promise<void> {
    await Promise.all([...this.#hosts.values()].map((host) => host.remove()));
    this.#hosts.clear();
    await this.wire.cleanup();
  }
}

const clusterStore = (name: DockerHostName): Record<string, unknown> => ({
  'cluster-store': REGISTRY_URL.replace('http:', 'consul:'),
  'cluster-advertise': `${UNDERLAY_ADDRESS[name]}:2375`,
});
