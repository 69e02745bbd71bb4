/** Makes what others changed of this host's links right again: containers that ended, bridges and TAPs that were removed. */
import type { Logger } from 'pino';
import type { Iproute, Link } from '../ports/iproute.js';
import { adoptHostEnd } from '../ports/veth.js';
import type { LocalEndpoint } from '../state/local-state.js';
import { type EndpointTable, hostEnd } from './endpoint-table.js';
import type { KeyedMutex } from './keyed-mutex.js';
import type { LocalNetworks } from './local-networks.js';

export interface LinkCheckOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly iproute: Iproute;
  readonly mutex: KeyedMutex;
  readonly logger: Logger;
  /** In the network's turn. */
  readonly detach: (endpoint: LocalEndpoint) => Promise<void>;
  /** Opens a network that could not be opened at the start. In the network's turn. */
  readonly adoptNetwork: (name: string) => Promise<void>;
}

export class LinkCheck {
  private readonly options: LinkCheckOptions;

  constructor(options: LinkCheckOptions) {
    this.options = options;
  }

  /** Looks at the kernel: detaches endpoints whose veth is gone, rebuilds bridges and TAPs that are. Never rejects. */
  async check(): Promise<void> {
    const { table, locals, mutex, logger } = this.options;
    const names = new Set([...locals.all().map(({ name }) => name), ...table.all().map(({ network }) => network)]);
    // One reading clears nearly all networks; a change that comes after it is told of again.
    const first = await this.linksByName().catch(() => undefined);
    for (const name of names) {
      if (first !== undefined && this.isInOrder(name, first)) continue;
      await mutex
        .run(name, () => this.putRight(name))
        .catch((error: unknown) => {
          logger.error(
            { event: 'network.links-failed', err: error, network: name },
            `the links of network "${name}" could not be put right: ${(error as Error).message}`,
          );
        });
    }
  }

  private async putRight(name: string): Promise<void> {
    const { table, locals, iproute, logger } = this.options;
    // Read inside the turn: an attach under way is not half seen.
    const links = await this.linksByName();
    for (const endpoint of table.on(name)) {
      if (links.has(endpoint.hostInterface)) continue;
      logger.info(
        { event: 'endpoint.gone', endpoint: endpoint.id, name: endpoint.name, network: name },
        endpoint.standing === undefined
          ? 'the container is gone: detached'
          : 'the container is gone: its addresses wait for it',
      );
      await this.options.detach(endpoint);
    }
    if (locals.get(name) === undefined) await this.options.adoptNetwork(name);
    const network = locals.get(name);
    if (network === undefined) return;
    const lacking = locals.lacks(network, links);
    if (lacking !== undefined) {
      logger.warn(
        { event: 'network.rebuilt', network: name, lacking },
        `the ${lacking} of network "${name}" was changed or removed: made again`,
      );
      await locals.rebuild(network);
    }
    for (const endpoint of table.on(name)) {
      if (lacking !== undefined || !isInPlace(endpoint, links)) await adoptHostEnd(iproute, hostEnd(endpoint));
    }
  }

  private async linksByName(): Promise<Map<string, Link>> {
    return new Map((await this.options.iproute.links()).map((link) => [link.ifname, link]));
  }

  private isInOrder(name: string, links: ReadonlyMap<string, Link>): boolean {
    const network = this.options.locals.get(name);
    if (network === undefined || this.options.locals.lacks(network, links) !== undefined) return false;
    return this.options.table.on(name).every((endpoint) => isInPlace(endpoint, links));
  }
}

function isInPlace(endpoint: LocalEndpoint, links: ReadonlyMap<string, Link>): boolean {
  const link = links.get(endpoint.hostInterface);
  return link?.master === `vtep-b${endpoint.vni}` && link.flags.includes('UP');
}
