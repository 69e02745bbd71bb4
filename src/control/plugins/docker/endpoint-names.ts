/**
 * Gives Docker's endpoints the names and aliases of their containers, so that DNS answers them on every host. Main thread.
 *
 *     Join answered, network connect, container rename, Docker is back
 *        ─▶ GET /networks/ID: the container's name, at once
 *        ─▶ GET /containers/ID/json: its aliases; Docker answers that when the container has started
 *
 * A container that Docker knows no more keeps the name that it has; nothing here fails an attach.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { nameSchema } from '../../api/schema.js';
import type { EndpointNaming } from '../../endpoints/endpoint-names.js';
import { LatestRun } from '../../endpoints/latest-run.js';
import type { DockerNetworkDetail, EngineApi } from './engine-api.js';

const ALIASES_MAX = 32;
/** Docker knows of the endpoint a moment after its driver does. */
const AGAIN_MS = [5, 20, 80, 320, 1000];

export interface EndpointNamesOptions {
  readonly api: Pick<EngineApi, 'network' | 'container'>;
  /** Whether an endpoint here is Docker's endpoint of this id. */
  readonly isHere: (endpointId: string) => boolean;
  /** @throws VtepError if it can't be written */
  readonly describe: (endpointId: string, naming: EndpointNaming) => Promise<void>;
  readonly logger: Logger;
}

export class EndpointNames {
  private readonly options: EndpointNamesOptions;
  private readonly due = new Set<string>();
  private readonly run = new LatestRun(() => this.lookAtDue());
  /** By endpoint: whose aliases are asked for. */
  private readonly asking = new Map<string, Promise<void>>();
  private closed = false;

  constructor(options: EndpointNamesOptions) {
    this.options = options;
  }

  /** The callback that tells of it need not be answered yet. */
  joined(networkId: string, endpointId: string): void {
    void this.untilKnown(networkId, endpointId);
  }

  /** Something has changed on the network. */
  lookAt(networkId: string): void {
    if (this.closed) return;
    this.due.add(networkId);
    this.run.request();
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.run.idle();
    await Promise.all(this.asking.values());
  }

  private async untilKnown(networkId: string, endpointId: string): Promise<void> {
    for (const pauseMs of AGAIN_MS) {
      await sleep(pauseMs, undefined, { ref: false });
      if (this.closed || !this.options.isHere(endpointId)) return;
      const detail = await this.read(networkId);
      if (detail === undefined) continue;
      const isKnown = Object.values(detail.Containers).some(({ EndpointID }) => EndpointID === endpointId);
      await this.take(detail);
      if (isKnown) return;
    }
  }

  private async lookAtDue(): Promise<void> {
    for (const networkId of [...this.due]) {
      this.due.delete(networkId);
      const detail = this.closed ? undefined : await this.read(networkId);
      if (detail !== undefined) await this.take(detail);
    }
  }

  private async read(networkId: string): Promise<DockerNetworkDetail | undefined> {
    try {
      return await this.options.api.network(networkId);
    } catch (error) {
      this.failed(error, networkId);
      return undefined;
    }
  }

  private async take({ Id, Containers }: DockerNetworkDetail): Promise<void> {
    const { isHere, describe } = this.options;
    for (const [containerId, { Name, EndpointID }] of Object.entries(Containers)) {
      if (!isHere(EndpointID)) continue;
      if (isName(Name)) await describe(EndpointID, { name: Name }).catch((error) => this.failed(error, EndpointID));
      if (!containerId.startsWith('ep-')) this.askAliases(Id, EndpointID, containerId);
    }
  }

  /** Not waited for: the container may take its time to start. */
  private askAliases(networkId: string, endpointId: string, containerId: string): void {
    if (this.closed || this.asking.has(endpointId)) return;
    const work = this.readAliases(networkId, endpointId, containerId)
      .catch((error) => this.failed(error, endpointId))
      .finally(() => this.asking.delete(endpointId));
    this.asking.set(endpointId, work);
  }

  private async readAliases(networkId: string, endpointId: string, containerId: string): Promise<void> {
    const container = await this.options.api.container(containerId);
    if (container === undefined) return;
    const settings = Object.values(container.NetworkSettings.Networks).find(({ NetworkID }) => NetworkID === networkId);
    const aliases = aliasesOf(settings?.Aliases ?? [], containerId);
    await this.options.describe(endpointId, { aliases });
  }

  private failed(error: unknown, id: string): void {
    const { logger } = this.options;
    logger.debug({ event: 'docker.endpoint-name-unknown', err: error, id }, (error as Error).message);
  }
}

/** Docker gives each container its short id as an alias: that is no name that anybody gave. */
export function aliasesOf(aliases: readonly string[], containerId: string): string[] {
  const given = aliases.filter((alias) => isName(alias) && alias !== containerId.slice(0, 12));
  return [...new Set(given)].sort().slice(0, ALIASES_MAX);
}

function isName(text: string): boolean {
  return nameSchema.safeParse(text).success;
}
