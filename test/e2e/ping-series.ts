/**
 * A ping that goes on, with the moment of each answer: for how long nothing came through. Test support.
 *
 * Moments are the machine's clock, in milliseconds since 1970, so that they compare with Date.now().
 */
import type { ChildProcess } from 'node:child_process';
import type { HostPair } from './host-pair.js';

export class PingSeries {
  readonly #pair: HostPair;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  /** @param from the container that pings. @param more options of ping */
  constructor(pair: HostPair, from: string, address: string, intervalSeconds = 0.01, more: readonly string[] = []) {
    this.#pair = pair;
    this.#name = `ping-${from}-${address}-${Date.now()}`;
    const args = ['-n', '-D', '-i', String(intervalSeconds), '-W', '1', ...more, address];
    this.#child = pair.spawn(this.#name, pair.netns(from), 'ping', ...args);
    this.#ended = new Promise((resolve) => this.#child.once('exit', () => resolve()));
  }

  /** When each answer came. */
  answers(): number[] {
    const lines = this.#pair.log(this.#name).matchAll(/^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=\d+/gm);
    return [...lines].map((match) => Number(match[1]) * 1000);
  }

  /** Ends it. @returns the longest time without an answer, and how many were lost */
  async stop(): Promise<{ gapMs: number; lost: number; sent: number }> {
    const stoppedAt = Date.now();
    this.#child.kill('SIGINT');
    await this.#ended;
    const match = /(\d+) packets transmitted, (\d+) received/.exec(this.#pair.log(this.#name));
    const answers = [...this.answers(), stoppedAt];
    const gaps = answers.slice(1).map((at, i) => at - answers[i]!);
    const sent = Number(match?.[1]);
    // The last one may still be on its way when the ping is ended; whatever was sent before it has had its time.
    const last = Number([...this.#pair.log(this.#name).matchAll(/icmp_seq=(\d+)/g)].at(-1)?.[1] ?? 0);
    const onItsWay = last === sent - 1 ? 1 : 0;
    return { gapMs: Math.max(...gaps), lost: sent - Number(match?.[2]) - onItsWay, sent };
  }
}
