/**
 * The order of a process's life: what was started is stopped in reverse, once, whatever the reason.
 *
 * Place: control plane, main thread; daemon.ts starts each part through it.
 * 1. start() each part; its close() is kept.
 * 2. untilStopRequested() waits for SIGTERM, SIGINT or SIGHUP; a signal during start-up stops it at the next part.
 * 3. stop() closes in reverse order. A part that fails or hangs is told and passed over: the next must still close.
 * A second signal ends the process at once: containers' interfaces are persistent, so nothing is lost.
 */
import type { Logger } from 'pino';

export interface Closable {
  close(): Promise<void>;
}

const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];

/** Thrown by start() once a stop has been asked for: not a failure. */
export class StopRequested extends Error {
  constructor(readonly signal: StopSignal) {
    super(`stopped by ${signal}`);
    this.name = 'StopRequested';
  }
}

export interface LifecycleOptions {
  readonly logger: Logger;
  /** How long one part may take to close. @default 10000 */
  readonly closeMillisecondsMax?: number;
  /** Called on the second signal. @default exits the process with 1 */
  readonly giveUp?: () => void;
}

export class Lifecycle {
  readonly #logger: Logger;
  readonly #closeMillisecondsMax: number;
  readonly #giveUp: () => void;
  readonly #parts: { readonly name: string; readonly part: Closable }[] = [];
  readonly #requested: Promise<StopSignal>;
  readonly #onSignal: (signal: NodeJS.Signals) => void;
  #signal: StopSignal | undefined;
  #stopping: Promise<boolean> | undefined;

  /** Takes the process's stop signals from now until stop() is over. */
  constructor(options: LifecycleOptions) {
    this.#logger = options.logger;
    this.#closeMillisecondsMax = options.closeMillisecondsMax ?? 10_000;
    this.#giveUp = options.giveUp ?? (() => process.exit(1));
    let request: (signal: StopSignal) => void = () => {};
    this.#requested = new Promise((resolve) => {
      request = resolve;
    });
    this.#onSignal = (signal) => {
      if (this.#signal !== undefined) {
        this.#logger.warn({ event: 'daemon.killed', signal }, 'second signal: ends without closing');
        this.#giveUp();
        return;
      }
      this.#signal = signal as StopSignal;
      request(this.#signal);
    };
    for (const signal of STOP_SIGNALS) process.on(signal, this.#onSignal);
  }

  /** Starts one part and keeps its close(). @throws StopRequested, or what `start` throws. */
  async start<T extends Closable>(name: string, start: () => Promise<T>): Promise<T> {
    this.#checkNotStopped();
    const part = await start();
    this.#parts.push({ name, part });
    this.#logger.debug({ event: 'daemon.started', part: name }, `${name} started`);
    this.#checkNotStopped();
    return part;
  }

  untilStopRequested(): Promise<StopSignal> {
    return this.#requested;
  }

  /** Closes what was started, last first. @returns whether every part closed in time and without an error. */
  stop(): Promise<boolean> {
    this.#stopping ??= this.#closeAll();
    return this.#stopping;
  }

  async #closeAll(): Promise<boolean> {
    let clean = true;
    for (const { name, part } of this.#parts.splice(0).reverse()) {
      try {
        await withTimeLimit(part.close(), this.#closeMillisecondsMax, `${name} did not close`);
        this.#logger.debug({ event: 'daemon.stopped', part: name }, `${name} stopped`);
      } catch (error) {
        clean = false;
        this.#logger.error({ event: 'daemon.stop-failed', part: name, err: error }, `${name} did not stop cleanly`);
      }
    }
    for (const signal of STOP_SIGNALS) process.off(signal, this.#onSignal);
    return clean;
  }

  #checkNotStopped(): void {
    if (this.#signal !== undefined) throw new StopRequested(this.#signal);
  }
}

async function withTimeLimit(work: Promise<void>, milliseconds: number, message: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${message} within ${milliseconds} ms`)), milliseconds);
  });
  try {
    await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
