/**
 * What the plugins of container engines need of the host besides HostOperations: each part does what the API's operations
 * do, in the pieces in which an engine asks for it. Control plane, main thread.
 */
import type { EndpointManager } from '../endpoints/endpoint-manager.js';
import type { RegistryReach } from '../endpoints/registry-reach.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { LocalState } from '../state/local-state.js';

export interface PluginHost {
  readonly node: string;
  readonly networks: NetworkStore;
  readonly reach: RegistryReach;
  readonly endpoints: EndpointManager;
  readonly gateway: GatewayManager;
  readonly state: LocalState;
  /** As HostOperations.removeNetwork. */
  removeNetwork(name: string): Promise<void>;
  /** Destinations of this host's routes that a new subnet must not hide. */
  hostRoutes(): Promise<string[]>;
}
