/**
 * Whether one network's floods go by its multicast group, decided by who answers probes that go to the group. Pure: the
 * caller tells the time, sends and brings answers (group-prober.ts).
 *
 *              every host has answered `streak` rounds on end, and there are enough of them
 *     replicate ───────────────────────────────────────────────────────────────────────────▶ multicast
 *         ◀─────────────────────────────────────────────────────────────────────────────────
 *              a host has missed three rounds on end; a host or a peer came; too few are left
 *
 * A round: a probe to the group, and a second in which each host may answer. On the way to multicast rounds follow one
 * another; where they fail, ever more seldom. In multicast there is one every five seconds, and after a miss they follow one
 * another again, so that a host that the group no longer reaches misses floods for eight seconds at most.
 *
 * Hysteresis: each fall-back doubles the streak that is asked for next, up to a hundred; ten minutes of multicast make up
 * for all of them. A host that is new is no fall-back: until it has answered, copies reach it.
 */

export const ANSWER_MS = 1000;
export const STEADY_MS = 5000;
export const RETRY_MS_MAX = 60_000;
export const MISSES_MAX = 3;
export const STREAK_MIN = 3;
export const STREAK_MAX = 100;
export const FORGIVE_MS = 600_000;

/** A VTEP that sends and receives on the network. */
interface Member {
  /** Rounds on end that it has answered, or missed. */
  streak: number;
  misses: number;
}

export interface FloodDecision {
  readonly via: 'replicate' | 'multicast';
  readonly reason: string;
}

export class FloodChoice {
  readonly #hostsMin: number;
  readonly #nameOf: (vtepIndex: number) => string;
  readonly #members = new Map<number, Member>();
  /** Peers that run no vtepd: they answer no probe. */
  readonly #peers = new Set<number>();
  #isMulticast = false;
  #streakWanted = STREAK_MIN;
  /** Rounds that somebody missed, on end, while in replicate. */
  #failures = 0;
  #multicastSinceMs = 0;
  #fellBack: string | undefined;
  /** Those that have not answered yet; undefined: no round is on. */
  #waiting: Set<number> | undefined;
  #nextRoundMs = 0;
  #roundEndMs = 0;

  /**
   * @param hostsMin other hosts from which on multicast pays
   * @param nameOf what people call a VTEP
   */
  constructor(hostsMin: number, nameOf: (vtepIndex: number) => string) {
    this.#hostsMin = hostsMin;
    this.#nameOf = nameOf;
  }

  get isMulticast(): boolean {
    return this.#isMulticast;
  }

  /** How many answers a round brings. */
  get memberCount(): number {
    return this.#members.size;
  }

