/**
 * The measurements. Latency is seen by polling vtepd's API, which costs it CPU time; cost is measured without a look at
 * vtepd in between, by the interface's byte counters and the scheduler's account of its threads.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { startCpuCount } from '../e2e/measure/cpu.js';
import type { Arrival, Change, Changes } from './changes.js';
import type { Ground } from './ground.js';

const POLL_MS = 4;
/** The status is a large answer. */
const COUNT_POLL_MS = 20;
const ARRIVAL_MS_MAX = 20_000;
/** Longer than the 250 ms for which a removal is held back. */
const COST_WINDOW_MS = 400;

export interface Arrived {
  readonly kind: string;
  /** From the moment before the write; undefined: not within the limit. */
  readonly milliseconds: number | undefined;
}

export interface Cost {
  readonly kind: string;
  readonly bytes: number;
  readonly vtepdCpuMs: number;
  readonly consulCpuMs: number;
}

export interface Idle {
  readonly bytesPerSecond: number;
  readonly vtepdCores: number;
  readonly consulCores: number;
}

async function isThere(ground: Ground, arrival: Arrival): Promise<boolean> {
  if ('count' in arrival) return (await ground.counts())[arrival.count] === arrival.value;
  const rows = await ground.fdb(arrival.network);
  return rows.some(({ mac }) => mac === arrival.mac) === arrival.isThere;
}

/** @returns milliseconds since `sinceMs`; undefined if it did not come. */
async function awaitArrival(ground: Ground, arrival: Arrival, sinceMs: number): Promise<number | undefined> {
  while (!(await isThere(ground, arrival))) {
    if (performance.now() - sinceMs > ARRIVAL_MS_MAX) return undefined;
    await sleep('count' in arrival ? COUNT_POLL_MS : POLL_MS);
  }
  return performance.now() - sinceMs;
}

/** One change after another, each awaited. What shows nowhere is written and not timed. */
export async function measureLatency(ground: Ground, changes: Changes, turns: number): Promise<Arrived[]> {
  const arrived: Arrived[] = [];
  for (let turn = 0; turn < turns; turn++) {
    for (const change of changes.turn()) {
      const begunMs = performance.now();
      await change.write();
      if (change.arrival === undefined) continue;
      arrived.push({ kind: change.kind, milliseconds: await awaitArrival(ground, change.arrival, begunMs) });
      // Past the spacing of vtepd's queries, so that each change finds it waiting.
      await sleep(60);
    }
  }
  return arrived;
}

/** Bytes on the wire, and CPU time of vtepd and of Consul, until the function that it returns is called. */
function startCount(ground: Ground): () => { bytes: number; vtepd: number; consul: number; seconds: number } {
  const bytes = ground.wireBytes();
  const vtepd = startCpuCount([{ name: 'vtepd', pid: ground.vtepdPid }]);
  const consul = startCpuCount([{ name: 'consul', pid: ground.consulPid }]);
  return () => {
    const [own, theirs] = [vtepd(), consul()];
    return {
      bytes: ground.wireBytes() - bytes,
      vtepd: own.daemonSeconds,
      consul: theirs.daemonSeconds,
      seconds: own.wallSeconds,
    };
  };
}

export async function measureIdle(ground: Ground, seconds: number): Promise<Idle> {
  const end = startCount(ground);
  await sleep(seconds * 1000);
  const { bytes, vtepd, consul, seconds: wall } = end();
  return { bytesPerSecond: bytes / wall, vtepdCores: vtepd / wall, consulCores: consul / wall };
}

/** Each change alone in a window of time, less what the idle system uses in it. The arrival is looked for afterwards. */
export async function measureCost(
  ground: Ground,
  changes: Changes,
  turns: number,
  idle: Idle,
): Promise<{ costs: Cost[]; missing: Change[] }> {
  const costs: Cost[] = [];
  const missing: Change[] = [];
  for (let turn = 0; turn < turns; turn++) {
    for (const change of changes.turn()) {
      const end = startCount(ground);
      const begunMs = performance.now();
      await change.write();
      await sleep(COST_WINDOW_MS);
      const { bytes, vtepd, consul, seconds } = end();
      costs.push({
        kind: change.kind,
        bytes: bytes - idle.bytesPerSecond * seconds,
        vtepdCpuMs: 1000 * (vtepd - idle.vtepdCores * seconds),
        consulCpuMs: 1000 * (consul - idle.consulCores * seconds),
      });
      const isMissing =
        change.arrival !== undefined && (await awaitArrival(ground, change.arrival, begunMs)) === undefined;
      if (isMissing) missing.push(change);
    }
  }
  return { costs, missing };
}

export interface Load {
  readonly arrived: readonly Arrived[];
  readonly bytesPerChange: number;
  /** Polling included. */
  readonly vtepdCores: number;
  readonly consulCores: number;
}

/** Changes at a steady rate, whether the earlier ones have arrived or not. */
export async function measureLoad(ground: Ground, changes: Changes, rate: number, seconds: number): Promise<Load> {
  const arrived: Promise<Arrived>[] = [];
  const end = startCount(ground);
  const begunMs = performance.now();
  const arrivals = changes.arrivals();
  for (let count = 0; count < rate * seconds; count++) {
    const change = arrivals.next().value as Change;
    const writtenMs = performance.now();
    await change.write();
    const { kind, arrival } = change;
    arrived.push(awaitArrival(ground, arrival as Arrival, writtenMs).then((milliseconds) => ({ kind, milliseconds })));
    const aheadMs = begunMs + ((count + 1) * 1000) / rate - performance.now();
    if (aheadMs > 0) await sleep(aheadMs);
  }
  const all = await Promise.all(arrived);
  const { bytes, vtepd, consul, seconds: wall } = end();
  return {
    arrived: all,
    bytesPerChange: bytes / all.length,
    vtepdCores: vtepd / wall,
    consulCores: consul / wall,
  };
}

/** Until vtepd's table holds exactly `wanted` besides its own. @returns milliseconds since `sinceMs` */
export async function awaitTables(ground: Ground, wanted: ReadonlySet<string>, sinceMs: number): Promise<number> {
  for (;;) {
    const rows = (await ground.fdb()).filter(({ kind }) => kind === 'static');
    const wrong = rows.filter(({ network, mac }) => !wanted.has(`${network} ${mac}`)).length;
    if (rows.length === wanted.size && wrong === 0) return performance.now() - sinceMs;
    if (performance.now() - sinceMs > 3 * ARRIVAL_MS_MAX) {
      throw new Error(
        `vtepd's table has ${rows.length} entries, ${wrong} of them wrong, of ${wanted.size} that it must`,
      );
    }
    await sleep(20);
  }
}
