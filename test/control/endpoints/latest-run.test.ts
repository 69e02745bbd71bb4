/** Requests that pile up while the job runs give one more run, and none is forgotten. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LatestRun } from '../../../src/control/endpoints/latest-run.js';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

it('runs once more for many requests during a run', async () => {
  let runs = 0;
  let release = () => {};
  const latest = new LatestRun(async () => {
    runs++;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  for (let count = 0; count < 100; count++) latest.request();
  expect(runs).toBe(1);
  latest.request();
  release();
  await turn();
  expect(runs).toBe(2);
  release();
  await latest.idle();
  expect(runs).toBe(2);
});

it('begins a run after every request, and never two at once', async () => {
  const gaps = fc.array(fc.nat(4), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(gaps, fc.nat(3), async (turnsBetween, jobTurns) => {
      let state = 0;
      let seen = 0;
      let active = 0;
      const latest = new LatestRun(async () => {
        expect(++active).toBe(1);
        seen = state;
        for (let count = 0; count < jobTurns; count++) await turn();
        active--;
      });
      for (const count of turnsBetween) {
        state++;
        latest.request();
        for (let passed = 0; passed < count; passed++) await turn();
      }
      await latest.idle();
      expect(seen).toBe(state);
    }),
  );
});
