/** When a missing node is believed gone: each kind of incident, and two laws over random schedules. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AbsenceJudge, type NodesReading } from '../../../src/control/reconcile/absence-judge.js';

const OPTIONS = { holdMs: 30_000, settleMs: 250, windowMs: 10_000 };
const NEVER = Number.POSITIVE_INFINITY;

function reading(atMs: number, changes: Partial<NodesReading> = {}): NodesReading {
  return { atMs, index: 10, ownHolder: 's1', others: 5, vanished: 0, ...changes };
}

/** One that has seen a healthy registry for a minute. */
function healthy(): AbsenceJudge {
  const judge = new AbsenceJudge(OPTIONS);
  judge.noteReading(reading(0));
  judge.noteReading(reading(60_000));
  return judge;
}

const T = 100_000;

describe('AbsenceJudge', () => {
  it.each<[string, Partial<NodesReading>]>([
    ['one of five', { others: 4, vanished: 1 }],
    ['the only other one', { others: 0, vanished: 1 }],
    ['two of five at once', { others: 3, vanished: 2 }],
    ['one while the index goes on', { others: 4, vanished: 1, index: 11 }],
  ])('believes lone deaths after the settle time: %s', (_, changes) => {
    const judge = healthy();
    expect(judge.noteReading(reading(T, changes))).toBeUndefined();
    expect(judge.believedAtMs(T)).toBe(T + OPTIONS.settleMs);
  });

  it.each<[string, Partial<NodesReading>]>([
    ['own key missing', { ownHolder: undefined, others: 4, vanished: 1 }],
    ['own key made anew', { ownHolder: 's2', others: 4, vanished: 1 }],
    ['index backwards', { index: 9, others: 4, vanished: 1 }],
    ['most at once', { others: 2, vanished: 3 }],
    ['both of two', { others: 0, vanished: 2 }],
  ])('holds a mass loss: %s', (_, changes) => {
    const judge = healthy();
    expect(judge.noteReading(reading(T, changes))).toBeTypeOf('string');
    expect(judge.believedAtMs(T)).toBe(T + OPTIONS.holdMs);
    // Seen a moment before, by another query.
    expect(judge.believedAtMs(T - 100)).toBe(T + OPTIONS.holdMs);
    // The registry is well again.
    judge.noteReading(reading(T + 5000, { ...changes, index: 12, ownHolder: changes.ownHolder ?? 's1', vanished: 0 }));
    expect(judge.believedAtMs(T + 5000 + 1)).toBe(T + 5000 + 1 + OPTIONS.settleMs);
  });

  it('counts those that vanish within the window together, and forgets them after it', () => {
    const judge = healthy();
    expect(judge.noteReading(reading(T, { others: 4, vanished: 1 }))).toBeUndefined();
    expect(judge.noteReading(reading(T + 3000, { others: 3, vanished: 1 }))).toBeUndefined();
    expect(judge.noteReading(reading(T + 6000, { others: 2, vanished: 1 }))).toBeDefined();
    expect(judge.believedAtMs(T + 3000)).toBe(T + 6000 + OPTIONS.holdMs);
    const slow = healthy();
    for (let i = 0; i < 5; i++) {
      expect(slow.noteReading(reading(T + i * 11_000, { others: 4 - i, vanished: 1 }))).toBeUndefined();
    }
  });

  it('believes nothing while it is blind, and holds what the next reading lacks', () => {
    const judge = healthy();
    judge.noteFailure();
    expect(judge.isBlind).toBe(true);
    expect(judge.believedAtMs(T)).toBe(NEVER);
    expect(judge.noteReading(reading(T + 1000, { others: 4, vanished: 1 }))).toBe('the registry was away');
    expect(judge.believedAtMs(T + 1000)).toBe(T + 1000 + OPTIONS.holdMs);
    expect(judge.believedAtMs(T + 1001)).toBe(T + 1001 + OPTIONS.settleMs);
  });

  it('holds what only the local copy knows, at the first reading', () => {
    const judge = new AbsenceJudge(OPTIONS);
    expect(judge.believedAtMs(0)).toBe(NEVER);
    judge.noteReading(reading(50));
    expect(judge.believedAtMs(0)).toBe(50 + OPTIONS.holdMs);
  });
});

