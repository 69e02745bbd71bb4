/**
 * Containers that are started and stopped at random on two hosts, and an oracle: while they come and go no two have one
 * address and those that live reach each other; at rest exactly the living are known everywhere; when all are gone,
 * nothing is left of them. Test support; docs/testing.md.
 *
 * Each worker has containers and a source of chance of its own, so that a seed gives the same actions again; how they
 * fall together is the machine's.
 */

import { Random } from '../chaos/random.js';
import { waitFor } from '../e2e/host-pair.js';
import { DOCKER_HOSTS, type DockerHostName, type DockerPair } from './docker-pair.js';
import { IMAGE } from './image.js';
import { registered, waitNothingLeft } from './leftovers.js';

export interface ChurnOptions {
  readonly pair: DockerPair;
  /** They are there already, and stay. */
  readonly networks: readonly string[];
  readonly seconds: number;
  /** That live at once, on both hosts together. */
  readonly containers: number;
  readonly seed: number;
  print(line: string): void;
}

export interface ChurnResult {
  readonly actions: number;
  readonly starts: number;
  readonly pings: number;
  /** The most that lived at once. */
  readonly livingMax: number;
}

interface Container {
  readonly name: string;
  readonly host: DockerHostName;
  readonly network: string;
  address: string;
}

/** Of an endpoint in the registry. */
interface Published {
  readonly name: string;
  readonly addresses: readonly string[];
}

const WORKERS_PER_HOST = 2;
const PROGRESS_MS = 10_000;
const SETTLE_MS_MAX = 60_000;

type Action = 'start' | 'passing' | 'remove' | 'kill' | 'restart' | 'reconnect' | 'ping';

class Churn {
  readonly #options: ChurnOptions;
  /** By address with network: who is there and not about to go. */
  readonly #living = new Map<string, Container>();
  readonly counts = { actions: 0, starts: 0, pings: 0, livingMax: 0 };

  constructor(options: ChurnOptions) {
    this.#options = options;
  }

  get living(): Container[] {
    return [...this.#living.values()];
  }

  /** @throws Error at the first violation */
  async work(host: DockerHostName, worker: number, untilMs: number): Promise<void> {
    const { seed, containers } = this.#options;
    const random = new Random(seed * 16 + worker + (host === 'a' ? 0 : 8));
    const own: Container[] = [];
    const ownMax = Math.floor(containers / (DOCKER_HOSTS.length * WORKERS_PER_HOST));
    for (let turn = 0; performance.now() < untilMs; turn++) {
      const isFull = own.length >= ownMax;
      const few = own.length < 2 ? 0 : 1;
      const action = random.weighted<Action>([
        [isFull ? 0 : 8, 'start'],
        [2, 'passing'],
        [isFull ? 6 : 2 * few, 'remove'],
        [few, 'kill'],
        [few, 'restart'],
        [few, 'reconnect'],
        [2 * few, 'ping'],
      ]);
      this.counts.actions++;
      await this.#act(action, own, random, { host, name: `churn-${host}${worker}-${turn}` });
    }
  }

  async #act(action: Action, own: Container[], random: Random, next: { host: DockerHostName; name: string }) {
    const { pair, networks } = this.#options;
    const network = random.pick(networks);
    if (action === 'start') {
      const address = await pair.run(next.host, next.name, network);
      const container = { ...next, network, address };
      own.push(container);
      this.#enter(container);
      this.counts.starts++;
      return;
    }
    if (action === 'passing') {
      await pair.docker(next.host, 'run', '--rm', '--name', next.name, '--network', network, IMAGE, 'true');
      this.counts.starts++;
      return;
    }
    const container = random.pick(own);
    if (action === 'ping') return this.#ping(container, random);
    await this.#change(action, container);
    if (action === 'remove' || action === 'kill') own.splice(own.indexOf(container), 1);
  }

