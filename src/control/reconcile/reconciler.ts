/**
 * Follows the registry and makes the data plane match it. Control plane, main thread.
 *
 *     watch networks/, peers/ ─▶ GuardedReadings ─┐
 *     watch nodes/ ───────────────────────────────┤
 *     watch endpoints/<network>/ (those here) ────┴▶ snapshot (local copy) ─▶ RemoteTable ─▶ Forwarding
 *
 * After a query has failed, what is missing is believed only by a reading of nodes/ that is newer than the failure: it
 * is asked for as soon as any query is answered again. Peers are few and change by hand, so one watch follows those of all networks: each watch costs both ends a query a minute.
 *
 * The snapshots of the last run go the same way before the first query, so that a restart forwards at once.
 */
import type { Logger } from 'pino';
import type { IpFamily } from '../../wire/ip-address.js';
import type { Forwarding } from '../forwarding.js';
import type { Registry, RegistryEntry, RegistryListing } from '../registry/registry.js';
import {
  endpointsKey,
  endpointsPrefix,
  NETWORKS_PREFIX,
  NODES_PREFIX,
  nodeKey,
  PEERS_PREFIX,
  parsePeerKey,
} from '../registry/schema.js';
import { type WatchOptions, watchPrefix } from '../registry/watcher.js';
import type { LocalState } from '../state/local-state.js';
import { GuardedReadings, type GuardedReadingsOptions } from './guarded-readings.js';
import { PrefixReaders } from './prefix-readers.js';
import type { RegistryKeeper } from './registry-keeper.js';
import { RemoteTable, type RemoteTableOptions } from './remote-table.js';
import type { Unreachable } from './unreachable-vteps.js';

const HOLD_MS = 30_000;
const SETTLE_MS = 250;
/** Hosts that a partition takes together go as their last renewals were: some seconds apart. */
const WINDOW_MS = 10_000;

export interface ReconcilerOptions {
  readonly registry: Registry;
  readonly node: string;
  /** That this host has an underlay address of. */
  readonly families: readonly IpFamily[];
  readonly forwarding: Forwarding;
  readonly state: LocalState;
  readonly keeper: RegistryKeeper;
  readonly logger: Logger;
  /** @default 30 s */
  readonly holdMs?: number | undefined;
  /** @default 0.25 s */
  readonly settleMs?: number | undefined;
  /** Each answer (without) or failure (with) of the registry. */
  readonly onContact: (error?: unknown) => void;
  /** nodes/<own node> is not in the registry. */
  readonly onOwnNodeMissing: () => void;
  /** endpoints/<network>/<own node> is not in the registry. */
  readonly onOwnEndpointsMissing: (network: string) => void;
  /** The networks that there are, each time that they change. */
  readonly onNetworks: (entries: readonly RegistryEntry[]) => void;
  readonly onNode?: RemoteTableOptions['onNode'];
}

interface Watch {
  readonly abort: AbortController;
  ended: Promise<void>[];
}

export class Reconciler {
  private readonly options: ReconcilerOptions;
  private readonly table: RemoteTable;
  private readonly watches = new Map<string, Watch>();
  private watching = false;
  private readonly everywhere: Watch = { abort: new AbortController(), ended: [] };
  private nodesWatch: Watch = { abort: new AbortController(), ended: [] };
  /** A reading of nodes/ is on its way: the watch has just begun, or asks again after a failure. */
  private nodesDue = true;
  private readonly guards: GuardedReadings[] = [];
  private readonly readers: PrefixReaders;
  private networkEntries: readonly RegistryEntry[];
  private peersByNetwork: Map<string, RegistryEntry[]>;

  constructor(options: ReconcilerOptions) {
    this.options = options;
    const { node, families, forwarding, logger, state } = options;
    const holdMs = options.holdMs ?? HOLD_MS;
    const settleMs = options.settleMs ?? SETTLE_MS;
    this.table = new RemoteTable({
      node,
      families,
      forwarding,
      logger,
      holdMs,
      settleMs,
      windowMs: WINDOW_MS,
      onNode: options.onNode,
    });
    this.readers = new PrefixReaders(options.registry);
    this.table.restoreNodes(state.snapshot(NODES_PREFIX));
    this.networkEntries = state.snapshot(NETWORKS_PREFIX);
    this.peersByNetwork = groupPeers(state.snapshot(PEERS_PREFIX));
  }

  counts(): { networks: number; nodes: number } {
    return { networks: this.networkEntries.length, nodes: this.table.nodeCount() };
  }

  unreachable(): Unreachable[] {
    return this.table.unreachable();
  }

  /** Begins to ask the registry. */
  start(): void {
    this.watching = true;
    this.followNodes();
    this.followGuarded(NETWORKS_PREFIX, (entries, came) => {
      this.networkEntries = entries;
      this.options.keeper.noteAppeared(came);
      this.options.onNetworks(entries);
    });
    this.followGuarded(PEERS_PREFIX, (entries) => {
      this.peersByNetwork = groupPeers(entries);
      for (const name of this.watches.keys()) this.takePeers(name);
    });
    for (const [name, watch] of this.watches) this.followNetwork(name, watch);
  }

