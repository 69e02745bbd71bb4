/**
 * Which addresses of a network containers can get, and why another can't be had. Control plane, pure.
 *
 *     subnet 10.0.0.0/24, gateway .1, range 10.0.0.128/25, reserved .200-.209
 *         ─▶ .128 to .199, .210 to .254
 *
 * Never given: the network and the broadcast address, IPv6's subnet-router anycast address (all zeros), the gateway,
 * what is reserved. A range narrows what is given by itself; a fixed address may lie outside of it.
 */
import type { IpFamily } from '../../wire/ip-address.js';
import { hostRange, parseCidr } from '../../wire/ip-address.js';
import type { NetworkValue, SubnetRecord } from '../registry/schema.js';
import {
  addressNumber,
  addressText,
  contains,
  familyOf,
  overlaps,
  parseSpan,
  type Span,
  without,
} from './address-span.js';

type Addressed = Pick<NetworkValue, 'subnets'>;

/** IPv4 first. */
export function familiesOf(network: Addressed): IpFamily[] {
  const families: IpFamily[] = [4, 6];
  return families.filter((family) => network.subnets.some(({ cidr }) => familyOf(cidr) === family));
}

/** What is given without being asked for by name: spans in order, subnet after subnet. */
export function givenSpans(network: Addressed, family: IpFamily): Span[] {
  const subnets = network.subnets.filter(({ cidr }) => familyOf(cidr) === family);
  // With several subnets one subnet's gateway or reservation never lies in another: they do not overlap.
  return subnets.flatMap((subnet) => givenSpansOf(subnet));
}

export function givenSpansOf(subnet: SubnetRecord): Span[] {
  const hosts = hostSpan(subnet.cidr);
  if (subnet.range === undefined) return without(hosts, withheld(subnet));
  const outside = without(hosts, [parseSpan(subnet.range)]);
  return without(hosts, [...withheld(subnet), ...outside]);
}

/** The first `count` free addresses, lowest first. It looks at no more addresses than are taken, and `count`. */
export function lowestFree(spans: readonly Span[], taken: ReadonlySet<bigint>, count: number): bigint[] {
  const free: bigint[] = [];
  for (const { first, last } of spans) {
    for (let number = first; number <= last; number++) {
      if (free.length === count) return free;
      if (!taken.has(number)) free.push(number);
    }
  }
  return free;
}

export function countOf(spans: readonly Span[]): bigint {
  return spans.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
}

export interface SubnetUsage {
  readonly cidr: string;
  /** Claimed, also outside of the range. */
  readonly used: number;
  /** What can still be given without being asked for by name. Rounded beyond 2^53. */
  readonly free: number;
}

/** @param claimed addresses without prefix length; each is counted in the subnet that it lies in. */
export function usageOf(network: Addressed, claimed: readonly string[]): SubnetUsage[] {
  const numbers = claimed.map((text) => ({ family: familyOf(text), number: addressNumber(text) }));
  const inside = ({ family, first, last }: Span) =>
    numbers.filter((one) => one.family === family && first <= one.number && one.number <= last).length;
  return network.subnets.map((subnet) => {
    const given = givenSpansOf(subnet);
    const taken = given.reduce((sum, span) => sum + inside(span), 0);
    return { cidr: subnet.cidr, used: inside(parseSpan(subnet.cidr)), free: Number(countOf(given)) - taken };
  });
}

/** The subnet that the address is in. */
export function subnetOf(network: Addressed, address: string): SubnetRecord | undefined {
  const span = parseSpan(address);
  return network.subnets.find(({ cidr }) => contains(parseSpan(cidr), span));
}

/** Why no container can have the address; undefined: it can. */
export function whyUnusable(network: Addressed, address: string): string | undefined {
  const subnet = subnetOf(network, address);
  if (subnet === undefined) return 'is outside the subnets';
  const number = addressNumber(address);
  if (subnet.gateway !== undefined && addressNumber(subnet.gateway) === number) return 'is the gateway';
  const hosts = hostSpan(subnet.cidr);
  if (number < hosts.first)
    return hosts.family === 4 ? 'is the network address' : 'is the subnet-router anycast address';
  if (number > hosts.last) return 'is the broadcast address';
  const one = { family: hosts.family, first: number, last: number };
  if (withheld(subnet).some((span) => overlaps(span, one))) return 'is reserved';
  return undefined;
}

/** Such as "10.0.0.2 to 10.0.0.254 other than the gateway 10.0.0.1". */
export function usableText(subnet: SubnetRecord): string {
  const { family, first, last } = hostSpan(subnet.cidr);
  const but = [subnet.gateway === undefined ? '' : `the gateway ${subnet.gateway}`, ...(subnet.reserved ?? [])];
  const others = but.filter((text) => text !== '');
  const except = others.length === 0 ? '' : ` other than ${others.join(', ')}`;
  return `${addressText(first, family)} to ${addressText(last, family)}${except}`;
}

export function hostSpan(cidr: string): Span {
  const block = parseCidr(cidr);
  const { first, last } = hostRange(block);
  return { family: block.family, first: addressNumber(first), last: addressNumber(last) };
}

function withheld(subnet: SubnetRecord): Span[] {
  const texts = [...(subnet.reserved ?? []), ...(subnet.gateway === undefined ? [] : [subnet.gateway])];
  return texts.map(parseSpan);
}
