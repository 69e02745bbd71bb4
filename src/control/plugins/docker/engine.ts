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
import type { NetworkValue } from '../../registry/schema.js';
import { type DockerEvent, type DockerNetwork, EngineApi } from './engine-api.js';
import { EndpointNames, type NamedContainer } from './endpoint-names.js';
import { EngineWatch } from './engine-watch.js';
import type { DockerHooks } from './hooks.js';
import { NetworkMirror } from './mirror.js';
import { NetworkNames } from './network-names.js';

export interface DockerEngineOptions {
  /** Docker's API: a unix socket. */
  readonly socketPath: string;
  /** The driver's name in Docker: `vtep`. */
  readonly driver: string;
  /** Global: dockerds share networks by a cluster store of their own, and none is mirrored. */
  readonly scope: 'local' | 'global';
  readonly logger: Logger;
  readonly renameNetwork: (from: string, to: string) => Promise<NetworkValue>;
  /** Of the network as the registry has it now; undefined: there is none. */
  readonly currentId: (name: string) => Promise<string | undefined>;
  /** Whether an endpoint here is Docker's endpoint of this id. */
  readonly hasEndpoint: (endpointId: string) => boolean;
  readonly describeEndpoint: (endpointId: string, named: NamedContainer) => Promise<void>;
}

export interface DockerEngineStatus {
  readonly connected: boolean;
  readonly error?: string;
  readonly problems: readonly string[];
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
    const { driver, logger, scope, currentId } = options;
    const api = new EngineApi({ socketPath: options.socketPath });
    this.networkNames = new NetworkNames({ api, driver, logger, rename: options.renameNetwork });
    this.endpointNames = new EndpointNames({
      ...{ api, logger, isHere: options.hasEndpoint, describe: options.describeEndpoint },
    });
    this.mirror = new NetworkMirror({
      ...{ api, driver, logger, currentId, makes: scope === 'local' },
      onDocker: (networks) => this.takeDocker(networks),
    });
    this.watch = new EngineWatch({
      ...{ api, logger },
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
