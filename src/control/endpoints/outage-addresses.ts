/**
 * Addresses that this host holds in the registry and no endpoint uses: what an attach can take while the registry is away,
 * so that never two containers get one address. Control plane, main thread.
 *
 *     spare  claimed in advance, from the top of the subnet: ordinary claims stay "the lowest free"
 *     owed   of an endpoint that was detached while the registry was away: to be released, usable until then
 *
 *     registry answers   refill: spares up to the wanted number, in the background
 *     registry away      attach takes ─▶ the endpoint's heldAs; detach gives back
 *     registry is back   settle: heldAs ─▶ the endpoint's own claim; drain: owed ones leave the stock, and are swept
 *
 * The other hosts cannot tell a host that is cut off from one that died, and take its addresses after a time: what is held
 * longer than that without a word of the registry is not given (isSafe).
 *
 * Invariants: an item is in the stock, or taken (`knows`), or an endpoint's; what leaves the stock to be released leaves
 * the local copy before the registry hears of it, so that a restart in between hands nothing out twice.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import { bareAddress, familyOf } from '../ipam/address-span.js';
import { REAP_AFTER_SECONDS_DEFAULT, SPARES_REAP_AFTER_MS } from '../ipam/reaper.js';
import { familiesOf } from '../ipam/usable-addresses.js';
import type { Registry, RegistryEntry } from '../registry/registry.js';
import {
  addressesPrefix,
  addressKey,
  addressValueSchema,
  encodeValue,
  type NetworkValue,
  parseAddress,
  parseAddressKey,
} from '../registry/schema.js';
import type { LocalEndpoint, LocalState, StockedAddress } from '../state/local-state.js';
import { sparesFit, topAddresses } from './spare-places.js';

const SPARE_PREFIX = 'spare-';

export interface OutageAddressesOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly state: LocalState;
  readonly logger: Logger;
  /** Spares of each family for each network that is open here; 0: none. */
  readonly sparesPerNetwork: number;
  /** For how long the registry has not answered. */
  readonly silentMs: () => number;
  /** After how long the other hosts take the addresses of a host that they miss. */
  readonly reapAfterMs?: number | undefined;
  /** Whether the network is still open here; asked after a spare was claimed. */
  readonly isOpen: (network: NetworkValue) => boolean;
}

export class OutageAddresses {
  private readonly options: OutageAddressesOptions;
  private readonly stock = new Map<string, StockedAddress>();
  /** Claims on their way into the stock or out of it: a sweep leaves them alone. */
  private readonly moving = new Set<string>();
  private readonly refills = new Map<string, Promise<void>>();
  private closed = false;

  constructor(options: OutageAddressesOptions) {
    this.options = options;
  }

  load(): void {
    for (const item of this.options.state.stock()) this.add([item]);
  }

  /** Waits for refills under way. */
  async close(): Promise<void> {
    this.closed = true;
    await this.idle();
  }

  /** Resolves when no refill is under way. */
  async idle(): Promise<void> {
    await Promise.all(this.refills.values());
  }

  knows(claimId: string): boolean {
    if (this.moving.has(claimId)) return true;
    for (const item of this.stock.values()) if (item.claimId === claimId) return true;
    return false;
  }

  /** Whether `take` would answer. */
  hasAll(network: NetworkValue, wanted: readonly string[]): boolean {
    const own = [...this.stock.values()].filter(
      (item) => item.network === network.name && item.networkId === network.id,
    );
    return (
      wanted.every((address) => own.some((item) => bareAddress(item.address) === address)) &&
      familiesOf(network).every((family) => own.some((item) => familyOf(item.address) === family))
    );
  }

