/**
 * The kinds of change that are measured: each writes to the registry as a host would, and says what vtepd must then show.
 * An inverse follows its change, so that the population ends as it began.
 */
import {
  addressOperation,
  endpointsOperation,
  networkName,
  networkOperations,
  type Population,
  type SimulatedEndpoint,
  type SimulatedHost,
  WIDE_NETWORK,
} from './population.js';
import type { SimulatedHosts } from './simulated-hosts.js';

/** What shows that a change has arrived; undefined: nothing in vtepd tells of it. */
export type Arrival =
  | { readonly network: string; readonly mac: string; readonly isThere: boolean }
  | { readonly count: 'nodes' | 'networks'; readonly value: number };

export interface Change {
  readonly kind: string;
  readonly arrival: Arrival | undefined;
  write(): Promise<void>;
}

/** In the order of a turn. */
export const KINDS = [
  'endpoint added',
  'endpoint removed',
  'endpoint added, wide network',
  'endpoint removed, wide network',
  'endpoint added, network not here',
  'node joins',
  'node leaves its networks',
  'node gone',
  'network created',
  'address claimed',
] as const;

export class Changes {
  readonly #population: Population;
  readonly #hosts: SimulatedHosts;
  readonly #watched: readonly string[];
  readonly #firstNetworkCount: number;
  #networkCount: number;
  #turn = 0;

  /** @param watched networks that vtepd follows, the wide one among them */
  constructor(population: Population, hosts: SimulatedHosts, watched: readonly string[]) {
    this.#population = population;
    this.#hosts = hosts;
    this.#watched = watched;
    this.#firstNetworkCount = population.networkNames().length;
    this.#networkCount = this.#firstNetworkCount;
  }

  /** One change of each kind, to be written one after another. */
  *turn(): Generator<Change> {
    const population = this.#population;
    const turn = this.#turn++;
    const narrow = this.#watched[1 + (turn % Math.max(1, this.#watched.length - 1))] ?? WIDE_NETWORK;
    const host = this.#hostWithEndpointsIn(narrow, turn);
    const unwatchedCount = this.#firstNetworkCount - this.#watched.length;
    yield this.#added(KINDS[0], host, narrow, true);
    yield this.#removed(KINDS[1], host, narrow, true);
    yield this.#added(KINDS[2], host, WIDE_NETWORK, true);
    yield this.#removed(KINDS[3], host, WIDE_NETWORK, true);
    if (unwatchedCount > 0) {
      yield this.#added(KINDS[4], host, networkName(this.#watched.length + (turn % unwatchedCount)), false);
    }
    yield* this.#nodeComesAndGoes(narrow);
    const network = population.extraNetworkName();
    yield {
      kind: KINDS[8],
      arrival: { count: 'networks', value: ++this.#networkCount },
      write: () => this.#hosts.write(networkOperations(network)),
    };
    const claimed: SimulatedEndpoint = {
      ...host.byNetwork.get(WIDE_NETWORK)![0]!,
      addresses: [`172.16.0.${turn % 200}/16`],
    };
    yield { kind: KINDS[9], arrival: undefined, write: () => this.#hosts.write([addressOperation(host, claimed)]) };
  }

  /** One of those whose key in the network outlives a removal: a key that goes is held back for a time by design. */
  #hostWithEndpointsIn(network: string, turn: number): SimulatedHost {
    const fitting = this.#population.hosts.filter(({ byNetwork }) => byNetwork.has(network));
    return fitting[turn % fitting.length] ?? this.#population.hosts[0]!;
  }

  /** Endpoints that come and stay, on all hosts and watched networks in turn. */
  *arrivals(): Generator<Change> {
    const { hosts } = this.#population;
    for (let index = 0; ; index++) {
      const network = this.#watched[index % this.#watched.length]!;
      yield this.#added(KINDS[0], hosts[(index * 31) % hosts.length]!, network, true);
    }
  }

  #added(kind: string, host: SimulatedHost, network: string, isSeen: boolean): Change {
    const endpoint = this.#population.addEndpoint(host, network);
    return {
      kind,
      arrival: isSeen ? { network, mac: endpoint.mac, isThere: true } : undefined,
      write: () => this.#hosts.write([endpointsOperation(host, network, this.#hosts.sessionOf(host))]),
    };
  }

  #removed(kind: string, host: SimulatedHost, network: string, isSeen: boolean): Change {
    const { mac } = this.#population.removeEndpoint(host, network);
    return {
      kind,
      arrival: isSeen ? { network, mac, isThere: false } : undefined,
      write: () => this.#hosts.write([endpointsOperation(host, network, this.#hosts.sessionOf(host))]),
    };
  }

  *#nodeComesAndGoes(network: string): Generator<Change> {
    const population = this.#population;
    const host = population.addHost();
    const nodes = population.hosts.length;
    const endpoint = population.addEndpoint(host, network);
    if (network !== WIDE_NETWORK) population.addEndpoint(host, WIDE_NETWORK);
    yield {
      kind: KINDS[5],
      arrival: { network, mac: endpoint.mac, isThere: true },
      write: async () => {
        await this.#hosts.openSession(host);
        await this.#hosts.write(this.#hosts.operationsOf(host));
      },
    };
    const networks = [...host.byNetwork.keys()];
    for (const name of networks) population.removeEndpoint(host, name);
    yield {
      kind: KINDS[6],
      arrival: { network, mac: endpoint.mac, isThere: false },
      write: () =>
        this.#hosts.write(networks.map((name) => endpointsOperation(host, name, this.#hosts.sessionOf(host)))),
    };
    population.hosts.pop();
    // The real node is one more.
    yield { kind: KINDS[7], arrival: { count: 'nodes', value: nodes }, write: () => this.#hosts.endSession(host) };
  }
}
