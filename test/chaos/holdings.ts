/** What each vtepd holds, at a quiet point: descriptors by kind, memory, threads, the size of its local copy. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { HostNumber } from './actions.js';
import { nodeName, type World } from './world.js';

export interface Holdings {
  readonly descriptors: Readonly<Record<string, number>>;
  readonly residentBytes: number;
  readonly threads: number;
  readonly stateBytes: number;
}

export function readHoldings(world: World, host: HostNumber): Holdings | undefined {
  const pid = world.pid(nodeName(host));
  if (pid === undefined) return undefined;
  const folder = `/proc/${pid}`;
  const descriptors: Record<string, number> = {};
  for (const number of readdirSync(`${folder}/fd`)) {
    const kind = kindOf(`${folder}/fd/${number}`);
    if (kind !== undefined) descriptors[kind] = (descriptors[kind] ?? 0) + 1;
  }
  const status = readFileSync(`${folder}/status`, 'utf8');
  return {
    descriptors,
    residentBytes: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024,
    threads: Number(/Threads:\s+(\d+)/.exec(status)?.[1]),
    stateBytes: statSync(world.stateFile(host)).size,
  };
}

function kindOf(path: string): string | undefined {
  try {
    const target = readlinkSync(path);
    if (target.startsWith('/dev/net/tun')) return 'tun';
    if (target.startsWith('/')) return 'file';
    return target.replace(/^anon_inode:\[?(\w+)\]?$/, '$1').replace(/:\[\d+\]$/, '');
  } catch {
    return undefined;
  }
}

export interface HoldingsLimits {
  /** Of the first quiet point. */
  readonly baseline: Holdings;
  readonly baselineNetworks: number;
}

const MIB = 1024 * 1024;
/** A heap that grew is not given back at once. */
const RESIDENT_GROWTH_MAX = 96 * MIB;
const STATE_BYTES_MAX = 8 * MIB;
/** Threads of the pool come with its first work. */
const THREADS_GROWTH_MAX = 6;
/** Of each network that is open: a watch of the registry, and names by UDP and TCP. */
const NETWORK_SOCKETS = 3;
/** Connections to the registry that are kept for the next request, and API connections that are closing. */
const SOCKETS_SPARE = 8;

/** @returns what is more than it should be. */
export function checkHoldings(node: string, now: Holdings, openNetworks: number, limits: HoldingsLimits): string[] {
  const { baseline, baselineNetworks } = limits;
  const wrong: string[] = [];
  const limit = (what: string, actual: number, max: number) => {
    if (actual > max) wrong.push(`${node} holds ${actual} ${what}, expected at most ${max}`);
  };
  const more = openNetworks - baselineNetworks;
  const tuns = (baseline.descriptors.tun ?? 0) + more;
  if ((now.descriptors.tun ?? 0) !== tuns)
    wrong.push(`${node} holds ${now.descriptors.tun ?? 0} TAP descriptors, expected ${tuns}`);
  for (const [kind, count] of Object.entries(now.descriptors)) {
    if (kind === 'tun') continue;
    const spare = kind === 'socket' ? Math.max(0, more) * NETWORK_SOCKETS + SOCKETS_SPARE : 0;
    limit(`descriptors of kind ${kind}`, count, (baseline.descriptors[kind] ?? 0) + spare);
  }
  limit('bytes of memory', now.residentBytes, baseline.residentBytes + RESIDENT_GROWTH_MAX);
  limit('threads', now.threads, baseline.threads + THREADS_GROWTH_MAX);
  limit('bytes of local copy', now.stateBytes, STATE_BYTES_MAX);
  return wrong;
}

export function describeHoldings(node: string, { descriptors, residentBytes, threads, stateBytes }: Holdings): string {
  const kinds = Object.entries(descriptors)
    .sort()
    .map(([kind, count]) => `${kind} ${count}`);
  const sizes = `${Math.round(residentBytes / MIB)} MiB, ${threads} threads, local copy ${Math.round(stateBytes / 1024)} KiB`;
  return `${node}: ${sizes}, descriptors: ${kinds.join(', ')}`;
}
