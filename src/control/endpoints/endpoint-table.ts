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
  /** Standing ones whose container does not run: they have addresses and a MAC, and nothing in the kernel. */
  private readonly stopped = new Map<string, LocalEndpoint>();

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
    return this.withStopped().find((endpoint) => endpoint.owner === owner);
  }

  /** @param without an endpoint whose own it may be */
  hasMac(network: string, mac: string, without?: string): boolean {
    const on = this.withStopped().filter((endpoint) => endpoint.network === network && endpoint.id !== without);
    return on.some((endpoint) => endpoint.mac === mac);
  }

  allStopped(): LocalEndpoint[] {
    return [...this.stopped.values()];
  }

  isStopped(endpoint: LocalEndpoint): boolean {
    return this.stopped.get(endpoint.id) === endpoint;
  }

  stop(endpoint: LocalEndpoint): void {
    this.delete(endpoint.id);
    this.stopped.set(endpoint.id, endpoint);
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
    this.stopped.delete(endpoint.id);
  }

  delete(id: string): void {
    this.endpoints.delete(id);
    this.stopped.delete(id);
    this.published.delete(id);
  }

  isPublished(id: string): boolean {
    return this.published.has(id);
  }

  setPublished(id: string, isPublished: boolean): void {
    if (isPublished) this.published.add(id);
    else this.published.delete(id);
  }

  /** Whether the registry holds an address of some endpoint here, running or not, under this id. */
  holds(claimId: string): boolean {
    if (this.endpoints.has(claimId) || this.stopped.has(claimId)) return true;
    return this.withStopped().some(({ heldAs }) => heldAs !== undefined && Object.values(heldAs).includes(claimId));
  }

  /** The host interface is named after the first 8 digits: they must be free here. */
  newId(): string {
    for (;;) {
      const id = randomBytes(16).toString('hex');
      if (!this.withStopped().some((endpoint) => endpoint.hostInterface === hostInterfaceName(id))) return id;
    }
  }

  private withStopped(): LocalEndpoint[] {
    return [...this.endpoints.values(), ...this.stopped.values()];
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
