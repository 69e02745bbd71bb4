/** The measurements of a round, in their order: what each runs, and which figures come of it. */
import type { FigureValues, Group } from '../figures.js';
import { PacedPair, type PacedRun } from '../paced/paced-pair.js';
import { LADDER_KPPS, searchHighest } from '../paced/search.js';
import type { Path } from '../system.js';
import type { Testbed } from '../topology.js';
import { startCpuCount } from './cpu.js';
import { gbitPerSecond, runSmallUdp, runTcp, smallKpps } from './iperf3.js';
import { runPing } from './ping.js';

const LOSS_PERCENT_MAX = 1;
/** Below it the sender was starved: the rate was not tried. */
const OFFERED_SHARE_MIN = 0.95;
/** One rate for all, so that the cost of a packet is compared under the same load. */
const PACKET_COST_KPPS = 100;

export interface MeasureContext {
  readonly testbed: Testbed;
  readonly path: Path;
  /** Of an iperf3 run. */
  readonly seconds: number;
  /** Of one step of the paced search. */
  readonly stepSeconds: number;
  readonly pingCount: number;
  /** What the idle machine uses, in CPU seconds a second. */
  readonly idleCores: number;
}

export interface Measured {
  readonly figures: FigureValues;
  /** For the JSON: what the figures were made of. */
  readonly details?: object;
}

export interface Measurement {
  readonly name: string;
  /** It runs if one of them is wanted. */
  readonly groups: readonly Group[];
  run(context: MeasureContext): Promise<Measured>;
}

async function tcp1({ testbed, path, seconds, idleCores }: MeasureContext): Promise<Measured> {
  const stop = startCpuCount(path.daemons, idleCores);
  const transfer = await runTcp(testbed, path, 1, seconds);
  const { machineSeconds, daemonSeconds } = stop();
  const gigabytes = transfer.receivedBytes / 1e9;
  const figures: FigureValues = { tcp1: gbitPerSecond(transfer), cpuPerGb: machineSeconds / gigabytes };
  if (path.daemons !== undefined) figures.cpuPerGbDaemons = daemonSeconds / gigabytes;
  return { figures };
}

async function tcp4({ testbed, path, seconds }: MeasureContext): Promise<Measured> {
  return { figures: { tcp4: gbitPerSecond(await runTcp(testbed, path, 4, seconds)) } };
}

async function udp({ testbed, path, seconds }: MeasureContext): Promise<Measured> {
  return { figures: { udp: smallKpps(await runSmallUdp(testbed, path, seconds)) } };
}

async function withPacedPair<T>(context: MeasureContext, use: (pair: PacedPair) => Promise<T>): Promise<T> {
  const pair = await PacedPair.start(context.testbed, context.path);
  try {
    return await use(pair);
  } finally {
    await pair.stop();
  }
}

const holds = (run: PacedRun): boolean =>
  run.lossPercent <= LOSS_PERCENT_MAX && run.offeredKpps >= run.targetKpps * OFFERED_SHARE_MIN;

/** What stopped the search: packets lost on the way, or a sender that the path's own work in its system calls held up. */
const limitOf = (runs: readonly PacedRun[]): 'loss' | 'sender' =>
  runs.some(({ lossPercent }) => lossPercent > LOSS_PERCENT_MAX) ? 'loss' : 'sender';

const pacedBy = (figure: 'paced' | 'pacedGso') => (context: MeasureContext) =>
  withPacedPair(context, async (pair) => {
    const runs: PacedRun[] = [];
    const highest = await searchHighest(LADDER_KPPS, async (kpps) => {
      const run = await pair.run(kpps, context.stepSeconds, figure === 'pacedGso');
      runs.push(run);
      return holds(run);
    });
    return { figures: { [figure]: highest ?? 0 }, details: { limitedBy: limitOf(runs), runs } };
  });

function packetCost(context: MeasureContext): Promise<Measured> {
  const { path, idleCores, seconds } = context;
  return withPacedPair(context, async (pair) => {
    const stop = startCpuCount(path.daemons, idleCores);
    const run = await pair.run(PACKET_COST_KPPS, seconds);
    const { machineSeconds, daemonSeconds } = stop();
    const microsecondsEach = (cpuSeconds: number) => (cpuSeconds * 1e6) / run.deliveredCount;
    const figures: FigureValues = { cpuPerPacket: microsecondsEach(machineSeconds) };
    if (path.daemons !== undefined) figures.cpuPerPacketDaemons = microsecondsEach(daemonSeconds);
    return { figures, details: { run } };
  });
}

async function roundTrips({ testbed, path, pingCount }: MeasureContext): Promise<Measured> {
  const times = await runPing(testbed, path, pingCount);
  return { figures: { rttP50: times.p50Ms, rttP90: times.p90Ms, rttP99: times.p99Ms }, details: { times } };
}

export const MEASUREMENTS: readonly Measurement[] = [
  { name: 'tcp1', groups: ['tcp1', 'cpu'], run: tcp1 },
  { name: 'tcp4', groups: ['tcp4'], run: tcp4 },
  { name: 'udp', groups: ['udp'], run: udp },
  { name: 'paced', groups: ['paced'], run: pacedBy('paced') },
  { name: 'paced-gso', groups: ['pacedGso'], run: pacedBy('pacedGso') },
  { name: 'packet-cost', groups: ['cpu'], run: packetCost },
  { name: 'rtt', groups: ['rtt'], run: roundTrips },
];
