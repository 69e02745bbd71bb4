/**
 * The local copy: what this host must know to go on without the registry, in LMDB under the state directory.
 *
 *     identity/session            the registry session that holds this node's keys
 *     identity/host               made once: this host, whatever its address
 *     identity/answered           when the registry last answered, to a minute
 *     identity/registry           which registry the snapshots are of
 *     removed/<network id>        networks that were seen to be removed, and from which registry
 *     network/<name>              networks that have an endpoint here: the registry's value
 *     intent/<id>                 an attach that has begun: whatever is found of it at a start without its endpoint goes
 *     endpoint/<id>               this host's endpoints with their kernel objects
 *     stock/<network>/<address>   addresses that this host holds without an endpoint: outage-addresses.ts
 *     reservation/<network>/<address>   addresses that were asked for ahead of their endpoint: ipam/reservations.ts
 *     plugin/<...>                what the plugin of a container engine has to remember: plugins/docker/bindings.ts
 *     snapshot/<prefix>           the last listing of a watched prefix
 *
 * One writer: the daemon's main thread. A write is on disk when its promise resolves, and rejects with VTEP_ERR_STATE if
 * it is not (a full disk); only snapshots are written some time later, since an old one does no harm.
 */
import { randomBytes } from 'node:crypto';
import type { RootDatabase } from 'lmdb';
import type { PublishedPort } from '../api/publish-schema.js';
import { bareAddress } from '../ipam/address-span.js';
import type { RegistryEntry } from '../registry/registry.js';
import { openDatabase, stateError } from './database.js';

/** Whole listings are written for a change of one key: those that follow each other within this time go together. */
const SNAPSHOT_MS = 1000;

/** How far behind the time of the registry's last answer may be. */
const ANSWERED_MS = 60_000;

export interface LocalEndpoint {
  readonly id: string;
  readonly name: string;
  /** Further names that lead to it. */
  readonly aliases?: readonly string[];
  readonly network: string;
  readonly vni: number;
  readonly mac: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
  readonly mtuBytes: number;
  /** `netns:NAME` or `pid:N`. */
  readonly sandbox: string;
  /** `device:inode` of the namespace. */
  readonly sandboxIdentity: string;
  readonly hostInterface: string;
  readonly containerInterface: string;
  /** As published; absent in a local copy of an earlier version. */
  readonly attachedAt?: number;
  /** Who made it, where that is neither a person nor a script: `docker:<endpoint id>`, `cni:<container id>/<interface>@<name>`. */
  readonly owner?: string;
  /** Its group policy id. */
  readonly group?: number;
  /** Ports of the host that lead here. */
  readonly publish?: readonly PublishedPort[];
  /** Addresses (without prefix length) that the registry still holds for this node under another id than the endpoint's. */
  readonly heldAs?: Readonly<Record<string, string>> | undefined;
  /** Its addresses were reserved, and are again when it is detached: whoever asked for them says when they are free. */
  readonly isReserved?: boolean;
}

export interface KnownRegistry {
  readonly url: string;
  readonly id: string;
}

/** An attach that has begun. */
export interface AttachIntent {
  readonly id: string;
  readonly network: string;
}

/** An address that the registry holds for this node and no endpoint uses. */
export interface StockedAddress {
  readonly network: string;
  readonly networkId: string;
  /** With prefix length. */
  readonly address: string;
  /** The registry's endpointId: of a spare, or of an endpoint that was detached while the registry was away. */
  readonly claimId: string;
}

/** An address that was asked for ahead of its endpoint, or whose endpoint has gone before it was given back. */
export interface Reservation extends StockedAddress {
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** Until it is given back; else it is free after some time without an endpoint. */
  readonly isKept?: boolean;
}

export class LocalState {
  /** Where a database that could not be read was put. */
  readonly setAside: string | undefined;
  private readonly directory: string;
  private readonly database: RootDatabase<unknown, string>;
  private readonly snapshots = new Map<string, readonly RegistryEntry[] | undefined>();
  private closed = false;
  private snapshotTimer: NodeJS.Timeout | undefined;
  private snapshotsWrittenMs = Number.NEGATIVE_INFINITY;

