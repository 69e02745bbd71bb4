/**
 * Readings of a prefix that cost what has changed and not what is there. Control plane, main thread; used by watcher.ts.
 *
 *     bell: block on the folded listing, some bytes, whose index is that of the prefix ─▶ it has moved ─▶ journal
 *        the journal explains the index                      ─▶ get the keys that it names
 *        it does not: a session's end, a hand                ─▶ list the names, then get what the journal names and what came
 *        neither explains it, or it is cheaper, or time to   ─▶ read all
 *
 * Each reading is a whole listing again: what was held with what has changed. It is as exact as reading all, but for a
 * change that nobody wrote down and that a journalled one right after it hides: both come before the bell is asked again.
 * So what may be hidden is looked for: a key that has gone by a listing of the names some tenths of a second later (`namesAfterMs`), or
 * when whoever knows says so (`doubt`); a value by reading all some minutes later. Neither is done while nothing changes.
 *
 * Small prefixes, and those that someone changes who keeps no journal (`isJournalled`), are read whole each time, as is
 * everything before a mark of the journal is held: the first reading, and the one after a failure.
 */
import { type JournalMark, markOf, newsSince } from './journal.js';
import type { Registry, RegistryEntry, RegistryListing } from './registry.js';
import { journalKey } from './schema.js';

/** Below, all are hardly longer than the answers of one change: 66 bytes a key, compressed. */
const ENTRIES_MIN = 32;
/** What a key by itself costs, as entries of a listing. */
const ENTRIES_PER_GET = 8;
const GETS_AT_ONCE = 8;
/** Of this many names, a listing costs what one entry does. */
const NAMES_PER_ENTRY = 16;
const WHOLE_AFTER_MS = { min: 300_000, max: 600_000 };

export interface IncrementalOptions {
  /** Whether everyone who changes these entries, as far as is known, writes the journal. */
  readonly isJournalled: (entries: readonly RegistryEntry[]) => boolean;
  /** How long after a reading by the journal alone the names are compared. @default never: `doubt` is called */
  readonly namesAfterMs?: { readonly min: number; readonly max: number };
  /** When all is read again after that. @default 5 to 10 minutes */
  readonly wholeAfterMs?: { readonly min: number; readonly max: number };
  /** Fewer are read whole each time. @default 32 */
  readonly entriesMin?: number;
  /** All are read rather than a key for this many of them. @default 8 */
  readonly entriesPerGet?: number;
}

export interface PrefixReading {
  readonly listing: RegistryListing;
  /** What it has cost, as a number of entries. */
  readonly entriesRead: number;
}

export class IncrementalReader {
  private readonly registry: Registry;
  private readonly prefix: string;
  private readonly options: IncrementalOptions;
  private mark: JournalMark | undefined;
  private readonly doubted = new Set<string>();
  private namesDueMs = Number.POSITIVE_INFINITY;
  private wholeDueMs = Number.POSITIVE_INFINITY;
  /** Other prefixes begin like this one: the bell that folds would ring for them, and its index would be theirs. */
  private hasNamesakes = false;
  private stopWaiting: (() => void) | undefined;

  constructor(registry: Registry, prefix: string, options: IncrementalOptions) {
    this.registry = registry;
    this.prefix = prefix;
    this.options = options;
  }

  /** These keys may have gone or changed unheard: they are looked at now. */
  doubt(names: Iterable<string>): void {
    for (const name of names) this.doubted.add(name);
    if (this.doubted.size > 0) this.wake();
  }

  /** `isJournalled` may answer otherwise now. */
  wake(): void {
    this.stopWaiting?.();
  }

  /**
   * As Registry.watch: answers when there is news after `index`, or after `waitSeconds` what is held.
   * @param held the last reading, if there is one
   */
  async read(
    index: number,
    waitSeconds: number,
    signal: AbortSignal,
    held: RegistryListing | undefined,
  ): Promise<PrefixReading> {
    if (held === undefined || index === 0) return this.readAll(signal, held);
    const endMs = performance.now() + waitSeconds * 1000;
    for (;;) {
      const isFed = this.isWorthwhile(held) && (this.mark !== undefined || (await this.hasJournal()));
      if (!isFed) return this.readWhole(index, (endMs - performance.now()) / 1000, signal, held);
      if (this.mark === undefined) return this.readAll(signal, held);
      const untilMs = Math.min(endMs, this.namesDueMs, this.wholeDueMs);
      const rung = await this.ring(index, untilMs, signal);
      const nowMs = performance.now();
      // Backwards, or nothing left: for those who judge readings, as an answer that there is.
      if (rung !== undefined && rung < index)
        return { listing: { index: rung, entries: held.entries }, entriesRead: 0 };
      if (nowMs >= this.wholeDueMs) return this.readAll(signal, held);
      if (rung === undefined) continue;
      const isDue = nowMs >= this.namesDueMs || this.doubted.size > 0;
      if (rung === index && !isDue) return { listing: held, entriesRead: 0 };
      const reading = await this.step(held, this.mark, rung, signal);
      if (reading === undefined) return this.readAll(signal, held);
      if (reading.listing.index !== index || reading.listing.entries !== held.entries) return reading;
    }
  }

