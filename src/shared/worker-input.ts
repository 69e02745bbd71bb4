/** What the main thread hands to a worker at its start. The descriptors are the main thread's to close. */
import type { SharedTables } from './layout.js';

export interface WorkerInput {
  readonly workerIndex: number;
  readonly tables: SharedTables;
  /** Watches the wake, underlay and TAP descriptors; the main thread adds and removes them. */
  readonly epollFd: number;
  readonly wakeFd: number;
  readonly underlayFd: number;
  /** Sending sockets, one a source port; the inner flow's hash picks. A power of two of them. */
  readonly txFds: readonly number[];
}

/** epoll tokens that are no network index. */
export const TOKEN_WAKE = -1;
export const TOKEN_UNDERLAY = -2;
