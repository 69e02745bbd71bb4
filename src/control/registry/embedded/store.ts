/**
 * The embedded registry's memory: keys, tombstones and sessions in one LMDB environment, and whoever waits for a change.
 * Embedded registry; one store per directory, one process.
 *
 * Invariants:
 * - `write` answers once the change is on the disk; a reader never sees what could still be lost.
 * - The index only grows, over restarts too. Each write that changes something takes the next one.
 * - A prefix's index is the largest ModifyIndex or tombstone under it, so that a deletion advances it; a prefix that never
 *   held anything shows the index of the whole key space. When tombstones are dropped, `floorIndex` stands in for them.
 */
import { type Database, open, type RootDatabase } from 'lmdb';
import { Draft, type StoreReader } from './draft.js';
import type { KvRecord, SessionRecord } from './records.js';

interface Meta {
  /** Of the last write. */
  index: number;
  /** Of the last write that changed a key. */
  kvIndex: number;
  /** Of the last write that changed a session. */
  sessionIndex: number;
  floorIndex: number;
}

interface Waiter {
  readonly key: string;
  readonly isPrefix: boolean;
  readonly wake: () => void;
}

/** At about 100 bytes a tombstone, half a megabyte. */
const TOMBSTONES_MAX = 4096;

export class Store implements StoreReader {
  readonly #root: RootDatabase<unknown, string>;
  readonly #kv: Database<KvRecord, Buffer>;
  readonly #tombstones: Database<number, Buffer>;
  readonly #sessions: Database<SessionRecord, string>;
  readonly #meta: Database<Meta, string>;
  readonly #waiters = new Set<Waiter>();
  readonly #lockDelayedUntilMs = new Map<string, number>();
  #tombstoneCount: number;

  /** @throws what LMDB throws when the directory cannot be used. */
  constructor(directory: string) {
    // Without overlappingSync a commit is on the disk when it is reported.
    this.#root = open<unknown, string>({ path: directory, noSubdir: false, maxDbs: 8, overlappingSync: false });
    this.#kv = this.#root.openDB<KvRecord, Buffer>({ name: 'kv', keyEncoding: 'binary' });
    this.#tombstones = this.#root.openDB<number, Buffer>({ name: 'tombstones', keyEncoding: 'binary' });
    this.#sessions = this.#root.openDB<SessionRecord, string>({ name: 'sessions' });
    this.#meta = this.#root.openDB<Meta, string>({ name: 'meta' });
    this.#tombstoneCount = this.#tombstones.getCount();
  }

  getRecord(key: string): KvRecord | undefined {
    return this.#kv.get(Buffer.from(key));
  }

  *listRecords(prefix: string): Generator<readonly [string, KvRecord]> {
    const start = Buffer.from(prefix);
    for (const { key, value } of this.#kv.getRange(start.length === 0 ? {} : { start })) {
      const text = key.toString();
      if (!text.startsWith(prefix)) return;
      yield [text, value];
    }
  }

  getSession(id: string): SessionRecord | undefined {
    return this.#sessions.get(id);
  }

