/** The samples of a run, by figure and system, one a round; and what is told of them. */
import { FIGURES, type Figure } from '../figures.js';
import { median, medianRatio, range, type Sample } from '../statistics.js';
import type { System } from '../system.js';

export interface Failure {
  readonly round: number;
  readonly system: string;
  readonly measurement: string;
  readonly reason: string;
}

/** Other processes used so much of the CPUs during a measurement that its figures are in doubt. */
export interface Disturbance {
  readonly round: number;
  readonly system: string;
  readonly measurement: string;
  readonly foreignCores: number;
}

export interface Comparison {
  readonly system: string;
  readonly baseline: string;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export class Results {
  readonly systems: readonly System[];
  readonly failures: Failure[] = [];
  readonly disturbances: Disturbance[] = [];
  readonly details: { round: number; system: string; measurement: string; [key: string]: unknown }[] = [];
  readonly #samples = new Map<string, Sample[]>();

  constructor(systems: readonly System[]) {
    this.systems = systems;
  }

  /** @param round from 1 */
  add(figureId: string, system: string, round: number, value: number): void {
    const key = `${figureId} ${system}`;
    const samples = this.#samples.get(key) ?? [];
    samples[round - 1] = value;
    this.#samples.set(key, samples);
  }

  /** By round; undefined where one gave none. */
  samples(figureId: string, system: string): Sample[] {
    return Array.from(this.#samples.get(`${figureId} ${system}`) ?? []);
  }

  /** The figures that at least one system has, in their order. */
  figures(): Figure[] {
    return FIGURES.filter(({ id }) => this.systems.some(({ name }) => this.summary(id, name) !== undefined));
  }

  summary(figureId: string, system: string): Summary | undefined {
    const samples = this.samples(figureId, system);
    const middle = median(samples);
    const ends = range(samples);
    return middle === undefined || ends === undefined ? undefined : { median: middle, ...ends };
  }

  /** Each system with the systems that it is compared with, as far as both took part. */
  comparisons(): Comparison[] {
    const names = this.systems.map(({ name }) => name);
    return this.systems.flatMap(({ name, comparedWith = [] }) =>
      comparedWith.filter((baseline) => names.includes(baseline)).map((baseline) => ({ system: name, baseline })),
    );
  }

  ratio(figureId: string, { system, baseline }: Comparison): Sample {
    return medianRatio(this.samples(figureId, system), this.samples(figureId, baseline));
  }
}
