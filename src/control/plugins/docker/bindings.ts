/**
 * Which network of vtep a network of Docker is, and what else must outlive dockerd and vtepd. Control plane, main thread.
 *
 *     network/<NetworkID>     this host's Docker has a network of that id: it is this one of vtep's
 *     pool/<PoolID>           a pool that was asked for; its network, once that is made
 *     endpoint/<EndpointID>   an endpoint between CreateEndpoint and DeleteEndpoint
 *
 * They are in the local copy. A network that Docker made says so in the registry as well (`options.docker`), which is how
 * the other hosts of a Docker with a cluster store find it, and this one if its local copy is lost.
 */
import { z } from 'zod';
import { isUnreachable, type RegistryReach } from '../../endpoints/registry-reach.js';
import { VtepError } from '../../errors.js';
import type { WantedPort } from '../../gateway/free-ports.js';
import type { NetworkStore } from '../../networks/network-store.js';
import { NETWORKS_PREFIX, type NetworkValue, parseNetwork } from '../../registry/schema.js';
import type { LocalState } from '../../state/local-state.js';

const ROOT = 'docker/';

/** In the registry, with a network that Docker made. */
const dockerOptionsSchema = z.looseObject({
  /** Docker's id of it on the host that made it; with a cluster store on all hosts. */
  networkId: z.string(),
  /** The node. */
  host: z.string(),
  /** Who gives its addresses on that host: this plugin, or Docker itself. */
  ipam: z.enum(['vtep', 'docker']),
  scope: z.enum(['local', 'global']),
  pools: z.array(z.string()).default([]),
});
export type DockerOptions = z.infer<typeof dockerOptionsSchema>;

export interface NetworkBinding {
  /** Docker's. */
  readonly networkId: string;
  /** The registry's. */
  readonly id: string;
  /** When it was last seen: it may be renamed. */
  readonly name: string;
}

export interface PoolRecord {
  readonly poolId: string;
  readonly cidr: string;
  readonly sinceMs: number;
  /** The network that it was asked for. */
  readonly adopts?: string;
  /** `--ip-range`. */
  readonly range?: string;
  /** The id of the network of vtep that has it. */
  readonly id?: string;
}

export interface EndpointRecord {
  readonly endpointId: string;
  readonly networkId: string;
  /** The network's, in the registry. */
  readonly id: string;
  readonly mac: string;
  /** With prefix length, all reserved on this host. */
  readonly addresses: readonly string[];
  /** Those of them that Docker's IPAM does not give back: they go with the endpoint. */
  readonly own: readonly string[];
  /** What of it Docker was told. */
  readonly answer: Readonly<Record<string, string>>;
  readonly ports?: readonly WantedPort[];
  readonly group?: number;
}

export interface BindingsOptions {
  readonly networks: NetworkStore;
  readonly reach: RegistryReach;
  readonly state: LocalState;
}

export class Bindings {
  private readonly options: BindingsOptions;

  constructor(options: BindingsOptions) {
    this.options = options;
  }

  all(): NetworkBinding[] {
    return [...this.options.state.pluginRecords<NetworkBinding>(`${ROOT}network/`).values()];
  }

  binding(networkId: string): NetworkBinding | undefined {
    return this.options.state.pluginRecord(`${ROOT}network/${networkId}`);
  }

  bind(networkId: string, { id, name }: NetworkValue): Promise<void> {
    return this.options.state.putPluginRecord(`${ROOT}network/${networkId}`, { networkId, id, name });
  }

  unbind(networkId: string): Promise<void> {
    return this.options.state.removePluginRecord(`${ROOT}network/${networkId}`);
  }

  pools(): PoolRecord[] {
    return [...this.options.state.pluginRecords<PoolRecord>(`${ROOT}pool/`).values()];
  }

  pool(poolId: string): PoolRecord | undefined {
    return this.options.state.pluginRecord(`${ROOT}pool/${poolId}`);
  }

  putPool(pool: PoolRecord): Promise<void> {
    return this.options.state.putPluginRecord(`${ROOT}pool/${pool.poolId}`, pool);
  }

  removePool(poolId: string): Promise<void> {
    return this.options.state.removePluginRecord(`${ROOT}pool/${poolId}`);
  }

  endpoint(endpointId: string): EndpointRecord | undefined {
    return this.options.state.pluginRecord(`${ROOT}endpoint/${endpointId}`);
  }

  endpoints(): EndpointRecord[] {
    return [...this.options.state.pluginRecords<EndpointRecord>(`${ROOT}endpoint/`).values()];
  }

  putEndpoint(record: EndpointRecord): Promise<void> {
    return this.options.state.putPluginRecord(`${ROOT}endpoint/${record.endpointId}`, record);
  }

  removeEndpoint(endpointId: string): Promise<void> {
    return this.options.state.removePluginRecord(`${ROOT}endpoint/${endpointId}`);
  }

  /**
   * The network that Docker means. @returns undefined if it is none of vtep's any more
   * @throws VtepError of the registry, if its copy here does not say either
   */
  async find(networkId: string): Promise<NetworkValue | undefined> {
    const bound = this.binding(networkId);
    const found =
      bound === undefined
        ? (await this.list()).find((network) => dockerOptions(network)?.networkId === networkId)
        : await this.byId(bound.id, bound.name);
    if (found !== undefined && found.name !== bound?.name) await this.bind(networkId, found);
    return found;
  }

  /** @throws VtepError VTEP_ERR_NETWORK_UNKNOWN */
  async require(networkId: string): Promise<NetworkValue> {
    const found = await this.find(networkId);
    if (found !== undefined) return found;
    const bound = this.binding(networkId);
    const text =
      bound === undefined
        ? `Docker's network ${networkId.slice(0, 12)} is not known to vtep: its local copy was lost, or the network was made without vtepd; "docker network rm" and make it again`
        : `network "${bound.name}" was removed from the registry: "docker network rm ${networkId.slice(0, 12)}" and make it again`;
    throw new VtepError('VTEP_ERR_NETWORK_UNKNOWN', text);
  }

  /** @param hint what it was called */
  async byId(id: string, hint?: string): Promise<NetworkValue | undefined> {
    const named = hint === undefined ? undefined : await this.byName(hint);
    if (named?.id === id) return named;
    return (await this.list()).find((network) => network.id === id);
  }

  /** From the registry, or from its copy while it is away. */
  async byName(name: string): Promise<NetworkValue | undefined> {
    const { networks, reach } = this.options;
    try {
      return (await reach.read(() => networks.find(name)))?.value;
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      return this.known(error).find((network) => network.name === name);
    }
  }

  async list(): Promise<NetworkValue[]> {
    const { networks, reach } = this.options;
    try {
      return await reach.read(() => networks.list());
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      return this.known(error);
    }
  }

  /** @throws what the registry said, if there is no copy */
  private known(error: unknown): NetworkValue[] {
    const entries = this.options.state.snapshot(NETWORKS_PREFIX);
    if (entries.length === 0) throw error;
    return entries.flatMap((entry) => parseNetwork(entry) ?? []);
  }
}

/** By Docker's ids of networks: the registry's. */
export function boundNetworks(state: Pick<LocalState, 'pluginRecords'>): Map<string, string> {
  const bindings = state.pluginRecords<NetworkBinding>(`${ROOT}network/`);
  return new Map([...bindings].map(([networkId, { id }]) => [networkId, id]));
}

/** What the registry keeps of the Docker that made the network. */
export function dockerOptions(network: NetworkValue): DockerOptions | undefined {
  return dockerOptionsSchema.safeParse(network.options.docker).data;
}
