/** Raises the epoch and waits until every running worker has seen it. Main thread only. */
import {
  CLOCK_WORD,
  EPOCH_WORD,
  OBSERVED_WORD,
  STATE_WORD,
  STOP_WORD,
  TURNS_WORD,
  WORKER_IDLE,
  WORKER_RUNNING,
  workerLine,
} from '../epoch.js';

export class EpochWriter {
  readonly #words: Int32Array;
  readonly #workerCount: number;
  readonly #wake: () => void;

  /** @param wake makes every worker leave its wait in the kernel */
  constructor(buffer: SharedArrayBuffer, workerCount: number, wake: () => void) {
    this.#words = new Int32Array(buffer);
    this.#workerCount = workerCount;
    this.#wake = wake;
  }

  /**
   * Resolves when no running worker can hold anything that was unpublished before the call. A worker that has stopped or
   * has not begun holds nothing.
   */
  async quiesce(): Promise<void> {
    const words = this.#words;
    const target = (Atomics.add(words, EPOCH_WORD, 1) + 1) | 0;
    this.#wake();
    for (let worker = 0; worker < this.#workerCount; worker++) {
      const line = workerLine(worker);
      for (;;) {
        if (Atomics.load(words, line + STATE_WORD) !== WORKER_RUNNING) break;
        const observed = Atomics.load(words, line + OBSERVED_WORD);
        if (((observed - target) | 0) >= 0) break;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
  }

  /** Seconds since start, for the stamps that workers write. */
  setClock(seconds: number): void {
    Atomics.store(this.#words, CLOCK_WORD, seconds);
  }

  clock(): number {
    return this.#words[CLOCK_WORD] as number;
  }

  stop(): void {
    Atomics.store(this.#words, STOP_WORD, 1);
    this.#wake();
  }

  stopping(): boolean {
    return Atomics.load(this.#words, STOP_WORD) !== 0;
  }

  workerState(worker: number): number {
    return Atomics.load(this.#words, workerLine(worker) + STATE_WORD);
  }

  /** For a worker whose thread has ended without saying so. */
  markIdle(worker: number): void {
    Atomics.store(this.#words, workerLine(worker) + STATE_WORD, WORKER_IDLE);
  }

  turns(worker: number): number {
    return (this.#words[workerLine(worker) + TURNS_WORD] as number) >>> 0;
  }
}
