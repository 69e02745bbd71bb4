/**
 * How long an operation waits for the registry: as long as a request may take while it answers, a moment while it is known
 * to be away. Control plane; no state but what the host knows of the registry.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { VtepError } from '../errors.js';
import type { Registry } from '../registry/registry.js';

/** Enough for a registry that has just come back; little for who waits for an attach. */
const AWAY_WAIT_MS = 400;

export class RegistryReach {
  private readonly registry: Registry;
  private readonly isKnownAway: () => boolean;

  /** @param isKnownAway whether the last word of the registry was none. */
  constructor(registry: Registry, isKnownAway: () => boolean) {
    this.registry = registry;
    this.isKnownAway = isKnownAway;
  }

  get away(): boolean {
    return this.isKnownAway();
  }

  /**
   * The answer, or VTEP_ERR_REGISTRY_UNREACHABLE after a moment if the registry is known to be away. Only for reading: a
   * request that is not waited for may still arrive.
   */
  async read<T>(request: () => Promise<T>): Promise<T> {
    if (!this.away) return request();
    const abort = new AbortController();
    const limit = sleep(AWAY_WAIT_MS, undefined, { signal: abort.signal }).then(
      () => {
        throw new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', `the registry at ${this.registry.url} does not answer`);
      },
      () => new Promise<never>(() => undefined),
    );
    try {
      return await Promise.race([request(), limit]);
    } finally {
      abort.abort();
    }
  }
}

export function isUnreachable(error: unknown): boolean {
  return error instanceof VtepError && error.code === 'VTEP_ERR_REGISTRY_UNREACHABLE';
}
