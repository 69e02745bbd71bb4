/**
 * This node's endpoints in the registry: endpoints/<network>/<node>, one key per network, held by the node's session.
 *
 * Each write tells the network's journal. One that publishes checks the index of networks/<name> in the same transaction: a network that is being removed takes none.
 * Control plane; the caller serialises the calls for one network.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { type NetworkStore, networkUnknown } from '../networks/network-store.js';
import { deleteJournalled, lockJournalled } from '../registry/journalled-writes.js';
import type { Registry } from '../registry/registry.js';
import {
  ENDPOINTS_PREFIX,
  encodeValue,
  endpointsKey,
  endpointsPrefix,
  endpointsValueSchema,
  type NetworkValue,
  networkKey,
  parseEndpoints,
  parseEndpointsKey,
} from '../registry/schema.js';
import type { LocalEndpoint } from '../state/local-state.js';

const TRIES_MAX = 5;
/** A remover that finds endpoints puts the network back to active within one round trip. */
const REMOVING_WAIT_MS = 200;

export interface PublisherOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly networks: NetworkStore;
  readonly addresses: AddressPool;
  readonly logger: Logger;
  readonly session: () => string | undefined;
  /**
   * Whether a network that has endpoints here and is not in the registry may be put back: only if the registry has lost
   * its data. Else it was removed while this host was not heard of. @default it may
   */
  readonly mayRestore?: (network: NetworkValue) => Promise<boolean>;
}

export class Publisher {
  private readonly options: PublisherOptions;
  private readonly registry: Registry;
  private readonly node: string;
  private readonly networks: NetworkStore;
  private readonly addresses: AddressPool;
  private readonly logger: Logger;
  private readonly session: () => string | undefined;

  constructor(options: PublisherOptions) {
    this.options = options;
    this.registry = options.registry;
    this.node = options.node;
    this.networks = options.networks;
    this.addresses = options.addresses;
    this.logger = options.logger;
    this.session = options.session;
  }

  /** The networks that the registry has endpoints of this node for. */
  async publishedNetworks(): Promise<string[]> {
    const keys = (await this.registry.list(ENDPOINTS_PREFIX)).entries.map((entry) => parseEndpointsKey(entry.key));
    return keys.filter((key) => key?.node === this.node).map((key) => key!.network);
  }

  /**
   * For a new endpoint with this MAC: now, or just after what any other has published for it, so that it wins over them
   * also where this host's clock is behind. A registry that does not answer cannot be asked: now, then.
   */
  async attachedAt(network: string, mac: string): Promise<number> {
    const listing = await this.registry.list(endpointsPrefix(network)).catch(() => undefined);
    const others = (listing?.entries ?? []).flatMap((entry) => parseEndpoints(entry)?.endpoints ?? []);
    const times = others.filter((other) => other.mac === mac).map((other) => (other.attachedAt ?? 0) + 1);
    return Math.max(Date.now(), ...times);
  }

  async unpublish(network: string): Promise<void> {
    await deleteJournalled(this.registry, endpointsPrefix(network), endpointsKey(network, this.node));
  }

  /**
   * Makes the key say `endpoints`; none: the key goes. A network that the registry has lost is put back first.
   * @returns those that are left out, since another endpoint has their address by now.
   * @throws VtepError VTEP_ERR_REGISTRY_UNREACHABLE, VTEP_ERR_NETWORK_UNKNOWN (gone, or another of the same name),
   *   VTEP_ERR_CONFLICT (it is being removed, or changes all the time)
   */
  async publish(network: NetworkValue, endpoints: readonly LocalEndpoint[]): Promise<ReadonlySet<string>> {
    if (endpoints.length === 0) {
      await this.unpublish(network.name);
      return new Set();
    }
    if (this.session() === undefined) {
      throw new VtepError(
        'VTEP_ERR_REGISTRY_UNREACHABLE',
        `the registry at ${this.registry.url} has not taken this node in yet: try again`,
      );
    }
    const key = endpointsKey(network.name, this.node);
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const found = await this.networks.find(network.name);
      if (found === undefined) {
        const mayRestore = await this.options.mayRestore?.(network);
        // Whoever found that the registry had lost its data may have put it back by now.
        if ((await this.networks.find(network.name)) !== undefined) continue;
        if (mayRestore === false) throw networkUnknown(network.name);
        if (!(await this.networks.restore(network))) throw networkUnknown(network.name);
        this.logger.warn(
          { event: 'network.put-back', network: network.name },
          `network "${network.name}" was gone from the registry while it has endpoints here: put back`,
        );
        continue;
      }
      if (found.value.id !== network.id) {
        throw new VtepError(
          'VTEP_ERR_NETWORK_UNKNOWN',
          `network "${network.name}" was removed and made anew while it had endpoints here: detach and attach them again`,
        );
      }
      if (found.value.state === 'removing') {
        await sleep(REMOVING_WAIT_MS);
        continue;
      }
      const { session, lost } = await this.addresses.hold(network.name, endpoints);
      const sound = endpoints.filter(({ id }) => !lost.has(id));
      if (sound.length === 0) {
        await this.unpublish(network.name);
        return lost;
      }
      // Under the session that the addresses were seen to be held under: a later one would have to look again.
      if (session === undefined) continue;
      const lock = { key, value: encodeEndpoints(sound), session };
      const done = await lockJournalled(this.registry, endpointsPrefix(network.name), lock, [
        { verb: 'check-index', key: networkKey(network.name), casIndex: found.modifyIndex },
      ]);
      if (done) return lost;
      const holder = (await this.registry.get(key))?.session;
      // nodes/<node> is ours, so a key of this node that another session holds is an earlier run's leftover.
      if (holder !== undefined && holder !== session) await this.unpublish(network.name);
    }
    throw new VtepError(
      'VTEP_ERR_CONFLICT',
      `network "${network.name}" is being removed or changes all the time; try again`,
    );
  }
}

function encodeEndpoints(endpoints: readonly LocalEndpoint[]): string {
  return encodeValue(endpointsValueSchema, {
    v: 1,
    endpoints: endpoints.map(({ id, name, aliases, mac, addresses, attachedAt, group }) => ({
      ...{ id, name, mac, addresses: [...addresses] },
      ...(aliases === undefined ? {} : { aliases: [...aliases] }),
      ...(attachedAt === undefined ? {} : { attachedAt }),
      ...(group === undefined ? {} : { group }),
    })),
  });
}
