/** The network that an attach names: from the registry, or from the local copy of it while that is away. Control plane. */
import { VtepError } from '../errors.js';
import type { NetworkStore } from '../networks/network-store.js';
import { NETWORKS_PREFIX, type NetworkValue, networkKey, parseNetwork } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';
import type { LocalNetworks } from './local-networks.js';
import { isUnreachable, type RegistryReach } from './registry-reach.js';

export interface NetworkLookUpOptions {
  readonly reach: RegistryReach;
  readonly networks: NetworkStore;
  readonly locals: LocalNetworks;
  readonly state: LocalState;
}

/**
 * @returns `answers`: whether the registry has just answered.
 * @throws VtepError VTEP_ERR_NETWORK_UNKNOWN, VTEP_ERR_REGISTRY_UNREACHABLE (and this host knows nothing of it)
 */
export async function lookUpNetwork(
  name: string,
  { reach, networks, locals, state }: NetworkLookUpOptions,
): Promise<{ network: NetworkValue; answers: boolean }> {
  try {
    return { network: (await reach.read(() => networks.require(name))).value, answers: true };
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    const entry = state.snapshot(NETWORKS_PREFIX).find(({ key }) => key === networkKey(name));
    const network = locals.get(name) ?? (entry && parseNetwork(entry));
    if (network !== undefined) return { network, answers: false };
    throw new VtepError(
      'VTEP_ERR_REGISTRY_UNREACHABLE',
      `${(error as Error).message}; network "${name}" is not in this host's copy of it: try again when it is back`,
      { cause: error },
    );
  }
}
