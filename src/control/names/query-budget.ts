/**
 * How many queries a second are looked at: vtepd's main thread also keeps the network going. Pure; the clock is given.
 *
 * Counted in windows of one second, of each client and of all together, so that one container can't use up what the
 * others need. What is remembered of clients is bounded by what all together may ask in a window.
 */

const WINDOW_MS = 1000;

export interface QueryLimits {
  /** @default 1000 */
  readonly perClientEachSecond?: number;
  /** @default 5000 */
  readonly totalEachSecond?: number;
}

export class QueryBudget {
  private readonly perClient: number;
  private readonly total: number;
  private readonly nowMs: () => number;
  private windowStartMs = Number.NEGATIVE_INFINITY;
  private count = 0;
  private readonly clients = new Map<string, number>();

  constructor(limits: QueryLimits = {}, nowMs: () => number = () => performance.now()) {
    this.perClient = limits.perClientEachSecond ?? 1000;
    this.total = limits.totalEachSecond ?? 5000;
    this.nowMs = nowMs;
  }

  /** @returns whether the query is within what the client, and all together, may ask. */
  admit(client: string): boolean {
    const nowMs = this.nowMs();
    if (nowMs - this.windowStartMs >= WINDOW_MS) {
      this.windowStartMs = nowMs;
      this.count = 0;
      this.clients.clear();
    }
    if (this.count >= this.total) return false;
    const asked = this.clients.get(client) ?? 0;
    if (asked >= this.perClient) return false;
    this.count++;
    this.clients.set(client, asked + 1);
    return true;
  }
}
