/** The table of the comparison with Docker's own overlay: medians, and the rounds' own ratios. */
import { expect, it } from 'vitest';
import type { Driver } from '../../bench/docker-overlay/measure.js';
import { reportTable } from '../../bench/docker-overlay/report.js';

const OVERLAY: Driver = { name: 'overlay', label: "Docker's overlay", driver: 'overlay' };
const VTEP: Driver = { name: 'vtep', label: 'vtep', driver: 'vtep' };

it('has medians of each driver, and the median of the ratios of rounds that slowed both', () => {
  const rounds = new Map([
    [
      'overlay',
      [
        { start: 0.5, tcp1: 10 },
        { start: 2, tcp1: 20 },
        { start: 1, tcp1: 10 },
      ],
    ],
    [
      'vtep',
      [
        { start: 1, tcp1: 5 },
        { start: 4, tcp1: 8 },
        { start: 1, tcp1: 5 },
      ],
    ],
  ]);
  const lines = reportTable([OVERLAY, VTEP], rounds, OVERLAY).split('\n');
  expect(lines[0]).toBe("|  | Docker's overlay | vtep | ratio, vtep |");
  expect(lines).toContain('| `docker run` to first ping across | 1.00 s | 1.00 s | 2.00 |');
  expect(lines).toContain('| TCP, 1 stream | 10.00 Gbit/s | 5.00 Gbit/s | 0.50 |');
  expect(lines.at(-1)).toMatch(/TCP, 4 streams \| - Gbit/);
});
