/**
 * Walks over the whole FDB that remove entries. Main thread.
 *
 * A walk goes in steps of some thousand slots, one in each turn of the event loop, so that an FDB with millions of slots
 * holds up nothing else. There is one walk at a time. What is condemned while another walk goes on waits for the next
 * one, together with all else that has been condemned by then: many networks that go at once cost one walk.
 *
 *     removeNetwork ─┐
 *     removeLearnt ──┴▶ batch ─▶ walk ─▶ the batch's promise: none of its entries is left
 *
 * The caller sees to it that no entry of the condemned kind comes meanwhile: a walk may pass by it.
 */
import { setImmediate } from 'node:timers/promises';
import { KIND_DYNAMIC } from '../shared/fdb.js';
import { VTEPS_MAX } from '../shared/layout.js';
import type { FdbCondemned, FdbWriter } from '../shared/writers/fdb-writer.js';

export const SWEEP_SLOTS = 4096;

interface Batch {
  readonly networks: Set<number>;
  /** VTEPs whose learnt entries go: network index * VTEPS_MAX + VTEP index. */
  readonly members: Set<number>;
  readonly ended: Promise<void>;
}

export class FdbSweeper {
  readonly #fdb: FdbWriter;
  /** The last walk of those that are to come. */
  #last: Promise<void> = Promise.resolve();
  /** Takes more until its walk begins. */
  #batch: Batch | undefined;
  #isAgeing = false;

  constructor(fdb: FdbWriter) {
    this.#fdb = fdb;
  }

  /** Resolves when no walk goes on or waits. */
  get idle(): Promise<void> {
    return this.#last;
  }

  /** @returns when the FDB holds no entry of the network */
  removeNetwork(networkIndex: number): Promise<void> {
    const batch = this.#openBatch();
    batch.networks.add(networkIndex);
    return batch.ended;
  }

  /** @returns when nothing that was learnt from the VTEP on the network is left */
  removeLearnt(networkIndex: number, vtepIndex: number): Promise<void> {
    const batch = this.#openBatch();
    batch.members.add(networkIndex * VTEPS_MAX + vtepIndex);
    return batch.ended;
  }

  /** Dynamic entries not seen since `oldestSeconds`. Does nothing while the walk of the last call is not over. */
  removeIdle(oldestSeconds: number): void {
    if (this.#isAgeing || this.#fdb.dynamicCount === 0) return;
    this.#isAgeing = true;
    void this.#enqueue(async () => {
      while (!this.#fdb.removeIdleSlice(oldestSeconds, SWEEP_SLOTS)) await setImmediate();
      this.#isAgeing = false;
    });
  }

  #openBatch(): Batch {
    if (this.#batch !== undefined) return this.#batch;
    const networks = new Set<number>();
    const members = new Set<number>();
    const ended = this.#enqueue(async () => {
      this.#batch = undefined;
      if (networks.size === 0 && this.#fdb.dynamicCount === 0) return;
      const condemned: FdbCondemned = (keyHigh, kind, vtepIndex) => {
        const networkIndex = keyHigh & 0xffff;
        if (networks.has(networkIndex)) return true;
        return kind === KIND_DYNAMIC && members.has(networkIndex * VTEPS_MAX + vtepIndex);
      };
      for (const _ of this.#fdb.removeWhereSliced(condemned, SWEEP_SLOTS)) await setImmediate();
    });
    this.#batch = { networks, members, ended };
    return this.#batch;
  }

  #enqueue(walk: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(walk);
    return this.#last;
  }
}