/** A registry, its nodes, and a reader that sees it at some moments; what an absent one's fate is by the judge. */
function simulate(steps: {
  readonly lossMs: number | undefined;
  /** By node, this host first: when it is back after the loss; undefined: it stays away. */
  readonly backAfterMs: readonly (number | undefined)[];
  /** By node: when it dies alone. */
  readonly deathMs: readonly (number | undefined)[];
  readonly readings: readonly { atMs: number; failedBefore: boolean }[];
}): Map<number, number> {
  const judge = new AbsenceJudge(OPTIONS);
  const removed = new Map<number, number>();
  const sinceMs = new Map<number, number>();
  const count = steps.backAfterMs.length;
  const isThere = (node: number, atMs: number) => {
    const death = steps.deathMs[node];
    if (death !== undefined && death <= atMs) return false;
    if (steps.lossMs === undefined || atMs < steps.lossMs) return true;
    const back = steps.backAfterMs[node];
    return back !== undefined && atMs >= steps.lossMs + back;
  };
  const sweep = (untilMs: number) => {
    for (const [node, since] of sinceMs) {
      const at = judge.believedAtMs(since);
      if (at <= untilMs && !removed.has(node)) removed.set(node, at);
    }
  };
  for (const { atMs, failedBefore } of steps.readings) {
    sweep(atMs);
    if (failedBefore) judge.noteFailure();
    let vanished = 0;
    let others = 0;
    for (let node = 1; node < count; node++) {
      if (isThere(node, atMs)) {
        others++;
        sinceMs.delete(node);
      } else if (!sinceMs.has(node)) {
        sinceMs.set(node, atMs);
        vanished++;
      }
    }
    const isAfterLoss = steps.lossMs !== undefined && atMs >= steps.lossMs;
    const ownHolder = isThere(0, atMs) ? (isAfterLoss ? 'new' : 'old') : undefined;
    judge.noteReading({ atMs, index: Math.round(atMs), ownHolder, others, vanished });
  }
  sweep(Number.MAX_SAFE_INTEGER);
  return removed;
}

const readingsEvery = fc
  .array(fc.record({ gapMs: fc.integer({ min: 50, max: 2000 }), failedBefore: fc.boolean() }), {
    minLength: 60,
    maxLength: 90,
  })
  .map((gaps) => {
    let atMs = 0;
    return gaps.map(({ gapMs, failedBefore }) => {
      atMs += gapMs;
      return { atMs, failedBefore };
    });
  });

describe('over random schedules', () => {
  it('a registry that lost its data removes none of those that publish again within the hold time', () => {
    const backMs = fc.integer({ min: 0, max: OPTIONS.holdMs - 2001 });
    const schedule = fc.record({
      backAfterMs: fc.array(backMs, { minLength: 2, maxLength: 7 }),
      lossMs: fc.integer({ min: 3000, max: 10_000 }),
      readings: readingsEvery,
    });
    fc.assert(
      fc.property(schedule, ({ backAfterMs, lossMs, readings }) => {
        const lastMs = readings.at(-1)!.atMs;
        fc.pre(lastMs > lossMs + OPTIONS.holdMs);
        expect(simulate({ lossMs, backAfterMs, deathMs: [], readings })).toEqual(new Map());
      }),
      { numRuns: 500 },
    );
  });

  it('a lone death in a registry that is well is believed within the settle time of the reading that shows it', () => {
    const schedule = fc.record({
      others: fc.integer({ min: 1, max: 6 }),
      deathMs: fc.integer({ min: 3000, max: 20_000 }),
      readings: readingsEvery,
    });
    fc.assert(
      fc.property(schedule, ({ others, deathMs, readings }) => {
        const well = readings.map(({ atMs }) => ({ atMs, failedBefore: false }));
        const seenMs = well.find(({ atMs }) => atMs >= deathMs)!.atMs;
        const removed = simulate({
          lossMs: undefined,
          backAfterMs: Array.from({ length: others + 1 }, () => 0),
          deathMs: [undefined, deathMs],
          readings: well,
        });
        expect([...removed]).toEqual([[1, seenMs + OPTIONS.settleMs]]);
      }),
      { numRuns: 500 },
    );
  });

  it('one that does not come back is removed when the hold time ends, not kept for ever', () => {
    const readings = Array.from({ length: 100 }, (_, i) => ({ atMs: i * 500, failedBefore: false }));
    const removed = simulate({ lossMs: 5000, backAfterMs: [100, 100, undefined], deathMs: [], readings });
    expect([...removed.keys()]).toEqual([2]);
    expect(removed.get(2)).toBeLessThanOrEqual(5000 + 1000 + OPTIONS.holdMs);
  });
});
