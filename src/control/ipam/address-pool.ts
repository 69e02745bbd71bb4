/**
 * Addresses of a network's subnets: one registry key per address, claimed by compare-and-set, so that two containers
 * cannot get one address, also when two hosts ask at once. Control plane.
 *
 *     read what is taken ─▶ the lowest free one ─CAS▶ won
 *                                └─lost▶ one at random of the lowest 1, 2, 4, ... free ones ─CAS▶ ...
 *
 * Where nobody else asks it is always the lowest that is free: 10.0.0.2, 10.0.0.3, ...
 */
import { isIP } from 'node:net';
import type { Logger } from 'pino';
import type { IpFamily } from '../../wire/ip-address.js';
import { VtepError } from '../errors.js';
import type { Registry } from '../registry/registry.js';
import {
  ADDRESSES_PREFIX,
  type AddressValue,
  addressesPrefix,
  addressKey,
  addressValueSchema,
  encodeValue,
  type NetworkValue,
  nodeKey,
  parseAddress,
  parseAddressKey,
} from '../registry/schema.js';
import { addressNumber, addressText, bareAddress, canonicalAddress, familyOf } from './address-span.js';
import type { Absence } from './reaper.js';
import {
  familiesOf,
  givenSpans,
  lowestFree,
  type SubnetUsage,
  subnetOf,
  usableText,
  usageOf,
  whyUnusable,
} from './usable-addresses.js';

/** A lost race means that another host won an address: each try follows somebody's success. */
const LOSSES_MAX = 200;
const LOSSES_PER_READING = 8;
const WINDOW_MAX = 1024;

/** An address that this host holds for one of its endpoints. */
export interface HeldAddress {
  readonly network: string;
  /** Without prefix length. */
  readonly address: string;
  readonly endpointId: string;
}

/** What `hold` looks at of an endpoint. */
interface Addressed {
  readonly id: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
}

export interface Holding {
  readonly session: string | undefined;
  readonly lost: ReadonlySet<string>;
}

/** An endpoint of this host whose address another endpoint holds. */
export interface AddressConflict {
  readonly network: string;
  readonly address: string;
  /** Such as `endpoint e-1 on node cdh2`. */
  readonly holder: string;
}

export interface AddressPoolOptions {
  /** The session that holds this node's keys. Claims seen under it stay this node's for as long as it lives. */
  readonly session?: () => string | undefined;
  /** What is known of a node that is away. */
  readonly absence?: (node: string) => Absence | undefined;
}

export class AddressPool {
  private readonly registry: Registry;
  private readonly node: string;
  private readonly logger: Logger;
  private readonly options: AddressPoolOptions;
  /** The session under which an endpoint's claims were last seen to be its own. */
  private readonly heldUnder = new Map<string, string>();
  private readonly conflicts = new Map<string, AddressConflict>();
  /** Endpoints whose claim is under way: a sweep leaves them alone. */
  private readonly claiming = new Set<string>();

  constructor(registry: Registry, node: string, logger: Logger, options: AddressPoolOptions = {}) {
    this.registry = registry;
    this.node = node;
    this.logger = logger;
    this.options = options;
  }

  /** By endpoint. */
  allConflicts(): ReadonlyMap<string, AddressConflict> {
    return this.conflicts;
  }

  /**
   * Call `settled(endpointId)` when the endpoint is known locally, or given up: until then no sweep takes the addresses.
   *
   * @param wanted at most one a family. @returns one of each family that the network has, IPv4 first, with the subnet's
   * prefix length: 10.0.0.2/24. After a failure nothing is held.
   * @throws VtepError VTEP_ERR_INVALID (wanted one outside the subnets or withheld), VTEP_ERR_ADDRESS_IN_USE,
   *   VTEP_ERR_POOL_EXHAUSTED, VTEP_ERR_CONFLICT (too many lost races)
   */
  async claim(network: NetworkValue, endpointId: string, wanted: readonly string[] = []): Promise<string[]> {
    const fixed = checkWanted(network, wanted);
    const session = this.options.session?.();
    this.claiming.add(endpointId);
    const claimed: string[] = [];
    try {
      for (const family of familiesOf(network)) {
        const address = fixed.get(family);
        if (address === undefined) claimed.push(await this.takeFree(network, family, endpointId));
        else if (await this.take(network.name, address, endpointId)) claimed.push(address);
        else throw await this.inUse(network.name, address);
      }
    } catch (error) {
      // What can't be given back now is found by the next sweep.
      for (const address of claimed) await this.release(network.name, address, endpointId).catch(() => undefined);
      throw error;
    }
    if (session !== undefined) this.heldUnder.set(endpointId, session);
    return claimed.map((address) => `${address}/${prefixLengthOf(subnetOf(network, address)!.cidr)}`);
  }

  settled(endpointId: string): void {
    this.claiming.delete(endpointId);
  }

