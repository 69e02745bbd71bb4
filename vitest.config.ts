import { defineConfig } from 'vitest/config';

/**
 * Most files wait more than they work (for a TTL, an election, a process), so four run at a time. Those that measure
 * something of the machine, or load it, run alone and after the others.
 */
const ALONE = [
  'test/alloc/**/*.test.ts',
  'test/chaos/**/*.test.ts',
  'test/dataplane/memory.test.ts',
  'test/e2e/idle.test.ts',
  'test/e2e/live-restore.test.ts',
  'test/e2e/soak.test.ts',
  'test/e2e/workers.test.ts',
  'test/hostile/flood.test.ts',
  'test/shared/fdb-race.test.ts',
];

const limits = { testTimeout: 60_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...{ name: 'side by side', include: ['test/**/*.test.ts'], exclude: ALONE, maxWorkers: 4, ...limits },
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...{ name: 'alone', include: ALONE, maxWorkers: 1, fileParallelism: false, ...limits },
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
