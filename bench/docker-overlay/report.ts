/** The figures of the rounds as a table: medians of each driver, and medians of the rounds' own ratios. */
import { median, medianRatio } from '../e2e/statistics.js';
import { type Driver, FIGURES, type Sample } from './measure.js';

/** One list of rounds for each driver, by its name. @param baseline the driver that the others are divided by */
export function reportTable(
  drivers: readonly Driver[],
  rounds: ReadonlyMap<string, readonly Sample[]>,
  baseline: Driver,
): string {
  const others = drivers.filter(({ name }) => name !== baseline.name);
  const head = ['', ...drivers.map(({ label }) => label), ...others.map(({ label }) => `ratio, ${label}`)];
  const rows = FIGURES.map(({ id, title, unit, digits }) => {
    const samples = ({ name }: Driver) => (rounds.get(name) ?? []).map((sample) => sample[id]);
    const medians = drivers.map((driver) => `${median(samples(driver))?.toFixed(digits) ?? '-'} ${unit}`);
    const ratios = others.map((driver) => medianRatio(samples(driver), samples(baseline))?.toFixed(2) ?? '-');
    return [title, ...medians, ...ratios];
  });
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
