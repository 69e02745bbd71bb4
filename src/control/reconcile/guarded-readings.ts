/**
 * Readings of a prefix whose keys have no owner, taken in only once it is known why something is missing from them: a
 * reading of a registry that has lost its data would wipe the local copy, which is what fills that registry again.
 *
 * Readings come one after the other; of those that wait only the newest is taken. Main thread.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Registry, RegistryEntry } from '../registry/registry.js';
import type { LocalState } from '../state/local-state.js';
import type { RegistryKeeper } from './registry-keeper.js';

const RETRY_MS = 1000;

export interface GuardedReadingsOptions {
  readonly prefix: string;
  readonly registry: Registry;
  readonly state: LocalState;
  readonly keeper: RegistryKeeper;
  readonly signal: AbortSignal;
  readonly onEntries: (entries: readonly RegistryEntry[], came: readonly RegistryEntry[]) => void;
}

export class GuardedReadings {
  private readonly options: GuardedReadingsOptions;
  private keys: Map<string, RegistryEntry>;
  private waiting: readonly RegistryEntry[] | undefined;
  private running: Promise<void> | undefined;

  constructor(options: GuardedReadingsOptions) {
    this.options = options;
    this.keys = byKey(options.state.snapshot(options.prefix));
  }

  offer(entries: readonly RegistryEntry[]): void {
    this.waiting = entries;
    this.running ??= this.run().finally(() => {
      this.running = undefined;
    });
  }

  async close(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.options;
    while (this.waiting !== undefined && !signal.aborted) {
      const entries = this.waiting;
      this.waiting = undefined;
      try {
        await this.take(entries);
      } catch {
        // The registry is away again: whoever follows it says so.
        this.waiting ??= entries;
        await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  private async take(read: readonly RegistryEntry[]): Promise<void> {
    const { prefix, registry, state, keeper, signal } = this.options;
    let entries = read;
    let after = byKey(entries);
    const gone = [...this.keys.values()].filter(({ key }) => !after.has(key));
    if (gone.length > 0) {
      // Whoever else asked may have found the loss before this did: what was read then says nothing of removals.
      if ((await keeper.check()) || keeper.hasJustLostData) {
        entries = (await registry.list(prefix)).entries;
        after = byKey(entries);
      } else {
        await keeper.noteRemoved(gone, entries);
      }
    }
    if (signal.aborted) return;
    const came = entries.filter(({ key }) => !this.keys.has(key));
    this.keys = after;
    state.saveSnapshot(prefix, entries);
    this.options.onEntries(entries, came);
  }
}

function byKey(entries: readonly RegistryEntry[]): Map<string, RegistryEntry> {
  return new Map(entries.map((entry) => [entry.key, entry]));
}
