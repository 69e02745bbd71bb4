/**
 * Endpoints whose veth is here and of which the local copy knows nothing: it was deleted, or set aside as unreadable.
 * Control plane, main thread.
 *
 *     veth's alias      id, network              ┐
 *     registry          name, MAC, addresses     ├─▶ an endpoint like any other
 *     container's end   interface, MAC, address  ┘
 *
 * Adopted is only what the registry vouches for: an address that it holds for this node and this endpoint. The rest is left
 * alone, its interface works on, and its claims are kept out of the sweep; it is told once. What the registry held by the
 * session of before goes with that session, so it is read before a new one is made.
 */
import type { Logger } from 'pino';
import { subnetOf } from '../ipam/usable-addresses.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { Iproute, Link } from '../ports/iproute.js';
import { hostInterfaceName, parseEndpointAlias } from '../ports/names.js';
import { findPeer, type VethPeer } from '../ports/veth-peer.js';
import type { Registry } from '../registry/registry.js';
import {
  addressesPrefix,
  ENDPOINTS_PREFIX,
  type EndpointRecord,
  type NetworkValue,
  parseAddress,
  parseAddressKey,
  parseEndpoints,
  parseEndpointsKey,
} from '../registry/schema.js';
import type { LocalEndpoint } from '../state/local-state.js';
import { awaitedIdentity } from './container-side.js';

export interface LostEndpointsOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly networks: NetworkStore;
  readonly iproute: Iproute;
  readonly logger: Logger;
  readonly mtuBytes: (network: NetworkValue) => number;
  /** Makes it one of this host's, in its network's turn. */
  readonly take: (network: NetworkValue, endpoint: LocalEndpoint) => Promise<void>;
}

interface LostVeth {
  readonly id: string;
  readonly network: string;
  readonly owner?: string;
  readonly link: Link;
}

export class LostEndpoints {
  private readonly options: LostEndpointsOptions;
  private readonly lost = new Map<string, LostVeth>();
  private readonly records = new Map<string, EndpointRecord>();
  private readonly told = new Set<string>();

  constructor(options: LostEndpointsOptions) {
    this.options = options;
  }

  /** Takes note of the veths that have an alias of vtep's and no endpoint. */
  find(links: readonly Link[], isKnown: (id: string) => boolean): void {
    for (const link of links) {
      const named = parseEndpointAlias(link.ifalias);
      if (named === undefined || hostInterfaceName(named.id) !== link.ifname || isKnown(named.id)) continue;
      this.lost.set(named.id, { ...named, link });
    }
  }

  knows(id: string): boolean {
    return this.lost.has(id);
  }

  /** Their host interfaces. */
  ports(): { interface: string; network: string }[] {
    return [...this.lost.values()].map(({ link, network }) => ({ interface: link.ifname, network }));
  }

  /** The VNIs of bridges that such a veth is in. */
  bridges(): Set<string | undefined> {
    return new Set([...this.lost.values()].map(({ link }) => link.master));
  }

  /** What the registry holds by the session of the last run. Never rejects: without it, the claims tell the addresses. */
  async readRecords(): Promise<void> {
    if (this.lost.size === 0) return;
    const { registry, node } = this.options;
    try {
      for (const entry of (await registry.list(ENDPOINTS_PREFIX)).entries) {
        if (parseEndpointsKey(entry.key)?.node !== node) continue;
        for (const record of parseEndpoints(entry)?.endpoints ?? []) this.records.set(record.id, record);
      }
    } catch {
      // The registry is away: name and MAC come from the container's end later.
    }
  }

  /** Adopts what can be. @throws VtepError of the registry: it is called again when that is back */
  async adopt(): Promise<void> {
    for (const veth of [...this.lost.values()]) {
      const here = (await this.options.iproute.links()).some(({ ifname }) => ifname === veth.link.ifname);
      const adopted = here ? await this.describe(veth) : undefined;
      if (!here) this.lost.delete(veth.id);
      if (adopted === undefined) continue;
      await this.options.take(adopted.network, adopted.endpoint);
      this.lost.delete(veth.id);
      this.options.logger.warn(
        { event: 'endpoint.adopted', endpoint: veth.id, name: adopted.endpoint.name, network: veth.network },
        `endpoint ${adopted.endpoint.name} of network "${veth.network}" was not in the local copy: taken up from the kernel and the registry`,
      );
    }
  }

  private async describe(veth: LostVeth): Promise<{ network: NetworkValue; endpoint: LocalEndpoint } | undefined> {
    const { iproute, networks, mtuBytes } = this.options;
    const network = (await networks.find(veth.network))?.value;
    if (network === undefined) return this.leave(veth, 'the registry does not know its network');
    const addresses = await this.claimedAddresses(veth);
    if (addresses.length === 0) return this.leave(veth, 'the registry holds no address for it');
    const record = this.records.get(veth.id);
    const peer = await findPeer(iproute, veth.link);
    const mac = record?.mac ?? peer?.mac;
    if (mac === undefined) return this.leave(veth, 'its container was not found');
    const endpoint: LocalEndpoint = {
      id: veth.id,
      name: record?.name ?? `endpoint-${veth.id.slice(0, 8)}`,
      network: network.name,
      vni: network.vni,
      mac,
      addresses: addresses.map((address) => withPrefixLength(network, address)),
      mtuBytes: mtuBytes(network),
      ...sandboxOf(veth, peer),
      ...(record?.group === undefined ? {} : { group: record.group }),
      ...(record?.aliases === undefined ? {} : { aliases: record.aliases }),
      hostInterface: veth.link.ifname,
      ...(veth.owner === undefined ? {} : { owner: veth.owner }),
    };
    return { network, endpoint };
  }

  private async claimedAddresses(veth: LostVeth): Promise<string[]> {
    const found: string[] = [];
    for (const entry of (await this.options.registry.list(addressesPrefix(veth.network))).entries) {
      const value = parseAddress(entry);
      const address = parseAddressKey(entry.key)?.address;
      if (address !== undefined && value?.node === this.options.node && value.endpointId === veth.id) {
        found.push(address);
      }
    }
    return found;
  }

  private leave(veth: LostVeth, why: string): undefined {
    if (this.told.has(veth.id)) return;
    this.told.add(veth.id);
    this.options.logger.error(
      { event: 'endpoint.lost', endpoint: veth.id, network: veth.network, interface: veth.link.ifname },
      `${veth.link.ifname} is an endpoint's of network "${veth.network}" that is not in the local copy, and ${why}: it is left alone; "ip link del ${veth.link.ifname}" removes it`,
    );
  }
}

function withPrefixLength(network: NetworkValue, address: string): string {
  const cidr = subnetOf(network, address)?.cidr ?? (address.includes(':') ? '/128' : '/32');
  return address + cidr.slice(cidr.indexOf('/'));
}

function sandboxOf(
  veth: LostVeth,
  peer: VethPeer | undefined,
): Pick<LocalEndpoint, 'sandbox' | 'sandboxIdentity' | 'containerInterface'> {
  // With an owner it may still be on its way into the container.
  const identity = veth.owner === undefined ? `unknown:${veth.id}` : awaitedIdentity(veth.owner);
  if (peer === undefined) return { sandbox: 'unknown', sandboxIdentity: identity, containerInterface: '?' };
  return { sandbox: peer.label, sandboxIdentity: peer.identity, containerInterface: peer.interface };
}
