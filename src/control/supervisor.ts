/**
 * Starts the workers, starts one again that failed, and stops them. Main thread.
 *
 * Descriptors and tables belong to the main thread, so a worker that fails takes nothing with it: its successor goes on
 * with the same ones.
 */
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import { WORKER_RUNNING } from '../shared/epoch.js';
import type { EpochWriter } from '../shared/writers/epoch-writer.js';

const RESTART_DELAY_MS_MIN = 100;
const RESTART_DELAY_MS_MAX = 5000;
/** A worker that has lived this long starts afresh with the shortest delay. */
const STABLE_MS = 60_000;

export type WorkerState = 'running' | 'stopped' | 'failed';

interface Supervised {
  readonly input: unknown;
  thread: Worker;
  state: WorkerState;
  delayMs: number;
  ended: Promise<void>;
}

export class Supervisor {
  readonly #epoch: EpochWriter;
  readonly #logger: Logger;
  readonly #workers: Supervised[] = [];

  readonly #onEvents: () => void;

  /** @param onEvents called when a worker's event ring begins to fill */
  constructor(epoch: EpochWriter, onEvents: () => void, logger: Logger) {
    this.#epoch = epoch;
    this.#onEvents = onEvents;
    this.#logger = logger;
  }

  start(input: unknown): void {
    const index = this.#workers.length;
    const supervised = { input, state: 'running', delayMs: RESTART_DELAY_MS_MIN } as Supervised;
    this.#workers.push(supervised);
    this.#spawn(index, supervised);
  }

  state(index: number): WorkerState {
    return this.#workers[index]?.state ?? 'stopped';
  }

  /** Resolves when every worker serves its descriptors. @throws Error if one ends before it does */
  async running(): Promise<void> {
    for (const [index, worker] of this.#workers.entries()) {
      while (this.#epoch.workerState(index) !== WORKER_RUNNING) {
        if (worker.state !== 'running') throw new Error(`worker ${index} did not start`);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
  }

  /** Resolves when every thread has ended. */
  async stop(): Promise<void> {
    this.#epoch.stop();
    await Promise.all(this.#workers.map((worker) => worker.ended));
  }

  #spawn(index: number, supervised: Supervised): void {
    const startedAt = Date.now();
    const thread = new Worker(new URL('../dataplane/worker.js', import.meta.url), { workerData: supervised.input });
    supervised.thread = thread;
    supervised.state = 'running';
    thread.on('message', this.#onEvents);
    thread.on('error', (error) => {
      this.#logger.error({ event: 'worker.failed', worker: index, err: error }, 'a data-plane worker failed');
    });
    supervised.ended = new Promise((resolve) => {
      thread.once('exit', () => {
        this.#epoch.markIdle(index);
        resolve();
        if (this.#epoch.stopping()) {
          supervised.state = 'stopped';
          return;
        }
        supervised.state = 'failed';
        if (Date.now() - startedAt > STABLE_MS) supervised.delayMs = RESTART_DELAY_MS_MIN;
        setTimeout(() => {
          if (!this.#epoch.stopping()) this.#spawn(index, supervised);
        }, supervised.delayMs);
        supervised.delayMs = Math.min(supervised.delayMs * 2, RESTART_DELAY_MS_MAX);
      });
    });
  }
}
