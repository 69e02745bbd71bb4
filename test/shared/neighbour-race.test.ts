/**
 * The neighbour table with a reader and a writer that really run at the same time. Each address always has the same MAC, so
 * whatever a reader finds under it must be that MAC or nothing: a torn or shifted slot would show another one. Addresses
 * that are never removed must be found, but for the rare reading that gives up beside a busy writer.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { NEIGHBOUR_REMOTE, neighbourBytes } from '../../src/shared/neighbour-table.js';
import { NeighbourWriter } from '../../src/shared/writers/neighbour-writer.js';

const BUILT_TABLE = new URL('../../dist/shared/neighbour-table.js', import.meta.url);
/** 16 slots, nearly full: each removal shifts others back, also round the end. */
const ADDRESS_COUNT = 12;
const CHANGES_MIN = 20_000;

const READER = `
const { parentPort, workerData } = require('node:worker_threads');
import(workerData.module).then(({ FAMILY_IPV6, NeighbourTable, neighbourScope }) => {
  const scope = neighbourScope(1, FAMILY_IPV6);
  const table = new NeighbourTable(workerData.buffer);
  const stop = new Int32Array(workerData.stop);
  let reads = 0, wrong = 0, keptReads = 0, keptMisses = 0;
  parentPort.postMessage('ready');
  while (Atomics.load(stop, 0) === 0) {
    for (let i = 0; i < workerData.count; i++) {
      const value = table.lookup(i, i, i, i, scope);
      reads++;
      if (value !== 0 && (table.macLow !== i || table.macHigh16 !== i)) wrong++;
      if (i % 2 === 0) {
        keptReads++;
        if (value === 0) keptMisses++;
      }
    }
  }
  parentPort.postMessage({ reads, wrong, keptReads, keptMisses });
});`;

it("never gives a reader another address's MAC while slots move", async () => {
  expect(existsSync(BUILT_TABLE), 'dist is missing: npm run build').toBe(true);
  const buffer = new SharedArrayBuffer(neighbourBytes(ADDRESS_COUNT));
  const stop = new SharedArrayBuffer(4);
  const writer = new NeighbourWriter(buffer);
  // IPv6: four words that are all the index.
  const addressOf = (i: number) => Uint8Array.from({ length: 16 }, (_, at) => (at % 4 === 3 ? i : 0));
  const set = (i: number) =>
    writer.set(1, addressOf(i), { macLow: i, macHigh16: i, kind: NEIGHBOUR_REMOTE, router: false });
  for (let i = 0; i < ADDRESS_COUNT; i++) set(i);
  const workerData = { module: BUILT_TABLE.href, buffer, stop, count: ADDRESS_COUNT };
  const reader = new Worker(READER, { eval: true, workerData });
  await once(reader, 'message');
  const endsAt = performance.now() + 500;
  let changes = 0;
  while (performance.now() < endsAt || changes < CHANGES_MIN) {
    for (let i = 1; i < ADDRESS_COUNT; i += 2) writer.remove(1, addressOf(i));
    for (let i = 1; i < ADDRESS_COUNT; i += 2) set(i);
    changes += ADDRESS_COUNT;
  }
  const result = once(reader, 'message');
  Atomics.store(new Int32Array(stop), 0, 1);
  const [{ reads, wrong, keptReads, keptMisses }] = (await result) as [Record<string, number>];
  expect(reads).toBeGreaterThan(1000);
  expect(wrong).toBe(0);
  expect((keptMisses as number) / (keptReads as number)).toBeLessThan(0.2);
});
