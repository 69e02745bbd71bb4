/**
 * Follows Docker's events for as long as there is a dockerd, and waits for it while there is none. Control plane.
 *
 *     away ──a stream of events begins──▶ up: onUp, look at everything ──events──▶ onEvent
 *       ▲                                  │
 *       └──a growing pause, 5 s at most────┘ it ended: onDown
 *
 * What happened while it was away is not told by events: hence onUp, each time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type DockerEvent, type EngineApi, EngineApiError } from './engine-api.js';

const PAUSE_MS = { first: 200, most: 5000 };

const FILTERS = { type: ['network', 'container'], event: ['create', 'destroy', 'remove', 'connect', 'rename'] };

export interface EngineWatchOptions {
  readonly api: Pick<EngineApi, 'events' | 'socketPath'>;
  readonly logger: Logger;
  /** Must not throw. */
  readonly onUp: () => void;
  /** Must not throw. */
  readonly onDown: () => void;
  /** Must not throw. */
  readonly onEvent: (event: DockerEvent) => void;
  /** @default 200 to 5000 */
  readonly pauseMs?: { readonly first: number; readonly most: number } | undefined;
}

export class EngineWatch {
  private readonly options: EngineWatchOptions;
  private readonly abort = new AbortController();
  private following: Promise<void> | undefined;
  private up = false;
  private lastError: string | undefined;

  constructor(options: EngineWatchOptions) {
    this.options = options;
  }

  get isUp(): boolean {
    return this.up;
  }

  /** Why Docker is not there; undefined: it is, or was not asked yet. */
  get error(): string | undefined {
    return this.up ? undefined : this.lastError;
  }

  start(): void {
    this.following ??= this.follow();
  }

  async close(): Promise<void> {
    this.abort.abort();
    await this.following;
  }

  private async follow(): Promise<void> {
    const { signal } = this.abort;
    const { first, most } = this.options.pauseMs ?? PAUSE_MS;
    let pauseMs = first;
    while (!signal.aborted) {
      const wasUp = await this.followOnce(signal);
      if (signal.aborted) return;
      pauseMs = wasUp ? first : Math.min(most, pauseMs * 2);
      await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** @returns whether it was there. */
  private async followOnce(signal: AbortSignal): Promise<boolean> {
    const { api, logger, onUp, onDown, onEvent } = this.options;
    const onOpen = () => {
      this.up = true;
      logger.info({ event: 'docker.connected', socket: api.socketPath }, `Docker answers at ${api.socketPath}`);
      onUp();
    };
    let why = 'it ended';
    try {
      await api.events(FILTERS, { onOpen, onEvent }, signal);
    } catch (error) {
      why = error instanceof EngineApiError ? error.message : String(error);
    }
    const wasUp = this.up;
    this.up = false;
    if (signal.aborted) return wasUp;
    if (wasUp) onDown();
    // A dockerd that is not there is asked often, and told once.
    if (wasUp || this.lastError === undefined) {
      logger.info({ event: 'docker.away', reason: why }, `Docker is away, and is waited for: ${why}`);
    }
    this.lastError = why;
    return wasUp;
  }
}
