/**
 * Addresses that were asked for ahead of their endpoint: a container engine's IPAM asks for the address first and for the
 * endpoint later, and says itself when the address is free. Control plane, main thread.
 *
 *     reserve ─▶ reserved ─take▶ an endpoint's (heldAs) ─detach▶ reserved ─release▶ free
 *                   └─ 10 minutes without an endpoint ─▶ free
 *
 * A reservation is a claim of this node's in the registry under an id of its own, and an entry in the local copy by which
 * the sweep knows it. While the registry is away, one of the host's spares becomes it.
 *
 * Invariants: an address is a reservation, or taken (`knows`), or an endpoint's; the local copy forgets it before the
 * registry is asked to, and learns it after the registry has agreed: a crash in between leaves a claim that is swept.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { OutageAddresses } from '../endpoints/outage-addresses.js';
import { isUnreachable, type RegistryReach } from '../endpoints/registry-reach.js';
import { VtepError } from '../errors.js';
import type { NetworkValue, SubnetRecord } from '../registry/schema.js';
import type { LocalState, Reservation, StockedAddress } from '../state/local-state.js';
import type { AddressPool } from './address-pool.js';
import { bareAddress, canonicalAddress } from './address-span.js';

const CLAIM_PREFIX = 'reserved-';
/** Between asking for an address and for its endpoint an engine takes less than a second, or has died. */
const EXPIRES_AFTER_MS = 600_000;
const LOOK_MS = 60_000;

export interface ReservationsOptions {
  readonly addresses: AddressPool;
  readonly stock: OutageAddresses;
  readonly reach: RegistryReach;
  readonly state: LocalState;
  readonly logger: Logger;
  /** Something is owed to the registry: it is to be swept when it answers. */
  readonly onOwed: () => void;
  /** @default Date.now */
  readonly now?: () => number;
}

export class Reservations {
  private readonly options: ReservationsOptions;
  private readonly items = new Map<string, Reservation>();
  /** Claims on their way in or out: a sweep leaves them alone. */
  private readonly moving = new Set<string>();
  private readonly now: () => number;
  private timer: NodeJS.Timeout | undefined;

  constructor(options: ReservationsOptions) {
    this.options = options;
    this.now = options.now ?? Date.now;
  }

