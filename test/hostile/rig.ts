/**
 * World, batches and trials put together, with the kernel that stands in for the real one: one step is one hostile batch
 * through the worker, from whichever side the entropy says. Test support.
 */
import { below, chance, type Entropy } from './entropy.js';
import { standIn } from './stand-in.js';
import { TapBatch } from './tap-batch.js';
import { TapTrial } from './tap-trial.js';
import { UnderlayBatch } from './underlay-batch.js';
import { UnderlayTrial } from './underlay-trial.js';
import { World } from './world.js';

/** What one batch may take at most: thousands of times what it does take, for a machine that is busy with others. */
export const BATCH_MS_MAX = 2000;

export type Side = 'underlay' | 'tap' | 'either';

export class Rig {
  readonly world = new World();
  readonly underlay: UnderlayTrial;
  readonly tap: TapTrial;
  /** Of the latest step. */
  side: Side = 'either';
  slowestMs = 0;
  /** Bytes of the arena are changed between the receive call and the delivery: the trials must find out. */
  isTampered = false;

  /** @param isThorough every delivery is held against the whole reference, not a sample */
  constructor(isThorough: boolean) {
    this.underlay = new UnderlayTrial(this.world, new UnderlayBatch(), isThorough);
    this.tap = new TapTrial(this.world, new TapBatch());
    standIn({
      read: (fd, address, bytesMax) => this.tap.read(fd, address, bytesMax),
      writev: (fd, iovecs, count) => this.underlay.writev(fd, iovecs, count),
      sendmmsg: (fd, headers, count) => this.tap.sendmmsg(fd, headers, count),
      recvmmsg: () => {
        const count = this.underlay.recvmmsg();
        if (this.isTampered) this.#tamper();
        return count;
      },
    });
  }

  /** So far, over all steps. */
  received(): ReceivedCounts {
    return new ReceivedCounts(this.underlay.datagrams, this.tap.frames);
  }

  reset(seed: number): void {
    this.world.reset(seed);
  }

  /** @returns what was wrong, or undefined */
  step(entropy: Entropy, side: Side, messagesMax?: number): string | undefined {
    this.side = side === 'either' ? (below(entropy, 4) < 3 ? 'underlay' : 'tap') : side;
    const isFaulty = chance(entropy, 25);
    // Of this process's CPU: whoever else has the machine is no hang.
    const begin = process.cpuUsage();
    let wrong: string | undefined;
    try {
      if (this.side === 'underlay') {
        this.underlay.batch.draw(entropy, this.world.underlayPools, messagesMax);
        wrong = this.underlay.run(isFaulty ? entropy : undefined);
      } else {
        this.tap.batch.draw(entropy, this.world.tapPools, messagesMax);
        wrong = this.tap.run(isFaulty ? entropy : undefined);
      }
    } catch (error) {
      wrong = `thrown: ${(error as Error).stack}`;
    }
    const { user, system } = process.cpuUsage(begin);
    const ms = (user + system) / 1000;
    if (ms > this.slowestMs) this.slowestMs = ms;
    if (wrong === undefined && ms > BATCH_MS_MAX) wrong = `a batch took ${ms.toFixed(0)} ms`;
    return wrong === undefined ? undefined : `${this.side}: ${wrong}`;
  }

  /** The latest batch, a line for each message. */
  describe(): string[] {
    if (this.side === 'tap') {
      const { batch } = this.tap;
      return Array.from({ length: batch.count }, (_, i) => {
        const bytes = batch.messageBytes[i] as number;
        return `network ${batch.network.index}: ${bytes} bytes: ${hexOf(batch.bytes, batch.place(i), bytes)}`;
      });
    }
    const { batch } = this.underlay;
    return Array.from({ length: batch.count }, (_, i) => {
      const bytes = batch.messageBytes[i] as number;
      const what = `VTEP ${batch.vteps[i]}, segments of ${batch.segmentBytes[i]}${batch.isTruncated[i] === 1 ? ', cut' : ''}`;
      return `${what}: ${bytes} bytes: ${hexOf(batch.bytes, batch.place(i), bytes)}`;
    });
  }

  #tamper(): void {
    const { arena } = this.world.context;
    const at = (arena.words[arena.rxIovecs >> 2] as number) - arena.baseLow + 8 + 14;
    arena.bytes[at] = (arena.bytes[at] as number) ^ 0x40;
  }
}

function hexOf(bytes: Uint8Array, start: number, length: number): string {
  const shown = Math.min(length, 400);
  const rest = length > shown ? ` and ${length - shown} more` : '';
  return Buffer.from(bytes.subarray(start, start + shown)).toString('hex') + rest;
}

export class ReceivedCounts {
  constructor(
    readonly datagrams: number,
    readonly frames: number,
  ) {}

  since(before: ReceivedCounts): ReceivedCounts {
    return new ReceivedCounts(this.datagrams - before.datagrams, this.frames - before.frames);
  }
}
