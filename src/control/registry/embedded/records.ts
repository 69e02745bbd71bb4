/**
 * What the embedded registry stores, and how the HTTP API shows it. Embedded registry.
 */

/** One key's content. The key itself is LMDB's key. */
export interface KvRecord {
  readonly value: Buffer;
  readonly flags: number;
  /** Grows each time that a session acquires the key. */
  readonly lockIndex: number;
  readonly createIndex: number;
  readonly modifyIndex: number;
  readonly session?: string;
}

export interface SessionRecord {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly lockDelayMs: number;
  readonly behavior: 'release' | 'delete';
  /** As it was given, such as "10s"; "" lives until it is destroyed. */
  readonly ttl: string;
  readonly ttlMs: number;
  readonly createIndex: number;
}

/** Consul's JSON of a key; its transactions blank the value of what was not asked for. */
export function kvJson(key: string, record: KvRecord, blankValue = false) {
  return {
    LockIndex: record.lockIndex,
    Key: key,
    Flags: record.flags,
    Value: blankValue || record.value.length === 0 ? null : record.value.toString('base64'),
    ...(record.session === undefined ? {} : { Session: record.session }),
    CreateIndex: record.createIndex,
    ModifyIndex: record.modifyIndex,
  };
}

export function sessionJson(session: SessionRecord) {
  return {
    ID: session.id,
    Name: session.name,
    Node: session.node,
    LockDelay: session.lockDelayMs * 1e6,
    Behavior: session.behavior,
    TTL: session.ttl,
    NodeChecks: [],
    ServiceChecks: null,
    CreateIndex: session.createIndex,
    ModifyIndex: session.createIndex,
  };
}

/** An answer other than 200, as Consul words it: plain text. */
export class HttpFailure extends Error {
  constructor(
    readonly statusCode: number,
    message: string,
  ) {
    super(message);
    this.name = 'HttpFailure';
  }
}
