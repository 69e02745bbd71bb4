/**
 * From what was asked for to a network's subnets: each gateway, range and reservation goes to the subnet that it lies in.
 * Pure.
 *
 *     --subnet 10.0.2.0/24 --subnet fd00:2::/64 --gateway fd00:2::fe --reserved 10.0.2.200-10.0.2.210
 *         ─▶ { 10.0.2.0/24, gateway 10.0.2.1, reserved [...] }, { fd00:2::/64, gateway fd00:2::fe }
 */
import type { CreateNetwork } from '../api/schema.js';
import { VtepError } from '../errors.js';
import { addressText, canonicalAddress, contains, overlaps, parseSpan, type Span } from '../ipam/address-span.js';
import { givenSpansOf, hostSpan } from '../ipam/usable-addresses.js';
import type { NetworkValue, SubnetRecord } from '../registry/schema.js';
import { checkSubnet, gatewayOf } from './subnet-check.js';

/** The word for "this network has no gateway". */
const NONE = 'none';

type Draft = { -readonly [K in 'cidr' | 'gateway' | 'range']?: string } & { cidr: string; reserved: string[] };

/** What of the request says which subnets there are: given ones, checked; and the families still to be chosen for. */
export function askedSubnets(input: CreateNetwork): { given: string[]; toChoose: (4 | 6)[] } {
  const given = (input.subnets ?? []).map(checkSubnet);
  for (const [i, cidr] of given.entries()) {
    const other = given.slice(0, i).find((earlier) => overlaps(parseSpan(earlier), parseSpan(cidr)));
    if (other !== undefined) throw invalid(`subnets ${other} and ${cidr} overlap: those of one network must not`);
  }
  const hasIpv6 = given.some((cidr) => cidr.includes(':'));
  const toChoose: (4 | 6)[] = given.length === 0 ? [4] : [];
  if (input.ipv6 === true && !hasIpv6) toChoose.push(6);
  return { given, toChoose };
}

/** @param cidrs checked, without overlap. @throws VtepError VTEP_ERR_INVALID for what lies in none, or twice in one. */
export function planSubnets(cidrs: readonly string[], input: CreateNetwork): SubnetRecord[] {
  const drafts: Draft[] = cidrs.map((cidr) => ({ cidr, reserved: [] }));
  for (const gateway of input.gateways ?? []) if (gateway !== NONE) placeGateway(drafts, gateway);
  for (const range of input.ranges ?? []) {
    const draft = holderOf(drafts, 'range', range, checkedSpan(range));
    if (draft.range !== undefined)
      throw invalid(`subnet ${draft.cidr} has the ranges ${draft.range} and ${range}: give one`);
    draft.range = range;
  }
  for (const reserved of input.reserved ?? []) {
    holderOf(drafts, 'reserved', reserved, checkedSpan(reserved)).reserved.push(reserved);
  }
  const noGateway = (input.gateways ?? []).includes(NONE);
  return drafts.map((draft) => finish(draft, noGateway));
}

/**
 * Networks may overlap, as tenants do. But a host has one routing table: where the gateways of two of them, or a route of
 * its own, are in the same place, one of the two gets no gateway there.
 */
export function overlapWarnings(
  value: Pick<NetworkValue, 'name' | 'subnets' | 'internal'>,
  others: readonly Pick<NetworkValue, 'name' | 'subnets' | 'internal'>[],
  hostRoutes: readonly string[],
): string[] {
  const warnings: string[] = [];
  for (const cidr of routed(value)) {
    const span = parseSpan(cidr);
    const meets = (other: string) => overlaps(parseSpan(other), span);
    const networks = others.filter((other) => routed(other).some(meets)).map(({ name }) => `"${name}"`);
    if (networks.length > 0) {
      const which = networks.length === 1 ? `network ${networks[0]}` : `networks ${networks.join(', ')}`;
      warnings.push(
        `subnet ${cidr} overlaps ${which}: a host with containers on both has a gateway for one of them only`,
      );
    }
    const routes = hostRoutes.filter(meets);
    if (routes.length > 0) {
      warnings.push(
        `subnet ${cidr} overlaps this host's route to ${routes.join(', ')}: the network has no gateway here`,
      );
    }
  }
  return warnings;
}

/** The subnets that get a place in a host's routing table. */
function routed({ subnets, internal }: Pick<NetworkValue, 'subnets' | 'internal'>): string[] {
  return internal ? [] : subnets.filter(({ gateway }) => gateway !== undefined).map(({ cidr }) => cidr);
}

function placeGateway(drafts: Draft[], text: string): void {
  const gateway = canonicalAddress(text);
  const span = parseSpan(gateway);
  const draft = holderOf(drafts, 'gateway', gateway, span);
  if (draft.gateway !== undefined) {
    throw invalid(`subnet ${draft.cidr} has the gateways ${draft.gateway} and ${gateway}: give one`);
  }
  const hosts = hostSpan(draft.cidr);
  if (!contains(hosts, span)) {
    const right = `${addressText(hosts.first, hosts.family)} to ${addressText(hosts.last, hosts.family)}`;
    throw invalid(`gateway ${gateway} is no host's address in ${draft.cidr}: give one of ${right}`);
  }
  draft.gateway = gateway;
}

function finish(draft: Draft, noGateway: boolean): SubnetRecord {
  const { cidr, range, reserved } = draft;
  const gateway = draft.gateway ?? (noGateway ? undefined : gatewayOf(cidr));
  const subnet: SubnetRecord = {
    cidr,
    ...(gateway === undefined ? {} : { gateway }),
    ...(range === undefined ? {} : { range }),
    ...(reserved.length === 0 ? {} : { reserved }),
  };
  if (givenSpansOf(subnet).length === 0) {
    throw invalid(`subnet ${cidr} has no address left for containers: widen its range, or reserve less`);
  }
  return subnet;
}

function holderOf(drafts: readonly Draft[], what: string, text: string, span: Span): Draft {
  const holder = drafts.find(({ cidr }) => contains(parseSpan(cidr), span));
  if (holder !== undefined) return holder;
  throw invalid(`${what} ${text} lies in no subnet of the network (${drafts.map(({ cidr }) => cidr).join(', ')})`);
}

function checkedSpan(text: string): Span {
  try {
    return parseSpan(text);
  } catch (error) {
    throw invalid((error as Error).message);
  }
}

function invalid(message: string): VtepError {
  return new VtepError('VTEP_ERR_INVALID', message);
}
