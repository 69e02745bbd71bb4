/**
 * The life of sessions: how one is asked for, and the clocks that end those whose TTL runs out. Embedded registry.
 *
 * A session ends between one and two TTLs after its last renewal: as in Consul the clock is set to twice the TTL, so
 * that a renewal that is late by a slow network still counts. After a restart every clock starts anew.
 */
import { randomUUID } from 'node:crypto';
import { parseDuration } from './duration.js';
import { HttpFailure, type SessionRecord } from './records.js';
import type { Store } from './store.js';

const TTL_FACTOR = 2;
const TTL_MS = { min: 10_000, max: 86_400_000 };
const LOCK_DELAY_MS = { default: 15_000, max: 60_000 };

export class SessionClocks {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #closed = false;

  constructor(
    private readonly store: Store,
    private readonly onError: (error: unknown) => void,
  ) {
    for (const session of store.listSessions()) this.restart(session);
  }

  restart(session: SessionRecord): void {
    this.stop(session.id);
    if (session.ttlMs === 0 || this.#closed) return;
    this.#timers.set(
      session.id,
      setTimeout(() => this.#expire(session), session.ttlMs * TTL_FACTOR),
    );
  }

  stop(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
  }

  close(): void {
    this.#closed = true;
    for (const id of [...this.#timers.keys()]) this.stop(id);
  }

  #expire(session: SessionRecord): void {
    this.#timers.delete(session.id);
    this.store
      .write((draft) => draft.destroySession(session.id))
      .catch((error: unknown) => {
        this.onError(error);
        // A disk that was full may have room later; a dead node's keys must go at some time.
        this.restart(session);
      });
  }
}

/** @param body what PUT /v1/session/create sent. @throws HttpFailure */
export function checkSessionRequest(body: Buffer, node: string): Omit<SessionRecord, 'createIndex'> {
  let request: Record<string, unknown> = {};
  if (body.length > 0) {
    try {
      request = JSON.parse(body.toString()) as Record<string, unknown>;
    } catch (error) {
      throw new HttpFailure(400, `Request decode failed: ${(error as Error).message}`);
    }
    if (typeof request !== 'object' || request === null || Array.isArray(request)) {
      throw new HttpFailure(400, 'Request decode failed: expected an object');
    }
  }
  const { Name = '', Node = node, Behavior = 'release', TTL = '', LockDelay } = request;
  if (typeof Name !== 'string' || typeof Node !== 'string' || typeof TTL !== 'string') {
    throw new HttpFailure(400, 'Request decode failed: Name, Node and TTL are strings');
  }
  if (Behavior !== 'release' && Behavior !== 'delete' && Behavior !== '') {
    throw new HttpFailure(500, `Invalid Behavior setting '${String(Behavior)}'`);
  }
  const behavior = Behavior === 'delete' ? 'delete' : 'release';
  return {
    id: randomUUID(),
    name: Name,
    node: Node,
    lockDelayMs: checkLockDelay(LockDelay),
    behavior,
    ttl: TTL,
    ttlMs: checkTtl(TTL),
  };
}

function checkTtl(ttl: string): number {
  if (ttl === '') return 0;
  const nanoseconds = parseDuration(ttl);
  if (nanoseconds === undefined)
    throw new HttpFailure(500, `Session TTL '${ttl}' invalid: time: invalid duration "${ttl}"`);
  const ms = nanoseconds / 1e6;
  if (ms !== 0 && (ms < TTL_MS.min || ms > TTL_MS.max)) {
    throw new HttpFailure(500, `Invalid Session TTL '${nanoseconds}', must be between [10s=24h0m0s]`);
  }
  return ms;
}

/** Text as Go writes durations, or a number: seconds when it is small and nanoseconds otherwise, as Consul reads it. */
function checkLockDelay(delay: unknown): number {
  if (delay === undefined || delay === null) return LOCK_DELAY_MS.default;
  let ms: number | undefined;
  if (typeof delay === 'number') ms = delay < 1000 ? delay * 1000 : delay / 1e6;
  else if (typeof delay === 'string') ms = (parseDuration(delay) ?? Number.NaN) / 1e6;
  if (ms === undefined || !(ms >= 0)) throw new HttpFailure(400, 'Request decode failed: LockDelay is no duration');
  return Math.min(ms, LOCK_DELAY_MS.max);
}
