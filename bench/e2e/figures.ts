/** What is measured: the groups that `--only` names, and the figures of each. */

export const GROUPS = ['tcp1', 'tcp4', 'udp', 'paced', 'pacedGso', 'rtt', 'cpu', 'idle'] as const;
export type Group = (typeof GROUPS)[number];

export interface Figure {
  readonly id: string;
  readonly group: Group;
  readonly title: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  readonly digits: number;
  /** Has a place in the chart. */
  readonly charted: boolean;
}

const figure = (
  id: string,
  group: Group,
  title: string,
  unit: string,
  better: Figure['better'],
  digits: number,
  charted = true,
): Figure => ({ id, group, title, unit, better, digits, charted });

export const FIGURES: readonly Figure[] = [
  figure('tcp1', 'tcp1', 'TCP, 1 stream', 'Gbit/s', 'higher', 2),
  figure('tcp4', 'tcp4', 'TCP, 4 streams', 'Gbit/s', 'higher', 2),
  figure('udp', 'udp', '64-byte UDP, unlimited sender, delivered', 'kpps', 'higher', 0),
  figure('paced', 'paced', '64-byte UDP, highest paced rate under 1 % loss', 'kpps', 'higher', 0),
  figure('pacedGso', 'pacedGso', 'the same, sender with UDP_SEGMENT', 'kpps', 'higher', 0),
  figure('rttP50', 'rtt', 'Round trip p50, ping every 5 ms', 'ms', 'lower', 3),
  figure('rttP90', 'rtt', 'Round trip p90, ping every 5 ms', 'ms', 'lower', 3, false),
  figure('rttP99', 'rtt', 'Round trip p99, ping every 5 ms', 'ms', 'lower', 3),
  figure('cpuPerGb', 'cpu', 'CPU, whole machine, TCP 1 stream', 's/GB', 'lower', 3),
  figure('cpuPerGbDaemons', 'cpu', 'CPU, daemons alone, TCP 1 stream', 's/GB', 'lower', 3, false),
  figure('cpuPerPacket', 'cpu', 'CPU, whole machine, per 64-byte packet', 'µs', 'lower', 2),
  figure('cpuPerPacketDaemons', 'cpu', 'CPU, daemons alone, per 64-byte packet', 'µs', 'lower', 2, false),
];

/** By the figure's id. */
export type FigureValues = Record<string, number>;
