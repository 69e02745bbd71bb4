/** What a reader must know of the machine to judge the figures. */
import { cpus, release } from 'node:os';

export interface MachineFacts {
  readonly date: string;
  readonly coreCount: number;
  readonly cpuModel: string;
  readonly kernel: string;
  readonly node: string;
}

export function machineFacts(): MachineFacts {
  const cores = cpus();
  return {
    date: new Date().toISOString(),
    coreCount: cores.length,
    cpuModel: cores[0]?.model.trim() ?? 'unknown',
    kernel: release(),
    node: process.versions.node,
  };
}

export const factsLine = ({ coreCount, cpuModel, kernel, node, date }: MachineFacts): string =>
  `${coreCount} cores (${cpuModel}), Linux ${kernel}, Node ${node}, ${date.slice(0, 10)}`;
