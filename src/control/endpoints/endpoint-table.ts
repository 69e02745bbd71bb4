/** The endpoints of this host, in memory, and which of them the registry is known to have. Control plane, main thread. */
import { randomBytes } from 'node:crypto';
import { bareAddress, canonicalAddress } from '../ipam/address-span.js';
import type { MacClaim } from '../mac-claims.js';
import { hostInterfaceName } from '../ports/names.js';
import type { SecuredPort } from '../ports/port-ruleset.js';
import type { LocalEndpoint } from '../state/local-state.js';

export class EndpointTable {
  private readonly endpoints = new Map<string, LocalEndpoint>();
  private readonly published = new Set<string>();

  all(): LocalEndpoint[] {
    return [...this.endpoints.values()];
  }

  get(id: string): LocalEndpoint | undefined {
    return this.endpoints.get(id);
  }

  has(id: string): boolean {
    return this.endpoints.has(id);
  }

  on(network: string): LocalEndpoint[] {
    return this.all().filter((endpoint) => endpoint.network === network);
  }

  ownedBy(owner: string): LocalEndpoint | undefined {
    return this.all().find((endpoint) => endpoint.owner === owner);
  }

  macs(network: string): string[] {
    return this.on(network).map((endpoint) => endpoint.mac);
  }

  /** What they have: the data plane delivers here. */
  claims(network: string): MacClaim[] {
    return this.on(network).map(({ mac, attachedAt, addresses, group }) => ({
      ...{ mac, since: attachedAt ?? 0, addresses: addresses.map((text) => canonicalAddress(bareAddress(text))) },
      ...(group === undefined ? {} : { group }),
    }));
  }

  set(endpoint: LocalEndpoint): void {
    this.endpoints.set(endpoint.id, endpoint);
  }

  delete(id: string): void {
    this.endpoints.delete(id);
    this.published.delete(id);
  }

  isPublished(id: string): boolean {
    return this.published.has(id);
  }

  setPublished(id: string, isPublished: boolean): void {
    if (isPublished) this.published.add(id);
    else this.published.delete(id);
  }

  /** Whether the registry holds an address of some endpoint here under this id. */
  holds(claimId: string): boolean {
    if (this.endpoints.has(claimId)) return true;
    return this.all().some(({ heldAs }) => heldAs !== undefined && Object.values(heldAs).includes(claimId));
  }

  /** The host interface is named after the first 8 digits: they must be free here. */
  newId(): string {
    for (;;) {
      const id = randomBytes(16).toString('hex');
      if (!this.all().some((endpoint) => endpoint.hostInterface === hostInterfaceName(id))) return id;
    }
  }
}

/** What PortSecurity takes. */
export function securedPort({ hostInterface, network, mac, addresses }: LocalEndpoint): SecuredPort {
  return { interface: hostInterface, network, mac, addresses };
}

/** What adoptHostEnd() takes. */
export function hostEnd({ id, vni, mtuBytes, publish }: LocalEndpoint) {
  return { endpointId: id, vni, mtuBytes, hairpin: publish !== undefined };
}
