/**
 * Stops one thread of a process and nothing else of it, as a debugger does: what a hung thread is to the others. Test support.
 *
 * The tracer is the calling thread. A thread that dies meanwhile is held as a zombie, and its process with it, until hasEnded()
 * has seen it. Source: ptrace(2).
 */
import { readdirSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { errnoName, lastErrno } from '../../src/sys/errno.js';

const libc = koffi.load('libc.so.6');
const ptrace = libc.func('long ptrace(int request, int tid, uintptr_t address, uintptr_t data)') as (
  ...args: [number, number, number, number]
) => number;
const waitpid = libc.func('int waitpid(int tid, uintptr_t status, int options)') as (
  ...args: [number, number, number]
) => number;

const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const WNOHANG = 1;
const WALL = 0x4000_0000;

/** A worker of vtepd, by what it waits for: epoll's time-out of loop.ts is nobody else's. Undefined: it is at work now. */
export function workerThread(pid: number): number | undefined {
  return readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .find((tid) => tid !== pid && readFileSync(`/proc/${pid}/task/${tid}/syscall`, 'utf8').split(' ')[4] === '0x3e8');
}

export class FrozenThread {
  readonly #tid: number;

  constructor(tid: number) {
    this.#tid = tid;
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) !== 0 || ptrace(PTRACE_INTERRUPT, tid, 0, 0) !== 0) {
      throw new Error(`thread ${tid} can't be stopped: ${errnoName(lastErrno())}`);
    }
  }

  /** Whether its process was ended; only then may the process go. */
  hasEnded(): boolean {
    // A stop that is reported, too, has the thread's id; one that has ended is no child any more at the second call.
    return waitpid(this.#tid, 0, WNOHANG | WALL) !== 0 && waitpid(this.#tid, 0, WNOHANG | WALL) < 0;
  }

  thaw(): void {
    ptrace(PTRACE_DETACH, this.#tid, 0, 0);
  }
}
