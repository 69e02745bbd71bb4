/**
 * Everybody's endpoints, as the registry has them; while it is away, as the last readings have those of networks that are
 * open here. Control plane.
 */
import type { Logger } from 'pino';
import type { Endpoint } from '../api/schema.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { Registry, RegistryEntry } from '../registry/registry.js';
import { ENDPOINTS_PREFIX, endpointsPrefix, parseEndpoints, parseEndpointsKey } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';
import type { LocalNetworks } from './local-networks.js';
import { isUnreachable, type RegistryReach } from './registry-reach.js';

export interface EndpointListingOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly reach: RegistryReach;
  readonly networks: NetworkStore;
  readonly locals: LocalNetworks;
  readonly state: LocalState;
  readonly logger: Logger;
}

export class EndpointListing {
  private readonly options: EndpointListingOptions;

  constructor(options: EndpointListingOptions) {
    this.options = options;
  }

  /** Those of the other hosts. @throws VtepError VTEP_ERR_NETWORK_UNKNOWN, VTEP_ERR_REGISTRY_UNREACHABLE (nothing known here) */
  async ofOthers(network?: string): Promise<Endpoint[]> {
    const { node, logger } = this.options;
    const { entries, stale } = await this.entries(network);
    const endpoints: Endpoint[] = [];
    for (const entry of entries) {
      const key = parseEndpointsKey(entry.key);
      const value = parseEndpoints(entry, (error) =>
        logger.warn({ event: 'registry.bad-value', err: error }, error.message),
      );
      // One's own are told from what is here, which is never behind.
      if (key === undefined || value === undefined || key.node === node) continue;
      for (const { id, name, aliases, mac, addresses, group } of value.endpoints) {
        const known = { id, name, network: key.network, node: key.node, mac, addresses };
        const found = { ...known, ...(aliases && { aliases }), ...(group === undefined ? {} : { group }) };
        endpoints.push(stale ? { ...found, stale } : found);
      }
    }
    return endpoints;
  }

  private async entries(network?: string): Promise<{ entries: readonly RegistryEntry[]; stale: boolean }> {
    const { registry, reach, networks, locals, state } = this.options;
    try {
      const prefix = network === undefined ? ENDPOINTS_PREFIX : endpointsPrefix(network);
      if (network !== undefined) await reach.read(() => networks.require(network));
      return { entries: (await reach.read(() => registry.list(prefix))).entries, stale: false };
    } catch (error) {
      const names = locals.all().map(({ name }) => name);
      const known = network === undefined ? names : names.filter((name) => name === network);
      if (!isUnreachable(error) || (network !== undefined && known.length === 0)) throw error;
      return { entries: known.flatMap((name) => state.snapshot(endpointsPrefix(name))), stale: true };
    }
  }
}
