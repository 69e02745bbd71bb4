/** A worker's warm-up moves frames both ways over each family of the underlay, in tables of its own; a failure would be silent. */
import { expect, it } from 'vitest';
import { makeWarmUpTables } from '../../src/control/warm-up-tables.js';
import { makeArena } from '../../src/dataplane/context.js';
import { warmUp } from '../../src/dataplane/warm-up.js';
import { Counters, DECAP_FRAMES, ENCAP_FRAMES, NETWORK_COUNTERS } from '../../src/shared/counters.js';
import { allocateTables } from '../../src/shared/tables.js';
import { ALL_OFFLOADS, NO_OFFLOADS } from './harness.js';

it.each([
  [[4], ALL_OFFLOADS],
  [[6], NO_OFFLOADS],
  [[4, 6], ALL_OFFLOADS],
] as const)('of IPv%j', (families, offloads) => {
  const underlay = families.map((family) => ({ family, rxFd: -1, txFds: [-1, -1] }));
  const ends = { epollFd: -1, wakeFd: -1, underlay };
  const input = { workerIndex: 0, tables: allocateTables(1), ...ends, offloads, spinMicroseconds: 0, nice: 0 };
  const tables = makeWarmUpTables(families);
  expect(tables.paths.map(({ family }) => family)).toEqual(families);
  warmUp(input, tables, makeArena(input));
  const { cells } = new Counters(tables.tables.counters[0] as SharedArrayBuffer);
  for (const { networkIndex } of tables.paths) {
    const at = networkIndex * NETWORK_COUNTERS;
    expect(cells[at + ENCAP_FRAMES]).toBeGreaterThan(100);
    expect(cells[at + DECAP_FRAMES]).toBeGreaterThan(100);
  }
});
