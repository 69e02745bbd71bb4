/** The limit of what a network learns: it holds, is counted, and is told once for each time that it is reached. */
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { LearningLimit } from '../../src/control/learning-limit.js';

it('admits up to the limit, counts what it refuses, and says so once until there was room', () => {
  const lines: string[] = [];
  const limit = new LearningLimit(pino({}, { write: (line: string) => void lines.push(JSON.parse(line).msg) }));
  const ask = (learnt: number, macsMax = 10) => limit.admits('blue', learnt, macsMax);
  expect([ask(0), ask(9), ask(10), ask(11), ask(10)]).toEqual([true, true, false, false, false]);
  expect([limit.refused, lines.length]).toEqual([3, 1]);
  expect(lines[0]).toContain('"blue" learns no more MACs: it has learnt the 10 MACs that it may');
  // One that has aged is no reason to tell of it again.
  expect([ask(9), ask(10), lines.length]).toEqual([true, false, 1]);
  expect([ask(5), ask(10), lines.length]).toEqual([true, false, 2]);
  expect(ask(1_000_000, 0)).toBe(true);
  limit.refuse('blue', 'the FDB is full');
  expect([limit.refused, lines.length]).toEqual([6, 2]);
});
