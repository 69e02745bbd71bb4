/**
 * Whether an answer is right: what a chaos run finds wrong on the spot, and what is in trouble just now.
 *
 * `calm`: nothing has happened to the registry or the host since the last quiet point, so a refusal needs a reason in the
 * model.
 */
import type { HostNumber } from './actions.js';
import type { ApiAnswer } from './api-client.js';
import { nodeName, type World } from './world.js';

/** No state of the world excuses these. */
const NEVER = new Set(['VTEP_ERR_INTERNAL', 'VTEP_ERR_KERNEL', 'VTEP_ERR_TABLE_FULL', 'VTEP_ERR_VNI_EXHAUSTED']);

/** A session lives for twice its TTL of 10 s after the last renewal, which may have been one beat before. */
const REAP_MS_MIN = 15_000;

export class Judge {
  readonly violations: string[] = [];
  readonly #world: World;
  readonly #troubled = new Set<HostNumber>();
  readonly #absentSinceMs = new Map<HostNumber, number>();
  readonly #longAbsent = new Set<HostNumber>();
  #registryTroubled = false;

  constructor(world: World) {
    this.#world = world;
  }

  hostTroubled(host: HostNumber): void {
    this.#troubled.add(host);
  }

  registryTroubled(): void {
    this.#registryTroubled = true;
  }

  /** The registry does not hear of the host: after a while it is believed dead, and its addresses are given away. */
  absent(host: HostNumber): void {
    if (!this.#absentSinceMs.has(host)) this.#absentSinceMs.set(host, performance.now());
  }

  present(host: HostNumber): void {
    if (this.mayBeReaped(host)) this.#longAbsent.add(host);
    this.#absentSinceMs.delete(host);
  }

  /** Milliseconds so far. */
  absenceMs(host: HostNumber): number {
    return performance.now() - (this.#absentSinceMs.get(host) ?? performance.now());
  }

  /** It is, or was since the last quiet point, absent for so long that its addresses may be another's now. */
  mayBeReaped(host: HostNumber): boolean {
    return this.#longAbsent.has(host) || this.absenceMs(host) > REAP_MS_MIN;
  }

  calm(...hosts: HostNumber[]): boolean {
    return !this.#registryTroubled && !hosts.some((host) => this.#troubled.has(host));
  }

  /** All is as the model says. */
  calmDown(): void {
    this.#troubled.clear();
    this.#registryTroubled = false;
    this.#longAbsent.clear();
  }

  /** An error that nothing excuses is a violation. */
  refused(what: string, calm: boolean, answer: ApiAnswer, reasons: readonly (string | false)[] = []): void {
    if (reasons.includes(answer.code ?? '')) return;
    if (calm || NEVER.has(answer.code ?? '')) {
      this.violations.push(`${what} failed${calm ? ' though nothing was in trouble' : ''}: ${answer.text}`);
    }
  }

  /** No answer. @returns it for the log */
  unanswered(host: HostNumber, answer: ApiAnswer): string {
    if (answer.outcome === 'refused' && this.#world.isRunning(nodeName(host)))
      this.violations.push(`vtepd on ${nodeName(host)} runs and does not take requests: ${answer.text}`);
    return `${answer.outcome}: ${answer.text}`;
  }
}
