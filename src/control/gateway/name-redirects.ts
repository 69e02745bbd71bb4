/**
 * Whose DNS questions go to the network's own names server, whoever they are for. Pure.
 *
 * Docker's embedded DNS answers what its host knows, and asks the rest from the container's namespace, of the servers of the
 * host's resolv.conf. Names of other hosts' containers are known to vtep's server on the gateway, which asks others for
 * the rest: so what leaves such a container for port 53 is led there, while that server listens.
 */
import type { NetworkValue } from '../registry/schema.js';
import type { LocalEndpoint } from '../state/local-state.js';
import type { Gateway } from './gateways-of.js';
import type { NameRedirect } from './ruleset.js';

/** `docker network create -o vtep.dns=off`. */
const OPTION = 'vtep.dns';

/** @returns the addresses, without prefix length, of Docker's endpoints of the network. */
export function nameClients(
  network: Pick<NetworkValue, 'options'> | undefined,
  endpoints: readonly Pick<LocalEndpoint, 'owner' | 'addresses'>[],
): string[] {
  if (network === undefined || network.options[OPTION] === 'off') return [];
  const docker = endpoints.filter(({ owner }) => owner?.startsWith('docker:') === true);
  return docker.flatMap(({ addresses }) => addresses.map((address) => address.replace(/\/.*$/, '')));
}

export class NameRedirects {
  private readonly clients = new Map<string, readonly string[]>();
  private readonly servers = new Set<string>();

  /** @returns whether something has changed. */
  setClients(network: string, addresses: readonly string[]): boolean {
    const before = this.clients.get(network) ?? [];
    if (addresses.length === 0) this.clients.delete(network);
    else this.clients.set(network, [...addresses]);
    return before.join() !== addresses.join();
  }

  /** @returns whether something has changed. */
  setServer(address: string, isListening: boolean): boolean {
    if (this.servers.has(address) === isListening) return false;
    if (isListening) this.servers.add(address);
    else this.servers.delete(address);
    return true;
  }

  /** All of them; the containers' questions go where they would without vtep. */
  clear(): void {
    this.servers.clear();
  }

  get isEmpty(): boolean {
    return this.clients.size === 0 || this.servers.size === 0;
  }

  /** @param gateways those that the network has on this host */
  of(network: { readonly name: string; readonly vni: number }, gateways: readonly Gateway[]): NameRedirect[] {
    const redirects: NameRedirect[] = [];
    for (const client of this.clients.get(network.name) ?? []) {
      const family = client.includes(':') ? 6 : 4;
      const server = gateways.find((gateway) => gateway.family === family && this.servers.has(gateway.address));
      if (server !== undefined) redirects.push({ vni: network.vni, family, client, server: server.address });
    }
    return redirects;
  }
}
