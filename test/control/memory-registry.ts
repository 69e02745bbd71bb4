/**
 * A Registry in memory with Consul's semantics, as far as Registry promises them: one index over all writes, compare-
 * and-set, sessions whose end deletes their keys, all-or-nothing transactions. Test support.
 *
 * `pause` runs before each operation, so that a test can interleave those of several hosts; `down` makes each one fail.
 */
import { VtepError } from '../../src/control/errors.js';
import type {
  KeysOptions,
  Registry,
  RegistryEntry,
  RegistryKeys,
  RegistryListing,
  RegistryOperation,
} from '../../src/control/registry/registry.js';

type Stored = Omit<RegistryEntry, 'key'>;

export class MemoryRegistry implements Registry {
  readonly url = 'memory://';
  readonly urls = [this.url];
  down = false;
  pause: () => Promise<void> = async () => undefined;
  keys = new Map<string, Stored>();
  readonly sessions = new Set<string>();
  index = 1;
  /** As Consul: an index is that of the prefix, and a write that changes nothing keeps the key's. @default that of all keys */
  hasExactIndexes = false;
  private tombstones = new Map<string, number>();
  private sessionCount = 0;
  private waiters = new Set<() => void>();

  async get(key: string): Promise<RegistryEntry | undefined> {
    await this.enter();
    const stored = this.keys.get(key);
    return stored && { key, ...stored };
  }

  async list(prefix: string): Promise<RegistryListing> {
    await this.enter();
    return this.listing(prefix);
  }

  /** It may answer without news of the prefix, as a registry may, unless its indexes are exact. */
  async watch(prefix: string, index: number, waitSeconds: number, signal: AbortSignal): Promise<RegistryListing> {
    await this.enter();
    await this.news(prefix, index, waitSeconds, signal);
    return this.listing(prefix);
  }

  async listKeys(prefix: string, { separator, newerThan, signal }: KeysOptions = {}): Promise<RegistryKeys> {
    await this.enter();
    if (newerThan !== undefined) {
      await this.news(prefix, newerThan.index, newerThan.waitSeconds, signal ?? new AbortController().signal);
    }
    const keys = this.under(prefix).map((key) => {
      const at = separator === undefined ? -1 : key.indexOf(separator, prefix.length);
      return at < 0 ? key : key.slice(0, at + 1);
    });
    return { index: this.indexOf(prefix), keys: [...new Set(keys)] };
  }

