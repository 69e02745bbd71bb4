/**
 * The registry as the control plane sees it: the Consul KV and session API, and nothing more.
 *
 * One implementation (client.ts, over the npm package `consul`) speaks to a Consul server and to the embedded registry
 * alike. Keys are relative to the prefix (`vtep/v1/` by default). Values are JSON text; schemas live in schema.ts.
 *
 * Errors: VTEP_ERR_REGISTRY_UNREACHABLE (no connection, timeout, no leader), VTEP_ERR_REGISTRY (an answer that makes no
 * sense, 5xx). A lost compare-and-set is not an error: it answers false. A write that fails with one of the two may have
 * been made nevertheless: the caller undoes it or finds it at its next sweep, and never takes it for a lost race.
 */

/** One key with its value. `modifyIndex` is the token for compare-and-set. */
export interface RegistryEntry {
  readonly key: string;
  readonly value: string;
  readonly createIndex: number;
  readonly modifyIndex: number;
  /** The session that holds the key, if any. */
  readonly session?: string;
}

/** One consistent reading of a prefix. `index` feeds the next blocking query. */
export interface RegistryListing {
  readonly index: number;
  readonly entries: readonly RegistryEntry[];
}

/** The names under a prefix, at one index. */
export interface RegistryKeys {
  readonly index: number;
  /** In the order of their bytes. */
  readonly keys: readonly string[];
}

export interface KeysOptions {
  /** Keys are cut behind its first occurrence after the prefix, and each is told once. */
  readonly separator?: string;
  /** Blocks as `watch` does. @default answers at once, as the leader has it */
  readonly newerThan?: { readonly index: number; readonly waitSeconds: number };
  readonly signal?: AbortSignal;
}

/** One step of a transaction: all happen or none does. `casIndex` 0 means that the key must not exist. */
export type RegistryOperation =
  | { readonly verb: 'set'; readonly key: string; readonly value: string }
  | { readonly verb: 'cas'; readonly key: string; readonly value: string; readonly casIndex: number }
  | { readonly verb: 'lock'; readonly key: string; readonly value: string; readonly session: string }
  | { readonly verb: 'check-index'; readonly key: string; readonly casIndex: number }
  | { readonly verb: 'check-session'; readonly key: string; readonly session: string }
  | { readonly verb: 'delete'; readonly key: string }
  | { readonly verb: 'delete-cas'; readonly key: string; readonly casIndex: number }
  | { readonly verb: 'delete-tree'; readonly key: string };

export interface ListOptions {
  /** The leader makes sure that it still leads: for what must not be believed lightly. @default false */
  readonly isConsistent?: boolean;
  readonly signal?: AbortSignal;
  /** Entries of an earlier reading: those that have not changed come back as the same objects. */
  readonly known?: readonly RegistryEntry[];
}

export interface Registry {
  /** Where the registry is, for messages: of several servers the one that answered last. */
  readonly url: string;
  /** Those of all its servers: one of them is `url` at each time. */
  readonly urls: readonly string[];
  get(key: string): Promise<RegistryEntry | undefined>;
  /** Everything under `prefix`, now. An empty prefix tree is an empty listing. */
  list(prefix: string, options?: ListOptions): Promise<RegistryListing>;
  /**
   * Blocking query: answers when something under `prefix` is newer than `index`, or after `waitSeconds` with the same
   * index. The caller starts at index 0 (answers at once). From there on any server of a cluster may answer, also one
   * that is behind: its index is lower then, and so it may be after a restored store. watcher.ts tells the two apart.
   * @param known as in ListOptions.
   */
  watch(
    prefix: string,
    index: number,
    waitSeconds: number,
    signal: AbortSignal,
    known?: readonly RegistryEntry[],
  ): Promise<RegistryListing>;
  /**
   * The names of the keys under `prefix`, without their values. With a separator that folds them all into one, its index
   * still is that of the whole prefix: some bytes that say whether there is news.
   */
  listKeys(prefix: string, options?: KeysOptions): Promise<RegistryKeys>;
  put(key: string, value: string): Promise<void>;
  /** @returns whether the key had `casIndex` (0: did not exist) and is now written. */
  compareAndSet(key: string, value: string, casIndex: number): Promise<boolean>;
  /** Writes the key and makes `session` its holder. @returns false if another session holds it. */
  acquire(key: string, value: string, session: string): Promise<boolean>;
  delete(key: string): Promise<void>;
  /** @returns whether the key still had `casIndex` (or was gone). */
  compareAndDelete(key: string, casIndex: number): Promise<boolean>;
  deleteTree(prefix: string): Promise<void>;
  /** All or nothing, at most 64 operations. @returns false if a check failed; nothing has changed then. */
  transaction(operations: readonly RegistryOperation[]): Promise<boolean>;
  /** Behaviour `delete`, no health checks, no lock delay: liveness is the TTL alone. TTL 10 to 86400 s. */
  createSession(name: string, ttlSeconds: number): Promise<string>;
  /** @returns false if the session is no more. */
  renewSession(session: string): Promise<boolean>;
  destroySession(session: string): Promise<void>;
}
