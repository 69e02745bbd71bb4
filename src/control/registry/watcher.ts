/**
 * Follows a prefix of the registry by blocking queries, for as long as its signal lives. Control plane, main thread.
 *
 *     ask(index) ─▶ answer ─▶ index moved? ─▶ onChange ─▶ wait out the spacing ─▶ ask(index)
 *        └─▶ failure ─▶ onError ─▶ back off 0.1 s .. 5 s, with jitter ─▶ ask(0)
 *
 * Invariants: one query at a time; every listing is a whole reading, so that missed steps do not matter; an index that
 * goes backwards (another server, a restored store) is taken as it is and the next query starts at 0; two queries never
 * begin closer together than spacingMs(), and a server that answers early without news is asked ever more slowly.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { VtepError } from '../errors.js';
import type { Registry, RegistryListing } from './registry.js';

/**
 * A reading is whole, however little has changed: the longer it is, the more changes shall share it, once they come one
 * after another.
 */
const SPACING_MS = { min: 50, perEntry: 0.5, max: 500 };
const BURST_READINGS = 4;
const BACKOFF_MS = { min: 100, max: 5000 };

export interface WatchOptions {
  /** A whole reading of the prefix. The first comes at once; then one each time that the index has moved. */
  readonly onChange: (listing: RegistryListing) => void;
  /** Once per failed query, and when `onChange` throws. */
  readonly onError: (error: unknown) => void;
  /** Each time that the registry has answered, news or not: for how stale the readings are. */
  readonly onAnswer?: () => void;
  /** @default 55, below the minute at which many proxies cut a silent connection. */
  readonly waitSeconds?: number;
  readonly signal: AbortSignal;
}

/** @returns when `signal` is aborted; it never rejects. */
export async function watchPrefix(registry: Registry, prefix: string, options: WatchOptions): Promise<void> {
  const { signal, waitSeconds = 55 } = options;
  // One signal ends all of a host's watches, one a network: more than ten listeners are no leak.
  setMaxListeners(0, signal);
  let askIndex = 0;
  let seenIndex: number | undefined;
  let failures = 0;
  let earlyAnswers = 0;
  let quickReadings = 0;

  while (!signal.aborted) {
    const begunMs = performance.now();
    let pauseMs: number;
    try {
      const listing = await registry.watch(prefix, askIndex, waitSeconds, signal);
      if (signal.aborted) return;
      failures = 0;
      options.onAnswer?.();
      const blocked = askIndex > 0;
      const moved = listing.index !== seenIndex;
      // An index of 0 would make the next query answer at once, for ever.
      askIndex = seenIndex !== undefined && listing.index < seenIndex ? 0 : Math.max(1, listing.index);
      seenIndex = listing.index;
      if (moved) deliver(listing, options);
      const tookMs = performance.now() - begunMs;
      earlyAnswers = !moved && blocked && tookMs < waitSeconds * 500 ? earlyAnswers + 1 : 0;
      const longMs = spacingMs(listing.entries.length);
      quickReadings = moved && tookMs < longMs ? quickReadings + 1 : 0;
      const spacing = quickReadings > BURST_READINGS ? longMs : SPACING_MS.min;
      pauseMs = Math.max(0, Math.min(BACKOFF_MS.max, spacing * 2 ** earlyAnswers) - tookMs);
    } catch (error) {
      if (signal.aborted) return;
      options.onError(error);
      askIndex = 0;
      const ceilingMs = Math.min(BACKOFF_MS.max, BACKOFF_MS.min * 2 ** failures);
      failures += 1;
      // Hosts that lost the registry together shall not come back together.
      pauseMs = Math.max(BACKOFF_MS.min, ceilingMs * (0.5 + Math.random() / 2));
    }
    await pause(pauseMs, signal);
  }
}

/** In a stream of changes: between the beginnings of two queries, the first of which answered `entryCount` entries. */
export function spacingMs(entryCount: number): number {
  return Math.min(SPACING_MS.max, Math.max(SPACING_MS.min, SPACING_MS.perEntry * entryCount));
}

function deliver(listing: RegistryListing, options: WatchOptions): void {
  try {
    options.onChange(listing);
  } catch (error) {
    const text = `a change of the registry (index ${listing.index}) could not be taken in: ${(error as Error)?.message}`;
    options.onError(error instanceof VtepError ? error : new VtepError('VTEP_ERR_INTERNAL', text, { cause: error }));
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) return;
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