  /**
   * One address of each family of the network, owed ones first; `wanted` ones (without prefix length) for theirs.
   * Call `putBack` or `settled` with the answer later.
   * @throws VtepError VTEP_ERR_REGISTRY_UNREACHABLE that says what is missing; nothing is taken then.
   */
  take(network: NetworkValue, wanted: readonly string[]): StockedAddress[] {
    const items: StockedAddress[] = [];
    const stocked = [...this.stock.values()]
      .filter((item) => item.network === network.name && item.networkId === network.id && this.isSafe(item))
      .sort((a, b) => Number(isSpare(a)) - Number(isSpare(b)));
    for (const address of wanted) {
      const item = stocked.find((candidate) => bareAddress(candidate.address) === address);
      if (item === undefined) {
        throw missing(
          `address ${address} of network "${network.name}" can't be claimed, and this host holds no such spare`,
        );
      }
      items.push(item);
    }
    for (const family of familiesOf(network)) {
      if (items.some((item) => familyOf(item.address) === family)) continue;
      const item = stocked.find((candidate) => familyOf(candidate.address) === family);
      if (item === undefined) {
        throw missing(`this host has no spare IPv${family} address of network "${network.name}" left`);
      }
      items.push(item);
    }
    for (const item of items) {
      this.moving.add(item.claimId);
      this.stock.delete(stockKey(item.network, item.address));
    }
    return items;
  }

  /** What was taken is not used after all. */
  putBack(items: readonly StockedAddress[]): void {
    this.add(items);
    for (const { claimId } of items) this.moving.delete(claimId);
  }

  /** What was taken is an endpoint's now, or given up for good. */
  settled(items: readonly StockedAddress[]): void {
    for (const { claimId } of items) this.moving.delete(claimId);
  }

  /** Into the stock, in memory: the caller has written it to the local copy. */
  add(items: readonly StockedAddress[]): void {
    for (const item of items) this.stock.set(stockKey(item.network, item.address), item);
  }

  /**
   * The registry is back: what is not a spare of a network that is open here leaves the stock. A sweep releases it then.
   * @throws VtepError VTEP_ERR_STATE
   */
  async drain(open: readonly NetworkValue[]): Promise<StockedAddress[]> {
    const ids = new Map(open.map(({ name, id }) => [name, id]));
    return this.remove((item) => !isSpare(item) || ids.get(item.network) !== item.networkId);
  }

  /** The network closes here. @returns what left the stock: to be released. */
  closeNetwork(name: string): Promise<StockedAddress[]> {
    return this.remove((item) => item.network === name && isSpare(item));
  }

  /** Gives one back to the registry if it is still held for it. */
  async release(network: string, address: string, claimId: string): Promise<void> {
    const { registry } = this.options;
    const entry = await registry.get(addressKey(network, bareAddress(address)));
    if (entry !== undefined && this.isHeldAs(entry, claimId)) {
      await registry.compareAndDelete(entry.key, entry.modifyIndex);
    }
  }

  /** Makes the claims of `heldAs` the endpoint's own, as far as the registry still holds them for this node. */
  async settle(endpoint: LocalEndpoint): Promise<void> {
    const { registry, node } = this.options;
    for (const [address, claimId] of Object.entries(endpoint.heldAs ?? {})) {
      const value = encodeValue(addressValueSchema, { v: 1, node, endpointId: endpoint.id });
      const entry = await registry.get(addressKey(endpoint.network, address));
      if (entry !== undefined && this.isHeldAs(entry, claimId)) {
        await registry.compareAndSet(entry.key, value, entry.modifyIndex);
      }
    }
  }

  /** Brings the network's spares to their number, in the background. Never rejects; one at a time for a network. */
  refill(network: NetworkValue): void {
    if (this.closed || this.refills.has(network.name)) return;
    const done = this.refillNow(network)
      .catch((error: unknown) => {
        this.options.logger.debug(
          { event: 'spares.refill-failed', err: error, network: network.name },
          `spare addresses of network "${network.name}" could not be claimed: ${(error as Error).message}`,
        );
      })
      .finally(() => this.refills.delete(network.name));
    this.refills.set(network.name, done);
  }

