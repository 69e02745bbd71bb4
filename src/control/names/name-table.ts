/**
 * Which names and addresses each network has. Pure; main thread.
 *
 *     name, alias ─▶ addresses, each with how many endpoints have it    answers A, AAAA
 *     address     ─▶ names, each with how many endpoints have it        answers PTR; aliases are not told
 *
 * A name is a network's own: nothing of another network is ever answered. A change of one node costs what that node's
 * endpoints cost, however many the others have. Counted, since an endpoint that moves is on two nodes for a moment.
 */
import { formatIp, parseIp } from '../../wire/ip-address.js';

export interface NamedEndpoint {
  readonly name: string;
  /** Lead to it as well. */
  readonly aliases?: readonly string[] | undefined;
  /** With prefix length: 10.0.0.2/24. */
  readonly addresses: readonly string[];
}

export interface NameAddresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

interface NameRecord {
  readonly addresses: Map<string, number>;
  /** Where the next answer begins: load spreads over endpoints of one name. */
  turn: number;
}

interface NetworkNames {
  /** As they were entered, by node. */
  readonly nodes: Map<string, readonly NamedEndpoint[]>;
  /** By name in lower case. */
  readonly names: Map<string, NameRecord>;
  readonly reverse: Map<string, Map<string, number>>;
}

export const DOMAIN_DEFAULT = 'vtep';

/** No empty label (".." or a dot at an end): such a name has no form on the wire. */
const NAME = /^(?=.{1,63}$)[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i;

export class NameTable {
  readonly domain: string;
  private readonly networks = new Map<string, NetworkNames>();

  /** @param domain in lower case; below it nothing but names of networks exists. */
  constructor(domain: string = DOMAIN_DEFAULT) {
    this.domain = domain;
  }

  /** Replaces what the node has in the network. Names that DNS can't carry and addresses that are none are left out. */
  setNode(network: string, node: string, endpoints: readonly NamedEndpoint[]): void {
    if (endpoints.length === 0) {
      this.removeNode(network, node);
      return;
    }
    const names = this.open(network);
    const before = names.nodes.get(node) ?? [];
    const kept = new Map(before.map((endpoint) => [keyOf(endpoint), endpoint]));
    const coming = endpoints.filter((endpoint) => !kept.delete(keyOf(endpoint)));
    // Those that stay are not touched. Of equal ones the map knows one: they are counted anew below.
    if (kept.size + endpoints.length - coming.length === before.length) {
      for (const endpoint of kept.values()) this.count(names, endpoint, -1);
      for (const endpoint of coming) this.count(names, endpoint, 1);
    } else {
      for (const endpoint of before) this.count(names, endpoint, -1);
      for (const endpoint of endpoints) this.count(names, endpoint, 1);
    }
    names.nodes.set(node, [...endpoints]);
  }

  removeNode(network: string, node: string): void {
    const names = this.networks.get(network);
    if (names === undefined) return;
    for (const endpoint of names.nodes.get(node) ?? []) this.count(names, endpoint, -1);
    names.nodes.delete(node);
    if (names.nodes.size === 0) this.networks.delete(network);
  }

  removeNetwork(network: string): void {
    this.networks.delete(network);
  }

  /** How many names the network has. */
  size(network: string): number {
    return this.networks.get(network)?.names.size ?? 0;
  }

  /**
   * @param name in any case: `NAME`, `NAME.NETWORK` or `NAME.NETWORK.DOMAIN`. An endpoint whose own name looks like a
   * longer form of another comes first.
   * @returns all addresses of the name, begun at another one each time; undefined: there is no such name.
   */
  lookup(network: string, name: string): NameAddresses | undefined {
    const record = this.find(network, name.toLowerCase());
    if (record === undefined) return undefined;
    const all = [...record.addresses.keys()];
    const turn = record.turn++;
    const ipv4 = all.filter((address) => !address.includes(':'));
    const ipv6 = all.filter((address) => address.includes(':'));
    return { ipv4: rotated(ipv4, turn), ipv6: rotated(ipv6, turn) };
  }

  /** @param address canonical. @returns full names, as they were written, in order; none: the address has no name. */
  reverse(network: string, address: string): string[] {
    const names = this.networks.get(network)?.reverse.get(address)?.keys() ?? [];
    return [...names].map((name) => `${name}.${network}.${this.domain}`).sort();
  }

  private find(network: string, name: string): NameRecord | undefined {
    const names = this.networks.get(network)?.names;
    if (names === undefined) return undefined;
    const short = `.${network.toLowerCase()}`;
    for (const suffix of ['', short, `${short}.${this.domain}`]) {
      const found = name.endsWith(suffix) ? names.get(name.slice(0, name.length - suffix.length)) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private open(network: string): NetworkNames {
    const there = this.networks.get(network);
    if (there !== undefined) return there;
    const names: NetworkNames = { nodes: new Map(), names: new Map(), reverse: new Map() };
    this.networks.set(network, names);
    return names;
  }

  private count(names: NetworkNames, endpoint: NamedEndpoint, step: 1 | -1): void {
    const addresses = endpoint.addresses.map(canonical).filter((address) => address !== undefined);
    for (const name of [endpoint.name, ...(endpoint.aliases ?? [])]) {
      if (NAME.test(name)) countName(names, name.toLowerCase(), addresses, step);
    }
    if (!NAME.test(endpoint.name)) return;
    for (const address of addresses) {
      const back = names.reverse.get(address) ?? new Map<string, number>();
      add(back, endpoint.name, step);
      if (back.size === 0) names.reverse.delete(address);
      else names.reverse.set(address, back);
    }
  }
}

function countName(names: NetworkNames, key: string, addresses: readonly string[], step: 1 | -1): void {
  const record = names.names.get(key) ?? { addresses: new Map(), turn: 0 };
  for (const address of addresses) add(record.addresses, address, step);
  if (record.addresses.size === 0) names.names.delete(key);
  else names.names.set(key, record);
}

function add(counts: Map<string, number>, key: string, step: number): void {
  const count = (counts.get(key) ?? 0) + step;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}

function rotated(addresses: readonly string[], turn: number): string[] {
  const first = addresses.length === 0 ? 0 : turn % addresses.length;
  return [...addresses.slice(first), ...addresses.slice(0, first)];
}

function keyOf(endpoint: NamedEndpoint): string {
  const own = `${endpoint.name} ${endpoint.addresses.join(' ')}`;
  return endpoint.aliases === undefined ? own : JSON.stringify([own, ...endpoint.aliases]);
}

function canonical(text: string): string | undefined {
  try {
    return formatIp(parseIp(text.split('/', 1)[0] ?? ''));
  } catch {
    return undefined;
  }
}
