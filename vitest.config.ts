import { defineConfig } from 'vitest/config';

// The tests make network namespaces and load both cores: files run one after another, so that none disturbs another.
export default defineConfig({
  test: { include: ['test/**/*.test.ts'], fileParallelism: false, testTimeout: 60_000, hookTimeout: 120_000 },
});
