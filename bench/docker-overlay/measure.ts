/**
 * What is measured of one driver: containers on two hosts, by the docker command alone. A server and a client container
 * stay; a container that is started anew for each sample gives the time to the first ping.
 */
import { spawn } from 'node:child_process';
import type { DockerHostName, DockerPair } from '../../test/docker/docker-pair.js';
import { IMAGE } from '../../test/docker/image.js';
import { waitFor } from '../../test/e2e/host-pair.js';
import { median, percentile } from '../e2e/statistics.js';

export interface Driver {
  readonly name: string;
  /** Of the table's column. */
  readonly label: string;
  /** Of `docker network create`. */
  readonly driver: string;
}

export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
}

export const FIGURES: readonly Figure[] = [
  { id: 'create', title: '`docker network create` until the other host shows it', unit: 's', digits: 2 },
  { id: 'start', title: '`docker run` to first ping across', unit: 's', digits: 2 },
  { id: 'rttP50', title: 'round trip p50, ping every 5 ms', unit: 'ms', digits: 3 },
  { id: 'rttP99', title: 'round trip p99', unit: 'ms', digits: 3 },
  { id: 'rttSlow', title: 'round trip p50, ping every 250 ms', unit: 'ms', digits: 3 },
  { id: 'tcp1', title: 'TCP, 1 stream', unit: 'Gbit/s', digits: 2 },
  { id: 'tcp4', title: 'TCP, 4 streams', unit: 'Gbit/s', digits: 2 },
];

export type Sample = Record<string, number>;

export interface Lengths {
  /** Of a run of iperf3. */
  readonly seconds: number;
  /** Containers started a round. */
  readonly starts: number;
  readonly pings: number;
}

const FIRST_PING_MS_MAX = 30_000;

export class MeasuredDriver {
  readonly driver: Driver;
  readonly #pair: DockerPair;
  readonly #network: string;
  #serverAddress = '';
  #containers = 0;

  constructor(pair: DockerPair, driver: Driver) {
    this.#pair = pair;
    this.driver = driver;
    this.#network = `bench-${driver.name}`;
  }

  /** Makes the network and the containers that stay. */
  async up(): Promise<void> {
    const pair = this.#pair;
    await this.#createNetwork(this.#network);
    for (const [host, role, command] of [
      ['b', 'server', ['iperf3', '-s']],
      ['a', 'client', ['sleep', '100000']],
    ] as const) {
      await pair.docker(host, 'run', '-d', '--name', this.#name(role), '--network', this.#network, IMAGE, ...command);
    }
    const format = `{{(index .NetworkSettings.Networks "${this.#network}").IPAddress}}`;
    this.#serverAddress = (await pair.docker('b', 'inspect', '-f', format, this.#name('server'))).trim();
    await waitFor(`a ping by ${this.driver.label}`, () => this.#pings(), FIRST_PING_MS_MAX);
  }

  async round(lengths: Lengths): Promise<Sample> {
    const starts: number[] = [];
    const creations: number[] = [];
    for (let start = 0; start < lengths.starts; start++) {
      starts.push(await this.#startToPing());
      creations.push(await this.#createToSeen());
    }
    const fast = await this.#roundTrips(lengths.pings, 0.005);
    const slow = await this.#roundTrips(Math.max(8, Math.round(lengths.pings / 50)), 0.25);
    return {
      create: median(creations)!,
      start: median(starts)!,
      rttP50: percentile(fast, 50),
      rttP99: percentile(fast, 99),
      rttSlow: percentile(slow, 50),
      tcp1: await this.#throughput(1, lengths.seconds),
      tcp4: await this.#throughput(4, lengths.seconds),
    };
  }

  #name(role: string): string {
    return `${role}-${this.driver.name}`;
  }

  async #createNetwork(name: string): Promise<void> {
    await this.#pair.docker('a', 'network', 'create', '-d', this.driver.driver, name);
    await waitFor(`${name} on the other host`, () => this.#isSeen('b', name));
  }

  async #isSeen(host: DockerHostName, name: string): Promise<boolean> {
    return (await this.#pair.docker(host, 'network', 'ls', '--format', '{{.Name}}')).split('\n').includes(name);
  }

  /** @returns seconds */
  async #createToSeen(): Promise<number> {
    const name = `${this.#network}-${++this.#containers}`;
    const beganMs = performance.now();
    await this.#createNetwork(name);
    const seconds = (performance.now() - beganMs) / 1000;
    await this.#pair.docker('a', 'network', 'rm', name);
    return seconds;
  }

  async #pings(): Promise<boolean> {
    const ping = ['exec', this.#name('client'), 'ping', '-n', '-c', '1', '-W', '1', this.#serverAddress];
    return (await this.#pair.host('a').docker(...ping)).exitCode === 0;
  }

  /** From the call of `docker run` until its container has had an answer from the other host. @returns seconds */
  async #startToPing(): Promise<number> {
    const name = `${this.#name('started')}-${++this.#containers}`;
    const ping = ['ping', '-n', '-i', '0.02', '-w', String(FIRST_PING_MS_MAX / 1000), this.#serverAddress];
    const run = ['run', '--name', name, '--network', this.#network, IMAGE, ...ping];
    const [program, args] = this.#pair.host('a').dockerCommand(...run);
    const beganMs = performance.now();
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    let words = '';
    const seconds = await new Promise<number>((resolve, reject) => {
      const onText = (chunk: Buffer) => {
        words += chunk.toString();
        if (words.includes('bytes from')) resolve((performance.now() - beganMs) / 1000);
      };
      child.stdout.on('data', onText);
      child.stderr.on('data', onText);
      void ended.then(() => reject(new Error(`docker ${run.join(' ')} had no answer: ${words.slice(-500)}`)));
    });
    await this.#pair.docker('a', 'rm', '-f', name);
    await ended;
    return seconds;
  }

  /** @returns milliseconds, ascending */
  async #roundTrips(count: number, intervalSeconds: number): Promise<number[]> {
    const args = ['ping', '-n', '-c', String(count), '-i', String(intervalSeconds), '-W', '2', this.#serverAddress];
    const output = await this.#pair.docker('a', 'exec', this.#name('client'), ...args);
    return [...output.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1])).sort((a, b) => a - b);
  }

  /** @returns Gbit/s that the receiver got */
  async #throughput(streams: number, seconds: number): Promise<number> {
    const args = ['iperf3', '-c', this.#serverAddress, '-t', String(seconds), '-P', String(streams), '-J'];
    const output = await this.#pair.docker('a', 'exec', this.#name('client'), ...args);
    return JSON.parse(output).end.sum_received.bits_per_second / 1e9;
  }
}
