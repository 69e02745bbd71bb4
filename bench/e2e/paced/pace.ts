/**
 * How many packets are due: a rate by the clock, in bursts at ticks.
 *
 *     sent                     a late tick sends up to twice its share until the debt is paid;
 *      │      ╱╱               debt over DEBT_SECONDS_MAX is dropped: those packets count as not offered
 *      │   ╱──                 (a sender that was held up for long would otherwise send one great burst)
 *      └────────── clock
 */
export const TICK_SECONDS = 0.0001;
const DEBT_SECONDS_MAX = 0.01;

export class Pace {
  readonly #packetsPerSecond: number;
  readonly #burstMax: number;
  #droppedCount = 0;
  #sentCount = 0;

  constructor(packetsPerSecond: number) {
    this.#packetsPerSecond = packetsPerSecond;
    this.#burstMax = Math.max(1, Math.ceil(2 * packetsPerSecond * TICK_SECONDS));
  }

  /** @param elapsedSeconds since the start */
  due(elapsedSeconds: number): number {
    let debt = Math.floor(elapsedSeconds * this.#packetsPerSecond) - this.#sentCount - this.#droppedCount;
    const debtMax = Math.ceil(this.#packetsPerSecond * DEBT_SECONDS_MAX);
    if (debt > debtMax) {
      this.#droppedCount += debt - debtMax;
      debt = debtMax;
    }
    return Math.min(debt, this.#burstMax);
  }

  sent(count: number): void {
    this.#sentCount += count;
  }

  get sentCount(): number {
    return this.#sentCount;
  }
}
