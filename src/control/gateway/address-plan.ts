/**
 * Which gateways this host can have, and what `ip` must do for it: pure, from what the kernel holds.
 *
 * An address that is there stays, so the network that came first keeps it over a restart. One that is missing is added
 * unless the host has a route that overlaps with the subnet: that of another network's bridge, or one of its own, which
 * the new address would take away.
 */
import { type Cidr, cidrOverlaps, formatIPv6, parseCidr } from '../../wire/ip-address.js';
import { parseMac } from '../../wire/mac.js';
import { gatewayMac } from '../ipam/mac.js';
import { bridgeName } from '../ports/names.js';
import { type Gateway, type GatewayNetwork, gatewaysOf } from './gateways-of.js';

export interface HostRoute {
  readonly dst: string;
  readonly dev?: string;
}

/** Of `ip -json address`. */
export interface HostAddresses {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local?: string; readonly prefixlen?: number }[];
}

export interface AddressPlan {
  readonly gateways: Gateway[];
  readonly problems: string[];
  /** Lines of an `ip -batch`. */
  readonly steps: string[];
}

/** @param nameOfBridge the network that a bridge belongs to, for the message */
export function planAddresses(
  network: GatewayNetwork,
  addresses: readonly HostAddresses[],
  routes: readonly HostRoute[],
  nameOfBridge: (bridge: string) => string | undefined,
): AddressPlan {
  const plan: AddressPlan = { gateways: [], problems: [], steps: [] };
  const bridge = bridgeName(network.vni);
  const there = addresses.find(({ ifname }) => ifname === bridge)?.addr_info;
  for (const gateway of gatewaysOf(network)) {
    const isThere = there?.some((a) => a.local === gateway.address && a.prefixlen === gateway.prefixLength) === true;
    const rival = isThere ? undefined : routes.find((route) => isRival(route, bridge, parseCidr(gateway.subnet)));
    if (rival !== undefined) {
      const other = rival.dev === undefined ? undefined : nameOfBridge(rival.dev);
      const whose = other === undefined ? `the host's route ${rival.dst}${via(rival)}` : `network "${other}"`;
      plan.problems.push(
        `network "${network.name}" has no gateway ${gateway.address} on this host: its subnet ${gateway.subnet} overlaps with ${whose}; its containers reach each other, but not the outside`,
      );
      continue;
    }
    plan.gateways.push(gateway);
    // A bridge that is not there yet is ports/'s to make; the next look finds it.
    if (!isThere && there !== undefined) plan.steps.push(addStep(gateway, bridge));
  }
  const link = linkLocalAddress(network.vni);
  const needsLink = plan.gateways.some(({ family }) => family === 6) && there !== undefined;
  if (needsLink && !there.some(({ local }) => local === link)) {
    // For what it forwards the kernel asks for a neighbour from its link-local address only: without one it never asks.
    plan.steps.push(`address add ${link}/64 nodad dev ${bridge}`);
  }
  return plan;
}

/** What a bridge has where nothing is in its way: the same on every host. */
export function bridgeAddresses(network: GatewayNetwork): string[] {
  const gateways = gatewaysOf(network);
  const link = gateways.some(({ family }) => family === 6) ? [linkLocalAddress(network.vni)] : [];
  return [...gateways.map(({ address }) => address), ...link];
}

/** The bridge's: fe80:: and the gateway's MAC as an interface identifier (RFC 4291, appendix A). */
export function linkLocalAddress(vni: number): string {
  const [a, b, c, d, e, f] = parseMac(gatewayMac(vni)) as unknown as [number, number, number, number, number, number];
  return formatIPv6(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f));
}

function via({ dev }: HostRoute): string {
  return dev === undefined ? '' : ` (${dev})`;
}

/** nodad: every host has the address, and each would find the others. */
function addStep({ family, address, prefixLength }: Gateway, bridge: string): string {
  const how = family === 6 ? 'nodad' : 'broadcast +';
  return `address add ${address}/${prefixLength} ${how} dev ${bridge}`;
}

function isRival({ dst, dev }: HostRoute, bridge: string, subnet: Cidr): boolean {
  if (dev === bridge || dst === 'default') return false;
  const block = routeBlock(dst);
  return block !== undefined && block.prefixLength > 0 && cidrOverlaps(block, subnet);
}

/** iproute2 writes a host's route without a length. */
function routeBlock(dst: string): Cidr | undefined {
  try {
    return parseCidr(dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`);
  } catch {
    return undefined;
  }
}
