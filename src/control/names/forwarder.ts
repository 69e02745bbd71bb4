/**
 * Asks the host's resolvers what a network's server does not know. Main thread.
 *
 *     query ─▶ equal one under way? wait for it ─▶ room? ─▶ resolver by resolver: UDP, TCP if it was truncated ─▶ answer
 *
 * Bounds: how many questions are under way, of one client and of all; how long one takes in all. Equal questions share one
 * exchange, so a question that comes back by a circle of resolvers ends by its time, and guessing an answer gets no easier
 * by asking often. A resolver that did not answer is asked last for a while.
 */
import { exchangeTcp, exchangeUdp } from './exchange.js';
import { isTruncated, type Query, RCODE, rcodeOf } from './message.js';
import type { Resolver, Resolvers } from './resolvers.js';

export interface ForwarderLimits {
  /** @default 256 */
  readonly underWayMax?: number;
  /** @default 64 */
  readonly underWayPerClientMax?: number;
  /** For one try. @default 1500 */
  readonly timeoutMs?: number;
  /** For all tries of a question: below the 5 s that the C library waits. @default 4500 */
  readonly deadlineMs?: number;
}

/** `shared`: it came by an exchange that another question had begun. `full`: there was no room. */
export type Forwarded =
  | { readonly kind: 'answer'; readonly answer: Buffer; readonly shared: boolean }
  | { readonly kind: 'failed'; readonly shared: boolean }
  | { readonly kind: 'full' };

const ROUNDS = 2;
const AVOID_MS = 30_000;
/** Another resolver may do better: it has a fault, does not do this, or does not want to. */
const UNHELPFUL: readonly number[] = [RCODE.SERVFAIL, RCODE.NOTIMP, RCODE.REFUSED];

export class Forwarder {
  private readonly resolvers: Resolvers;
  private readonly limits: Required<ForwarderLimits>;
  private readonly underWay = new Map<string, Promise<Buffer | undefined>>();
  private readonly perClient = new Map<string, number>();
  private waiting = 0;
  private readonly avoidUntilMs = new Map<string, number>();
  private readonly stopped = new AbortController();

  constructor(resolvers: Resolvers, limits: ForwarderLimits = {}) {
    this.resolvers = resolvers;
    this.limits = { underWayMax: 256, underWayPerClientMax: 64, timeoutMs: 1500, deadlineMs: 4500, ...limits };
  }

  /** @param whole whether a truncated answer is asked for again by TCP. Never rejects. */
  async forward(query: Query, client: string, whole: boolean): Promise<Forwarded> {
    const mine = this.perClient.get(client) ?? 0;
    if (this.waiting >= this.limits.underWayMax || mine >= this.limits.underWayPerClientMax) return { kind: 'full' };
    this.waiting++;
    this.perClient.set(client, mine + 1);
    try {
      const key = `${whole} ${query.bytes.toString('latin1', 2)}`;
      const there = this.underWay.get(key);
      const exchange = there ?? this.ask(query, whole).finally(() => this.underWay.delete(key));
      if (there === undefined) this.underWay.set(key, exchange);
      const answer = await exchange;
      const shared = there !== undefined;
      return answer === undefined ? { kind: 'failed', shared } : { kind: 'answer', answer, shared };
    } finally {
      this.waiting--;
      const left = (this.perClient.get(client) ?? 1) - 1;
      if (left === 0) this.perClient.delete(client);
      else this.perClient.set(client, left);
    }
  }

  /** Ends what is under way. */
  close(): void {
    this.stopped.abort();
  }

  private async ask(query: Query, whole: boolean): Promise<Buffer | undefined> {
    const resolvers = this.inOrder(await this.resolvers.list());
    const deadlineMs = performance.now() + this.limits.deadlineMs;
    let poor: Buffer | undefined;
    for (let round = 0; round < ROUNDS && poor === undefined; round++) {
      for (const resolver of resolvers) {
        const leftMs = deadlineMs - performance.now();
        if (leftMs <= 0 || this.stopped.signal.aborted) return poor;
        const answer = await this.askOne(resolver, query, whole, Math.min(leftMs, this.limits.timeoutMs));
        if (answer === undefined) continue;
        if (!UNHELPFUL.includes(rcodeOf(answer))) return answer;
        poor ??= answer;
      }
    }
    return poor;
  }

  private async askOne(
    resolver: Resolver,
    query: Query,
    whole: boolean,
    timeoutMs: number,
  ): Promise<Buffer | undefined> {
    const { bytes, questionEndOffset } = query;
    const exchange = { resolver, query: bytes, questionEndOffset, timeoutMs, signal: this.stopped.signal };
    try {
      const answer = await exchangeUdp(exchange);
      this.avoidUntilMs.delete(keyOf(resolver));
      return whole && isTruncated(answer) ? await exchangeTcp(exchange) : answer;
    } catch {
      this.avoidUntilMs.set(keyOf(resolver), performance.now() + AVOID_MS);
      return undefined;
    }
  }

  private inOrder(resolvers: readonly Resolver[]): Resolver[] {
    const nowMs = performance.now();
    const avoided = (resolver: Resolver) => (this.avoidUntilMs.get(keyOf(resolver)) ?? 0) > nowMs;
    return [...resolvers.filter((resolver) => !avoided(resolver)), ...resolvers.filter(avoided)];
  }
}

function keyOf({ address, port }: Resolver): string {
  return `${address} ${port}`;
}
