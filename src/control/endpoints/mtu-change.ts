/**
 * The MTUs of the networks that follow the underlay's, when that has changed: of the containers' interfaces, the ports, the
 * bridge, the TAP and the data plane's table.
 *
 *     smaller   inside first: nobody sends what the next one would no longer take
 *               container ─▶ host's end of its veth ─▶ bridge, TAP ─▶ table
 *     larger    outside first
 *               table ─▶ TAP, bridge ─▶ host's end ─▶ container
 *
 * A container's interface that somebody has given another MTU keeps it. Networks with an MTU of their own keep it too, with a
 * warning if the underlay has become too small for it.
 */
import type { Logger } from 'pino';
import { gsoMaxBytesFor } from '../ports/gso-size.js';
import type { Iproute } from '../ports/iproute.js';
import { awaitedInterfaceName } from '../ports/names.js';
import { sandboxPaths } from '../ports/namespace.js';
import { adoptHostEnd } from '../ports/veth.js';
import type { NetworkValue } from '../registry/schema.js';
import type { LocalEndpoint, LocalState } from '../state/local-state.js';
import { isAwaited } from './container-side.js';
import { type EndpointTable, hostEnd } from './endpoint-table.js';
import type { KeyedMutex } from './keyed-mutex.js';
import type { LocalNetworks } from './local-networks.js';

export interface MtuChangeOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly iproute: Iproute;
  readonly mutex: KeyedMutex;
  readonly state: LocalState;
  readonly logger: Logger;
}

export class MtuChange {
  private readonly options: MtuChangeOptions;

  constructor(options: MtuChangeOptions) {
    this.options = options;
  }

  /** Makes every network as it should be under the present MTU of the underlay. Never rejects. */
  async apply(): Promise<void> {
    const { locals, mutex, logger } = this.options;
    for (const { name } of locals.all()) {
      await mutex
        .run(name, async () => {
          const network = locals.get(name);
          if (network !== undefined) await this.applyTo(network);
        })
        .catch((error: unknown) => {
          const text = `the MTU of network "${name}" could not be changed: ${(error as Error).message}`;
          logger.error({ event: 'network.mtu-failed', err: error, network: name }, text);
        });
    }
  }

  private async applyTo(network: NetworkValue): Promise<void> {
    const { table, locals, logger } = this.options;
    const mtuBytes = locals.mtuBytes(network);
    const roomBytes = locals.roomBytes();
    if (mtuBytes > roomBytes) {
      const text = `network "${network.name}" has an MTU of ${mtuBytes}, and the underlay has room for ${roomBytes}: what is larger is fragmented or lost`;
      logger.warn({ event: 'network.mtu-too-large', network: network.name, mtuBytes, roomBytes }, text);
    }
    const others = table.on(network.name).filter((endpoint) => endpoint.mtuBytes !== mtuBytes);
    const smaller = others.filter((endpoint) => endpoint.mtuBytes > mtuBytes);
    const larger = others.filter((endpoint) => endpoint.mtuBytes < mtuBytes);
    for (const endpoint of smaller) {
      await this.setContainer(endpoint, mtuBytes);
      await this.setHostEnd(endpoint, mtuBytes);
    }
    await locals.applyMtu(network);
    for (const endpoint of larger) {
      await this.setHostEnd(endpoint, mtuBytes);
      await this.setContainer(endpoint, mtuBytes);
    }
  }

  private async setHostEnd(endpoint: LocalEndpoint, mtuBytes: number): Promise<void> {
    const { table, state, iproute } = this.options;
    const changed = { ...endpoint, mtuBytes };
    await adoptHostEnd(iproute, hostEnd(changed));
    table.set(changed);
    await state.putEndpoint(changed);
  }

  private async setContainer(endpoint: LocalEndpoint, mtuBytes: number): Promise<void> {
    const { iproute, logger } = this.options;
    const { containerInterface: inner, hostInterface } = endpoint;
    const keeps = (reason: string) => {
      const text = `${inner} of ${endpoint.sandbox} keeps its MTU: ${reason}`;
      logger.warn({ event: 'endpoint.mtu-kept', endpoint: endpoint.id, network: endpoint.network }, text);
    };
    try {
      if (isAwaited(endpoint)) {
        await iproute.ip('link', 'set', 'dev', awaitedInterfaceName(endpoint.id), 'mtu', String(mtuBytes));
        return;
      }
      const [path] = await sandboxPaths(iproute, endpoint, hostInterface);
      if (path === undefined) return keeps('its namespace has neither a name nor a process');
      const link = (await iproute.linksIn(path)).find(({ ifname }) => ifname === inner);
      if (link?.mtu !== endpoint.mtuBytes)
        return keeps(`it is ${link?.mtu}, not the ${endpoint.mtuBytes} that it was given`);
      const gsoMaxBytes = String(gsoMaxBytesFor(mtuBytes));
      await iproute.ipIn(path, 'link', 'set', 'dev', inner, 'mtu', String(mtuBytes));
      await iproute.ipIn(path, 'link', 'set', 'dev', inner, 'gso_max_size', gsoMaxBytes).catch(() => {});
    } catch (error) {
      keeps((error as Error).message);
    }
  }
}
