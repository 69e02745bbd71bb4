/**
 * The local copy: what this host must know to go on without the registry, in LMDB under the state directory.
 *
 *     identity/session        the registry session that holds this node's keys
 *     identity/host           made once: this host, whatever its address
 *     identity/registry       which registry the snapshots are of
 *     removed/<network id>    networks that were seen to be removed, and from which registry
 *     network/<name>          networks that have an endpoint here: the registry's value
 *     endpoint/<id>           this host's endpoints with their kernel objects
 *     snapshot/<prefix>       the last listing of a watched prefix
 *
 * One writer: the daemon's main thread. A write is on disk when its promise resolves.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import type { PublishedPort } from '../api/publish-schema.js';
import type { RegistryEntry } from '../registry/registry.js';

/** A prefix's listing is written at most once in this time. */
const SNAPSHOT_MS = 1000;

export interface LocalEndpoint {
  readonly id: string;
  readonly name: string;
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
  /** Ports of the host that lead here. */
  readonly publish?: readonly PublishedPort[];
}

export interface KnownRegistry {
  readonly url: string;
  readonly id: string;
}

export class LocalState {
  private readonly database: RootDatabase<unknown, string>;
  /** Listings that are not written yet, by prefix. */
  private readonly waiting = new Map<string, readonly RegistryEntry[]>();
  private readonly pauses = new Map<string, NodeJS.Timeout>();

  /** @param directory made if it is not there. */
  constructor(directory: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.database = open<unknown, string>({ path: join(directory, 'state.lmdb'), encoding: 'json', maxReaders: 16 });
  }

  get session(): string | undefined {
    return this.database.get('identity/session') as string | undefined;
  }

  async setSession(session: string | undefined): Promise<void> {
    if (session === undefined) await this.database.remove('identity/session');
    else await this.database.put('identity/session', session);
    await this.database.flushed;
  }

  /** This host's identity; made at the first call. */
  async hostId(): Promise<string> {
    const known = this.database.get('identity/host') as string | undefined;
    if (known !== undefined) return known;
    const made = randomBytes(16).toString('hex');
    await this.database.put('identity/host', made);
    await this.database.flushed;
    return made;
  }

  get registry(): KnownRegistry | undefined {
    return this.database.get('identity/registry') as KnownRegistry | undefined;
  }

  async setRegistry(registry: KnownRegistry): Promise<void> {
    await this.database.put('identity/registry', registry);
    await this.database.flushed;
  }

  /** The id of the registry that the network was removed from. */
  removedFrom(networkId: string): string | undefined {
    return this.database.get(`removed/${networkId}`) as string | undefined;
  }

  /** Kept for good: some bytes for each network that there ever was. */
  async noteRemoved(networkIds: readonly string[], registryId: string): Promise<void> {
    await Promise.all(networkIds.map((id) => this.database.put(`removed/${id}`, registryId)));
  }

  endpoints(): LocalEndpoint[] {
    return this.values<LocalEndpoint>('endpoint/');
  }

  async putEndpoint(endpoint: LocalEndpoint): Promise<void> {
    await this.database.put(`endpoint/${endpoint.id}`, endpoint);
    await this.database.flushed;
  }

  async removeEndpoint(id: string): Promise<void> {
    await this.database.remove(`endpoint/${id}`);
    await this.database.flushed;
  }

  /** The registry's values (JSON text) of the networks that have an endpoint here, by name. */
  networks(): Map<string, string> {
    const networks = new Map<string, string>();
    for (const { key, value } of this.range('network/')) networks.set(key.slice('network/'.length), value as string);
    return networks;
  }

  async putNetwork(name: string, value: string): Promise<void> {
    await this.database.put(`network/${name}`, value);
    await this.database.flushed;
  }

  async removeNetwork(name: string): Promise<void> {
    await this.database.remove(`network/${name}`);
    await this.database.flushed;
  }

  /** The last listing that was saved for the prefix; empty if none was. */
  snapshot(prefix: string): readonly RegistryEntry[] {
    const waiting = this.waiting.get(prefix);
    return waiting ?? (this.database.get(`snapshot/${prefix}`) as RegistryEntry[] | undefined) ?? [];
  }

  /**
   * Not awaited by anyone: an old snapshot does no harm, the registry's next answer corrects it. A whole listing is written
   * for a change of one key, so changes that follow each other within a second are written once.
   */
  saveSnapshot(prefix: string, entries: readonly RegistryEntry[]): void {
    const isFirst = !this.waiting.has(prefix) && !this.pauses.has(prefix);
    this.waiting.set(prefix, entries);
    if (isFirst) this.writeSnapshot(prefix);
  }

  removeSnapshot(prefix: string): void {
    this.waiting.delete(prefix);
    void this.database.remove(`snapshot/${prefix}`).catch(() => undefined);
  }

  async close(): Promise<void> {
    for (const timer of this.pauses.values()) clearTimeout(timer);
    for (const [prefix, entries] of this.waiting) await this.database.put(`snapshot/${prefix}`, entries);
    await this.database.close();
  }

  private writeSnapshot(prefix: string): void {
    const entries = this.waiting.get(prefix);
    if (entries === undefined) {
      this.pauses.delete(prefix);
      return;
    }
    this.pauses.set(prefix, setTimeout(() => this.writeSnapshot(prefix), SNAPSHOT_MS).unref());
    const written = () => {
      if (this.waiting.get(prefix) === entries) this.waiting.delete(prefix);
    };
    void this.database.put(`snapshot/${prefix}`, entries).then(written, written);
  }

  private values<T>(prefix: string): T[] {
    return [...this.range(prefix)].map(({ value }) => value as T);
  }

  private range(prefix: string): Iterable<{ key: string; value: unknown }> {
    return this.database.getRange({ start: prefix, end: `${prefix}\uffff` });
  }
}
