/** The table `bridge vtep` as the kernel has it, from nft's JSON: ports, what was dropped at each, and the rules. Pure. */
import { addressNumber } from '../ipam/address-span.js';
import { DROP_SETS, elementsOf, NO_DROPS, type PortDrops, type SecuredPort } from './port-ruleset.js';

type Plain = string | { readonly concat: readonly string[] };
type Element = Plain | { readonly elem: { readonly val: Plain; readonly counter?: { readonly packets: number } } };

interface ListedSet {
  readonly name: string;
  readonly elem?: readonly Element[];
}

export interface PortListing {
  /** Each element of the sets, as keys that are compared: see keysOf(). */
  readonly keys: ReadonlySet<string>;
  readonly macs: ReadonlyMap<string, string>;
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  readonly drops: ReadonlyMap<string, PortDrops>;
  /** Chains and rules as one text, for comparison. */
  readonly rules: string;
}

/** @param text of `nft -j list table`. @returns undefined if it is no listing */
export function parsePortListing(text: string): PortListing | undefined {
  if (text.trim() === '') return undefined;
  const objects = (JSON.parse(text) as { nftables: Record<string, unknown>[] }).nftables;
  const listing = {
    keys: new Set<string>(),
    macs: new Map<string, string>(),
    addresses: new Map<string, string[]>(),
    drops: new Map<string, PortDrops>(),
    rules: JSON.stringify(objects.map(ruleOf).filter((rule) => rule !== undefined)),
  };
  for (const { set } of objects as { set?: ListedSet }[]) {
    if (set === undefined) continue;
    for (const element of set.elem ?? []) {
      const { val, packets } = read(element);
      const [port, ...values] = typeof val === 'string' ? [val] : val.concat;
      if (port === undefined) continue;
      listing.keys.add(keyOf(set.name, port, values));
      const [value] = values;
      if (set.name === 'macs' && value !== undefined) listing.macs.set(port, value);
      if ((set.name === 'ipv4' || set.name === 'ipv6') && value !== undefined) {
        listing.addresses.set(port, [...(listing.addresses.get(port) ?? []), value]);
      }
      if (set.name in DROP_SETS) {
        const cause = DROP_SETS[set.name as keyof typeof DROP_SETS];
        listing.drops.set(port, { ...(listing.drops.get(port) ?? NO_DROPS), [cause]: packets });
      }
    }
  }
  return listing;
}

/** The keys that a listing with exactly these ports has. */
export function keysOf(ports: Iterable<SecuredPort>): Set<string> {
  const keys = new Set<string>();
  for (const port of ports) {
    for (const [set, elements] of Object.entries(elementsOf(port))) {
      for (const element of elements) keys.add(keyOf(set, port.interface, element.split(' . ').slice(1)));
    }
  }
  return keys;
}

/** One spelling for each address. */
function keyOf(set: string, port: string, values: readonly string[]): string {
  const last = values.at(-1) ?? '';
  const isAddress = /[46]$/.test(set);
  const value = isAddress ? addressNumber(last) : set === 'targets' ? BigInt(last) : last.toLowerCase();
  return [set, port, ...values.slice(0, -1), value].join(' ').toLowerCase();
}

function read(element: Element): { val: Plain; packets: number } {
  if (typeof element === 'string' || 'concat' in element) return { val: element, packets: 0 };
  return { val: element.elem.val, packets: element.elem.counter?.packets ?? 0 };
}

/** Handles are numbered by the kernel: another each time. */
function ruleOf(object: Record<string, unknown>): unknown {
  const { chain, rule } = object as Record<string, Record<string, unknown> | undefined>;
  const of = chain ?? rule;
  return of === undefined ? undefined : { ...of, handle: 0 };
}
