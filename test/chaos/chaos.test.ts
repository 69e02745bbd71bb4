/**
 * A chaos run in short: three hosts, a fixed seed, two quiet points. `npm run soak` goes on for as long as it is told
 * (docs/testing.md).
 */
import { expect, it } from 'vitest';
import { runChaos } from './run.js';

const SEED = 8260;

it('leaves registry, hosts, kernel and containers as they should be', async () => {
  const result = await runChaos({ seed: SEED, hosts: 3, every: 14, actionsMax: 28 });
  expect(result.violations, result.report).toEqual([]);
  expect(result.quietPoints).toBeGreaterThanOrEqual(3);
  expect(result.pings).toBeGreaterThan(100);
}, 400_000); // Each quiet point waits for as long as it may take.