  /** @param directory made if it is not there. @throws VtepError VTEP_ERR_STATE */
  constructor(directory: string) {
    this.directory = directory;
    const { database, setAside } = openDatabase(directory);
    this.database = database;
    this.setAside = setAside;
  }

  get session(): string | undefined {
    return this.database.get('identity/session') as string | undefined;
  }

  async setSession(session: string | undefined): Promise<void> {
    this.write(() => {
      if (session === undefined) this.database.remove('identity/session');
      else this.database.put('identity/session', session);
    });
  }

  /** This host's identity; made at the first call. */
  async hostId(): Promise<string> {
    const known = this.database.get('identity/host') as string | undefined;
    if (known !== undefined) return known;
    const made = randomBytes(16).toString('hex');
    this.write(() => this.database.put('identity/host', made));
    return made;
  }

  /** When the registry last answered, to a minute; undefined: not known. */
  get answeredAt(): number | undefined {
    return this.database.get('identity/answered') as number | undefined;
  }

  noteAnswered(at: number): void {
    if (this.closed || Math.abs(at - (this.answeredAt ?? 0)) < ANSWERED_MS) return;
    try {
      this.write(() => this.database.put('identity/answered', at));
    } catch {
      // An older time only makes this host more careful.
    }
  }

  get registry(): KnownRegistry | undefined {
    return this.database.get('identity/registry') as KnownRegistry | undefined;
  }

  async setRegistry(registry: KnownRegistry): Promise<void> {
    this.write(() => this.database.put('identity/registry', registry));
  }

  /** The id of the registry that the network was removed from. */
  removedFrom(networkId: string): string | undefined {
    return this.database.get(`removed/${networkId}`) as string | undefined;
  }

  /** Kept for good: some bytes for each network that there ever was. */
  async noteRemoved(networkIds: readonly string[], registryId: string): Promise<void> {
    this.write(() => {
      for (const id of networkIds) this.database.put(`removed/${id}`, registryId);
    });
  }

  intents(): AttachIntent[] {
    return this.values<AttachIntent>('intent/');
  }

  async putIntent(intent: AttachIntent): Promise<void> {
    this.write(() => this.database.put(`intent/${intent.id}`, intent));
  }

  async removeIntent(id: string): Promise<void> {
    this.write(() => this.database.remove(`intent/${id}`));
  }

  endpoints(): LocalEndpoint[] {
    return this.values<LocalEndpoint>('endpoint/');
  }

  /** The endpoint stands: its intent is fulfilled, and what it has taken from stock and reservations is there no more. */
  async putEndpoint(endpoint: LocalEndpoint): Promise<void> {
    this.write(() => {
      this.database.put(`endpoint/${endpoint.id}`, endpoint);
      this.database.remove(`intent/${endpoint.id}`);
      for (const address of Object.keys(endpoint.heldAs ?? {})) {
        this.database.remove(stockKey(endpoint, address));
        this.database.remove(reservationKey(endpoint, address));
      }
    });
  }

  /** @param stocked addresses that go to the stock with the same write. @param reserved such as become reservations */
  async removeEndpoint(
    id: string,
    stocked: readonly StockedAddress[] = [],
    reserved: readonly Reservation[] = [],
  ): Promise<void> {
    this.write(() => {
      this.database.remove(`endpoint/${id}`);
      for (const item of stocked) this.database.put(stockKey(item, item.address), item);
      for (const item of reserved) this.database.put(reservationKey(item, item.address), item);
    });
  }

  reservations(): Reservation[] {
    return this.values<Reservation>('reservation/');
  }

  /** What was in the stock is there no more. */
  async putReservation(item: Reservation): Promise<void> {
    this.write(() => {
      this.database.put(reservationKey(item, item.address), item);
      this.database.remove(stockKey(item, item.address));
    });
  }

  async removeReservation(item: Reservation): Promise<void> {
    this.write(() => this.database.remove(reservationKey(item, item.address)));
  }

