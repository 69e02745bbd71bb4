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
  addressesPrefix,
  addressKey,
  addressValueSchema,
  encodeValue,
  type NetworkValue,
  parseAddress,
  parseAddressKey,
} from '../registry/schema.js';
import { addressNumber, addressText, canonicalAddress, familyOf } from './address-span.js';
import { familiesOf, givenSpans, lowestFree, subnetOf, usableText, whyUnusable } from './usable-addresses.js';

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

export class AddressPool {
  private readonly registry: Registry;
  private readonly node: string;
  private readonly logger: Logger;
  /** Endpoints whose claim is under way: a sweep leaves them alone. */
  private readonly claiming = new Set<string>();

  constructor(registry: Registry, node: string, logger: Logger) {
    this.registry = registry;
    this.node = node;
    this.logger = logger;
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
    return claimed.map((address) => `${address}/${prefixLengthOf(subnetOf(network, address)!.cidr)}`);
  }

  settled(endpointId: string): void {
    this.claiming.delete(endpointId);
  }

  /** Gives the address back if it is held for this endpoint; nothing happens else. */
  async release(network: string, address: string, endpointId: string): Promise<void> {
    const entry = await this.registry.get(addressKey(network, address));
    if (entry === undefined) return;
    const holder = parseAddress(entry);
    if (holder?.node !== this.node || holder.endpointId !== endpointId) return;
    await this.registry.compareAndDelete(entry.key, entry.modifyIndex);
  }

  /**
   * Makes the registry agree with `held`: this node's claims for endpoints it does not know are released, claims that
   * are missing (a registry that lost its data) are made again.
   * @param isKnown whether the endpoint exists here, published or not; asked at the moment of release.
   */
  async sweep(held: readonly HeldAddress[], isKnown: (endpointId: string) => boolean): Promise<void> {
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
        this.logger.error(
          { event: 'address.conflict', network, address, endpointId, holder: holders.get(key) },
          `address ${address} of network "${network}" is also held by another endpoint: detach one of them`,
        );
      }
    }
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
    const entry = await this.registry.get(addressKey(network, address));
    const holder = entry === undefined ? undefined : parseAddress(entry);
    const by = holder === undefined ? 'another endpoint' : `endpoint ${holder.endpointId} on node ${holder.node}`;
    return new VtepError(
      'VTEP_ERR_ADDRESS_IN_USE',
      `address ${address} of network "${network}" is in use by ${by}: give another, or none to get the lowest free one`,
    );
  }
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
