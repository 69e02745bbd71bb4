/**
 * Follows the registry and makes the data plane match it. Control plane, main thread.
 *
 *     watch nodes/, networks/, peers/ ────────┐
 *     watch endpoints/<network>/ (those here) ─┴▶ snapshot (local copy) ─▶ RemoteTable ─▶ Forwarding
 *
 * Peers are few and change by hand, so one watch follows those of all networks: each watch costs both ends a query a minute.
 *
 * The snapshots of the last run go the same way before the first query, so that a restart forwards at once.
 */
import type { Logger } from 'pino';
import type { Forwarding } from '../forwarding.js';
import type { Registry, RegistryEntry } from '../registry/registry.js';
import {
  endpointsKey,
  endpointsPrefix,
  NETWORKS_PREFIX,
  NODES_PREFIX,
  nodeKey,
  PEERS_PREFIX,
  peersPrefix,
} from '../registry/schema.js';
import { watchPrefix } from '../registry/watcher.js';
import type { LocalState } from '../state/local-state.js';
import { RemoteTable } from './remote-table.js';

const HOLD_MS = 30_000;
const SETTLE_MS = 250;

export interface ReconcilerOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly forwarding: Forwarding;
  readonly state: LocalState;
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
  /** Each reading of nodes/, the stored one first. */
  readonly onNodes?: ((entries: readonly RegistryEntry[]) => void) | undefined;
  /** Each reading of endpoints/<network>/, the stored one first. */
  readonly onEndpoints?: ((network: string, entries: readonly RegistryEntry[]) => void) | undefined;
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
  private networkEntries: readonly RegistryEntry[];
  private peerEntries: readonly RegistryEntry[];

  constructor(options: ReconcilerOptions) {
    this.options = options;
    const { node, forwarding, logger, state } = options;
    const holdMs = options.holdMs ?? HOLD_MS;
    this.table = new RemoteTable({ node, forwarding, logger, holdMs, settleMs: options.settleMs ?? SETTLE_MS });
    this.takeNodes(state.snapshot(NODES_PREFIX));
    this.networkEntries = state.snapshot(NETWORKS_PREFIX);
    this.peerEntries = state.snapshot(PEERS_PREFIX);
  }

  counts(): { networks: number; nodes: number } {
    return { networks: this.networkEntries.length, nodes: this.table.nodeCount() };
  }

  /** Begins to ask the registry. */
  start(): void {
    this.watching = true;
    const own = nodeKey(this.options.node);
    this.follow(this.everywhere, NODES_PREFIX, (entries) => {
      this.takeNodes(entries);
      if (!entries.some((entry) => entry.key === own)) this.options.onOwnNodeMissing();
    });
    this.follow(this.everywhere, NETWORKS_PREFIX, (entries) => {
      this.networkEntries = entries;
      this.options.onNetworks(entries);
    });
    this.follow(this.everywhere, PEERS_PREFIX, (entries) => {
      this.peerEntries = entries;
      for (const name of this.watches.keys()) this.takePeers(name);
    });
    for (const [name, watch] of this.watches) this.followNetwork(name, watch);
  }

  /** The network has an endpoint here: what others bring to it counts from now on. Idempotent. */
  openNetwork(name: string, vni: number): void {
    if (this.watches.has(name)) return;
    const watch: Watch = { abort: new AbortController(), ended: [] };
    this.watches.set(name, watch);
    this.table.open(name, vni);
    this.takeEndpoints(name, this.options.state.snapshot(endpointsPrefix(name)));
    this.takePeers(name);
    if (this.watching) this.followNetwork(name, watch);
  }

  async closeNetwork(name: string): Promise<void> {
    const watch = this.watches.get(name);
    if (watch === undefined) return;
    this.watches.delete(name);
    this.table.close(name);
    watch.abort.abort();
    await Promise.all(watch.ended);
    this.options.state.removeSnapshot(endpointsPrefix(name));
  }

  /** Stops asking; the data plane keeps what it has. */
  async close(): Promise<void> {
    this.table.stop();
    const all = [this.everywhere, ...this.watches.values()];
    for (const watch of all) watch.abort.abort();
    await Promise.all(all.flatMap((watch) => watch.ended));
  }

  private followNetwork(name: string, watch: Watch): void {
    const own = endpointsKey(name, this.options.node);
    this.follow(watch, endpointsPrefix(name), (entries) => {
      this.takeEndpoints(name, entries);
      if (!entries.some((entry) => entry.key === own)) this.options.onOwnEndpointsMissing(name);
    });
  }

  private takeNodes(entries: readonly RegistryEntry[]): void {
    this.table.setNodes(entries);
    this.options.onNodes?.(entries);
  }

  private takeEndpoints(network: string, entries: readonly RegistryEntry[]): void {
    this.table.setEndpoints(network, entries);
    this.options.onEndpoints?.(network, entries);
  }

  private takePeers(network: string): void {
    const prefix = peersPrefix(network);
    this.table.setPeers(
      network,
      this.peerEntries.filter(({ key }) => key.startsWith(prefix)),
    );
  }

  private follow(watch: Watch, prefix: string, onEntries: (entries: readonly RegistryEntry[]) => void): void {
    const { registry, state, logger, onContact } = this.options;
    const ended = watchPrefix(registry, prefix, {
      signal: watch.abort.signal,
      onChange: (listing) => {
        if (watch.abort.signal.aborted) return;
        state.saveSnapshot(prefix, listing.entries);
        onEntries(listing.entries);
      },
      onAnswer: () => onContact(),
      onError: (error) => {
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
