/** Runs system calls inside a network namespace: descriptors that are opened there stay there. Test support. */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';

const setns = koffi.load('libc.so.6').func('int setns(int fd, int type)') as (fd: number, type: number) => number;
const CLONE_NEWNET = 0x40000000;

/** @param work synchronous: the whole thread is in the namespace meanwhile */
export function inNamespace<T>(name: string, work: () => T): T {
  const own = openSync('/proc/thread-self/ns/net', 'r');
  const other = openSync(`/run/netns/${name}`, 'r');
  try {
    if (setns(other, CLONE_NEWNET) !== 0) throw new Error(`namespace ${name} can't be entered`);
    return work();
  } finally {
    setns(own, CLONE_NEWNET);
    closeSync(own);
    closeSync(other);
  }
}