  private async news(prefix: string, index: number, waitSeconds: number, signal: AbortSignal): Promise<void> {
    const endMs = performance.now() + waitSeconds * 1000;
    for (;;) {
      signal.throwIfAborted();
      this.checkUp();
      const leftMs = endMs - performance.now();
      if (index === 0 || index !== this.indexOf(prefix) || leftMs <= 0) return;
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.waiters.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, leftMs);
        this.waiters.add(done);
        signal.addEventListener('abort', done, { once: true });
      });
    }
  }

  async put(key: string, value: string): Promise<void> {
    await this.transaction([{ verb: 'set', key, value }]);
  }

  compareAndSet(key: string, value: string, casIndex: number): Promise<boolean> {
    return this.transaction([{ verb: 'cas', key, value, casIndex }]);
  }

  acquire(key: string, value: string, session: string): Promise<boolean> {
    return this.transaction([{ verb: 'lock', key, value, session }]);
  }

  async delete(key: string): Promise<void> {
    await this.transaction([{ verb: 'delete', key }]);
  }

  compareAndDelete(key: string, casIndex: number): Promise<boolean> {
    return this.transaction([{ verb: 'delete-cas', key, casIndex }]);
  }

  async deleteTree(prefix: string): Promise<void> {
    await this.transaction([{ verb: 'delete-tree', key: prefix }]);
  }

  async transaction(operations: readonly RegistryOperation[]): Promise<boolean> {
    await this.enter();
    const draft = new Map(this.keys);
    const next = this.index + 1;
    if (!operations.every((operation) => this.apply(draft, operation, next))) return false;
    this.commit(draft);
    return true;
  }

  async createSession(name: string): Promise<string> {
    await this.enter();
    this.sessionCount += 1;
    const session = `session-${this.sessionCount} ${name}`;
    this.sessions.add(session);
    return session;
  }

  async renewSession(session: string): Promise<boolean> {
    await this.enter();
    return this.sessions.has(session);
  }

  async destroySession(session: string): Promise<void> {
    await this.enter();
    this.expire(session);
  }

  /** What a TTL that ran out does. */
  expire(session: string): void {
    this.sessions.delete(session);
    this.commit(new Map([...this.keys].filter(([, stored]) => stored.session !== session)));
  }

  /** A registry that lost its data. */
  wipe(): void {
    this.sessions.clear();
    this.commit(new Map());
  }

  /** What it holds now; calling the answer puts it back. Its index goes on, or from where it was then. */
  snapshot(): (index: 'goes on' | 'goes back') => void {
    const { keys, tombstones } = this;
    const saved = { keys, tombstones: new Map(tombstones), sessions: [...this.sessions], index: this.index };
    return (index) => {
      this.keys = saved.keys;
      this.tombstones = new Map(saved.tombstones);
      this.sessions.clear();
      for (const session of saved.sessions) this.sessions.add(session);
      if (index === 'goes back') this.index = saved.index;
      for (const wake of [...this.waiters]) wake();
    };
  }

  goDown(): void {
    this.down = true;
    for (const wake of this.waiters) wake();
  }

  under(prefix: string): string[] {
    return [...this.keys.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  private apply(draft: Map<string, Stored>, operation: RegistryOperation, index: number): boolean {
    const { key } = operation;
    const old = draft.get(key);
    const write = (value: string, session = old?.session) => {
      if (this.hasExactIndexes && old?.value === value && old.session === session) return;
      draft.set(key, {
        value,
        createIndex: old?.createIndex ?? index,
        modifyIndex: index,
        ...(session && { session }),
      });
    };
    switch (operation.verb) {
      case 'set':
        write(operation.value);
        return true;
      case 'cas':
        if ((old?.modifyIndex ?? 0) !== operation.casIndex) return false;
        write(operation.value);
        return true;
      case 'lock':
        if (!this.sessions.has(operation.session)) return false;
        if (old?.session !== undefined && old.session !== operation.session) return false;
        write(operation.value, operation.session);
        return true;
      case 'check-index':
        return (old?.modifyIndex ?? 0) === operation.casIndex;
      case 'check-session':
        return old?.session === operation.session;
      case 'delete':
        draft.delete(key);
        return true;
      case 'delete-cas':
        if (old !== undefined && old.modifyIndex !== operation.casIndex) return false;
        draft.delete(key);
        return true;
      case 'delete-tree':
        for (const candidate of [...draft.keys()]) if (candidate.startsWith(key)) draft.delete(candidate);
        return true;
    }
  }

  private commit(draft: Map<string, Stored>): void {
    this.index += 1;
    for (const key of this.keys.keys()) if (!draft.has(key)) this.tombstones.set(key, this.index);
    this.keys = draft;
    for (const wake of [...this.waiters]) wake();
  }

  private listing(prefix: string): RegistryListing {
    const entries = this.under(prefix).map((key) => ({ key, ...this.keys.get(key)! }));
    return { index: this.indexOf(prefix), entries };
  }

  private indexOf(prefix: string): number {
    if (!this.hasExactIndexes) return this.index;
    const indexes = this.under(prefix).map((key) => this.keys.get(key)!.modifyIndex);
    for (const [key, index] of this.tombstones) if (key.startsWith(prefix)) indexes.push(index);
    return Math.max(1, ...indexes);
  }

  private async enter(): Promise<void> {
    this.checkUp();
    await this.pause();
    this.checkUp();
  }

  private checkUp(): void {
    if (this.down) throw new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', 'the registry at memory:// does not answer');
  }
}

/** A pause of as many microtask turns as the next of `turns` says, around and around. */
export function pauses(turns: readonly number[]): () => Promise<void> {
  let next = 0;
  return async () => {
    const count = turns[next++ % turns.length] ?? 0;
    for (let turn = 0; turn < count; turn++) await Promise.resolve();
  };
}

/** The way of one host to the registry: while it is cut nothing gets through, also no answer to what did. */
export function gated(memory: MemoryRegistry, isCut: () => boolean): Registry {
  const check = () => {
    if (isCut()) throw new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', 'the registry at memory:// is cut off');
  };
  return new Proxy(memory, {
    get(target, name) {
      const member = target[name as keyof MemoryRegistry];
      if (typeof member !== 'function') return member;
      return async (...args: unknown[]) => {
        check();
        const answer = await (member as (...all: unknown[]) => unknown).apply(target, args);
        check();
        return answer;
      };
    },
  });
}
