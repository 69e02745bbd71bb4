/**
 * What the world should be: networks and attachments, by what was answered to each action. Pure.
 *
 * An answer that was lost (vtepd was killed meanwhile, the registry timed out) leaves a thing `unsettled`: it may be there
 * or not, but all of it or nothing. What is there at a quiet point settles it.
 */
import type { HostNumber } from './actions.js';

export interface NetworkModel {
  readonly name: string;
  readonly id: string;
  readonly vni: number;
  readonly subnet: string;
  /** Of the default IPv6 pool, if it has one. */
  readonly subnet6?: string;
  /** Its subnet is from the default pool, so it is claimed. */
  readonly pooled: boolean;
}

export interface AttachmentModel {
  readonly container: string;
  readonly network: string;
  readonly host: HostNumber;
  readonly id: string;
  readonly mac: string;
  /** Without prefix length. */
  readonly ip: string;
  readonly ip6?: string;
  /** In the container. */
  readonly interface: string;
}

/** What an attach was asked for, when its answer never came. */
export interface Unsettled {
  readonly container: string;
  readonly network: string;
  readonly host: HostNumber;
}

export class Model {
  readonly networks = new Map<string, NetworkModel>();
  /** By name: pooled or not, for when it turns out to be there. */
  readonly unsettledNetworks = new Map<string, { readonly pooled: boolean }>();
  readonly attachments = new Map<string, AttachmentModel>();
  readonly unsettled = new Map<string, Unsettled>();
  /** Of hosts that died: what a takeover brings up elsewhere. */
  readonly dead = new Map<string, AttachmentModel>();

  attached(attachment: AttachmentModel): void {
    const key = keyOf(attachment);
    this.unsettled.delete(key);
    this.attachments.set(key, attachment);
  }

  detached(at: { readonly container: string; readonly network: string }): void {
    this.unsettled.delete(keyOf(at));
    this.attachments.delete(keyOf(at));
  }

  unsettle(at: Unsettled): void {
    this.attachments.delete(keyOf(at));
    this.unsettled.set(keyOf(at), at);
  }

  of(container: string): AttachmentModel[] {
    return [...this.attachments.values()].filter((attachment) => attachment.container === container);
  }

  on(network: string): AttachmentModel[] {
    return [...this.attachments.values()].filter((attachment) => attachment.network === network);
  }

  at(host: HostNumber): AttachmentModel[] {
    return [...this.attachments.values()].filter((attachment) => attachment.host === host);
  }

  /** The namespace is no more, and with it whatever was in it. */
  containerGone(container: string): void {
    for (const map of [this.attachments, this.unsettled]) {
      for (const [key, at] of map) if (at.container === container) map.delete(key);
    }
  }

  unsettleNetwork(name: string): void {
    const known = this.networks.get(name);
    this.networks.delete(name);
    this.unsettledNetworks.set(name, { pooled: known?.pooled ?? true });
  }

  copy(): Model {
    const copy = new Model();
    for (const [key, value] of this.networks) copy.networks.set(key, value);
    for (const [key, value] of this.unsettledNetworks) copy.unsettledNetworks.set(key, value);
    for (const [key, value] of this.attachments) copy.attachments.set(key, value);
    for (const [key, value] of this.unsettled) copy.unsettled.set(key, value);
    return copy;
  }

  /** Takes over what another model has settled. */
  become(other: Model): void {
    for (const map of [this.networks, this.unsettledNetworks, this.attachments, this.unsettled]) map.clear();
    for (const [key, value] of other.networks) this.networks.set(key, value);
    for (const [key, value] of other.attachments) this.attachments.set(key, value);
  }
}

export function keyOf(at: { readonly container: string; readonly network: string }): string {
  return `${at.container}@${at.network}`;
}

export function subnetsOf({ subnet, subnet6 }: NetworkModel): string[] {
  return subnet6 === undefined ? [subnet] : [subnet, subnet6];
}

export function addressesOf({ ip, ip6 }: AttachmentModel): string[] {
  return ip6 === undefined ? [ip] : [ip, ip6];
}

/** The address at `offset` of an IPv4 subnet whose host part has 8 bits. */
export function addressAt(subnet: string, offset: number): string {
  return `${subnet.split('.').slice(0, 3).join('.')}.${offset}`;
}