  async #change(action: 'remove' | 'kill' | 'restart' | 'reconnect', container: Container): Promise<void> {
    const { pair } = this.#options;
    const { host, name, network } = container;
    this.#living.delete(key(container));
    if (action === 'remove') {
      await pair.docker(host, 'rm', '-f', name);
      return;
    }
    if (action === 'kill') {
      await pair.docker(host, 'kill', name);
      await pair.docker(host, 'rm', name);
      return;
    }
    if (action === 'restart') {
      await pair.docker(host, 'restart', '-t', '0', name);
    } else {
      await pair.docker(host, 'network', 'disconnect', network, name);
      await pair.docker(host, 'network', 'connect', network, name);
    }
    container.address = await pair.address(host, name, network);
    this.#enter(container);
  }

  #enter(container: Container): void {
    const other = this.#living.get(key(container));
    if (container.address === '') throw new Error(`${container.name} on ${container.host} has no address`);
    if (other !== undefined) throw new Error(`${container.name} and ${other.name} both have ${container.address}`);
    this.#living.set(key(container), container);
    this.counts.livingMax = Math.max(this.counts.livingMax, this.#living.size);
  }

  /** A target that another worker takes away meanwhile need not answer. */
  async #ping(from: Container, random: Random): Promise<void> {
    const others = this.living.filter(({ network, name }) => network === from.network && name !== from.name);
    if (others.length === 0) return;
    const to = random.pick(others);
    const address = to.address;
    this.counts.pings++;
    if (await this.#options.pair.pings(from.host, from.name, address)) return;
    if (this.#living.get(`${to.network} ${address}`) !== to) return;
    throw new Error(`${from.name} (${from.host}) does not reach ${to.name} (${to.host}) at ${address}`);
  }
}

const key = ({ network, address }: Container): string => `${network} ${address}`;

/** At rest: the living, and nobody else, are known to both hosts and to the registry. @throws Error that says what differs */
async function checkLiving(pair: DockerPair, living: readonly Container[]): Promise<void> {
  const wanted = living.map(({ name, host, address }) => `${name} ${host} ${address}`).sort();
  const hostOf = (node: string) => (node === pair.wire.netns('a') ? 'a' : 'b');
  let seen: string[] = [];
  const isSame = async () => {
    const values = await registered(pair, 'endpoints/');
    const rows = values.flatMap(({ key, value }) =>
      (value.endpoints as Published[]).map((endpoint) => {
        const address = endpoint.addresses.find((one) => one.includes('.')) ?? '';
        return `${endpoint.name} ${hostOf(key.split('/').at(-1)!)} ${address.replace(/\/.*/, '')}`;
      }),
    );
    seen = rows.sort();
    return seen.join('\n') === wanted.join('\n');
  };
  await waitFor('exactly the living containers in the registry', isSame, SETTLE_MS_MAX).catch(() => {
    const strange = seen.filter((row) => !wanted.includes(row));
    const missing = wanted.filter((row) => !seen.includes(row));
    throw new Error(`in the registry and not alive: ${strange.join(', ')}; alive and not there: ${missing.join(', ')}`);
  });
}

/** @throws Error at a violation, with the seed */
export async function churn(options: ChurnOptions): Promise<ChurnResult> {
  const { pair, seconds, seed, print } = options;
  const run = new Churn(options);
  const untilMs = performance.now() + seconds * 1000;
  const progress = setInterval(() => {
    print(`${run.counts.actions} actions, ${run.living.length} containers live`);
  }, PROGRESS_MS);
  try {
    const workers = DOCKER_HOSTS.flatMap((host) =>
      Array.from({ length: WORKERS_PER_HOST }, (_, worker) => run.work(host, worker, untilMs)),
    );
    for (const result of await Promise.allSettled(workers)) if (result.status === 'rejected') throw result.reason;
    await checkLiving(pair, run.living);
    await Promise.all(
      DOCKER_HOSTS.map(async (host) => {
        const names = run.living.filter((container) => container.host === host).map(({ name }) => name);
        if (names.length > 0) await pair.docker(host, 'rm', '-f', ...names);
      }),
    );
    await waitNothingLeft(pair, { networksToo: false }, SETTLE_MS_MAX);
  } catch (error) {
    throw new Error(`churn with seed ${seed}: ${(error as Error).message}`);
  } finally {
    clearInterval(progress);
  }
  return run.counts;
}
