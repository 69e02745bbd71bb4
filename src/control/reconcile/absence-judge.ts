/**
 * When a node that is missing from the registry is believed gone. Pure: no clock, no timer, no I/O. Control plane.
 *
 *     a lone death     the registry is well: our own key stands, most others too     ─▶ after the settle time
 *     a mass loss      the registry has lost data, or was away, or most nodes went   ─▶ held: those that are well come back
 *
 * A node that died is to be gone quickly: frames to it are lost. A registry that died takes nobody's containers with it:
 * what it had forgotten when we read it again is held (fail static) until it comes back or the hold time ends. What marks
 * a mass loss is called an incident here:
 *
 *     the first reading of all, and the first after a failed query     what we knew before may be from another life of it
 *     our own key missing, or held by another session than before      it, too, was dropped
 *     an index lower than before                                       another server, or a restored store
 *     most of the other nodes gone within the window                   a partition at the registry's end, a lost table
 *
 * An incident is about what was missing when it was seen, not about who leaves later: after it the registry is well.
 */
export interface NodesReading {
  readonly atMs: number;
  readonly index: number;
  /** Who holds this host's own key: changes when the key was lost and made anew. Undefined: the key is missing. */
  readonly ownHolder: string | undefined;
  /** Other nodes in this reading. */
  readonly others: number;
  /** Other nodes that were in the reading before and are not in this one. */
  readonly vanished: number;
}

export interface AbsenceJudgeOptions {
  /** How long after a mass loss those that are well may take to come back. */
  readonly holdMs: number;
  /** How long a lone absence must last: a node's keys come by several queries. */
  readonly settleMs: number;
  /** Nodes that vanish within this time count together: their sessions end as their last renewals were, seconds apart. */
  readonly windowMs: number;
}

export class AbsenceJudge {
  private readonly options: AbsenceJudgeOptions;
  private blind = true;
  private incidentMs = Number.NEGATIVE_INFINITY;
  private last: NodesReading | undefined;
  private recent: { readonly atMs: number; readonly count: number }[] = [];

  constructor(options: AbsenceJudgeOptions) {
    this.options = options;
  }

  /** No reading is newer than the last failed query: nothing that is missing says anything. */
  get isBlind(): boolean {
    return this.blind;
  }

  /** A query of the registry has failed. */
  noteFailure(): void {
    this.blind = true;
  }

  /** @returns why it is an incident; undefined: the registry is well. */
  noteReading(reading: NodesReading): string | undefined {
    const cause = this.incidentOf(reading);
    if (cause !== undefined) this.incidentMs = reading.atMs;
    this.last = reading;
    this.blind = false;
    return cause;
  }

  /** @returns from when on an absence that began at `sinceMs` is believed; Infinity: not before the next reading. */
  believedAtMs(sinceMs: number): number {
    const { settleMs, holdMs } = this.options;
    if (this.blind) return Number.POSITIVE_INFINITY;
    const settledMs = sinceMs + settleMs;
    return sinceMs <= this.incidentMs ? Math.max(settledMs, this.incidentMs + holdMs) : settledMs;
  }

  private incidentOf(reading: NodesReading): string | undefined {
    const { last } = this;
    const most = this.mostVanished(reading);
    if (last === undefined) return 'it is the first reading';
    if (this.blind) return 'the registry was away';
    if (reading.ownHolder === undefined) return "this host's own key is missing";
    if (reading.ownHolder !== last.ownHolder) return "this host's own key was lost and made anew";
    if (reading.index < last.index) return 'its index went backwards';
    return most ? 'most nodes vanished together' : undefined;
  }

  private mostVanished({ atMs, vanished, others }: NodesReading): boolean {
    this.recent = this.recent.filter((loss) => loss.atMs > atMs - this.options.windowMs);
    if (vanished === 0) return false;
    this.recent.push({ atMs, count: vanished });
    const gone = this.recent.reduce((sum, loss) => sum + loss.count, 0);
    return gone > 1 && gone > others;
  }
}
