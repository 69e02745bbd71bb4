/**
 * Names of all networks that have an endpoint on this host: one table, a server for each network. Main thread.
 *
 *     Host: networks open and close ──────────▶ NamesServer, one a network
 *     EndpointManager: endpoints here ─┐
 *     Reconciler: endpoints elsewhere ─┴──────▶ NameTable
 *
 * Nothing here fails an attach: addresses that can't be bound yet are waited for, and status() tells which.
 */
import type { Logger } from 'pino';
import { parseCidr } from '../../wire/ip-address.js';
import type { NetworkValue } from '../registry/schema.js';
import type { NamesCounters } from './counters.js';
import type { ListenerStatus } from './listener.js';
import { type NamedEndpoint, NameTable } from './name-table.js';
import { NamesServer, type NamesServerOptions } from './names-server.js';
import { type Resolver, Resolvers } from './resolvers.js';

export interface NamesServiceOptions {
  /** This host's name in the registry. */
  readonly node: string;
  readonly logger: Logger;
  /** Asked instead of those of /etc/resolv.conf. */
  readonly upstream?: readonly Resolver[] | undefined;
  readonly onListening?: NamesServerOptions['onListening'];
  /** @default 'vtep' */
  readonly domain?: string | undefined;
  /** @default 53 */
  readonly port?: number | undefined;
}

export interface NamedNetwork {
  readonly name: string;
  /** The gateways on this host's bridge. */
  readonly listenAddresses: readonly string[];
  /** In CIDR form. */
  readonly subnets: readonly string[];
  /** Whether the host's resolvers are asked for what is not the network's: not for a network that is closed to outside. */
  readonly forward: boolean;
}

export interface NamesStatus {
  readonly network: string;
  readonly names: number;
  readonly forward: boolean;
  readonly addresses: readonly ListenerStatus[];
  readonly counters: NamesCounters;
}

interface Served {
  readonly network: NamedNetwork;
  readonly server: NamesServer;
}

/** What of a network concerns names. */
export function namedNetwork(network: NetworkValue): NamedNetwork {
  return {
    name: network.name,
    listenAddresses: network.subnets.map(({ gateway }) => gateway).filter((gateway) => gateway !== undefined),
    subnets: network.subnets.map(({ cidr }) => cidr),
    forward: !network.internal,
  };
}

export class NamesService {
  private readonly options: NamesServiceOptions;
  private readonly table: NameTable;
  private readonly resolvers: Resolvers;
  private readonly served = new Map<string, Served>();
  private ownAddresses: ReadonlySet<string> = new Set();
  /** Servers are opened and closed one after another. */
  private turn: Promise<void> = Promise.resolve();

  constructor(options: NamesServiceOptions) {
    this.options = options;
    this.table = new NameTable(options.domain);
    this.resolvers = new Resolvers({ given: options.upstream, isOwnAddress: (address) => this.isOwn(address) });
  }

  /** Idempotent; with other subnets or addresses than before the server begins anew. Returns before it listens. */
  networkOpened(network: NamedNetwork): void {
    this.inTurn(async () => {
      const there = this.served.get(network.name);
      if (there !== undefined && JSON.stringify(there.network) === JSON.stringify(network)) return;
      await there?.server.close();
      const server = new NamesServer({
        ...{ network: network.name, listenAddresses: network.listenAddresses, forward: network.forward },
        subnets: network.subnets.map(parseCidr),
        ...{ table: this.table, resolvers: this.resolvers, logger: this.options.logger, port: this.options.port },
        isOwnAddress: (address) => this.isOwn(address),
        onListening: this.options.onListening,
      });
      this.served.set(network.name, { network, server });
      this.noteAddresses();
    });
  }

  /** The network's names are forgotten, also those of other hosts. */
  async networkClosed(name: string): Promise<void> {
    this.table.removeNetwork(name);
    this.inTurn(async () => {
      const there = this.served.get(name);
      this.served.delete(name);
      this.noteAddresses();
      await there?.server.close();
    });
    await this.turn;
  }

  setLocalEndpoints(network: string, endpoints: readonly NamedEndpoint[]): void {
    this.table.setNode(network, this.options.node, endpoints);
  }

  /** What forwarding believes of another host; undefined: it is gone. */
  setRemoteEndpoints(network: string, node: string, endpoints: readonly NamedEndpoint[] | undefined): void {
    if (endpoints === undefined) this.table.removeNode(network, node);
    else this.table.setNode(network, node, endpoints);
  }

  status(): NamesStatus[] {
    return [...this.served.values()].map(({ network: { name, forward }, server }) => ({
      ...{ network: name, names: this.table.size(name), forward },
      addresses: server.status(),
      counters: { ...server.counters },
    }));
  }

  async close(): Promise<void> {
    this.inTurn(async () => {
      await Promise.all([...this.served.values()].map(({ server }) => server.close()));
      this.served.clear();
    });
    await this.turn;
  }

  private isOwn(address: string): boolean {
    return this.ownAddresses.has(address);
  }

  private noteAddresses(): void {
    this.ownAddresses = new Set([...this.served.values()].flatMap(({ network }) => network.listenAddresses));
  }

  private inTurn(work: () => Promise<void>): void {
    this.turn = this.turn.then(work).catch((error: unknown) => {
      this.options.logger.error({ event: 'names.failed', err: error }, `names: ${(error as Error).message}`);
    });
  }
}
