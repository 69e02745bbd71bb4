/** Medians, percentiles, ratios. A sample is undefined where a round gave none. */

export type Sample = number | undefined;

const present = (samples: readonly Sample[]): number[] =>
  samples.filter((sample) => sample !== undefined).sort((a, b) => a - b);

/** Of the present ones; undefined if there is none. */
export function median(samples: readonly Sample[]): Sample {
  const sorted = present(samples);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return undefined;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function range(samples: readonly Sample[]): { min: number; max: number } | undefined {
  const sorted = present(samples);
  return sorted.length === 0 ? undefined : { min: sorted[0]!, max: sorted.at(-1)! };
}

/** Nearest rank, of ascending values. */
export function percentile(sorted: readonly number[], percent: number): number {
  if (sorted.length === 0) throw new RangeError('a percentile of nothing');
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}

/**
 * The median of the rounds' own ratios, not the ratio of the medians: both figures of a round were taken within a
 * minute, so what slows the machine for a while slows both.
 */
export function medianRatio(samples: readonly Sample[], baseline: readonly Sample[]): Sample {
  return median(
    samples.map((sample, round) => {
      const base = baseline[round];
      return sample === undefined || base === undefined || base === 0 ? undefined : sample / base;
    }),
  );
}
