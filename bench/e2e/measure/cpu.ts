/**
 * CPU time: of the whole machine and of the daemons of a system. Sources: proc(5), /proc/stat and /proc/PID/schedstat.
 *
 * The machine's time counts what the kernel does for nobody in particular (softirqs), which for an overlay in the kernel
 * is nearly all; a daemon's own time alone would flatter it likewise. Time stolen by the hypervisor is not counted.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonProcess } from '../system.js';

/** USER_HZ: what /proc/stat counts in, on every architecture that Node supports. */
const TICKS_PER_SECOND = 100;

/** @param text of /proc/stat. @returns seconds since boot in which some CPU was busy, summed over the CPUs */
export function parseBusySeconds(text: string): number {
  const line = /^cpu +(.+)$/m.exec(text)?.[1];
  if (line === undefined) throw new Error('/proc/stat has no line "cpu"');
  // guest time is in user time already.
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(' ').map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}

/** Nanosecond counters of each thread, which a tick of 10 ms is too coarse for. 0 for a process that has ended. */
function processSeconds(pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const nanoseconds = threads.map((id) =>
      Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]),
    );
    return nanoseconds.reduce((sum, value) => sum + value, 0) / 1e9;
  } catch {
    return 0;
  }
}

export interface CpuUse {
  readonly wallSeconds: number;
  /** Less what the machine did idle, if a baseline was given. */
  readonly machineSeconds: number;
  readonly daemonSeconds: number;
}

/** Begins to count; the function that it returns ends it. `idleCores`: what the idle machine uses, in CPU seconds a second. */
export function startCpuCount(daemons: readonly DaemonProcess[] = [], idleCores = 0): () => CpuUse {
  const now = () => ({
    wall: performance.now() / 1000,
    busy: parseBusySeconds(readFileSync('/proc/stat', 'utf8')),
    own: daemons.reduce((sum, { pid }) => sum + processSeconds(pid), 0),
  });
  const begin = now();
  return () => {
    const end = now();
    const wallSeconds = end.wall - begin.wall;
    return {
      wallSeconds,
      machineSeconds: Math.max(0, end.busy - begin.busy - idleCores * wallSeconds),
      daemonSeconds: end.own - begin.own,
    };
  };
}

/** What the machine uses with all systems standing and none of them loaded, in CPU seconds a second. */
export async function measureIdleCores(seconds: number): Promise<number> {
  const stop = startCpuCount();
  await sleep(seconds * 1000);
  const { machineSeconds, wallSeconds } = stop();
  return machineSeconds / wallSeconds;
}

/** Of each daemon, in percent of one core. */
export async function measureIdleDaemons(
  daemons: readonly DaemonProcess[],
  seconds: number,
): Promise<{ name: string; percentOfCore: number }[]> {
  const counts = daemons.map((daemon) => ({ name: daemon.name, stop: startCpuCount([daemon]) }));
  await sleep(seconds * 1000);
  return counts.map(({ name, stop }) => {
    const { daemonSeconds, wallSeconds } = stop();
    return { name, percentOfCore: (100 * daemonSeconds) / wallSeconds };
  });
}
