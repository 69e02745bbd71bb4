/** The figures as JSON and as tables. */
import { formatTable } from '../../src/cli/table.js';
import type { MachineFacts } from '../e2e/report/facts.js';
import { median, percentile } from '../e2e/statistics.js';
import { KINDS } from './changes.js';
import type { Attached, Memory } from './ground.js';
import type { Arrived, Cost, Idle, Load } from './measure.js';
import type { ScaleOptions } from './options.js';
import type { Watching } from './watchers.js';

export interface Figures {
  readonly machine: MachineFacts;
  readonly consulVersion: string;
  readonly options: ScaleOptions;
  /** Filling the registry with the simulated hosts. */
  readonly fillSeconds: number;
  readonly memory: { readonly empty: Memory; readonly full: Memory; readonly end: Memory };
  readonly attached: readonly Attached[];
  readonly tableEntries: number;
  readonly idle: Idle;
  readonly arrived: readonly Arrived[];
  readonly costs: readonly Cost[];
  readonly load: Load;
  /** From the start of the process until all is in the tables. */
  readonly coldStartMs: number;
  readonly warmStartMs: number;
  /** As many watchers of nodes/ as there are hosts, when one more joins. */
  readonly watchers: readonly Watching[];
  /** Kinds of changes that did not arrive. */
  readonly missing: readonly string[];
}

interface KindSummary {
  readonly count: number;
  readonly latencyMs?: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly bytes?: number;
  readonly vtepdCpuMs?: number;
  readonly consulCpuMs?: number;
}

function latencies(arrived: readonly Arrived[]) {
  const sorted = arrived.flatMap(({ milliseconds }) => milliseconds ?? []).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  return { p50: percentile(sorted, 50), p99: percentile(sorted, 99), max: sorted.at(-1)! };
}

/** Costs are medians: what else happens on the machine falls on a few windows. */
export function summarize(kind: string, arrived: readonly Arrived[], costs: readonly Cost[]): KindSummary {
  const own = costs.filter((cost) => cost.kind === kind);
  const middle = (value: (cost: Cost) => number) => median(own.map(value));
  const summary = {
    count: own.length,
    latencyMs: latencies(arrived.filter((one) => one.kind === kind)),
    bytes: middle(({ bytes }) => bytes),
    vtepdCpuMs: middle(({ vtepdCpuMs }) => vtepdCpuMs),
    consulCpuMs: middle(({ consulCpuMs }) => consulCpuMs),
  };
  return Object.fromEntries(
    Object.entries(summary).filter(([, value]) => value !== undefined),
  ) as unknown as KindSummary;
}

export function reportJson(figures: Figures): string {
  const { arrived, costs, load, attached, ...rest } = figures;
  const kinds = Object.fromEntries(KINDS.map((kind) => [kind, summarize(kind, arrived, costs)]));
  const { arrived: underLoad, ...loadRest } = load;
  const attachMs = attached.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b);
  const report = {
    ...rest,
    attachMs: { p50: percentile(attachMs, 50), max: attachMs.at(-1) },
    latencyMs: latencies(arrived),
    kinds,
    load: { ...loadRest, changes: underLoad.length, latencyMs: latencies(underLoad) },
  };
  return `${JSON.stringify(report, null, 2)}\n`;
}

const ms = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(value < 10 ? 1 : 0));
const megabytes = ({ residentBytes }: Memory) => `${(residentBytes / 1e6).toFixed(0)} MB`;

export function reportTables(figures: Figures): string {
  const { arrived, costs, load, memory, attached, idle } = figures;
  const header = ['change', 'p50 ms', 'p99 ms', 'bytes', 'CPU ms vtepd', 'CPU ms Consul'];
  const rows = KINDS.map((kind) => {
    const { latencyMs, bytes, vtepdCpuMs, consulCpuMs } = summarize(kind, arrived, costs);
    return [kind, ms(latencyMs?.p50), ms(latencyMs?.p99), bytes?.toFixed(0) ?? '-', ms(vtepdCpuMs), ms(consulCpuMs)];
  });
  const all = latencies([...arrived, ...load.arrived]);
  const loaded = latencies(load.arrived);
  const attachMs = attached.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b);
  const facts = [
    ['all changes, p50 / p99 / max', `${ms(all?.p50)} / ${ms(all?.p99)} / ${ms(all?.max)} ms`],
    [
      `${load.arrived.length} changes at ${figures.options.rate}/s, p50 / p99 / max`,
      `${ms(loaded?.p50)} / ${ms(loaded?.p99)} / ${ms(loaded?.max)} ms`,
    ],
    ['  bytes a change', load.bytesPerChange.toFixed(0)],
    ['  cores of vtepd (polled) / Consul', `${load.vtepdCores.toFixed(2)} / ${load.consulCores.toFixed(2)}`],
    [
      'resident, registry empty / full / at the end',
      [memory.empty, memory.full, memory.end].map(megabytes).join(' / '),
    ],
    ['entries in the FDB from other hosts', String(figures.tableEntries)],
    [
      'start to full tables, from the registry / the local copy',
      `${ms(figures.coldStartMs)} / ${ms(figures.warmStartMs)} ms`,
    ],
    [
      `attach in the full system, p50 / max of ${attached.length}`,
      `${ms(percentile(attachMs, 50))} / ${ms(attachMs.at(-1))} ms`,
    ],
    [
      'idle: bytes/s, cores of vtepd / Consul',
      `${idle.bytesPerSecond.toFixed(0)}, ${idle.vtepdCores.toFixed(4)} / ${idle.consulCores.toFixed(4)}`,
    ],
    ['filling the registry', `${figures.fillSeconds.toFixed(1)} s`],
  ];
  const watcherRows = figures.watchers.map(({ way, p50Ms, p99Ms, bodyBytes, consulCpuMs }) => [
    ...[way, ms(p50Ms), ms(p99Ms), (bodyBytes / 1e6).toFixed(2), ms(consulCpuMs)],
  ]);
  const watcherHeader = [`a node joins, ${figures.options.hosts} watchers`, 'p50 ms', 'p99 ms', 'MB', 'CPU ms Consul'];
  return [
    formatTable(header, rows),
    formatTable(['measured', 'value'], facts),
    formatTable(watcherHeader, watcherRows),
  ].join('\n');
}