  /** By the rest of their keys. */
  pluginRecords<T>(prefix: string): Map<string, T> {
    const records = new Map<string, T>();
    for (const { key, value } of this.range(`plugin/${prefix}`)) {
      records.set(key.slice(`plugin/${prefix}`.length), value as T);
    }
    return records;
  }

  pluginRecord<T>(key: string): T | undefined {
    return this.database.get(`plugin/${key}`) as T | undefined;
  }

  async putPluginRecord(key: string, record: object): Promise<void> {
    this.write(() => this.database.put(`plugin/${key}`, record));
  }

  async removePluginRecord(key: string): Promise<void> {
    this.write(() => this.database.remove(`plugin/${key}`));
  }

  stock(): StockedAddress[] {
    return this.values<StockedAddress>('stock/');
  }

  async putStock(item: StockedAddress): Promise<void> {
    this.write(() => this.database.put(stockKey(item, item.address), item));
  }

  async removeStock(items: readonly StockedAddress[]): Promise<void> {
    if (items.length === 0) return;
    this.write(() => {
      for (const item of items) this.database.remove(stockKey(item, item.address));
    });
  }

  /** The registry's values (JSON text) of the networks that have an endpoint here, by name. */
  networks(): Map<string, string> {
    const networks = new Map<string, string>();
    for (const { key, value } of this.range('network/')) networks.set(key.slice('network/'.length), value as string);
    return networks;
  }

  async putNetwork(name: string, value: string): Promise<void> {
    this.write(() => this.database.put(`network/${name}`, value));
  }

  async removeNetwork(name: string): Promise<void> {
    this.write(() => this.database.remove(`network/${name}`));
  }

  /** The last listing that was stored for the prefix; empty if none was. */
  snapshot(prefix: string): readonly RegistryEntry[] {
    if (this.snapshots.has(prefix)) return this.snapshots.get(prefix) ?? [];
    return (this.database.get(`snapshot/${prefix}`) as RegistryEntry[] | undefined) ?? [];
  }

  /** On disk some time later. */
  saveSnapshot(prefix: string, entries: readonly RegistryEntry[]): void {
    this.snapshots.set(prefix, entries);
    this.writeSnapshotsSoon();
  }

  removeSnapshot(prefix: string): void {
    this.snapshots.set(prefix, undefined);
    this.writeSnapshotsSoon();
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.snapshotTimer !== undefined) this.writeSnapshots();
    await this.database.close();
  }

  private writeSnapshotsSoon(): void {
    const pauseMs = Math.max(0, this.snapshotsWrittenMs + SNAPSHOT_MS - performance.now());
    this.snapshotTimer ??= setTimeout(() => this.writeSnapshots(), pauseMs).unref();
  }

  private writeSnapshots(): void {
    clearTimeout(this.snapshotTimer);
    this.snapshotTimer = undefined;
    this.snapshotsWrittenMs = performance.now();
    try {
      this.write(() => {
        for (const [prefix, entries] of this.snapshots) {
          if (entries === undefined) this.database.remove(`snapshot/${prefix}`);
          else this.database.put(`snapshot/${prefix}`, entries);
        }
      });
      this.snapshots.clear();
    } catch {
      // They stay in memory, and go with the next one: the registry's next answer corrects an old one.
    }
  }

  /** All or nothing, on disk when it returns. */
  private write(change: () => unknown): void {
    try {
      this.database.transactionSync(() => {
        change();
      });
    } catch (error) {
      throw stateError(this.directory, 'cannot be written', error);
    }
  }

  private values<T>(prefix: string): T[] {
    return [...this.range(prefix)].map(({ value }) => value as T);
  }

  private range(prefix: string): Iterable<{ key: string; value: unknown }> {
    return this.database.getRange({ start: prefix, end: `${prefix}\uffff` });
  }
}

function reservationKey({ network }: { readonly network: string }, address: string): string {
  return `reservation/${network}/${bareAddress(address)}`;
}

function stockKey({ network }: { readonly network: string }, address: string): string {
  return `stock/${network}/${bareAddress(address)}`;
}
