/**
 * A ping every 10 ms between two containers whose hosts are spared: whatever happens to the registry and to other hosts
 * meanwhile, it must lose nothing. Each host has one such container; they are attached for the whole run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostNumber } from './actions.js';
import type { World } from './world.js';

export const BEACON_NETWORK = 'beacon';
/** What may still be under way when the pings are stopped: half a second. */
const IN_FLIGHT_MAX = 50;

export function beaconContainer(host: HostNumber): string {
  return `b${host}`;
}

export interface BeaconResult {
  readonly sent: number;
  /** Sequence numbers. */
  readonly lost: readonly number[];
  readonly duplicates: number;
}

let pingCount = 0;

export class Beacon {
  readonly #world: World;
  readonly #name: string;
  readonly description: string;

  constructor(world: World, from: HostNumber, to: HostNumber, address: string) {
    pingCount++;
    this.#world = world;
    this.#name = `ping-${pingCount}`;
    this.description = `${beaconContainer(from)} to ${beaconContainer(to)} (${this.#name}.log)`;
    world.spawn(this.#name, beaconContainer(from), 'ping', '-n', '-D', '-i', '0.01', address);
  }

  async stop(): Promise<BeaconResult> {
    await this.#world.end(this.#name, 'SIGINT');
    return readPings(readFileSync(join(this.#world.folder, `${this.#name}.log`), 'utf8'));
  }
}

/** Of ping's own words. Sequence numbers have 16 bits and go round. */
export function readPings(text: string): BeaconResult {
  const sent = Number(/(\d+) packets transmitted/.exec(text)?.[1] ?? 0);
  const answered = new Set<number>();
  let duplicates = 0;
  let last = 0;
  for (const [line, digits] of text.matchAll(/^.*icmp_seq=(\d+) ttl=.*$/gm)) {
    if (line.includes('DUP!')) {
      duplicates++;
      continue;
    }
    const step = (((Number(digits) - last + 32_768) & 0xffff) - 32_768) | 0;
    last += step;
    answered.add(last);
  }
  const lost: number[] = [];
  for (let sequence = 1; sequence <= sent - IN_FLIGHT_MAX; sequence++) if (!answered.has(sequence)) lost.push(sequence);
  return { sent, lost, duplicates };
}
