/**
 * The incremental readers of nodes/ and of the networks' endpoints, and what one must know of the other. Control plane, main
 * thread.
 *
 * Journals are gone by only while every node keeps them: one of an earlier version makes all readings whole, from the moment
 * that it is seen. A session's end takes a node's key and its endpoints along without a word. For nodes/ the names are
 * compared soon after each reading that may have missed it; for endpoints it follows from nodes/: those of a node that has
 * ended a session, and are still shown as held by it, are looked at again.
 */
import { IncrementalReader } from '../registry/incremental-reader.js';
import type { Registry, RegistryEntry } from '../registry/registry.js';
import {
  endpointsPrefix,
  JOURNAL_FEATURE,
  NODES_PREFIX,
  parseEndpointsKey,
  parseNode,
  parseNodeKey,
} from '../registry/schema.js';

/** With the settle time, a dead host is gone within a second of its session's end, also if its end was hidden. */
const NAMES_AFTER_MS = { min: 200, max: 500 };
/** The networks' own readings mostly have shown it by then; until then nodes/ alone keeps a dead node's endpoints out. */
const DOUBT_AFTER_MS = 1000;

interface Followed {
  readonly reader: IncrementalReader;
  entries: readonly RegistryEntry[];
}

export class PrefixReaders {
  private readonly registry: Registry;
  private readonly networks = new Map<string, Followed>();
  private readonly keepsJournal = new WeakMap<RegistryEntry, boolean>();
  private allKeepJournals = false;
  private sessions = new Map<string, string | undefined>();
  private readonly ended = new Set<string>();
  private timer: NodeJS.Timeout | undefined;

  constructor(registry: Registry) {
    this.registry = registry;
  }

  /** One for each watch: a reader has one reading at a time. */
  forNodes(): IncrementalReader {
    const isJournalled = (entries: readonly RegistryEntry[]) => this.allKeep(entries);
    return new IncrementalReader(this.registry, NODES_PREFIX, { isJournalled, namesAfterMs: NAMES_AFTER_MS });
  }

  forNetwork(name: string): IncrementalReader {
    const options = { isJournalled: () => this.allKeepJournals };
    const reader = new IncrementalReader(this.registry, endpointsPrefix(name), options);
    this.networks.set(name, { reader, entries: [] });
    return reader;
  }

  drop(network: string): void {
    this.networks.delete(network);
  }

  close(): void {
    clearTimeout(this.timer);
  }

  noteEndpoints(network: string, entries: readonly RegistryEntry[]): void {
    const followed = this.networks.get(network);
    if (followed !== undefined) followed.entries = entries;
  }

  noteNodes(entries: readonly RegistryEntry[]): void {
    const didAll = this.allKeepJournals;
    this.allKeepJournals = this.allKeep(entries);
    if (didAll && !this.allKeepJournals) for (const { reader } of this.networks.values()) reader.wake();
    const sessions = new Map(entries.map((entry) => [parseNodeKey(entry.key) ?? '', entry.session]));
    for (const [node, session] of this.sessions) if (sessions.get(node) !== session) this.ended.add(node);
    this.sessions = sessions;
    if (this.ended.size > 0) this.timer ??= setTimeout(() => this.doubt(), DOUBT_AFTER_MS).unref();
  }

  private doubt(): void {
    this.timer = undefined;
    for (const { reader, entries } of this.networks.values()) {
      const names = entries
        .filter(({ key, session }) => {
          const node = parseEndpointsKey(key)?.node;
          return node !== undefined && this.ended.has(node) && this.sessions.get(node) !== session;
        })
        .map(({ key }) => parseEndpointsKey(key)!.node);
      reader.doubt(names);
    }
    this.ended.clear();
  }

  private allKeep(entries: readonly RegistryEntry[]): boolean {
    return entries.every((entry) => {
      const known = this.keepsJournal.get(entry);
      if (known !== undefined) return known;
      const keeps = parseNode(entry)?.features.includes(JOURNAL_FEATURE) === true;
      this.keepsJournal.set(entry, keeps);
      return keeps;
    });
  }
}
