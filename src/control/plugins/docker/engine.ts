/**
 * What vtepd does through Docker's API, outside of Docker's callbacks: names and mirrors. Main thread.
 *
 *     driver's callbacks ─(DockerHooks)─┐
 *     Docker's events ──(EngineWatch)───┼─▶ NetworkNames    provisional names become the users'
 *     registry's networks ──────────────┤   NetworkMirror   Docker shows what the registry holds
 *                                       └─▶ EndpointNames   endpoints are called as their containers
 *
 * Without a dockerd, or with one that does not answer, all else works; when it is back everything is looked at anew.
 */
import type { Logger } from 'pino';
import type { EndpointManager } from '../../endpoints/endpoint-manager.js';
import type { NetworkStore } from '../../networks/network-store.js';
import type { NetworkValue } from '../../registry/schema.js';
import type { LocalState } from '../../state/local-state.js';
import { boundNetworks } from './bindings.js';
import { EndpointNames } from './endpoint-names.js';
import { type DockerEvent, type DockerNetwork, EngineApi } from './engine-api.js';
import { EngineWatch, type EngineWatchOptions } from './engine-watch.js';
import type { DockerHooks } from './hooks.js';
import { NetworkMirror, type NetworkMirrorOptions } from './mirror.js';
import { ownerOf } from './network-driver.js';
import { NetworkNames } from './network-names.js';

export interface DockerEngineOptions {
  /** Docker's API: a unix socket. */
  readonly socketPath: string;
  /** The driver's name in Docker: `vtep`. */
  readonly driver: string;
  /** Global: dockerds share networks by a cluster store of their own, and none is mirrored. */
  readonly scope: 'local' | 'global';
  readonly logger: Logger;
  readonly networks: Pick<NetworkStore, 'rename' | 'find'>;
  readonly endpoints: Pick<EndpointManager, 'ownedBy' | 'describe'>;
  /** Where the driver keeps what Docker's networks are, and the host what was removed. */
  readonly state: Pick<LocalState, 'pluginRecords' | 'removedFrom'>;
  /** For tests, each: as EngineWatch's and NetworkMirror's. */
  readonly pauseMs?: EngineWatchOptions['pauseMs'];
  readonly retryMs?: NetworkMirrorOptions['retryMs'];
  readonly settleMs?: NetworkMirrorOptions['settleMs'];
}

export interface DockerEngineStatus {
  readonly connected: boolean;
  readonly error?: string;
  readonly problems: string[];
}

export class DockerEngine implements DockerHooks {
  private readonly options: DockerEngineOptions;
  private readonly watch: EngineWatch;
  private readonly mirror: NetworkMirror;
  private readonly networkNames: NetworkNames;
  private readonly endpointNames: EndpointNames;
  private registry: ReadonlySet<string> = new Set();
  private docker: readonly DockerNetwork[] = [];
  private justUp = false;

  constructor(options: DockerEngineOptions) {
    this.options = options;
    const { driver, logger, scope, networks, endpoints, state, pauseMs, retryMs, settleMs } = options;
    const api = new EngineApi({ socketPath: options.socketPath });
    this.networkNames = new NetworkNames({ api, driver, logger, rename: (from, to) => networks.rename(from, to) });
    this.endpointNames = new EndpointNames({
      ...{ api, logger },
      isHere: (endpointId) => endpoints.ownedBy(ownerOf(endpointId)) !== undefined,
      describe: async (endpointId, naming) => {
        const endpoint = endpoints.ownedBy(ownerOf(endpointId));
        if (endpoint !== undefined) await endpoints.describe(endpoint.id, naming);
      },
    });
    this.mirror = new NetworkMirror({
      ...{ api, driver, logger, retryMs, settleMs, makes: scope === 'local' },
      currentId: async (name) => (await networks.find(name))?.value.id,
      bound: () => boundNetworks(state),
      wasRemoved: (id) => state.removedFrom(id) !== undefined,
      onDocker: (networks) => this.takeDocker(networks),
    });
    this.watch = new EngineWatch({
      ...{ api, logger, pauseMs },
      onUp: () => {
        this.justUp = true;
        this.networkNames.forgetKept();
        this.mirror.setUp(true);
      },
      onDown: () => this.mirror.setUp(false),
      onEvent: (event) => this.takeEvent(event),
    });
  }

  start(): void {
    this.watch.start();
  }

  async close(): Promise<void> {
    await Promise.all([this.watch.close(), this.mirror.close(), this.networkNames.close(), this.endpointNames.close()]);
  }

  /** The networks that the registry holds, each time that they change. */
  setRegistry(networks: readonly NetworkValue[]): void {
    this.registry = new Set(networks.map(({ name }) => name));
    this.mirror.setRegistry(networks);
  }

  networkMade(networkId: string): void {
    this.networkNames.networkMade(networkId);
  }

  endpointJoined(networkId: string, endpointId: string): void {
    this.endpointNames.joined(networkId, endpointId);
  }

  pendingName(networkId: string): Promise<void> | undefined {
    return this.networkNames.pendingName(networkId);
  }

  status(): DockerEngineStatus {
    const { error } = this.watch;
    return {
      connected: this.watch.isUp,
      ...(error === undefined ? {} : { error }),
      problems: [...this.networkNames.problems, ...this.mirror.problems],
    };
  }

  private takeDocker(networks: readonly DockerNetwork[]): void {
    this.docker = networks;
    this.networkNames.lookAt(networks, this.registry);
    if (this.justUp) this.lookAtAllNetworks();
    this.justUp = false;
  }

  private takeEvent({ Type, Action, Actor }: DockerEvent): void {
    if (Type === 'network' && Actor.Attributes.type === this.options.driver && Action === 'connect') {
      this.endpointNames.lookAt(Actor.ID);
    } else if (Type === 'network' && Action !== 'connect') this.mirror.request();
    else if (Type === 'container' && Action === 'rename') this.lookAtAllNetworks();
  }

  private lookAtAllNetworks(): void {
    for (const { Id, Driver } of this.docker) if (Driver === this.options.driver) this.endpointNames.lookAt(Id);
  }
}
