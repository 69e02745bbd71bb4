/**
 * Which of several servers is asked: the one that answered last, for as long as it does. Pure but for the requests that
 * it is given; control plane, one per registry client.
 *
 *     ask the current one ─▶ answer
 *        └─failure, and another may do better─▶ ask the next ─▶ answer: that one is the current one from now on,
 *                                                  └─ ...        and whoever still waits at the old one is told
 *
 * Invariants: a request asks each server at most once, but for one that is told to move; only an answer moves the choice,
 * so that a cluster that is down as a whole moves nobody.
 */
export const MOVED = Symbol('moved to another server');

export class Failover<Server> {
  readonly #servers: readonly Server[];
  #current = 0;
  #moved = new AbortController();

  /** @param servers at least one; the first is asked first. */
  constructor(servers: readonly Server[]) {
    this.#servers = servers;
  }

  get current(): Server {
    return this.#servers[this.#current]!;
  }

  /**
   * @param attempt asks one server. `moved` is aborted, with MOVED as its reason, when another has become the current one:
   *   a request that waits there for news may reject with that reason, and is then asked again where the others went.
   * @param mayTryNext asked with each failure while there is a server left.
   */
  async run<T>(
    attempt: (server: Server, moved: AbortSignal) => Promise<T>,
    mayTryNext: (error: unknown) => boolean,
  ): Promise<T> {
    let begunAt = this.#current;
    let tried = 0;
    for (;;) {
      const at = (begunAt + tried) % this.#servers.length;
      const moved = this.#moved.signal;
      try {
        const answer = await attempt(this.#servers[at]!, moved);
        if (at !== begunAt) this.#move(begunAt, at);
        return answer;
      } catch (error) {
        if (error === MOVED && moved.aborted) {
          begunAt = this.#current;
          tried = 0;
          continue;
        }
        tried += 1;
        if (!mayTryNext(error) || tried === this.#servers.length) throw error;
      }
    }
  }

  #move(from: number, to: number): void {
    // Another request has moved on already: it knows better than one that began before it.
    if (this.#current !== from) return;
    this.#current = to;
    const moved = this.#moved;
    this.#moved = new AbortController();
    moved.abort(MOVED);
  }
}
