/** A paced sender and its receiver on a path: the two programs, one run at a time. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Path } from '../system.js';
import { type Testbed, until } from '../topology.js';

const PORT = 7001;
/** What a step may last longer than its sending: the start, the quiet time at its end, a busy machine. */
const SLACK_SECONDS = 5;

export interface PacedRun {
  readonly targetKpps: number;
  readonly offeredKpps: number;
  readonly deliveredKpps: number;
  readonly deliveredCount: number;
  readonly lossPercent: number;
}

/** @throws RangeError if nothing was sent */
export function pacedRun(targetKpps: number, sentCount: number, receivedCount: number, seconds: number): PacedRun {
  if (sentCount === 0) throw new RangeError('the paced sender could send nothing');
  return {
    targetKpps,
    offeredKpps: sentCount / seconds / 1000,
    deliveredKpps: receivedCount / seconds / 1000,
    deliveredCount: receivedCount,
    // A straggler of an earlier run could make it negative.
    lossPercent: Math.max(0, (100 * (sentCount - receivedCount)) / sentCount),
  };
}

/** A program that answers lines with lines. */
class Talker {
  readonly child: ChildProcess;
  readonly #name: string;
  readonly #lines: string[] = [];
  #ended = false;

  constructor(testbed: Testbed, name: string, netns: string, address: string) {
    const program = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
    const args = ['netns', 'exec', netns, process.execPath, program, address, String(PORT)];
    this.#name = name;
    this.child = testbed.spawn(`paced-${name}`, 'ip', args, { pipe: true });
    const reader = createInterface({ input: this.child.stdout! });
    this.child.once('error', () => reader.close());
    // A program that has ended can't be written to; that is found out by what it does not answer.
    this.child.stdin?.on('error', () => undefined);
    reader.on('line', (line) => this.#lines.push(line));
    reader.once('close', () => {
      this.#ended = true;
    });
  }

  tell(message: object): void {
    this.child.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  async hear(testbed: Testbed, timeoutSeconds: number): Promise<Record<string, number>> {
    const answered = () => {
      if (this.#lines.length === 0 && this.#ended) {
        throw new Error(`the paced ${this.#name} ended: ${testbed.logEnd(`paced-${this.#name}`)}`);
      }
      return this.#lines.length > 0;
    };
    const timeoutMs = timeoutSeconds * 1000;
    await until(`the paced ${this.#name} to answer`, answered, { timeoutMs, signal: testbed.signal });
    return JSON.parse(this.#lines.shift()!);
  }
}

export class PacedPair {
  readonly #testbed: Testbed;
  readonly #receiver: Talker;
  readonly #sender: Talker;

  private constructor(testbed: Testbed, { client, server }: Path) {
    this.#testbed = testbed;
    this.#receiver = new Talker(testbed, 'receiver', server.netns, server.address);
    this.#sender = new Talker(testbed, 'sender', client.netns, server.address);
  }

  static async start(testbed: Testbed, path: Path): Promise<PacedPair> {
    const pair = new PacedPair(testbed, path);
    for (const talker of [pair.#receiver, pair.#sender]) await talker.hear(testbed, SLACK_SECONDS);
    return pair;
  }

  /** @param segmented by UDP_SEGMENT, up to 64 datagrams a message; else each a message of its own */
  async run(kpps: number, seconds: number, segmented = false): Promise<PacedRun> {
    const secondsMax = seconds + SLACK_SECONDS;
    this.#receiver.tell({ secondsMax });
    await this.#receiver.hear(this.#testbed, SLACK_SECONDS);
    this.#sender.tell({ kpps, seconds, segmented });
    const sent = await this.#sender.hear(this.#testbed, secondsMax);
    const { receivedCount } = await this.#receiver.hear(this.#testbed, secondsMax + SLACK_SECONDS);
    return pacedRun(kpps, sent.sentCount!, receivedCount!, sent.seconds!);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#testbed.end(this.#sender.child), this.#testbed.end(this.#receiver.child)]);
  }
}
