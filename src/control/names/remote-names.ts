/**
 * Names that other hosts bring: from readings of endpoints/<network>/ to the name table. Main thread; no I/O.
 *
 * Only keys whose entry changed are looked at. As in forwarding, a node whose session ended is held for a time before it
 * is believed gone: a registry that was away drops sessions of nodes that are well, and their names must not go with it.
 */
import type { Logger } from 'pino';
import type { RegistryEntry } from '../registry/registry.js';
import { parseEndpoints, parseEndpointsKey, parseNodeKey } from '../registry/schema.js';
import type { NameTable } from './name-table.js';

export interface RemoteNamesOptions {
  /** This host's own node is skipped. */
  readonly node: string;
  readonly table: NameTable;
  readonly logger: Logger;
  /** How long a node that left without a word stays. @default 30 s */
  readonly holdMs?: number | undefined;
  /** How long its nodes/ entry may be on its way: the two come by two queries. @default 0.25 s */
  readonly settleMs?: number | undefined;
}

interface FollowedNetwork {
  entries: ReadonlyMap<string, RegistryEntry>;
  /** By node. */
  readonly removals: Map<string, NodeJS.Timeout>;
}

const HOLD_MS = 30_000;
const SETTLE_MS = 250;

export class RemoteNames {
  private readonly options: RemoteNamesOptions;
  private nodes: ReadonlySet<string> = new Set();
  private readonly networks = new Map<string, FollowedNetwork>();

  constructor(options: RemoteNamesOptions) {
    this.options = options;
  }

  /** @param entries of nodes/ */
  setNodes(entries: readonly RegistryEntry[]): void {
    this.nodes = new Set(entries.map((entry) => parseNodeKey(entry.key)).filter((node) => node !== undefined));
  }

  /** @param entries of endpoints/<network>/ */
  setEndpoints(name: string, entries: readonly RegistryEntry[]): void {
    const network = this.networks.get(name) ?? { entries: new Map(), removals: new Map() };
    this.networks.set(name, network);
    const before = network.entries;
    network.entries = new Map(entries.map((entry) => [entry.key, entry]));
    for (const [key, entry] of network.entries) if (!isSame(before.get(key), entry)) this.enter(name, network, entry);
    for (const key of before.keys()) if (!network.entries.has(key)) this.leave(name, network, key);
  }

  closeNetwork(name: string): void {
    for (const timer of this.networks.get(name)?.removals.values() ?? []) clearTimeout(timer);
    this.networks.delete(name);
  }

  stop(): void {
    for (const name of [...this.networks.keys()]) this.closeNetwork(name);
  }

  private enter(name: string, network: FollowedNetwork, entry: RegistryEntry): void {
    const node = parseEndpointsKey(entry.key)?.node;
    if (node === undefined || node === this.options.node) return;
    clearTimeout(network.removals.get(node));
    network.removals.delete(node);
    // The reconciler, which reads the same entry, reports a value that can't be read; what was known goes on to hold.
    const value = parseEndpoints(entry);
    if (value !== undefined) this.options.table.setNode(name, node, value.endpoints);
  }

  /** An orderly leave keeps the nodes/ entry: gone after the settling time. That gone too: after the hold time. */
  private leave(name: string, network: FollowedNetwork, key: string): void {
    const node = parseEndpointsKey(key)?.node;
    if (node === undefined || node === this.options.node) return;
    const remove = () => {
      network.removals.delete(node);
      this.options.logger.debug({ event: 'names.node-left', network: name, node }, 'the names of a node are gone');
      this.options.table.removeNode(name, node);
    };
    const later = (run: () => void, afterMs: number) => network.removals.set(node, setTimeout(run, afterMs).unref());
    later(
      () => (this.nodes.has(node) ? remove() : later(remove, this.options.holdMs ?? HOLD_MS)),
      this.options.settleMs ?? SETTLE_MS,
    );
  }
}

/** A registry that lost its data may give an old index to a new value. */
function isSame(before: RegistryEntry | undefined, after: RegistryEntry): boolean {
  return before !== undefined && before.modifyIndex === after.modifyIndex && before.value === after.value;
}
