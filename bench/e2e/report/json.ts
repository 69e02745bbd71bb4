/** The results for programs. */
import { FIGURES } from '../figures.js';
import type { IdleDaemon } from '../measure/idle.js';
import type { BenchOptions } from '../options.js';
import type { MachineFacts } from './facts.js';
import type { Results } from './results.js';

export function reportJson(
  machine: MachineFacts,
  options: BenchOptions,
  results: Results,
  idle: readonly IdleDaemon[],
): string {
  const names = results.systems.map(({ name }) => name);
  const figures = results.figures().map(({ id }) => {
    const { title, unit, better } = FIGURES.find((figure) => figure.id === id)!;
    const systems = names.flatMap((name) => {
      const summary = results.summary(id, name);
      // A round without a sample is null.
      return summary === undefined ? [] : [[name, { ...summary, samples: results.samples(id, name) }] as const];
    });
    const ratios = results
      .comparisons()
      .map((comparison) => ({ ...comparison, ratio: results.ratio(id, comparison) }))
      .filter(({ ratio }) => ratio !== undefined);
    return [id, { title, unit, better, systems: Object.fromEntries(systems), ratios }] as const;
  });
  const report = {
    machine,
    options,
    systems: results.systems.map(({ name, label }) => ({ name, label })),
    figures: Object.fromEntries(figures),
    idle,
    failures: results.failures,
    disturbed: results.disturbances,
    details: results.details,
  };
  return `${JSON.stringify(report, null, 2)}\n`;
}
