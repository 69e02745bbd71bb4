/** What becomes of an endpoint's addresses when it goes. Control plane, main thread; in the turn of the network. */
import type { Logger } from 'pino';
import type { AddressPool } from '../ipam/address-pool.js';
import { bareAddress } from '../ipam/address-span.js';
import type { Reservations } from '../ipam/reservations.js';
import type { NetworkValue } from '../registry/schema.js';
import type { LocalEndpoint, Reservation, StockedAddress } from '../state/local-state.js';
import type { OutageAddresses } from './outage-addresses.js';
import type { RegistryReach } from './registry-reach.js';

export interface AddressReturnOptions {
  readonly reach: RegistryReach;
  readonly addresses: AddressPool;
  readonly stock: OutageAddresses;
  readonly reservations: Reservations;
  readonly logger: Logger;
  readonly onOwed: () => void;
}

type Owner = Pick<NetworkValue, 'name' | 'id'>;

export class AddressReturn {
  private readonly options: AddressReturnOptions;

  constructor(options: AddressReturnOptions) {
    this.options = options;
  }

  /** Addresses that somebody asked for ahead: they are that one's until he gives them back. */
  reservedOf(endpoint: LocalEndpoint, network: Owner | undefined): Reservation[] {
    if (endpoint.isReserved !== true || network === undefined) return [];
    this.options.addresses.forget(endpoint.id);
    const held = endpoint.addresses.map((address) => ({
      ...{ network: network.name, networkId: network.id, address },
      claimId: endpoint.heldAs?.[bareAddress(address)] ?? endpoint.id,
    }));
    return this.options.reservations.ofEndpoint(held);
  }

  /** @returns those that go to the stock: nothing was asked of a registry that is known to be away. */
  async release(endpoint: LocalEndpoint, network: Owner | undefined): Promise<StockedAddress[]> {
    const { reach, addresses, stock } = this.options;
    const stocked: StockedAddress[] = [];
    addresses.forget(endpoint.id);
    for (const address of endpoint.addresses) {
      const claimId = endpoint.heldAs?.[bareAddress(address)] ?? endpoint.id;
      if (reach.away) {
        if (network !== undefined) stocked.push({ network: network.name, networkId: network.id, address, claimId });
        continue;
      }
      // One that did not answer may have released it all the same: such an address must not be given again.
      await stock.release(endpoint.network, address, claimId).catch((error: unknown) => this.owed(endpoint, error));
    }
    if (reach.away) this.options.onOwed();
    return stocked;
  }

  owed(endpoint: LocalEndpoint, error: unknown): void {
    this.options.logger.warn(
      { event: 'endpoint.detach-owed', err: error, endpoint: endpoint.id },
      `detached; the registry is told when it is back: ${(error as Error).message}`,
    );
    this.options.onOwed();
  }
}
