/** When the registry last answered this host, and what it said since. Control plane, main thread; no I/O but the local copy. */
import type { Status } from './api/schema.js';
import { isUnreachable } from './endpoints/registry-reach.js';
import type { LocalState } from './state/local-state.js';

export class RegistryContact {
  private readonly state: LocalState;
  /** By this process's clock. */
  private answeredMs: number | undefined;
  /** By the wall clock: also of the run before. */
  private answeredAt: number;
  private error: string | undefined;
  private isAway = false;

  constructor(state: LocalState) {
    this.state = state;
    this.answeredAt = state.answeredAt ?? Number.NEGATIVE_INFINITY;
  }

  /** @param error what a request ended with; undefined: it was answered */
  note(error?: unknown): void {
    if (error !== undefined) {
      this.error = error instanceof Error ? error.message : String(error);
      this.isAway = isUnreachable(error);
      return;
    }
    this.error = undefined;
    this.isAway = false;
    this.answeredMs = performance.now();
    this.answeredAt = Date.now();
    this.state.noteAnswered(this.answeredAt);
  }

  /** Whether the last word of the registry was none. */
  get away(): boolean {
    return this.isAway;
  }

  silentMs(): number {
    return Date.now() - this.answeredAt;
  }

  status(url: string): Status['registry'] {
    const { answeredMs, error } = this;
    return {
      ...{ url, connected: answeredMs !== undefined && error === undefined },
      ...(answeredMs === undefined ? {} : { staleSeconds: secondsSince(answeredMs) }),
      ...(error === undefined ? {} : { error }),
    };
  }

  /** A line for the service manager. */
  outline(): string {
    const isConnected = this.answeredMs !== undefined && this.error === undefined;
    return isConnected ? 'the registry answers' : `the registry is away (${this.error ?? 'not asked yet'})`;
  }
}

/** @param ms of performance.now(). @returns to a tenth */
export function secondsSince(ms: number): number {
  return Math.round((performance.now() - ms) / 100) / 10;
}
