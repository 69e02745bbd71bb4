/**
 * What a change costs Consul when every host watches: as many blocking queries of nodes/ as there are simulated hosts, and
 * the time until the last of them has its answer. In the ways that Consul's KV API offers; vtepd uses the last.
 */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCpuCount } from '../e2e/measure/cpu.js';
import { percentile } from '../e2e/statistics.js';
import type { Population } from './population.js';
import type { SimulatedHosts } from './simulated-hosts.js';

interface Way {
  readonly way: string;
  readonly path: string;
  readonly isCompressed: boolean;
  /** What is asked next, one after the other, until the change is known. */
  readonly next?: (host: string) => readonly string[];
  /** What is asked some tenths of a second later. */
  readonly later?: string;
}

const BELL = 'nodes?keys&separator=/';
const WAYS: readonly Way[] = [
  { way: 'whole listing', path: 'nodes/?recurse', isCompressed: false },
  { way: 'whole listing, compressed', path: 'nodes/?recurse', isCompressed: true },
  { way: 'keys only, compressed', path: 'nodes/?keys', isCompressed: true },
  { way: 'folded to one key: news, not what', path: BELL, isCompressed: false },
  {
    ...{ way: 'that, journal, key; names later: vtepd', path: BELL, isCompressed: true },
    next: (host) => ['journal/nodes?', `nodes/${host}?`],
    later: 'nodes/?keys',
  },
];
const LATER_MS = { min: 200, max: 500 };
/** Until all queries wait at Consul. */
const GATHER_MS = 2500;

export interface Watching {
  readonly way: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly bodyBytes: number;
  readonly consulCpuMs: number;
}

export interface WatchersInput {
  readonly socketPath: string;
  readonly consulPid: number;
  readonly count: number;
  readonly population: Population;
  readonly hosts: SimulatedHosts;
}

/** A host joins and goes for each way. Nothing else may write meanwhile. */
export async function measureWatchers(input: WatchersInput): Promise<Watching[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  const ask = (path: string, isCompressed: boolean) =>
    new Promise<{ bytes: number; index: string }>((resolve, reject) => {
      const headers = isCompressed ? { 'accept-encoding': 'gzip' } : {};
      const options = { socketPath: input.socketPath, agent, path: `/v1/kv/vtep/v1/${path}`, headers };
      const sent = request(options, (response) => {
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode === 200) resolve({ bytes, index: String(response.headers['x-consul-index']) });
          else reject(new Error(`Consul answered a watcher with ${response.statusCode}`));
        });
      });
      sent.on('error', reject);
      sent.end();
    });
  const results: Watching[] = [];
  try {
    for (const { way, path, isCompressed, next, later } of WAYS) {
      const { index } = await ask(path, isCompressed);
      const host = input.population.addHost();
      await input.hosts.openSession(host);
      const timesMs: number[] = [];
      let bodyBytes = 0;
      let begunMs = 0;
      const watching = Array.from({ length: input.count }, async () => {
        const count = async (asked: string) => {
          const { bytes } = await ask(asked, isCompressed);
          bodyBytes += bytes;
        };
        await count(`${path}&index=${index}&wait=60s`);
        for (const asked of next?.(host.name) ?? []) await count(asked);
        timesMs.push(performance.now() - begunMs);
        if (later === undefined) return;
        await sleep(LATER_MS.min + Math.random() * (LATER_MS.max - LATER_MS.min));
        await count(later);
      });
      await sleep(GATHER_MS);
      const end = startCpuCount([{ name: 'consul', pid: input.consulPid }]);
      begunMs = performance.now();
      await input.hosts.write(input.hosts.operationsOf(host));
      await Promise.all(watching);
      const consulCpuMs = 1000 * end().daemonSeconds;
      timesMs.sort((a, b) => a - b);
      results.push({ way, p50Ms: percentile(timesMs, 50), p99Ms: percentile(timesMs, 99), bodyBytes, consulCpuMs });
      await input.hosts.endSession(host);
      input.population.hosts.pop();
    }
  } finally {
    agent.destroy();
  }
  return results;
}
