/**
 * The worker's life, on one screen: observe the epoch, encapsulate, decapsulate, wait in the kernel. @hot
 *
 * One turn serves each ready descriptor with at most one burst, so neither direction and no network starves another.
 * The wait is epoll's; its time-out bounds how long the end of the process can be held up by a worker in the kernel.
 */
import { CLOCK_WORD, EPOCH_WORD, OBSERVED_WORD, STOP_WORD, TURNS_WORD, workerLine } from '../shared/epoch.js';
import { TOKEN_WAKE, underlayFdOf } from '../shared/worker-input.js';
import { drainEventfd } from '../sys/eventfd.js';
import { epollWait, schedYield } from '../sys/libc.js';
import { EPOLL_DATA_WORD, EPOLL_EVENT_WORDS } from '../sys/poll.js';
import { EVENTS_PER_WAIT } from './arena.js';
import type { WorkerContext } from './context.js';
import { drainTap } from './tap-rx.js';
import { drainUnderlay } from './underlay-rx.js';

const IDLE_MS_MAX = 1000;
/** A turn that moved more frames or messages than this was no trickle: the next ones will have waited, polling gains nothing. */
const TRICKLE_MAX = 2;

/** Runs until the stop word is set. */
export function run(context: WorkerContext): void {
  const epoch = context.epoch;
  const line = workerLine(context.workerIndex);
  while (Atomics.load(epoch, STOP_WORD) === 0) {
    observe(epoch, line);
    turn(context);
    epoch[line + TURNS_WORD] = ((epoch[line + TURNS_WORD] as number) + 1) | 0;
  }
}

function observe(epoch: Int32Array, line: number): void {
  const now = Atomics.load(epoch, EPOCH_WORD);
  if (epoch[line + OBSERVED_WORD] === now) return;
  Atomics.store(epoch, line + OBSERVED_WORD, now);
}

/** Serves what is ready, or waits for it. */
export function turn(context: WorkerContext): void {
  const arena = context.arena;
  const ready = wait(context);
  context.nowSeconds = context.epoch[CLOCK_WORD] as number;
  if (context.nowSeconds >= context.gsoForgetSeconds) context.allowGso();
  const first = arena.epollEvents >> 2;
  let moved = 0;
  for (let i = 0; i < ready; i++) {
    const token = arena.words[first + i * EPOLL_EVENT_WORDS + EPOLL_DATA_WORD] as number;
    if (token < TOKEN_WAKE) moved += drainUnderlay(context, underlayFdOf(token));
    else if (token === TOKEN_WAKE) drainEventfd(context.wakeFd);
    else moved += drainTap(context, token);
  }
  context.isTrickle = moved > 0 && moved <= TRICKLE_MAX;
}

/** After a trickle, looks for the next frame again and again for a while; then sleeps in the kernel until there is one. */
function wait(context: WorkerContext): number {
  const events = context.arena.addresses.epollEvents;
  if (context.spinMs > 0 && context.isTrickle) {
    const until = performance.now() + context.spinMs;
    do {
      const ready = epollWait(context.epollFd, events, EVENTS_PER_WAIT, 0);
      if (ready !== 0) return ready;
      schedYield();
    } while (performance.now() < until);
  }
  return epollWait(context.epollFd, events, EVENTS_PER_WAIT, IDLE_MS_MAX);
}
