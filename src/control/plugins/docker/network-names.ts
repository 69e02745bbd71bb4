/**
 * Gives networks that Docker made the names that their users gave them. Control plane, main thread.
 *
 *     CreateNetwork (no name told) ─▶ docker-<12 digits> in the registry ─callback answered─▶ Docker's API: the name
 *        ─▶ NetworkStore.rename ─┬─▶ named
 *                                ├─ taken: endpoints are refused, until it is free
 *                                ├─ in use by then, or no name for vtep: it keeps the provisional one
 *                                └─ Docker or the registry away: tried again when they are back
 *
 * Nothing is written down: a network whose name is still provisional is found again by Docker's networks.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { VtepError } from '../../errors.js';
import type { DockerNetwork, EngineApi } from './engine-api.js';
import { provisionalName, registryName } from './mirror-plan.js';

/** Docker knows a network a moment after its driver does. */
const LOOK_MS = [10, 20, 40, 80, 160, 320, 640, 1000, 2000];

export interface NetworkNamesOptions {
  readonly api: Pick<EngineApi, 'network'>;
  readonly driver: string;
  readonly rename: (from: string, to: string) => Promise<unknown>;
  readonly logger: Logger;
}

export class NetworkNames {
  private readonly options: NetworkNamesOptions;
  private readonly pending = new Map<string, Promise<void>>();
  /** By Docker's id: whose name another network has. */
  private readonly refused = new Map<string, { readonly name: string; readonly error: VtepError }>();
  /** Those that keep the provisional name, and why. */
  private readonly kept = new Map<string, string>();
  private closed = false;

  constructor(options: NetworkNamesOptions) {
    this.options = options;
  }

  get problems(): string[] {
    return [...[...this.refused.values()].map(({ error }) => error.message), ...this.kept.values()];
  }

  /** As DockerHooks. */
  networkMade(networkId: string): void {
    void this.begin(networkId);
  }

  /** As DockerHooks. */
  pendingName(networkId: string): Promise<void> | undefined {
    const refused = this.refused.get(networkId);
    return this.pending.get(networkId) ?? (refused && Promise.reject(refused.error));
  }

  /** Docker is back: those that kept their name for a reason of that time are looked at anew. */
  forgetKept(): void {
    this.kept.clear();
  }

  /** @param registry the names of its networks */
  lookAt(docker: readonly DockerNetwork[], registry: ReadonlySet<string>): void {
    const there = new Set(docker.map(({ Id }) => Id));
    for (const id of this.refused.keys()) if (!there.has(id)) this.refused.delete(id);
    for (const id of this.kept.keys()) if (!there.has(id)) this.kept.delete(id);
    const names = new Map([...registry].map((name) => [name, true]));
    for (const one of docker) {
      const { Id, Name, Driver } = one;
      if (Driver !== this.options.driver || registryName(one, names) !== provisionalName(Id)) continue;
      if (this.kept.has(Id) || (this.refused.get(Id)?.name === Name && registry.has(Name))) continue;
      void this.begin(Id);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.pending.values());
  }

  private begin(networkId: string): Promise<void> {
    const there = this.pending.get(networkId);
    if (there !== undefined) return there;
    const work = this.name(networkId).finally(() => this.pending.delete(networkId));
    this.pending.set(networkId, work);
    // Whoever waits for it hears of a failure; nobody may.
    work.catch(() => undefined);
    return work;
  }

  /** @throws VtepError if another network has the name. */
  private async name(networkId: string): Promise<void> {
    const { rename, logger } = this.options;
    const from = provisionalName(networkId);
    const to = await this.nameInDocker(networkId);
    if (to === undefined) return;
    try {
      await rename(from, to);
      this.refused.delete(networkId);
      this.kept.delete(networkId);
      logger.info({ event: 'docker.network-named', network: to, from }, `network "${to}" of Docker has its name`);
    } catch (error) {
      const refusal = this.refusalOf(error, networkId, from, to);
      if (refusal !== undefined) throw refusal;
    }
  }

  /** Whether it is there yet is asked a few times. */
  private async nameInDocker(networkId: string): Promise<string | undefined> {
    const { api, logger } = this.options;
    for (const pauseMs of LOOK_MS) {
      // Also before the first: the callback must be answered before Docker can be asked.
      await sleep(pauseMs, undefined, { ref: false });
      if (this.closed) return undefined;
      try {
        const found = await api.network(networkId);
        if (found !== undefined) return found.Name;
      } catch (error) {
        logger.debug({ event: 'docker.name-unknown', err: error, id: networkId }, (error as Error).message);
        return undefined;
      }
    }
    return undefined;
  }

  private refusalOf(error: unknown, networkId: string, from: string, to: string): VtepError | undefined {
    const { logger } = this.options;
    const code = error instanceof VtepError ? error.code : undefined;
    if (code === 'VTEP_ERR_NETWORK_EXISTS') {
      const known = this.refused.get(networkId);
      const text = `the registry has another network "${to}": remove this one ("docker network rm ${to}"), the other is then shown here by itself`;
      const refusal = known?.error ?? new VtepError('VTEP_ERR_NETWORK_EXISTS', text, { cause: error });
      this.refused.set(networkId, { name: to, error: refusal });
      if (known === undefined) logger.warn({ event: 'docker.name-taken', network: to, from }, text);
      return refusal;
    }
    const message = (error as Error).message;
    if (code === 'VTEP_ERR_NETWORK_IN_USE' || code === 'VTEP_ERR_INVALID') {
      const text = `network "${to}" of this host's Docker is "${from}" in the registry: ${message}`;
      if (!this.kept.has(networkId)) logger.warn({ event: 'docker.name-kept', network: to, from }, text);
      this.kept.set(networkId, text);
    } else if (code !== 'VTEP_ERR_NETWORK_UNKNOWN') {
      logger.warn({ event: 'docker.rename-failed', err: error, network: to, from }, `network "${from}": ${message}`);
    }
    return undefined;
  }
}
