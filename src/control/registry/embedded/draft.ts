/**
 * One write in the making: the KV and session verbs with Consul's semantics, on a layer above what is stored. Nothing
 * reaches the store before the whole write has succeeded, so a failed transaction leaves nothing to undo.
 *
 * Embedded registry. A draft lives inside one call of Store.write and is not kept.
 *
 * Invariants, all Consul's: a write that changes nothing keeps the key's ModifyIndex; a plain write keeps the holder and
 * sets LockIndex to 0; everything that one draft changes gets one and the same index.
 */
import { HttpFailure, type KvRecord, type SessionRecord } from './records.js';

/** What is stored; a draft reads through to it. */
export interface StoreReader {
  getRecord(key: string): KvRecord | undefined;
  /** In the order of the keys' bytes. */
  listRecords(prefix: string): Iterable<readonly [string, KvRecord]>;
  getSession(id: string): SessionRecord | undefined;
  /** Whether a session that held `key` has ended so lately that its LockDelay still runs. */
  isLockDelayed(key: string): boolean;
}

type NewContent = Pick<KvRecord, 'value' | 'flags' | 'lockIndex'> & { readonly session?: string | undefined };

const UUID = /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/;

export class Draft {
  readonly records = new Map<string, KvRecord | undefined>();
  readonly sessions = new Map<string, SessionRecord | undefined>();
  /** Keys that may not be acquired for so many milliseconds once this is committed. */
  readonly lockDelaysMs = new Map<string, number>();

  constructor(
    private readonly reader: StoreReader,
    readonly index: number,
  ) {}

  get isEmpty(): boolean {
    return this.records.size === 0 && this.sessions.size === 0;
  }

  get(key: string): KvRecord | undefined {
    return this.records.has(key) ? this.records.get(key) : this.reader.getRecord(key);
  }

  list(prefix: string): [string, KvRecord][] {
    const merged = new Map(this.reader.listRecords(prefix));
    for (const [key, record] of this.records) {
      if (!key.startsWith(prefix)) continue;
      if (record === undefined) merged.delete(key);
      else merged.set(key, record);
    }
    return [...merged].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }

  set(key: string, value: Buffer, flags: number): KvRecord {
    return this.#write(key, { value, flags, lockIndex: 0, session: this.get(key)?.session });
  }

  /** @param casIndex 0: only if the key does not exist. @returns undefined when the index is another. */
  compareAndSet(key: string, value: Buffer, flags: number, casIndex: number): KvRecord | undefined {
    if ((this.get(key)?.modifyIndex ?? 0) !== casIndex) return undefined;
    return this.set(key, value, flags);
  }

  /** @returns undefined when another session holds the key or held it until lately. @throws HttpFailure for a session that is none. */
  lock(key: string, value: Buffer, flags: number, session: string): KvRecord | undefined {
    if (session === '') throw new HttpFailure(500, 'missing session');
    if (this.getSession(session) === undefined) throw new HttpFailure(500, `invalid session "${session}"`);
    const existing = this.get(key);
    const held = existing?.session;
    if (held !== undefined && held !== session) return undefined;
    if (held === undefined && this.reader.isLockDelayed(key)) return undefined;
    const lockIndex = held === session ? (existing?.lockIndex ?? 0) : (existing?.lockIndex ?? 0) + 1;
    return this.#write(key, { value, flags, lockIndex, session });
  }

  /** @returns undefined when `session` does not hold the key. */
  unlock(key: string, value: Buffer, flags: number, session: string): KvRecord | undefined {
    if (session === '') throw new HttpFailure(500, 'missing session');
    const existing = this.get(key);
    if (existing === undefined || existing.session !== session) return undefined;
    return this.#write(key, { value, flags, lockIndex: existing.lockIndex });
  }

  delete(key: string): void {
    if (this.get(key) !== undefined) this.records.set(key, undefined);
  }

  /** @returns false when the key exists with another index. */
  compareAndDelete(key: string, casIndex: number): boolean {
    const existing = this.get(key);
    if (existing !== undefined && existing.modifyIndex !== casIndex) return false;
    this.delete(key);
    return true;
  }

  deleteTree(prefix: string): void {
    for (const [key] of this.list(prefix)) this.records.set(key, undefined);
  }

  getSession(id: string): SessionRecord | undefined {
    if (!UUID.test(id)) throw new HttpFailure(500, 'failed session lookup: index error: UUID must be 36 characters');
    return this.sessions.has(id) ? this.sessions.get(id) : this.reader.getSession(id);
  }

  createSession(session: Omit<SessionRecord, 'createIndex'>): void {
    this.sessions.set(session.id, { ...session, createIndex: this.index });
  }

  /** Ends the session and, by its behaviour, deletes or releases all that it holds. Unknown sessions are no error. */
  destroySession(id: string): void {
    const session = this.getSession(id);
    if (session === undefined) return;
    this.sessions.set(id, undefined);
    // A walk over all keys, since sessions end seldom and a registry that fits this server is small.
    for (const [key, record] of this.list('')) {
      if (record.session !== id) continue;
      if (session.behavior === 'delete') this.delete(key);
      else this.#write(key, { value: record.value, flags: record.flags, lockIndex: record.lockIndex });
      if (session.lockDelayMs > 0) this.lockDelaysMs.set(key, session.lockDelayMs);
    }
  }

  #write(key: string, content: NewContent): KvRecord {
    const { value, flags, lockIndex, session } = content;
    const existing = this.get(key);
    if (
      existing !== undefined &&
      existing.flags === flags &&
      existing.lockIndex === lockIndex &&
      existing.session === session &&
      existing.value.equals(value)
    ) {
      return existing;
    }
    const record: KvRecord = {
      value,
      flags,
      lockIndex,
      createIndex: existing?.createIndex ?? this.index,
      modifyIndex: this.index,
      ...(session === undefined ? {} : { session }),
    };
    this.records.set(key, record);
    return record;
  }
}