  /** This host has another underlay address. */
  applyAgain(): void {
    this.table.applyAgain();
  }

  /** Someone else's request to the registry was answered (without) or failed (with). */
  noteContact(error?: unknown): void {
    if (error !== undefined) this.table.noteFailure();
    else this.lookAgain();
  }

  /** The network has an endpoint here: what others bring to it counts from now on. Idempotent. */
  openNetwork(name: string, vni: number): void {
    if (this.watches.has(name)) return;
    const watch: Watch = { abort: new AbortController(), ended: [] };
    this.watches.set(name, watch);
    this.table.open(name, vni);
    this.table.setEndpoints(name, this.options.state.snapshot(endpointsPrefix(name)));
    this.takePeers(name);
    if (this.watching) this.followNetwork(name, watch);
  }

  async closeNetwork(name: string): Promise<void> {
    const watch = this.watches.get(name);
    if (watch === undefined) return;
    this.watches.delete(name);
    this.readers.drop(name);
    this.table.close(name);
    watch.abort.abort();
    await Promise.all(watch.ended);
    this.options.state.removeSnapshot(endpointsPrefix(name));
  }

  /** Stops asking; the data plane keeps what it has. */
  async close(): Promise<void> {
    this.table.stop();
    this.readers.close();
    this.watching = false;
    const all = [this.everywhere, this.nodesWatch, ...this.watches.values()];
    for (const watch of all) watch.abort.abort();
    await Promise.all(all.flatMap((watch) => watch.ended));
    await Promise.all(this.guards.map((guard) => guard.close()));
  }

  private followNodes(): void {
    const own = nodeKey(this.options.node);
    this.nodesDue = true;
    const onListing = (listing: RegistryListing) => {
      this.readers.noteNodes(listing.entries);
      this.table.setNodes(listing);
      // A restart meanwhile must still know those that are held.
      if (!this.table.isHolding()) this.options.state.saveSnapshot(NODES_PREFIX, listing.entries);
      if (!listing.entries.some((entry) => entry.key === own)) this.options.onOwnNodeMissing();
    };
    this.follow(this.nodesWatch, NODES_PREFIX, onListing, this.readers.forNodes());
  }

  /** A query of nodes/ that was asked before the failure is given up for one that is newer. */
  private lookAgain(): void {
    if (!this.watching || !this.table.isBlind || this.nodesDue) return;
    this.nodesWatch.abort.abort();
    this.nodesWatch = { abort: new AbortController(), ended: [] };
    this.followNodes();
  }

  private followGuarded(prefix: string, onEntries: GuardedReadingsOptions['onEntries']): void {
    const { registry, state, keeper } = this.options;
    const { signal } = this.everywhere.abort;
    const guard = new GuardedReadings({ prefix, registry, state, keeper, signal, onEntries });
    this.guards.push(guard);
    this.follow(this.everywhere, prefix, (listing) => guard.offer(listing.entries));
  }

  private followNetwork(name: string, watch: Watch): void {
    const own = endpointsKey(name, this.options.node);
    const onListing = ({ entries }: RegistryListing) => {
      this.readers.noteEndpoints(name, entries);
      this.table.setEndpoints(name, entries);
      if (!this.table.isHolding(name)) this.options.state.saveSnapshot(endpointsPrefix(name), entries);
      if (!entries.some((entry) => entry.key === own)) this.options.onOwnEndpointsMissing(name);
    };
    this.follow(watch, endpointsPrefix(name), onListing, this.readers.forNetwork(name));
  }

  private takePeers(network: string): void {
    this.table.setPeers(network, this.peersByNetwork.get(network) ?? []);
  }

  private follow(
    watch: Watch,
    prefix: string,
    onListing: (listing: RegistryListing) => void,
    reader?: WatchOptions['reader'],
  ): void {
    const { registry, logger, onContact } = this.options;
    const { signal } = watch.abort;
    const isNodes = prefix === NODES_PREFIX;
    const ended = watchPrefix(registry, prefix, {
      signal,
      reader,
      onChange: (listing) => {
        if (!signal.aborted) onListing(listing);
      },
      onAnswer: () => {
        onContact();
        if (isNodes) this.nodesDue = false;
        else this.lookAgain();
      },
      onError: (error) => {
        this.table.noteFailure();
        if (isNodes) this.nodesDue = true;
        onContact(error);
        logger.debug(
          { event: 'registry.query-failed', err: error, prefix },
          'a query of the registry failed; it is asked again',
        );
      },
    });
    watch.ended.push(ended);
  }
}

function groupPeers(entries: readonly RegistryEntry[]): Map<string, RegistryEntry[]> {
  const groups = new Map<string, RegistryEntry[]>();
  for (const entry of entries) {
    const network = parsePeerKey(entry.key)?.network;
    if (network === undefined) continue;
    const group = groups.get(network);
    if (group === undefined) groups.set(network, [entry]);
    else group.push(entry);
  }
  return groups;
}
