/** The CPU time of daemons that hold networks and carry nothing. */
import type { Path } from '../system.js';
import { measureIdleDaemons } from './cpu.js';

export const IDLE_NETWORKS = 10;

export interface IdleDaemon {
  readonly system: string;
  readonly daemon: string;
  readonly networks: number;
  readonly percentOfCore: number;
}

/** Of the systems whose daemons can hold more networks; others have none to measure. */
export async function measureIdle(
  paths: ReadonlyMap<string, Path>,
  seconds: number,
  settle: () => Promise<void>,
): Promise<IdleDaemon[]> {
  const found: IdleDaemon[] = [];
  for (const [system, path] of paths) {
    if (path.daemons === undefined || path.growNetworks === undefined) continue;
    await path.growNetworks(IDLE_NETWORKS);
    await settle();
    for (const { name, percentOfCore } of await measureIdleDaemons(path.daemons, seconds)) {
      found.push({ system, daemon: name, networks: IDLE_NETWORKS, percentOfCore });
    }
  }
  return found;
}
