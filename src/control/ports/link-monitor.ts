/**
 * Tells that some link or address changed, by `ip monitor`. It is a trigger only: what is true is asked of the kernel then.
 *
 * A burst gives one call; the process is started again when it ends, with one call for what may have been missed.
 */
import { execa } from 'execa';
import type { Iproute } from './iproute.js';

const QUIET_MS = 100;
const RESTART_MS = 1000;

export class LinkMonitor {
  private readonly abort = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private readonly ended: Promise<void>;
  private readonly onChange: () => void;

  /** @param onChange must not throw. @param objects of `ip monitor` */
  constructor(iproute: Iproute, onChange: () => void, objects: readonly string[] = ['link', 'address']) {
    this.onChange = onChange;
    // A daemon that is killed cannot end it: the kernel does then.
    this.ended = this.run(['setpriv', '--pdeathsig', 'KILL', '--', ...iproute.prefix, 'ip', 'monitor', ...objects]);
  }

  async close(): Promise<void> {
    this.abort.abort();
    clearTimeout(this.timer);
    await this.ended;
  }

  private async run(command: readonly string[]): Promise<void> {
    const [file, ...args] = command;
    while (!this.abort.signal.aborted) {
      const child = execa(file!, args, {
        reject: false,
        buffer: false,
        stdin: 'ignore',
        stderr: 'ignore',
        cancelSignal: this.abort.signal,
      });
      child.stdout.on('data', () => this.trigger());
      await child;
      if (this.abort.signal.aborted) return;
      this.trigger();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, RESTART_MS);
        this.abort.signal.addEventListener('abort', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  private trigger(): void {
    if (this.timer !== undefined || this.abort.signal.aborted) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.onChange();
    }, QUIET_MS);
  }
}