  private async refillNow(network: NetworkValue): Promise<void> {
    const { registry, sparesPerNetwork } = this.options;
    const { entries } = await registry.list(addressesPrefix(network.name));
    await this.verify(network, entries);
    const taken = new Set(entries.map((entry) => parseAddressKey(entry.key)?.address));
    for (const family of familiesOf(network)) {
      const used = [...taken].filter((address) => address !== undefined && familyOf(address) === family).length;
      const have = this.spares(network, family);
      if (!sparesFit(network, family, used)) {
        for (const item of await this.remove((candidate) => have.includes(candidate))) {
          await this.release(item.network, item.address, item.claimId);
        }
        continue;
      }
      let lacking = sparesPerNetwork - have.length;
      for (const address of topAddresses(network, family)) {
        if (lacking <= 0 || !this.isWanted(network)) break;
        if (taken.has(bareAddress(address))) continue;
        if (await this.claimSpare(network, address)) lacking--;
      }
    }
  }

  /** @returns whether the address is in the stock now. */
  private async claimSpare(network: NetworkValue, address: string): Promise<boolean> {
    const { registry, node, state } = this.options;
    const claimId = SPARE_PREFIX + randomBytes(8).toString('hex');
    const key = addressKey(network.name, bareAddress(address));
    const value = encodeValue(addressValueSchema, { v: 1, node, endpointId: claimId, spare: true });
    // Known before it is claimed, and for ever if it is not clear whether it was: then the next refill finds it.
    this.moving.add(claimId);
    const claimed = await registry.compareAndSet(key, value, 0);
    if (!claimed) {
      this.moving.delete(claimId);
      return false;
    }
    const item = { network: network.name, networkId: network.id, address, claimId };
    if (this.isWanted(network)) {
      await state.putStock(item);
      this.add([item]);
      this.moving.delete(claimId);
      return true;
    }
    this.moving.delete(claimId);
    await this.release(network.name, address, claimId);
    return false;
  }

  /** Spares that the registry no longer holds for this node leave the stock; such as it holds without an answer enter it. */
  private async verify(network: NetworkValue, entries: readonly RegistryEntry[]): Promise<void> {
    const held = new Set<string>();
    for (const entry of entries) {
      const value = parseAddress(entry);
      if (value !== undefined && this.isHeldAs(entry, value.endpointId)) held.add(value.endpointId);
    }
    await this.remove((item) => item.network === network.name && !held.has(item.claimId));
    for (const entry of entries) {
      const claimId = parseAddress(entry)?.endpointId;
      if (claimId === undefined || !held.has(claimId) || !claimId.startsWith(SPARE_PREFIX)) continue;
      const inStock = [...this.stock.values()].some((item) => item.claimId === claimId);
      if (inStock || !this.moving.has(claimId)) continue;
      this.moving.delete(claimId);
      await this.release(network.name, parseAddressKey(entry.key)!.address, claimId);
    }
  }

  private async remove(fits: (item: StockedAddress) => boolean): Promise<StockedAddress[]> {
    const items = [...this.stock.values()].filter(fits);
    for (const item of items) this.stock.delete(stockKey(item.network, item.address));
    await this.options.state.removeStock(items);
    return items;
  }

  private spares(network: NetworkValue, family: 4 | 6): StockedAddress[] {
    return [...this.stock.values()].filter(
      (item) => isSpare(item) && item.networkId === network.id && familyOf(item.address) === family,
    );
  }

  /** It may be that only this host is cut off: then the others take its addresses for free after some time. */
  private isSafe(item: StockedAddress): boolean {
    const { silentMs, reapAfterMs = REAP_AFTER_SECONDS_DEFAULT * 1000 } = this.options;
    return silentMs() < (isSpare(item) ? SPARES_REAP_AFTER_MS : reapAfterMs);
  }

  private isWanted(network: NetworkValue): boolean {
    return !this.closed && this.options.isOpen(network);
  }

  private isHeldAs(entry: RegistryEntry, claimId: string): boolean {
    const value = parseAddress(entry);
    return value?.node === this.options.node && value.endpointId === claimId;
  }
}

function isSpare(item: StockedAddress): boolean {
  return item.claimId.startsWith(SPARE_PREFIX);
}

function stockKey(network: string, address: string): string {
  return `${network}/${bareAddress(address)}`;
}

function missing(what: string): VtepError {
  return new VtepError(
    'VTEP_ERR_REGISTRY_UNREACHABLE',
    `the registry does not answer, and ${what}: try again when it is back ("vtep status")`,
  );
}