  private async hasJournal(): Promise<boolean> {
    return markOf(await this.registry.get(journalKey(this.prefix))) !== undefined;
  }

  /** As if there were no journal; what it may have hidden is read first. */
  private async readWhole(
    index: number,
    waitSeconds: number,
    signal: AbortSignal,
    held: RegistryListing,
  ): Promise<PrefixReading> {
    const since = this.wholeDueMs === Number.POSITIVE_INFINITY ? index : 0;
    this.forget();
    const listing = await this.registry.watch(this.prefix, since, Math.max(0, waitSeconds), signal, held.entries);
    return { listing, entriesRead: listing.entries.length };
  }

  private isWorthwhile({ entries }: RegistryListing): boolean {
    return entries.length >= (this.options.entriesMin ?? ENTRIES_MIN) && this.options.isJournalled(entries);
  }

  private forget(): void {
    this.mark = undefined;
    this.doubted.clear();
    this.hasNamesakes = false;
    this.namesDueMs = Number.POSITIVE_INFINITY;
    this.wholeDueMs = Number.POSITIVE_INFINITY;
  }

  /** The journal first: what is written after it is in the listing or above the mark, and no harm is done if in both. */
  private async readAll(signal: AbortSignal, held: RegistryListing | undefined): Promise<PrefixReading> {
    this.forget();
    const mark = markOf(await this.registry.get(journalKey(this.prefix)));
    const listing = await this.registry.watch(this.prefix, 0, 0, signal, held?.entries);
    this.mark = mark;
    return { listing, entriesRead: listing.entries.length };
  }

  /** @returns the prefix's index once it is newer, the time is over or someone doubts; undefined: it is not known. */
  private async ring(index: number, untilMs: number, signal: AbortSignal): Promise<number | undefined> {
    const waitMs = this.doubted.size > 0 ? 0 : Math.max(0, untilMs - performance.now());
    const stop = new AbortController();
    const stopWaiting = () => stop.abort();
    this.stopWaiting = stopWaiting;
    signal.addEventListener('abort', stopWaiting, { once: true });
    if (signal.aborted) stopWaiting();
    const newerThan = { index: waitMs === 0 ? 0 : index, waitSeconds: waitMs / 1000 };
    const [under, separator] = this.hasNamesakes ? [this.prefix, undefined] : [this.prefix.slice(0, -1), '/'];
    try {
      const options = { newerThan, signal: stop.signal, ...(separator === undefined ? {} : { separator }) };
      const { index: rung, keys } = await this.registry.listKeys(under, options);
      if (this.hasNamesakes || keys.every((key) => key === this.prefix)) return rung;
      this.hasNamesakes = true;
      return undefined;
    } catch (error) {
      if (signal.aborted || !stop.signal.aborted) throw error;
      return undefined;
    } finally {
      this.stopWaiting = undefined;
      signal.removeEventListener('abort', stopWaiting);
    }
  }

  /** @returns undefined if what is known does not explain `rung`. */
  private async step(
    held: RegistryListing,
    mark: JournalMark,
    rung: number,
    signal: AbortSignal,
  ): Promise<PrefixReading | undefined> {
    const doubted = [...this.doubted];
    this.doubted.clear();
    const journal = await this.registry.get(journalKey(this.prefix));
    const news = newsSince(journal, mark);
    if (news === undefined) return undefined;
    const isExplained = rung === held.index || news.explains(rung);
    if (!isExplained || performance.now() >= this.namesDueMs) return this.stepByNames(held, mark, doubted, signal);
    const changed = await this.get([...news.names, ...doubted], held, signal);
    if (changed === undefined) return undefined;
    if (news.names.size > 0) this.noteUnseen(this.options.namesAfterMs);
    this.mark = markOf(journal);
    return {
      listing: { index: rung, entries: merge(held.entries, changed) },
      entriesRead: changed.size * ENTRIES_PER_GET,
    };
  }