  /** The endpoint is no more: nothing is held, and nothing contested, for it. */
  forget(endpointId: string): void {
    this.heldUnder.delete(endpointId);
    this.conflicts.delete(endpointId);
  }

  /** Gives the address back if it is held for this endpoint; nothing happens else. */
  async release(network: string, address: string, endpointId: string): Promise<void> {
    this.forget(endpointId);
    const entry = await this.registry.get(addressKey(network, address));
    if (entry === undefined) return;
    const holder = parseAddress(entry);
    if (holder?.node !== this.node || holder.endpointId !== endpointId) return;
    await this.registry.compareAndDelete(entry.key, entry.modifyIndex);
  }

  /**
   * To be asked before endpoints are published: which of them still have their addresses. What a reaper released, or a
   * registry lost, is claimed again; what another endpoint has by now stays with that one.
   *
   * Under one session a claim is looked at once: while the session lives, nodes/<node> is there and no reaper takes it.
   * @returns the session that this is true under, for the publication; and the endpoints that are in conflict.
   */
  async hold(network: string, endpoints: readonly Addressed[]): Promise<Holding> {
    const session = this.options.session?.();
    const doubtful = endpoints.filter(({ id }) => session === undefined || this.heldUnder.get(id) !== session);
    if (doubtful.length > 0) {
      const entries = (await this.registry.list(addressesPrefix(network))).entries;
      const holders = new Map(entries.map((entry) => [entry.key, parseAddress(entry)] as const));
      for (const endpoint of doubtful) await this.holdOne(network, endpoint, holders, session);
    }
    const lost = endpoints.map(({ id }) => id).filter((id) => this.conflicts.has(id));
    return { session, lost: new Set(lost) };
  }

  private async holdOne(
    network: string,
    { id, addresses }: Addressed,
    holders: ReadonlyMap<string, AddressValue | undefined>,
    session: string | undefined,
  ): Promise<void> {
    for (const text of addresses) {
      const address = bareAddress(text);
      const key = addressKey(network, address);
      if (holders.get(key)?.endpointId === id && holders.get(key)?.node === this.node) continue;
      if (!holders.has(key) && (await this.take(network, address, id))) continue;
      const holder = await this.holderOf(network, address);
      if (holder?.endpointId === id && holder.node === this.node) continue;
      this.noteConflict(id, { network, address, holder: holderText(holder) });
      return;
    }
    if (session !== undefined) this.heldUnder.set(id, session);
    if (this.conflicts.delete(id)) {
      this.logger.info(
        { event: 'address.conflict-ended', network, endpointId: id },
        'an endpoint has its address again',
      );
    }
  }

  private noteConflict(endpointId: string, conflict: AddressConflict): void {
    this.heldUnder.delete(endpointId);
    const known = this.conflicts.get(endpointId);
    this.conflicts.set(endpointId, conflict);
    if (known?.address === conflict.address && known.holder === conflict.holder) return;
    this.logger.error(
      { event: 'address.conflict', endpointId, ...conflict },
      `address ${conflict.address} of network "${conflict.network}" went to ${conflict.holder} while this host was not heard of: endpoint ${endpointId} is no longer published; detach it and attach it again`,
    );
  }

  /**
   * Makes the registry agree with `held`: this node's claims for endpoints it does not know are released, claims that
   * are missing (a registry that lost its data) are made again.
   * @param isKnown whether the endpoint exists here, published or not; asked at the moment of release.
   * @returns the networks in which an address that is held here belongs to another endpoint: to be published anew.
   */
  async sweep(held: readonly HeldAddress[], isKnown: (endpointId: string) => boolean): Promise<ReadonlySet<string>> {
    const contested = new Set<string>();
    const listing = await this.registry.list(ADDRESSES_PREFIX);
    const holders = new Map<string, string | undefined>();
    for (const entry of listing.entries) {
      const value = parseAddress(entry, (error) =>
        this.logger.warn({ event: 'registry.bad-value', err: error }, error.message),
      );
      holders.set(entry.key, value?.endpointId);
      if (value?.node !== this.node || isKnown(value.endpointId) || this.claiming.has(value.endpointId)) continue;
      if (await this.registry.compareAndDelete(entry.key, entry.modifyIndex)) {
        this.logger.info(
          { event: 'address.released', key: entry.key },
          'released an address of an endpoint that is no more',
        );
      }
    }
    for (const { network, address, endpointId } of held) {
      const key = addressKey(network, address);
      if (holders.get(key) === endpointId || !isKnown(endpointId)) continue;
      if (holders.has(key) || !(await this.take(network, address, endpointId))) {
        this.heldUnder.delete(endpointId);
        contested.add(network);
      }
    }
    return contested;
  }

