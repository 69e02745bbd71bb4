/**
 * What workers learn becomes FDB entries here, and entries that fall silent go: 300 s, looked at every 10 s, as in the
 * kernel's VXLAN. Main thread.
 */
import { EVENT_CONFLICT, EVENT_LEARN, EVENT_NEIGHBOUR_DOUBT, type EventRing } from '../shared/event-ring.js';

export const AGEING_SECONDS = 300;
const AGEING_SCAN_MS = 10_000;

export interface LearningTarget {
  learnt(networkIndex: number, macLow: number, macHigh16: number, vtepIndex: number): void;
  conflict(networkIndex: number, macLow: number, macHigh16: number, vtepIndex: number): void;
  /** An event of another kind, words 2 and 3 as its type has them. */
  heard(type: number, networkIndex: number, word2: number, word3: number, vtepIndex: number): void;
  /** Addresses of this MAC are used with another one, from the VTEP. */
  doubt(networkIndex: number, macLow: number, macHigh16: number, vtepIndex: number): void;
  age(ageingSeconds: number): void;
}

export class FdbLearning {
  readonly #rings: readonly EventRing[];
  readonly #target: LearningTarget;
  readonly #timer: NodeJS.Timeout;

  constructor(rings: readonly EventRing[], target: LearningTarget) {
    this.#rings = rings;
    this.#target = target;
    this.#timer = setInterval(() => target.age(AGEING_SECONDS), AGEING_SCAN_MS);
  }

  /** A worker has said that its ring is no longer empty. */
  drain(): void {
    for (const ring of this.#rings) {
      ring.drain((type, networkIndex, macLow, macHigh16, vtepIndex) => {
        if (type === EVENT_CONFLICT) this.#target.conflict(networkIndex, macLow, macHigh16, vtepIndex);
        else if (type === EVENT_LEARN) this.#target.learnt(networkIndex, macLow, macHigh16, vtepIndex);
        else if (type === EVENT_NEIGHBOUR_DOUBT) this.#target.doubt(networkIndex, macLow, macHigh16, vtepIndex);
        else this.#target.heard(type, networkIndex, macLow, macHigh16, vtepIndex);
      });
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
