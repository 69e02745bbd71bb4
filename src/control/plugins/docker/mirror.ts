/**
 * Makes this host's Docker show the networks that the registry holds, and keeps it so. Control plane, main thread.
 *
 *     registry's networks ─┐
 *     Docker's networks ───┴▶ planMirrors ─▶ steps, one after another, by Docker's API
 *
 * Everything is looked at anew each time, so nothing needs to be remembered; what Docker refuses is told once and tried
 * again, after a growing pause or when something changes. Docker calls the driver back for each step: a mirror adopts the
 * very network that it was made for (ID_OPTION), so one that is being removed is not made again.
 */
import type { Logger } from 'pino';
import { LatestRun } from '../../endpoints/latest-run.js';
import type { DockerNetwork, EngineApi } from './engine-api.js';
import {
  isProvisional,
  type MirroredNetwork,
  type MirrorInput,
  type MirrorStep,
  mirrorOf,
  planMirrors,
} from './mirror-plan.js';

/** Much longer than it takes to give a network its name. */
const SETTLE_MS = 3000;
const RETRY_MS = { first: 1000, most: 30_000 };

export interface NetworkMirrorOptions {
  readonly api: Pick<EngineApi, 'networks' | 'createNetwork' | 'removeNetwork'>;
  /** This driver's name in Docker. */
  readonly driver: string;
  /** Of the network as the registry has it now; undefined: there is none. */
  readonly currentId: (name: string) => Promise<string | undefined>;
  /** By Docker's id: what networks were made as, by the registry's id. */
  readonly bound: () => MirrorInput['bound'];
  readonly wasRemoved: MirrorInput['wasRemoved'];
  readonly logger: Logger;
  /** Docker's networks, each time that they were read. */
  readonly onDocker?: ((networks: readonly DockerNetwork[]) => void) | undefined;
  /** @default true. Else Docker shares networks itself, and they are only read. */
  readonly makes?: boolean | undefined;
  /** @default 3000 */
  readonly settleMs?: number | undefined;
  /** @default 1000 to 30000 */
  readonly retryMs?: { readonly first: number; readonly most: number } | undefined;
}

export class NetworkMirror {
  private readonly options: NetworkMirrorOptions;
  private readonly run = new LatestRun(() => this.look());
  private registry: readonly MirroredNetwork[] | undefined;
  private isUp = false;
  private closed = false;
  private readonly firstSeenMs = new Map<string, number>();
  private told: readonly string[] = [];
  private timer: NodeJS.Timeout | undefined;
  private failures = 0;

  constructor(options: NetworkMirrorOptions) {
    this.options = options;
  }

  /** What Docker does not show, and why. */
  get problems(): readonly string[] {
    return this.told;
  }

  /** A reading of the registry. */
  setRegistry(networks: readonly MirroredNetwork[]): void {
    this.registry = networks;
    const names = new Set(networks.map(({ name }) => name));
    for (const name of this.firstSeenMs.keys()) if (!names.has(name)) this.firstSeenMs.delete(name);
    for (const name of names) if (!this.firstSeenMs.has(name)) this.firstSeenMs.set(name, performance.now());
    this.request();
  }

  setUp(isUp: boolean): void {
    this.isUp = isUp;
    this.failures = 0;
    if (isUp) this.request();
  }

  /** Something has changed in Docker. */
  request(): void {
    if (this.closed || !this.isUp || this.registry === undefined) return;
    this.run.request();
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.run.idle();
  }

  private async look(): Promise<void> {
    const { api, driver, onDocker, bound, wasRemoved, makes = true } = this.options;
    if (this.closed || !this.isUp || this.registry === undefined) return;
    const problems: string[] = [];
    let settling = false;
    try {
      const docker = await api.networks();
      onDocker?.(docker);
      if (makes) {
        const isSettling = (name: string) => this.isSettling(name);
        settling = this.registry.some(({ name }) => isSettling(name));
        const plan = planMirrors({ registry: this.registry, docker, driver, isSettling, bound: bound(), wasRemoved });
        problems.push(...plan.problems);
        let failed = false;
        for (const step of plan.steps) {
          const problem = await this.carryOut(step);
          if (problem !== undefined) problems.push(problem);
          failed ||= problem !== undefined;
        }
        this.failures = failed ? this.failures + 1 : 0;
      }
    } catch (error) {
      this.failures += 1;
      const { logger } = this.options;
      logger.debug({ event: 'docker.look-failed', err: error }, "Docker's networks could not be read");
    }
    this.tell(problems);
    this.lookAgainLater(settling);
  }

  /** @returns what went wrong. */
  private async carryOut(step: MirrorStep): Promise<string | undefined> {
    const { api, driver, currentId, logger } = this.options;
    const name = step.do === 'create' ? step.network.name : step.name;
    try {
      if (this.closed) return undefined;
      if (step.do === 'remove') {
        await api.removeNetwork(step.id);
        logger.info(
          { event: 'docker.mirror-removed', network: name },
          `network "${name}" is no longer shown in Docker`,
        );
        return undefined;
      }
      // The reading may be old by now: `docker network rm` of a mirror removes the network everywhere.
      if ((await currentId(name)) !== step.network.id) return undefined;
      await api.createNetwork(mirrorOf(step.network, driver));
      logger.info({ event: 'docker.mirrored', network: name }, `network "${name}" is shown in Docker`);
      return undefined;
    } catch (error) {
      const what = step.do === 'create' ? 'is not shown in Docker' : 'is gone, and still shown in Docker';
      return `network "${name}" ${what}: ${(error as Error).message}`;
    }
  }

  private isSettling(name: string): boolean {
    if (!isProvisional(name)) return false;
    const seenMs = this.firstSeenMs.get(name) ?? performance.now();
    return performance.now() - seenMs < (this.options.settleMs ?? SETTLE_MS);
  }

  private tell(problems: readonly string[]): void {
    const { logger } = this.options;
    for (const problem of problems) {
      if (!this.told.includes(problem)) logger.warn({ event: 'docker.problem' }, problem);
    }
    this.told = problems;
  }

  private lookAgainLater(settling: boolean): void {
    clearTimeout(this.timer);
    const { first, most } = this.options.retryMs ?? RETRY_MS;
    if (this.closed || (this.failures === 0 && !settling)) return;
    const retryMs = Math.min(most, first * 2 ** Math.min(this.failures - 1, 10));
    const waitMs = this.failures === 0 ? (this.options.settleMs ?? SETTLE_MS) : retryMs;
    this.timer = setTimeout(() => this.request(), waitMs).unref();
  }
}
