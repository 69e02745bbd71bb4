/** The results for a terminal: medians with their ranges, then ratios. */
import { formatTable } from '../../../src/cli/table.js';
import type { IdleDaemon } from '../measure/idle.js';
import type { Results, Summary } from './results.js';

function summaryText(summary: Summary | undefined, digits: number): string {
  if (summary === undefined) return '-';
  const [middle, min, max] = [summary.median, summary.min, summary.max].map((value) => value.toFixed(digits));
  return min === max ? middle! : `${middle} (${min}-${max})`;
}

/** Three significant digits: 0.055, 0.61, 12.3. */
export function ratioText(ratio: number | undefined): string {
  if (ratio === undefined) return '-';
  return ratio >= 100 ? ratio.toFixed(0) : ratio.toPrecision(ratio < 0.1 ? 2 : 3);
}

export function resultTables(results: Results): string {
  const figures = results.figures();
  const parts: string[] = [];
  if (figures.length > 0) {
    const header = ['median (min-max)', 'unit', ...results.systems.map(({ name }) => name)];
    const rows = figures.map(({ id, title, unit, digits }) => [
      title,
      unit,
      ...results.systems.map(({ name }) => summaryText(results.summary(id, name), digits)),
    ]);
    parts.push(formatTable(header, rows));
  }
  const comparisons = results.comparisons();
  if (figures.length > 0 && comparisons.length > 0) {
    const header = [
      "median of the rounds' ratios",
      'better',
      ...comparisons.map(({ system, baseline }) => `${system} : ${baseline}`),
    ];
    const rows = figures
      .map(({ id, title, better }) => [
        title,
        better,
        ...comparisons.map((comparison) => ratioText(results.ratio(id, comparison))),
      ])
      .filter((row) => row.slice(2).some((cell) => cell !== '-'));
    parts.push(formatTable(header, rows));
  }
  return parts.join('\n');
}

export function idleTable(idle: readonly IdleDaemon[]): string {
  const rows = idle.map(({ system, daemon, networks, percentOfCore }) => [
    `${system} ${daemon}`,
    String(networks),
    percentOfCore.toFixed(2),
  ]);
  return formatTable(['idle daemon', 'networks', '% of a core'], rows);
}
