/**
 * Tells systemd how vtepd is: ready, stopping, a line of status, and signs of life. The protocol is datagrams of text to a unix
 * socket that NOTIFY_SOCKET names; sources: sd_notify(3), sd_watchdog_enabled(3). Without the variable nothing is ever sent.
 *
 * Control plane, main thread. Life is told only while it is there: the ping comes from this thread's own timer, and only when
 * every worker has turned lately (liveness.ts). While vtepd stops, workers have ended and the timer alone speaks.
 */
import type { Logger } from 'pino';
import { sendUnixDatagram } from '../sys/unix-datagram.js';
import { LivenessJudge, type Stalled, type WorkerLife } from './liveness.js';

/** How often the status may change, and life is told at least. */
const TICK_MS_MAX = 10_000;
/** Longer than the supervisor takes to start a worker again: 5 s, and its warm-up on a busy machine. */
const STALLED_MS_MAX = 15_000;
/** Three turns of an idle worker. */
const STALLED_MS_MIN = 3000;
const RETRY_MS = 200;

export interface ServiceManagerAddress {
  /** A path, or `@NAME` of an abstract socket. */
  readonly socket: string;
  /** Who is this long without a sign of life is killed. Absent: nobody watches. */
  readonly watchdogMs?: number;
}

/** Takes the variables out of `env`, so that no child speaks in vtepd's name. @returns undefined: nobody wants to hear */
export function takeServiceManager(env: NodeJS.ProcessEnv, pid = process.pid): ServiceManagerAddress | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: microseconds, WATCHDOG_PID: watched } = env;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  if (socket === undefined || !/^[/@]./.test(socket)) return undefined;
  const isWatched = watched === undefined || watched === '' || Number(watched) === pid;
  const watchdogMs = /^\d+$/.test(microseconds ?? '') ? Number(microseconds) / 1000 : 0;
  return { socket, ...(isWatched && watchdogMs > 0 ? { watchdogMs } : {}) };
}

/** What is asked at each tick; quick, and without a wait. */
export interface Signs {
  workers(): readonly WorkerLife[];
  /** For `systemctl status`, one line. */
  outline(): string;
}

/** @returns false if the receiver has no room now. @throws where it can't be reached */
export type Send = (socket: string, datagram: Uint8Array) => boolean;

export class ServiceManager {
  readonly #address: ServiceManagerAddress | undefined;
  readonly #logger: Logger;
  readonly #send: Send;
  readonly #owed: string[] = [];
  readonly #judge: LivenessJudge;
  readonly #tickMs: number;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #signs: Signs | undefined;
  #status = '';
  #isStalled = false;
  #isUnreachable = false;

  constructor(address: ServiceManagerAddress | undefined, logger: Logger, send: Send = sendUnixDatagram) {
    this.#address = address;
    this.#logger = logger;
    this.#send = send;
    const half = (address?.watchdogMs ?? 2 * STALLED_MS_MAX) / 2;
    this.#tickMs = Math.min(half, TICK_MS_MAX);
    this.#judge = new LivenessJudge(Math.min(Math.max(half, STALLED_MS_MIN), STALLED_MS_MAX));
  }

  /** All is up; from now on the signs are looked at. */
  ready(signs: Signs): void {
    if (this.#address === undefined) return;
    this.#signs = signs;
    this.#status = oneLine(signs.outline());
    this.#tell(`READY=1\nSTATUS=${this.#status}`);
    this.#judge.look(performance.now(), signs.workers());
    this.#timer = setInterval(() => this.#tick(), this.#tickMs);
  }

  stopping(why: string): void {
    this.#signs = undefined;
    this.#tell(`STOPPING=1\nSTATUS=${oneLine(why)}`);
  }

  /** Stays in `systemctl status` after the end. */
  failed(why: string): void {
    this.#signs = undefined;
    this.#tell(`STATUS=${oneLine(why)}`);
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#retry);
  }

  #tick(): void {
    const signs = this.#signs;
    const stalled = signs === undefined ? [] : this.#judge.look(performance.now(), signs.workers());
    this.#note(stalled);
    // Behind what is still owed a ping would only add to it.
    if (this.#owed.length > 0) return;
    const lines: string[] = [];
    if (stalled.length === 0 && this.#address?.watchdogMs !== undefined) lines.push('WATCHDOG=1');
    const status = signs === undefined ? this.#status : oneLine(stalledText(stalled) || signs.outline());
    if (status !== this.#status) lines.push(`STATUS=${status}`);
    this.#status = status;
    if (lines.length > 0) this.#tell(lines.join('\n'));
  }

  #note(stalled: readonly Stalled[]): void {
    const isStalled = stalled.length > 0;
    if (isStalled === this.#isStalled) return;
    this.#isStalled = isStalled;
    if (isStalled) this.#logger.error({ event: 'daemon.stalled', workers: stalled }, stalledText(stalled));
    else this.#logger.info({ event: 'daemon.alive' }, 'all workers turn again');
  }

  #tell(message: string): void {
    if (this.#address === undefined) return;
    this.#owed.push(message);
    this.#flush(this.#address.socket);
  }

  #flush(socket: string): void {
    while (this.#owed.length > 0) {
      if (!this.#deliver(socket, this.#owed[0] as string)) {
        this.#retry ??= setTimeout(() => {
          this.#retry = undefined;
          this.#flush(socket);
        }, RETRY_MS);
        return;
      }
      this.#owed.shift();
    }
  }

  /** @returns false if it must be sent again */
  #deliver(socket: string, message: string): boolean {
    try {
      return this.#send(socket, Buffer.from(message));
    } catch (error) {
      if (!this.#isUnreachable) {
        this.#logger.warn({ event: 'service-manager.unreachable', socket, err: error }, 'NOTIFY_SOCKET takes nothing');
      }
      this.#isUnreachable = true;
      return true;
    }
  }
}

function stalledText(stalled: readonly Stalled[]): string {
  return stalled
    .map(({ worker, state, silentMs }) => {
      const since = `has made no turn for ${Math.round(silentMs / 1000)} s`;
      return `worker ${worker} ${since} (${state}): no sign of life is sent`;
    })
    .join('; ');
}

/** The protocol's fields end with their line. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