  addHost(vtepIndex: number, nowMs: number): void {
    if (this.#members.has(vtepIndex)) return;
    this.#members.set(vtepIndex, { streak: 0, misses: 0 });
    this.#isMulticast = false;
    this.#failures = 0;
    this.#waiting = undefined;
    this.#nextRoundMs = nowMs;
  }

  addPeer(vtepIndex: number): void {
    this.#peers.add(vtepIndex);
    this.#isMulticast = false;
  }

  remove(vtepIndex: number, isPeer: boolean, nowMs: number): void {
    if (isPeer) this.#peers.delete(vtepIndex);
    else {
      this.#members.delete(vtepIndex);
      this.#waiting?.delete(vtepIndex);
    }
    // One fewer than needed to begin with: hosts that come and go at the limit change nothing each time.
    if (this.#members.size < this.#hostsMin - 1) this.#isMulticast = false;
    if (!this.#isMulticast) this.#nextRoundMs = Math.min(this.#nextRoundMs, nowMs);
  }

  /** The way to the hosts is another one: what was proved is not any more. */
  startAgain(nowMs: number): void {
    this.#isMulticast = false;
    this.#failures = 0;
    this.#waiting = undefined;
    this.#nextRoundMs = nowMs;
    for (const member of this.#members.values()) Object.assign(member, { streak: 0, misses: 0 });
  }

  /** When tick() has something to do next; Infinity: not before something changes. */
  dueMs(): number {
    if (this.#waiting !== undefined) return this.#roundEndMs;
    return this.#mayProbe() ? this.#nextRoundMs : Number.POSITIVE_INFINITY;
  }

  /** Ends a round whose time is over. @returns whether a round is to begin: a probe to send, and begin() */
  tick(nowMs: number): boolean {
    if (this.#waiting !== undefined && nowMs >= this.#roundEndMs) this.#endRound(nowMs, this.#waiting);
    return this.#waiting === undefined && this.#mayProbe() && nowMs >= this.#nextRoundMs;
  }

  begin(nowMs: number): void {
    this.#waiting = new Set(this.#members.keys());
    this.#roundEndMs = nowMs + ANSWER_MS;
  }

  /** A host has answered the probe of the round that is on. */
  answered(vtepIndex: number): void {
    this.#waiting?.delete(vtepIndex);
  }

  decision(): FloodDecision {
    if (this.#isMulticast)
      return { via: 'multicast', reason: `the group reaches all ${this.#members.size} other hosts` };
    return { via: 'replicate', reason: this.#whyReplicate() };
  }

  #whyReplicate(): string {
    const [peer] = this.#peers;
    if (peer !== undefined)
      return `peer ${this.#nameOf(peer)} runs no vtepd, which could say that the group reaches it`;
    const count = this.#members.size;
    if (count < this.#hostsMin) return `${count} other hosts, multicast pays from ${this.#hostsMin} on`;
    const silent = [...this.#members].filter(([, { streak }]) => streak === 0).map(([index]) => this.#nameOf(index));
    const names =
      silent.length > 3 ? `${silent.slice(0, 3).join(', ')} and ${silent.length - 3} more` : silent.join(', ');
    if (silent.length > 0) return `the group does not reach ${names}${this.#fellBack === undefined ? '' : ' any more'}`;
    const least = Math.min(...[...this.#members.values()].map(({ streak }) => streak));
    return `the group is being tried: ${least} of ${this.#streakWanted} rounds were answered by all`;
  }

  #mayProbe(): boolean {
    return this.#peers.size === 0 && this.#members.size >= this.#hostsMin - (this.#isMulticast ? 1 : 0);
  }

  #endRound(nowMs: number, waiting: ReadonlySet<number>): void {
    this.#waiting = undefined;
    for (const [index, member] of this.#members) {
      if (waiting.has(index)) Object.assign(member, { streak: 0, misses: member.misses + 1 });
      else Object.assign(member, { streak: member.streak + 1, misses: 0 });
    }
    if (this.#isMulticast) this.#judgeMulticast(nowMs, waiting.size > 0);
    else this.#judgeReplicate(nowMs, waiting.size > 0);
  }

  #judgeMulticast(nowMs: number, hasMissed: boolean): void {
    if (nowMs - this.#multicastSinceMs >= FORGIVE_MS) this.#streakWanted = STREAK_MIN;
    const lost = [...this.#members].find(([, { misses }]) => misses >= MISSES_MAX);
    if (lost !== undefined) {
      this.#isMulticast = false;
      this.#fellBack = this.#nameOf(lost[0]);
      this.#streakWanted = Math.min(STREAK_MAX, this.#streakWanted * 2);
      this.#failures = 1;
    }
    this.#nextRoundMs = hasMissed ? nowMs : nowMs - ANSWER_MS + STEADY_MS;
  }

  #judgeReplicate(nowMs: number, hasMissed: boolean): void {
    if (hasMissed) {
      this.#nextRoundMs = nowMs + Math.min(RETRY_MS_MAX, ANSWER_MS * 2 ** this.#failures);
      this.#failures = Math.min(this.#failures + 1, 16);
      return;
    }
    this.#failures = 0;
    this.#nextRoundMs = nowMs;
    const isProved = [...this.#members.values()].every(({ streak }) => streak >= this.#streakWanted);
    if (!isProved || !this.#mayProbe()) return;
    this.#isMulticast = true;
    this.#fellBack = undefined;
    this.#multicastSinceMs = nowMs;
    this.#nextRoundMs = nowMs - ANSWER_MS + STEADY_MS;
  }
}