  listSessions(): SessionRecord[] {
    this.#refresh();
    return [...this.#sessions.getRange()].map(({ value }) => value);
  }

  isLockDelayed(key: string): boolean {
    const untilMs = this.#lockDelayedUntilMs.get(key);
    if (untilMs === undefined) return false;
    if (untilMs > performance.now()) return true;
    this.#lockDelayedUntilMs.delete(key);
    return false;
  }

  /** One key with the index that its blocking queries compare. */
  readKey(key: string): { index: number; record: KvRecord | undefined } {
    this.#refresh();
    const record = this.getRecord(key);
    return { index: record?.modifyIndex ?? Math.max(1, this.#readMeta().kvIndex), record };
  }

  readPrefix(prefix: string): { index: number; records: (readonly [string, KvRecord])[] } {
    this.#refresh();
    const { kvIndex, floorIndex } = this.#readMeta();
    const records = [...this.listRecords(prefix)];
    if (prefix === '') return { index: Math.max(1, kvIndex), records };
    let index = 0;
    for (const [, record] of records) index = Math.max(index, record.modifyIndex);
    index = Math.max(index, this.#tombstoneIndex(prefix));
    if (index === 0) return { index: Math.max(1, kvIndex), records };
    return { index: Math.max(index, floorIndex), records };
  }

  readSession(id: string): { index: number; session: SessionRecord | undefined } {
    this.#refresh();
    return { index: this.sessionIndex(), session: this.getSession(id) };
  }

  sessionIndex(): number {
    return Math.max(1, this.#readMeta().sessionIndex);
  }

  /**
   * Runs `work` on a draft, one write at a time. When it throws, nothing is written and the error comes out.
   * @returns what `work` returned, once its changes are on the disk.
   */
  async write<T>(work: (draft: Draft) => T): Promise<T> {
    let draft: Draft | undefined;
    let outcome: { value: T } | { error: unknown } | undefined;
    // LMDB commits several writes at once: an exception must not reach it, or it would end the others' writes.
    await this.#root.transaction(() => {
      try {
        draft = new Draft(this, this.#readMeta().index + 1);
        const value = work(draft);
        if (!draft.isEmpty) this.#apply(draft);
        outcome = { value };
      } catch (error) {
        outcome = { error };
      }
    });
    if (outcome === undefined) throw new Error('the write was not run');
    if ('error' in outcome) throw outcome.error;
    if (draft !== undefined) this.#announce(draft);
    return outcome.value;
  }

  /** @returns when something at `key` (or under it) was written, after `waitMs`, or when `signal` is aborted. */
  waitForChange(key: string, isPrefix: boolean, waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waiters.delete(waiter);
        resolve();
      };
      const waiter: Waiter = { key, isPrefix, wake: done };
      const timer = setTimeout(done, waitMs);
      this.#waiters.add(waiter);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }

  wakeAll(): void {
    for (const waiter of [...this.#waiters]) waiter.wake();
  }

  async close(): Promise<void> {
    this.wakeAll();
    await this.#root.close();
  }

  #apply(draft: Draft): void {
    const meta = { ...this.#readMeta(), index: draft.index };
    if (draft.records.size > 0) meta.kvIndex = draft.index;
    if (draft.sessions.size > 0) meta.sessionIndex = draft.index;
    for (const [key, record] of draft.records) {
      const bytes = Buffer.from(key);
      if (record !== undefined) {
        this.#kv.put(bytes, record);
        continue;
      }
      this.#kv.remove(bytes);
      if (this.#tombstones.get(bytes) === undefined) this.#tombstoneCount += 1;
      this.#tombstones.put(bytes, draft.index);
    }
    if (this.#tombstoneCount > TOMBSTONES_MAX) {
      for (const key of [...this.#tombstones.getKeys()]) this.#tombstones.remove(key);
      this.#tombstoneCount = 0;
      meta.floorIndex = draft.index;
    }
    for (const [id, session] of draft.sessions) {
      if (session === undefined) this.#sessions.remove(id);
      else this.#sessions.put(id, session);
    }
    this.#meta.put('meta', meta);
  }

  #announce(draft: Draft): void {
    const nowMs = performance.now();
    for (const [key, delayMs] of draft.lockDelaysMs) this.#lockDelayedUntilMs.set(key, nowMs + delayMs);
    if (draft.records.size === 0) return;
    const changed = [...draft.records.keys()];
    for (const waiter of [...this.#waiters]) {
      const { key, isPrefix } = waiter;
      if (changed.some((text) => (isPrefix ? text.startsWith(key) : text === key))) waiter.wake();
    }
  }

  #tombstoneIndex(prefix: string): number {
    let index = 0;
    for (const { key, value } of this.#tombstones.getRange({ start: Buffer.from(prefix) })) {
      if (!key.toString().startsWith(prefix)) break;
      index = Math.max(index, value);
    }
    return index;
  }

  #readMeta(): Meta {
    return this.#meta.get('meta') ?? { index: 0, kvIndex: 0, sessionIndex: 0, floorIndex: 0 };
  }

  /** LMDB keeps a reader's view for a turn of the event loop; a waiter that was just woken must see the write. */
  #refresh(): void {
    (this.#root as unknown as { resetReadTxn(): void }).resetReadTxn();
  }
}
