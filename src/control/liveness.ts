/**
 * Whether the data plane lives, by what its workers say of themselves: each counts its turns, and an idle one makes a turn a
 * second, since its wait in the kernel ends then (dataplane/loop.ts).
 *
 *     a turn since the last look          lives
 *     none for `stalledMs`                hangs, or has failed and does not come back
 *
 * A worker that failed is started again by the supervisor within seconds; that is its business as long as turns go on.
 * Control plane, pure. That the main thread lives is shown by who asks: its own timer.
 */

export interface WorkerLife {
  readonly id: number;
  readonly state: string;
  /** Grows, and wraps. */
  readonly turns: number;
}

export interface Stalled {
  readonly worker: number;
  /** The supervisor's word. */
  readonly state: string;
  readonly silentMs: number;
}

export class LivenessJudge {
  readonly #stalledMs: number;
  readonly #seen = new Map<number, { turns: number; atMs: number }>();

  constructor(stalledMs: number) {
    this.#stalledMs = stalledMs;
  }

  /** @param nowMs of a clock that stands still while the machine sleeps. @returns the workers that show no life */
  look(nowMs: number, workers: readonly WorkerLife[]): Stalled[] {
    const stalled: Stalled[] = [];
    for (const { id, state, turns } of workers) {
      const last = this.#seen.get(id);
      if (last === undefined || last.turns !== turns) {
        this.#seen.set(id, { turns, atMs: nowMs });
        continue;
      }
      const silentMs = nowMs - last.atMs;
      if (silentMs >= this.#stalledMs) stalled.push({ worker: id, state, silentMs });
    }
    return stalled;
  }
}