  /** What has gone or come without a word. */
  private async stepByNames(
    held: RegistryListing,
    mark: JournalMark,
    doubted: readonly string[],
    signal: AbortSignal,
  ): Promise<PrefixReading | undefined> {
    this.namesDueMs = Number.POSITIVE_INFINITY;
    const { index, keys } = await this.registry.listKeys(this.prefix, { signal });
    // Read after the names, it tells of all that they are of.
    const journal = await this.registry.get(journalKey(this.prefix));
    const news = newsSince(journal, mark);
    if (news === undefined || keys.length === 0 || index < held.index) return undefined;
    const there = new Set(keys);
    const known = new Set(held.entries.map(({ key }) => key));
    const nameOf = (key: string) => key.slice(this.prefix.length);
    const gone = held.entries.map(({ key }) => key).filter((key) => !there.has(key));
    const came = keys.filter((key) => !known.has(key)).map(nameOf);
    const changed = await this.get([...news.names, ...came, ...doubted], held, signal);
    if (changed === undefined) return undefined;
    const isExplained =
      index === held.index ||
      news.explains(index) ||
      gone.some((key) => !news.names.has(nameOf(key))) ||
      [...changed.values()].some((entry) => entry?.modifyIndex === index);
    if (!isExplained) return undefined;
    for (const key of gone) if (!changed.has(key)) changed.set(key, undefined);
    if (changed.size > 0) this.noteUnseen();
    this.mark = markOf(journal);
    const entriesRead = changed.size * ENTRIES_PER_GET + keys.length / NAMES_PER_ENTRY;
    return { listing: { index, entries: merge(held.entries, changed) }, entriesRead };
  }

  /** What this reading may have missed is looked for: the sooner of when it is due already and when this one makes it due. */
  private noteUnseen(namesAfterMs?: IncrementalOptions['namesAfterMs']): void {
    if (namesAfterMs !== undefined) this.namesDueMs = Math.min(this.namesDueMs, soon(namesAfterMs));
    this.wholeDueMs = Math.min(this.wholeDueMs, soon(this.options.wholeAfterMs ?? WHOLE_AFTER_MS));
  }

  /** @returns what the keys hold now; undefined if reading all is cheaper. */
  private async get(
    names: readonly string[],
    held: RegistryListing,
    signal: AbortSignal,
  ): Promise<Map<string, RegistryEntry | undefined> | undefined> {
    const keys = [...new Set(names)].map((name) => this.prefix + name);
    if (keys.length * (this.options.entriesPerGet ?? ENTRIES_PER_GET) > held.entries.length) return undefined;
    const changed = new Map<string, RegistryEntry | undefined>();
    for (let at = 0; at < keys.length; at += GETS_AT_ONCE) {
      signal.throwIfAborted();
      const some = keys.slice(at, at + GETS_AT_ONCE);
      const entries = await Promise.all(some.map((key) => this.registry.get(key)));
      for (const [i, key] of some.entries()) changed.set(key, entries[i]);
    }
    return changed;
  }
}

/** Anything from the least to the most: hosts that heard of a change together do not ask together. */
function soon({ min, max }: { readonly min: number; readonly max: number }): number {
  return performance.now() + min + Math.random() * (max - min);
}

/** In the order of the keys' bytes, as a listing is; what has not changed is the same object. */
function merge(
  held: readonly RegistryEntry[],
  changed: ReadonlyMap<string, RegistryEntry | undefined>,
): readonly RegistryEntry[] {
  if (changed.size === 0) return held;
  const left = new Map(changed);
  const entries: RegistryEntry[] = [];
  let isSame = true;
  for (const entry of held) {
    const now = left.has(entry.key) ? left.get(entry.key) : entry;
    left.delete(entry.key);
    if (now !== undefined) entries.push(sameAs(entry, now) ? entry : now);
    isSame &&= now !== undefined && sameAs(entry, now);
  }
  const came = [...left.values()].filter((entry) => entry !== undefined);
  if (came.length === 0) return isSame ? held : entries;
  return [...entries, ...came].sort((a, b) => compareBytes(a.key, b.key));
}

function sameAs(a: RegistryEntry, b: RegistryEntry): boolean {
  return a.modifyIndex === b.modifyIndex && a.createIndex === b.createIndex && a.session === b.session;
}

/** By code points, which is the order of UTF-8's bytes; JavaScript's own order differs for surrogates only. */
function compareBytes(a: string, b: string): number {
  if (a === b) return 0;
  for (let i = 0; ; i++) {
    const [x, y] = [a.codePointAt(i) ?? -1, b.codePointAt(i) ?? -1];
    if (x !== y) return x - y;
  }
}
