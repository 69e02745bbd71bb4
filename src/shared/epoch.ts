/**
 * How the planes meet: the epoch word that the main thread raises, and what each worker says of itself.
 *
 *     word 0 epoch | 1 stop | 2 clock, seconds since start | then, 16 words (a cache line) a worker: observed epoch, turns, state
 *
 * A worker copies the epoch at the start of each turn. Once every running worker has observed epoch E, none of them can
 * still hold an index or a file descriptor that was unpublished before E: the writer may reuse it.
 * Main thread writes words 0 to 2; each worker writes its own line.
 */
import { WORKERS_MAX } from './layout.js';

export const EPOCH_WORD = 0;
export const STOP_WORD = 1;
/** One clock for stamps and ageing, coarse, so that no frame pays for reading the time. */
export const CLOCK_WORD = 2;
export const WORKER_WORDS = 16;
export const OBSERVED_WORD = 0;
export const TURNS_WORD = 1;
export const STATE_WORD = 2;

export const WORKER_IDLE = 0;
export const WORKER_RUNNING = 1;
export const WORKER_STOPPED = 2;

export const EPOCH_BYTES = (WORKER_WORDS + WORKERS_MAX * WORKER_WORDS) * 4;

/** First word of a worker's line. */
export function workerLine(workerIndex: number): number {
  return WORKER_WORDS + workerIndex * WORKER_WORDS;
}