  private async takeFree(network: NetworkValue, family: IpFamily, endpointId: string): Promise<string> {
    const spans = givenSpans(network, family);
    const taken = await this.taken(network.name, family);
    for (let losses = 0; losses < LOSSES_MAX; losses++) {
      // An old reading is asked for anew only now and then: most of what has been taken since is what was lost here.
      if (losses > 0 && losses % LOSSES_PER_READING === 0) {
        for (const number of await this.taken(network.name, family)) taken.add(number);
      }
      const free = lowestFree(spans, taken, windowAfter(losses));
      if (free.length === 0) break;
      const number = free[Math.floor(Math.random() * free.length)]!;
      const address = addressText(number, family);
      if (await this.take(network.name, address, endpointId)) return address;
      taken.add(number);
    }
    const cidrs = network.subnets.map(({ cidr }) => cidr).filter((cidr) => familyOf(cidr) === family);
    if (lowestFree(spans, await this.taken(network.name, family), 1).length > 0) {
      throw new VtepError(
        'VTEP_ERR_CONFLICT',
        `network "${network.name}": other hosts took each address first; try again`,
      );
    }
    throw new VtepError(
      'VTEP_ERR_POOL_EXHAUSTED',
      `network "${network.name}" has no free address left in ${cidrs.join(', ')}: detach an endpoint, or make a network with a larger subnet`,
    );
  }

  /** How full the network's subnets are. */
  async usage(network: NetworkValue): Promise<SubnetUsage[]> {
    const entries = (await this.registry.list(addressesPrefix(network.name))).entries;
    const claims = entries.map((entry) => ({
      address: parseAddressKey(entry.key)?.address ?? '',
      isSpare: parseAddress(entry)?.spare === true,
    }));
    return usageOf(
      network,
      claims.filter(({ address }) => isIP(address) !== 0),
    );
  }

  private async taken(network: string, family: IpFamily): Promise<Set<bigint>> {
    const listing = await this.registry.list(addressesPrefix(network));
    const taken = new Set<bigint>();
    for (const entry of listing.entries) {
      const text = parseAddressKey(entry.key)?.address;
      if (text !== undefined && isIP(text) === family) taken.add(addressNumber(text));
    }
    return taken;
  }

  private take(network: string, address: string, endpointId: string): Promise<boolean> {
    const value = encodeValue(addressValueSchema, { v: 1, node: this.node, endpointId });
    return this.registry.compareAndSet(addressKey(network, address), value, 0);
  }

  private async inUse(network: string, address: string): Promise<VtepError> {
    const holder = await this.holderOf(network, address);
    const inUse = `address ${address} of network "${network}" is in use by ${holderText(holder)}`;
    const away = holder === undefined ? undefined : await this.absenceText(holder.node);
    const right = away ?? ': give another, or none to get the lowest free one';
    return new VtepError('VTEP_ERR_ADDRESS_IN_USE', inUse + right);
  }

  private async absenceText(node: string): Promise<string | undefined> {
    if ((await this.registry.get(nodeKey(node))) !== undefined) return undefined;
    const absence = this.options.absence?.(node);
    if (absence === undefined) return ', which is gone: it is free when the node has stayed away for the hold time';
    const time = (ms: number) => new Date(ms).toISOString();
    return `, which is gone since ${time(absence.sinceMs)}: it is free soon after ${time(absence.freeMs)} if the node stays away`;
  }

  private async holderOf(network: string, address: string): Promise<AddressValue | undefined> {
    const entry = await this.registry.get(addressKey(network, address));
    return entry === undefined ? undefined : parseAddress(entry);
  }
}

function holderText(holder: AddressValue | undefined): string {
  return holder === undefined ? 'another endpoint' : `endpoint ${holder.endpointId} on node ${holder.node}`;
}

/** How many of the lowest free addresses are tried for: more the more races are lost, so that hosts spread. */
function windowAfter(losses: number): number {
  return Math.min(WINDOW_MAX, 2 ** Math.max(0, losses - 1));
}

/** @returns canonical, by family. @throws VtepError VTEP_ERR_INVALID */
function checkWanted(network: NetworkValue, wanted: readonly string[]): Map<IpFamily, string> {
  const fixed = new Map<IpFamily, string>();
  for (const text of wanted) {
    const address = canonicalAddress(text);
    const family = familyOf(address);
    const subnets = network.subnets.filter(({ cidr }) => familyOf(cidr) === family);
    const refuse = (why: string) =>
      new VtepError('VTEP_ERR_INVALID', `address ${address} of network "${network.name}" ${why}`);
    if (subnets.length === 0) throw refuse(`can't be had: the network has no IPv${family} subnet`);
    const why = whyUnusable(network, address);
    if (why !== undefined) {
      const own = subnetOf(network, address);
      const right = (own === undefined ? subnets : [own]).map(usableText).join(', or ');
      throw refuse(`(${subnets.map(({ cidr }) => cidr).join(', ')}) ${why}: give one of ${right}`);
    }
    if (fixed.has(family)) throw refuse(`is the second IPv${family} address: give at most one a family`);
    fixed.set(family, address);
  }
  return fixed;
}

function prefixLengthOf(cidr: string): string {
  return cidr.slice(cidr.indexOf('/') + 1);
}
