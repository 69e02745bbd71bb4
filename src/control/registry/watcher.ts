/**
 * Follows a prefix of the registry by blocking queries, for as long as its signal lives. Control plane, main thread.
 *
 *     ask(index) ─▶ answer ─▶ plausible? ─yes─▶ news? ─▶ onChange ─▶ wait out the spacing ─▶ ask(index)
 *        │                       └─no─▶ confirm: a consistent reading ─┘
 *        └─▶ failure ─▶ onError ─▶ back off, full jitter, up to 5 s ─▶ ask(0)
 *
 * Any server of a cluster may answer a query, also one that is behind; a store may have been put back to an earlier state;
 * and what is between may lie. So an answer is taken as it is only if it is newer than what is held and leaves something:
 * an index that went backwards, other content at the same index, and nothing where there was something are confirmed by
 * the leader first, and "nothing" also by asking for one of the keys that are held, since a token that lost its rights
 * reads an empty list and is refused a key. What can't be confirmed is a failure: what is held stays.
 *
 * Invariants: one query at a time; every listing is a whole reading, so that missed steps do not matter; an entry that has
 * not changed is the same object in the next listing; two queries never begin closer together than spacingMs(), and a server
 * that answers early without news is asked ever more slowly.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { VtepError } from '../errors.js';
import type { IncrementalReader } from './incremental-reader.js';
import type { Registry, RegistryListing } from './registry.js';

/**
 * A reading may be whole, however little has changed: the longer it is, the more changes shall share it, once they come one
 * after another.
 */
const SPACING_MS = { min: 50, perEntry: 0.5, max: 500 };
const BURST_READINGS = 4;
const BACKOFF_MS = { min: 100, max: 5000 };

export interface WatchOptions {
  /** A whole reading of the prefix. The first comes at once; then one each time that the index or the content has moved. */
  readonly onChange: (listing: RegistryListing) => void;
  /** Once per failed query, and when `onChange` throws. */
  readonly onError: (error: unknown) => void;
  /** Each time that the registry has answered, news or not: for how stale the readings are. */
  readonly onAnswer?: () => void;
  /** @default 55, below the minute at which many proxies cut a silent connection. */
  readonly waitSeconds?: number;
  readonly signal: AbortSignal;
  /** How the listings are come by. @default each one is read whole */
  readonly reader?: Pick<IncrementalReader, 'read'> | undefined;
}

/** @returns when `signal` is aborted; it never rejects. */
export async function watchPrefix(registry: Registry, prefix: string, options: WatchOptions): Promise<void> {
  const { signal, waitSeconds = 55, reader = wholeReader(registry, prefix) } = options;
  // One signal ends all of a host's watches, one a network: more than ten listeners are no leak.
  setMaxListeners(0, signal);
  let held: RegistryListing | undefined;
  let askIndex = 0;
  let failures = 0;
  let earlyAnswers = 0;
  let quickReadings = 0;

  while (!signal.aborted) {
    const begunMs = performance.now();
    let pauseMs: number;
    try {
      const reading = await reader.read(askIndex, waitSeconds, signal, held);
      const answer = reading.listing;
      const hasBlocked = askIndex > 0;
      const listing = isPlausible(answer, held) ? answer : await confirm(registry, prefix, held!, signal);
      if (signal.aborted) return;
      failures = 0;
      options.onAnswer?.();
      const hasMoved = held === undefined || listing.index !== held.index || !hasSameEntries(listing, held);
      // An index of 0 would make the next query answer at once, for ever.
      askIndex = Math.max(1, listing.index);
      held = listing;
      if (hasMoved) deliver(listing, options);
      const tookMs = performance.now() - begunMs;
      earlyAnswers = !hasMoved && hasBlocked && tookMs < waitSeconds * 500 ? earlyAnswers + 1 : 0;
      const longMs = spacingMs(listing === answer ? reading.entriesRead : listing.entries.length);
      quickReadings = hasMoved && tookMs < longMs ? quickReadings + 1 : 0;
      const spacing = quickReadings > BURST_READINGS ? longMs : SPACING_MS.min;
      pauseMs = Math.max(0, Math.min(BACKOFF_MS.max, spacing * 2 ** earlyAnswers) - tookMs);
    } catch (error) {
      if (signal.aborted) return;
      options.onError(error);
      askIndex = 0;
      pauseMs = backOffMs(failures);
      failures += 1;
    }
    await pause(pauseMs, signal);
  }
}

function wholeReader(registry: Registry, prefix: string): Pick<IncrementalReader, 'read'> {
  return {
    async read(index, waitSeconds, signal, held) {
      const listing = await registry.watch(prefix, index, waitSeconds, signal, held?.entries);
      return { listing, entriesRead: listing.entries.length };
    },
  };
}

/** In a stream of changes: between the beginnings of two queries, the first of which answered `entryCount` entries. */
export function spacingMs(entryCount: number): number {
  return Math.min(SPACING_MS.max, Math.max(SPACING_MS.min, SPACING_MS.perEntry * entryCount));
}

/** Hosts that lost the registry together shall not come back together: anything from the least to a growing most. */
export function backOffMs(failures: number): number {
  const mostMs = Math.min(BACKOFF_MS.max, 4 * BACKOFF_MS.min * 2 ** failures);
  return BACKOFF_MS.min + Math.random() * (mostMs - BACKOFF_MS.min);
}

function isPlausible(answer: RegistryListing, held: RegistryListing | undefined): boolean {
  if (held === undefined) return true;
  if (answer.entries.length === 0 && held.entries.length > 0) return false;
  return answer.index > held.index || (answer.index === held.index && hasSameEntries(answer, held));
}

/** By value as well: a Registry need not hand out the same objects, though the HTTP client does. */
function hasSameEntries(a: RegistryListing, b: RegistryListing): boolean {
  return (
    a.entries.length === b.entries.length &&
    a.entries.every((entry, i) => {
      const other = b.entries[i]!;
      return entry === other || (entry.key === other.key && entry.modifyIndex === other.modifyIndex);
    })
  );
}

/** @throws what the registry throws, or VTEP_ERR_REGISTRY when it contradicts itself. */
async function confirm(
  registry: Registry,
  prefix: string,
  held: RegistryListing,
  signal: AbortSignal,
): Promise<RegistryListing> {
  const listing = await registry.list(prefix, { isConsistent: true, signal, known: held.entries });
  const witness = held.entries[0];
  if (listing.entries.length > 0 || witness === undefined) return listing;
  if ((await registry.get(witness.key)) === undefined) return listing;
  const text = `registry ${registry.url} shows nothing under ${prefix} and yet has ${witness.key}: check its servers`;
  throw new VtepError('VTEP_ERR_REGISTRY', text);
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
