/**
 * What processes that are not the benchmark's take of the CPUs meanwhile: a figure taken beside a compiler is none.
 *
 * The benchmark's own are this process and all in its namespaces. Kernel threads are left out: they work for it. Times
 * of ended children are counted with their parents', so that many short processes count too. Source: proc(5).
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';

const TICKS_PER_SECOND = 100;
/** <linux/sched.h> */
const PF_KTHREAD = 0x0020_0000;
/** Above it, in cores, a measurement counts as disturbed. */
export const DISTURBED_CORES = 0.1;

/** @param stat of /proc/PID/stat. @returns CPU seconds with those of ended children; undefined for a kernel thread */
export function parseProcessSeconds(stat: string): number | undefined {
  // The name, in parentheses, may hold anything: the fields are counted after it. The first is the third of proc(5).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if ((Number(fields[6]) & PF_KTHREAD) !== 0) return undefined;
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
}

function foreignSeconds(ownNamespaceInodes: ReadonlySet<number>): number {
  let sum = 0;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      const seconds = parseProcessSeconds(readFileSync(`/proc/${entry}/stat`, 'utf8'));
      if (seconds === undefined || ownNamespaceInodes.has(statSync(`/proc/${entry}/ns/net`).ino)) continue;
      sum += seconds;
    } catch {
      // It ended between the listing and the reading, or it is a zombie.
    }
  }
  return sum;
}

/** Begins to count; the function that it returns answers how many cores others used. */
export function startForeignCount(ownNamespaces: readonly string[]): () => number {
  const inodes = new Set(ownNamespaces.map((netns) => statSync(`/run/netns/${netns}`).ino));
  const [begin, beginMs] = [foreignSeconds(inodes), performance.now()];
  // A process that ends unreaped takes its time with it: never below zero.
  return () => Math.max(0, (foreignSeconds(inodes) - begin) / ((performance.now() - beginMs) / 1000));
}
