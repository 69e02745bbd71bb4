/**
 * A worker thread's entry. It never returns to its event loop while it runs: stop and change come by shared memory and an
 * eventfd. A descriptor's owner is the main thread; a worker that ends leaves them all open.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { STATE_WORD, WORKER_RUNNING, WORKER_STOPPED, workerLine } from '../shared/epoch.js';
import type { WarmUpInput } from '../shared/warm-up.js';
import type { WorkerInput } from '../shared/worker-input.js';
import { setThreadScheduling } from '../sys/scheduling.js';
import { makeArena, WorkerContext } from './context.js';
import { run } from './loop.js';
import { prepareReceive } from './underlay-rx.js';
import { warmUp } from './warm-up.js';

/** Sent when the event ring begins to fill; the only message that a worker ever sends, and it receives none. */
const EVENTS_WAITING = 0;
/**
 * The shortest that the kernel gives: a woken worker does not wait for the slice of whoever has the core, of some
 * milliseconds, to end. A worker has work for microseconds; nobody else waits long for it.
 */
const SLICE_MICROSECONDS = 100;

const { input, warmUpInput } = workerData as { input: WorkerInput; warmUpInput: WarmUpInput };
if (!setThreadScheduling(input.nice, SLICE_MICROSECONDS)) setThreadScheduling(0, SLICE_MICROSECONDS);
const arena = makeArena(input);
warmUp(input, warmUpInput, arena);
const context = new WorkerContext(input, () => parentPort?.postMessage(EVENTS_WAITING), arena);
const stateWord = workerLine(context.workerIndex) + STATE_WORD;
prepareReceive(context);
Atomics.store(context.epoch, stateWord, WORKER_RUNNING);
try {
  run(context);
} finally {
  Atomics.store(context.epoch, stateWord, WORKER_STOPPED);
}
