/**
 * Addresses of a network's subnet: one registry key per address, claimed by compare-and-set, so that two containers
 * cannot get one address, also when two hosts ask at once. Control plane.
 *
 *     10.0.0.0  network      never given
 *     10.0.0.1  gateway      never given
 *     10.0.0.2  first one a container gets; always the lowest that is free
 *     10.0.0.255 broadcast   never given
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ipv4ToNumber, numberToIPv4, parseCidr } from '../../wire/ip-address.js';
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

/** A lost race means that another host won an address: each try follows somebody's success. */
const CLAIM_TRIES_MAX = 200;

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
   * Call `settled(endpointId)` when the endpoint is known locally, or given up: until then no sweep takes the address.
   *
   * @returns the address with the subnet's prefix length: 10.0.0.2/24.
   * @throws VtepError VTEP_ERR_INVALID (wanted one outside the subnet or reserved), VTEP_ERR_ADDRESS_IN_USE,
   *   VTEP_ERR_POOL_EXHAUSTED, VTEP_ERR_CONFLICT (too many lost races)
   */
  async claim(network: NetworkValue, endpointId: string, wanted?: string): Promise<string> {
    const subnet = network.subnets[0]!;
    const range = addressRange(subnet);
    this.claiming.add(endpointId);
    if (wanted !== undefined) {
      checkWanted(network, wanted);
      if (await this.take(network.name, wanted, endpointId)) return `${wanted}/${range.prefixLength}`;
      throw await this.inUse(network.name, wanted);
    }
    const gateway = ipv4ToNumber(network.gateway);
    for (let tries = 0; tries < CLAIM_TRIES_MAX; tries++) {
      const taken = await this.taken(network.name);
      let free = range.first;
      while (free <= range.last && (free === gateway || taken.has(free))) free++;
      if (free > range.last) {
        throw new VtepError(
          'VTEP_ERR_POOL_EXHAUSTED',
          `network "${network.name}" has no free address left in ${subnet}: detach an endpoint, or make a network with a larger subnet`,
        );
      }
      const address = numberToIPv4(free);
      if (await this.take(network.name, address, endpointId)) return `${address}/${range.prefixLength}`;
      // Spread those who ask at once, so that they do not all try for the next one at the same moment.
      await sleep(Math.random() * Math.min(50, 2 * (tries + 1)));
    }
    throw new VtepError(
      'VTEP_ERR_CONFLICT',
      `network "${network.name}": other hosts took each address first; try again`,
    );
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

  private async taken(network: string): Promise<Set<number>> {
    const listing = await this.registry.list(addressesPrefix(network));
    const taken = new Set<number>();
    for (const entry of listing.entries) {
      const text = parseAddressKey(entry.key)?.address;
      if (text !== undefined && !text.includes(':')) taken.add(ipv4ToNumber(text));
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

/** First and last address that a container can get, as numbers; the gateway lies inside. */
function addressRange(subnet: string): { first: number; last: number; prefixLength: number } {
  const { prefixLength, text } = parseCidr(subnet);
  const base = ipv4ToNumber(text.slice(0, text.indexOf('/')));
  return { first: base + 1, last: base + 2 ** (32 - prefixLength) - 2, prefixLength };
}

function checkWanted(network: NetworkValue, wanted: string): void {
  const subnet = network.subnets[0]!;
  const { first, last } = addressRange(subnet);
  const number = ipv4ToNumber(wanted);
  const right = `give one of ${numberToIPv4(first)} to ${numberToIPv4(last)} other than the gateway ${network.gateway}`;
  const refuse = (why: string) =>
    new VtepError('VTEP_ERR_INVALID', `address ${wanted} ${why} of network "${network.name}" (${subnet}): ${right}`);
  if (wanted === network.gateway) throw refuse('is the gateway');
  if (number === first - 1) throw refuse('is the network address');
  if (number === last + 1) throw refuse('is the broadcast address');
  if (number < first || number > last) throw refuse('is outside the subnet');
}
