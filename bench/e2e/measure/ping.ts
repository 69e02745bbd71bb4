/** Round-trip times by ping, one every 5 ms. */

import { percentile } from '../statistics.js';
import type { Path } from '../system.js';
import type { Testbed } from '../topology.js';

const INTERVAL_SECONDS = 0.005;

export interface RoundTrips {
  readonly sentCount: number;
  readonly receivedCount: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
}

/** @param text of iputils' ping. @throws Error if no answer came */
export function parsePing(text: string): RoundTrips {
  const timesMs = [...text.matchAll(/ time=([\d.]+) ms/g)].map((match) => Number(match[1])).sort((a, b) => a - b);
  const sentCount = Number(/^(\d+) packets transmitted/m.exec(text)?.[1] ?? Number.NaN);
  if (timesMs.length === 0 || Number.isNaN(sentCount)) throw new Error(`ping: no answer: ${text.trim().slice(-200)}`);
  return {
    sentCount,
    receivedCount: timesMs.length,
    p50Ms: percentile(timesMs, 50),
    p90Ms: percentile(timesMs, 90),
    p99Ms: percentile(timesMs, 99),
  };
}

export async function runPing(testbed: Testbed, { client, server }: Path, count: number): Promise<RoundTrips> {
  const ping = ['ping', '-n', '-D', '-i', String(INTERVAL_SECONDS), '-c', String(count), '-W', '1', server.address];
  return parsePing(await testbed.run('ip', ['netns', 'exec', client.netns, ...ping], count * 25 + 15_000));
}

/** Until the path answers: addresses resolved, bridge ports open. */
export async function waitForPath(testbed: Testbed, { client, server }: Path): Promise<void> {
  const ping = ['ping', '-n', '-c', '1', '-W', '1', server.address];
  for (let attempt = 1; ; attempt++) {
    try {
      await testbed.run('ip', ['netns', 'exec', client.netns, ...ping]);
      return;
    } catch (error) {
      testbed.signal.throwIfAborted();
      if (attempt === 10)
        throw new Error(`${client.netns} does not reach ${server.address}: ${(error as Error).message}`);
    }
  }
}