  /** Those of the last run; from now on they expire. */
  load(): void {
    this.add(this.options.state.reservations());
    this.timer = setInterval(() => void this.expire(), LOOK_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Whether the registry's claim under this id is one of these. */
  knows(claimId: string): boolean {
    if (this.moving.has(claimId)) return true;
    for (const item of this.items.values()) if (item.claimId === claimId) return true;
    return false;
  }

  all(): Reservation[] {
    return [...this.items.values()];
  }

  /** @param address with or without prefix length */
  find(networkId: string, address: string): Reservation | undefined {
    return this.items.get(keyOf(networkId, address));
  }

  /**
   * An address of the subnet for whoever asked for it. What is reserved already can't be had a second time.
   * @param wanted without: the lowest free one. @returns with prefix length
   * @throws VtepError as AddressPool.claim, and VTEP_ERR_REGISTRY_UNREACHABLE if no spare of this host fits
   */
  async reserve(network: NetworkValue, subnet: SubnetRecord, wanted?: string): Promise<string> {
    const { addresses, stock, reach } = this.options;
    const narrow: NetworkValue = { ...network, subnets: [subnet] };
    const asked = wanted === undefined ? [] : [canonicalAddress(wanted)];
    if (reach.away || (asked.length > 0 && stock.hasAll(narrow, asked))) return this.fromStock(narrow, asked);
    const claimId = CLAIM_PREFIX + randomBytes(8).toString('hex');
    try {
      const [address] = await addresses.claim(narrow, claimId, asked);
      await this.put(narrow, address!, claimId).catch(async (error: unknown) => {
        await addresses.release(network.name, bareAddress(address!), claimId);
        throw error;
      });
      return address!;
    } catch (error) {
      if (isUnreachable(error)) this.options.onOwed();
      else if (!isExhausted(error) || !stock.hasAll(narrow, asked)) throw error;
      return await this.fromStock(narrow, asked);
    } finally {
      // Known locally now, or swept if the claim was made all the same.
      addresses.settled(claimId);
      addresses.forget(claimId);
    }
  }

  /** It does not expire. @throws VtepError VTEP_ERR_STATE */
  async keep(networkId: string, address: string): Promise<void> {
    const item = this.find(networkId, address);
    if (item === undefined) return;
    const kept = { ...item, isKept: true };
    await this.options.state.putReservation(kept);
    this.add([kept]);
  }

  /**
   * For an endpoint that is about to be made: call `putBack` or `settled` with the answer later.
   * @throws VtepError VTEP_ERR_ADDRESS_IN_USE for one that is not reserved; nothing is taken then
   */
  take(network: NetworkValue, addresses: readonly string[]): Reservation[] {
    const items = addresses.map((address) => {
      const item = this.find(network.id, address);
      if (item !== undefined) return item;
      const text = `address ${bareAddress(address)} of network "${network.name}" is not reserved here: ask for it again`;
      throw new VtepError('VTEP_ERR_ADDRESS_IN_USE', text);
    });
    for (const item of items) {
      this.moving.add(item.claimId);
      this.items.delete(keyOf(item.networkId, item.address));
    }
    return items;
  }

  /** What was taken is not used after all. */
  putBack(items: readonly Reservation[]): void {
    this.add(items);
    this.settled(items);
  }

  /** What was taken is an endpoint's now. */
  settled(items: readonly StockedAddress[]): void {
    for (const { claimId } of items) this.moving.delete(claimId);
  }

  /** Of an endpoint that goes: for LocalState.removeEndpoint, and then for `add`. */
  ofEndpoint(items: readonly StockedAddress[]): Reservation[] {
    return items.map((item) => ({ ...item, sinceMs: this.now() }));
  }

  /** In memory: the caller has written it to the local copy. */
  add(items: readonly Reservation[]): void {
    for (const item of items) this.items.set(keyOf(item.networkId, item.address), item);
  }

  /** Free again. Nothing happens if it is not reserved. @throws VtepError VTEP_ERR_STATE */
  async release(networkId: string, address: string): Promise<void> {
    const { state, stock, reach, logger, onOwed } = this.options;
    const item = this.find(networkId, address);
    if (item === undefined) return;
    await state.removeReservation(item);
    this.items.delete(keyOf(networkId, address));
    if (reach.away) return onOwed();
    await stock.release(item.network, item.address, item.claimId).catch((error: unknown) => {
      const text = `address ${item.address} of network "${item.network}" is released when the registry is back: ${(error as Error).message}`;
      logger.warn({ event: 'reservation.release-owed', err: error, network: item.network }, text);
      onOwed();
    });
  }

  /** Never rejects. */
  async expire(): Promise<void> {
    const { logger } = this.options;
    for (const item of this.all()) {
      if (item.isKept === true || this.now() - item.sinceMs < EXPIRES_AFTER_MS) continue;
      const facts = { event: 'reservation.expired', network: item.network, address: item.address };
      logger.info(facts, `address ${item.address} was reserved and no endpoint took it: free again`);
      await this.release(item.networkId, item.address).catch((error: Error) => logger.error(facts, error.message));
    }
  }

  private async fromStock(network: NetworkValue, asked: readonly string[]): Promise<string> {
    const { stock } = this.options;
    const taken = stock.take(network, asked);
    try {
      const [item] = taken;
      await this.put(network, item!.address, item!.claimId);
      stock.settled(taken);
      return item!.address;
    } catch (error) {
      stock.putBack(taken);
      throw error;
    }
  }

  private async put(network: NetworkValue, address: string, claimId: string): Promise<void> {
    const item = { network: network.name, networkId: network.id, address, claimId, sinceMs: this.now() };
    await this.options.state.putReservation(item);
    this.add([item]);
  }
}

function keyOf(networkId: string, address: string): string {
  return `${networkId}/${bareAddress(address)}`;
}

function isExhausted(error: unknown): boolean {
  return error instanceof VtepError && error.code === 'VTEP_ERR_POOL_EXHAUSTED';
}
