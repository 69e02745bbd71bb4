/**
 * Container's ends of veths that an engine moves into its container itself: found again there, so that the endpoint knows
 * its interface and its namespace, and announced. Control plane, main thread.
 *
 *     attached, on the host ─(a link has changed)─▶ gone from here, the other end still there ─▶ found ─▶ announced
 *
 * The move and the renaming are two steps of the engine's, the second of which no monitor of the host tells: what is half
 * there is looked at again soon.
 */
import type { Logger } from 'pino';
import type { Iproute, Link } from '../ports/iproute.js';
import { awaitedInterfaceName } from '../ports/names.js';
import { labelPath, namespaceIdentity } from '../ports/namespace.js';
import type { LocalEndpoint, LocalState } from '../state/local-state.js';
import { announceTwice } from './announcement.js';
import { isAwaited } from './container-side.js';
import type { EndpointTable } from './endpoint-table.js';
import type { KeyedMutex } from './keyed-mutex.js';

const LOOK_AGAIN_MS = { min: 50, max: 5000 };

export interface AwaitedEndsOptions {
  readonly table: EndpointTable;
  readonly iproute: Iproute;
  readonly mutex: KeyedMutex;
  readonly state: LocalState;
  readonly logger: Logger;
}

interface Found {
  readonly label: string;
  readonly path: string;
  readonly identity: string;
  readonly interface: string;
}

export class AwaitedEnds {
  private readonly options: AwaitedEndsOptions;
  private timer: NodeJS.Timeout | undefined;
  private pauseMs = LOOK_AGAIN_MS.min;
  private closed = false;

  constructor(options: AwaitedEndsOptions) {
    this.options = options;
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
  }

  /** A link has changed. Never rejects. */
  check(): Promise<void> {
    this.pauseMs = LOOK_AGAIN_MS.min;
    return this.lookAtAll();
  }

  private async lookAtAll(): Promise<void> {
    const { table, iproute, mutex, logger } = this.options;
    const awaited = table.all().filter(isAwaited);
    if (awaited.length === 0) return;
    const links = await iproute.links().catch(() => undefined);
    let isHalfThere = false;
    for (const { id, network } of awaited) {
      const done = await mutex
        .run(network, async () => links === undefined || (await this.look(id, links)))
        .catch((error: unknown) => {
          logger.debug({ event: 'endpoint.awaited-failed', err: error, endpoint: id }, (error as Error).message);
          return false;
        });
      isHalfThere ||= !done;
    }
    if (isHalfThere) this.lookAgain();
  }

  /** @returns false if it has left the host and was not found yet */
  private async look(id: string, links: readonly Link[]): Promise<boolean> {
    const { table, iproute, state, logger } = this.options;
    const endpoint = table.get(id);
    if (endpoint === undefined || !isAwaited(endpoint)) return true;
    const host = links.find(({ ifname }) => ifname === endpoint.hostInterface);
    // Without a host's end the link check detaches it.
    if (host === undefined || links.some(({ ifname }) => ifname === awaitedInterfaceName(id))) return true;
    const found = await this.find(endpoint, host);
    if (found === undefined) return false;
    const arrived: LocalEndpoint = {
      ...endpoint,
      sandbox: found.label,
      sandboxIdentity: found.identity,
      containerInterface: found.interface,
    };
    await state.putEndpoint(arrived);
    table.set(arrived);
    logger.debug(
      { event: 'endpoint.arrived', endpoint: id, sandbox: found.label, interface: found.interface },
      'the interface is in its container',
    );
    announceTwice(iproute, found.path, arrived, () => table.has(id));
    return true;
  }

  /** By the label that the engine gave, which outlives the container's processes; else by any way into the namespace. */
  private async find(endpoint: LocalEndpoint, host: Link): Promise<Found | undefined> {
    const { iproute } = this.options;
    const said = { label: endpoint.sandbox, path: labelPath(endpoint.sandbox) };
    const direct = await this.findIn(endpoint, host, said);
    if (direct !== undefined || host.link_netnsid === undefined) return direct;
    for (const way of await iproute.sandboxes(host.link_netnsid)) {
      const found = await this.findIn(endpoint, host, way);
      // It may have got its name between the two looks.
      if (found !== undefined)
        return found.identity === (await namespaceIdentity(said.path)) ? { ...found, ...said } : found;
    }
    return undefined;
  }

  private async findIn(
    { id, mac }: LocalEndpoint,
    host: Link,
    { label, path }: { label: string; path: string },
  ): Promise<Found | undefined> {
    const identity = await namespaceIdentity(path);
    if (identity === undefined) return undefined;
    const links = await this.options.iproute.linksIn(path).catch(() => []);
    const end = links.find((link) => link.ifindex === host.link_index && link.address === mac);
    if (end === undefined || end.ifname === awaitedInterfaceName(id)) return undefined;
    return { label, path, identity, interface: end.ifname };
  }

  private lookAgain(): void {
    // Where vtepd may not enter namespaces nothing is found; the next change of a link looks once more.
    if (this.closed || this.timer !== undefined || this.pauseMs > LOOK_AGAIN_MS.max) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.lookAtAll();
    }, this.pauseMs).unref();
    this.pauseMs *= 2;
  }
}
