/**
 * What this host tells the registry of its endpoints, one network at a time or all of it when the registry is back.
 *
 *     publishAll   lost endpoints adopted ─▶ per network: claims settled, endpoints published ─▶ keys of networks without
 *                  endpoints here go ─▶ owed addresses leave the stock ─▶ sweep ─▶ spares refilled
 *
 * Control plane, main thread. What is owed to the registry is never written down: it is the difference between the
 * registry and the endpoints that are here, so that it is done once and nothing of it is lost by a crash.
 */
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { bareAddress } from '../ipam/address-span.js';
import type { Reservations } from '../ipam/reservations.js';
import type { NetworkValue } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';
import type { EndpointTable } from './endpoint-table.js';
import type { KeyedMutex } from './keyed-mutex.js';
import type { LocalNetworks } from './local-networks.js';
import type { LostEndpoints } from './lost-endpoints.js';
import type { OutageAddresses } from './outage-addresses.js';
import type { Publisher } from './publisher.js';

export interface RegistryReturnOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly addresses: AddressPool;
  readonly stock: OutageAddresses;
  readonly reservations: Reservations;
  readonly lost: LostEndpoints;
  readonly publisher: Publisher;
  readonly state: LocalState;
  readonly mutex: KeyedMutex;
  readonly logger: Logger;
}

export class RegistryReturn {
  /** Networks that are being removed by force: nothing more is published on them. */
  readonly dropping = new Set<string>();
  private readonly options: RegistryReturnOptions;

  constructor(options: RegistryReturnOptions) {
    this.options = options;
  }

  /** After a new session or the registry's return: all of this host's endpoints, and its addresses, as they are here. */
  async publishAll(): Promise<void> {
    const { table, locals, addresses, stock, reservations, lost, logger } = this.options;
    let failure: unknown;
    const note = (network: string) => (error: unknown) => {
      logger.error({ event: 'endpoint.publish-failed', err: error, network }, (error as Error).message);
      if (!(error instanceof VtepError) || error.retryable) failure = error;
    };
    await lost.adopt();
    for (const { name } of locals.all()) await this.publishNetwork(name).catch(note(name));
    await this.unpublishForgotten();
    await this.settleStopped();
    await stock.drain(locals.all());
    const published = table.all().filter((endpoint) => table.isPublished(endpoint.id));
    const stopped = table.allStopped().filter(({ heldAs }) => heldAs === undefined);
    const held = [...published, ...stopped].flatMap(({ id, network, addresses: own }) =>
      own.map((text) => ({ network, address: bareAddress(text), endpointId: id })),
    );
    const isKnown = (id: string) => table.holds(id) || stock.knows(id) || reservations.knows(id) || lost.knows(id);
    const contested = await addresses.sweep(held, isKnown);
    for (const network of contested) await this.publishNetwork(network);
    for (const network of locals.all()) stock.refill(network);
    if (failure !== undefined) throw failure;
  }

  /** Publishes one network's endpoints as they are now. */
  publishNetwork(name: string): Promise<void> {
    return this.options.mutex.run(name, async () => {
      const network = this.options.locals.get(name);
      if (network !== undefined) await this.publish(network);
    });
  }

  /** In the network's turn. An endpoint whose address is another's by now is left out. */
  async publish(network: NetworkValue): Promise<void> {
    const { table, publisher } = this.options;
    await this.settle(network.name);
    const endpoints = this.dropping.has(network.name) ? [] : table.on(network.name);
    try {
      const lost = await publisher.publish(network, endpoints);
      for (const { id } of endpoints) table.setPublished(id, !lost.has(id));
    } catch (error) {
      if (error instanceof VtepError && error.code === 'VTEP_ERR_NETWORK_UNKNOWN') {
        for (const { id } of endpoints) table.setPublished(id, false);
      }
      throw error;
    }
  }

  /** What an attach took from the stock becomes the endpoint's own claim; one that is lost the publication tells. */
  private async settle(network: string): Promise<void> {
    const { table, stock, state } = this.options;
    for (const endpoint of table.on(network)) {
      if (endpoint.heldAs === undefined) continue;
      await stock.settle(endpoint);
      const { heldAs: _, ...own } = endpoint;
      await state.putEndpoint(own);
      table.set(own);
    }
  }

  /** The same of those whose container does not run: nothing of them is published. */
  private async settleStopped(): Promise<void> {
    const { table, stock, state, mutex } = this.options;
    for (const endpoint of table.allStopped()) {
      if (endpoint.heldAs === undefined) continue;
      await mutex.run(endpoint.network, async () => {
        if (!table.isStopped(endpoint)) return;
        await stock.settle(endpoint);
        const { heldAs: _, ...own } = endpoint;
        await state.stopEndpoint(own);
        table.stop(own);
      });
    }
  }

  /** Keys of this node for networks that have no endpoint here any more: detached while the registry was away. */
  private async unpublishForgotten(): Promise<void> {
    const { table, publisher, mutex } = this.options;
    for (const network of await publisher.publishedNetworks()) {
      if (table.on(network).length > 0) continue;
      await mutex.run(network, async () => {
        if (table.on(network).length === 0) await publisher.unpublish(network);
      });
    }
  }
}
