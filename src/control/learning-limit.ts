/**
 * How many MACs a network learns from the tunnel: no more than it may, nor than the FDB holds. What is not learnt is
 * forwarded all the same, by flooding. Said once, and again only after there was room. Main thread.
 */
import type { Logger } from 'pino';

export class LearningLimit {
  /** How often a MAC was not learnt: about once a second for each that sends. */
  refused = 0;
  readonly #logger: Logger;
  #isTold = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @param macsMax of the network; 0: no limit of its own. @returns whether one more may be learnt */
  admits(network: string, learnt: number, macsMax: number): boolean {
    if (macsMax === 0 || learnt < macsMax) {
      // Not at the first one that ages: it would be told of again with the next frame.
      if (macsMax !== 0 && learnt < macsMax * 0.9) this.#isTold = false;
      return true;
    }
    this.refuse(network, `it has learnt the ${macsMax} MACs that it may`);
    return false;
  }

  /** One was not learnt, for this reason. */
  refuse(network: string, reason: string): void {
    this.refused++;
    if (this.#isTold) return;
    this.#isTold = true;
    this.#logger.warn(
      { event: 'fdb.learning-stopped', network },
      `network "${network}" learns no more MACs: ${reason}; frames to others are flooded`,
    );
  }
}
