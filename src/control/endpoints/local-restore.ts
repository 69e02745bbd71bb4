/**
 * What a start takes up from the local copy and the kernel, before the registry is asked. Control plane, main thread.
 *
 *     intents     an attach that was not finished: its veth goes (its address is swept when the registry answers)
 *     endpoints   with their veth: taken up; without (the container ended, the host was booted): forgotten, standing
 *                 ones stopped
 *     ports       who may send from what: the table is made anew, also without what an unfinished attach left in it
 *     networks    with endpoints: opened; without: bridge and TAP go
 *     the rest    veths with an alias of vtep's: LostEndpoints; bridges and TAPs that nobody has open: removed
 */
import type { Logger } from 'pino';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import { removeBridge } from '../ports/bridge.js';
import type { Iproute, Link } from '../ports/iproute.js';
import { bridgeName, parseVniName, tapName } from '../ports/names.js';
import type { PortSecurity } from '../ports/port-security.js';
import { adoptHostEnd, removeVeth } from '../ports/veth.js';
import { type NetworkValue, networkValueSchema } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';
import { type EndpointTable, hostEnd, securedPort } from './endpoint-table.js';
import type { LocalNetworks } from './local-networks.js';
import type { LostEndpoints } from './lost-endpoints.js';
import type { OutageAddresses } from './outage-addresses.js';

export interface LocalRestoreOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly stock: OutageAddresses;
  readonly lost: LostEndpoints;
  readonly iproute: Iproute;
  readonly gateway: GatewayManager;
  readonly ports: PortSecurity;
  readonly state: LocalState;
  readonly logger: Logger;
  /** What the network has here is another now. */
  readonly tell: (network: NetworkValue) => void;
}

export class LocalRestore {
  private readonly options: LocalRestoreOptions;

  constructor(options: LocalRestoreOptions) {
    this.options = options;
  }

  /** @throws VtepError VTEP_ERR_KERNEL, VTEP_ERR_STATE */
  async restore(): Promise<void> {
    const { state, logger, gateway, ports, stock, lost, table, iproute, locals } = this.options;
    if (state.setAside !== undefined) {
      logger.error(
        { event: 'state.set-aside', path: state.setAside },
        `the local copy could not be read: it is kept as ${state.setAside}, and made anew from the kernel and the registry`,
      );
    }
    await this.removeUnfinished();
    const links = await iproute.links();
    await this.takeEndpoints(links);
    stock.load();
    lost.find(links, (id) => table.has(id));
    const used = locals.stored().filter(({ name }) => table.on(name).length > 0);
    const secured = used.filter(({ portSecurity }) => portSecurity).flatMap(({ name }) => table.on(name));
    await ports.restore(secured.map(securedPort), lost.ports());
    gateway.restore(used, table.all());
    await this.removeStrayBridges(links);
    for (const name of state.networks().keys()) {
      try {
        await this.adoptNetwork(name);
      } catch (error) {
        const text = `network "${name}" could not be restored: ${(error as Error).message}`;
        logger.error({ event: 'network.restore-failed', err: error, network: name }, text);
      }
    }
    await gateway.restored();
  }

  /** Opens a network of the local copy if it has endpoints here; removes what is left of it if it has none. */
  async adoptNetwork(name: string): Promise<void> {
    const { state, locals, table, iproute, tell } = this.options;
    const text = state.networks().get(name);
    if (text === undefined) return;
    const network = networkValueSchema.parse(JSON.parse(text));
    if (table.on(name).length === 0) {
      await locals.close(network);
      return;
    }
    await locals.adopt(network);
    for (const endpoint of table.on(name)) await adoptHostEnd(iproute, hostEnd(endpoint));
    tell(network);
  }

  private async removeUnfinished(): Promise<void> {
    const { state, iproute, logger } = this.options;
    for (const { id, network } of state.intents()) {
      logger.info({ event: 'endpoint.unfinished', endpoint: id, network }, 'an attach was not finished: it is undone');
      await removeVeth(iproute, id);
      await state.removeIntent(id);
    }
  }

  private async takeEndpoints(links: readonly Link[]): Promise<void> {
    const { state, logger, table } = this.options;
    const names = new Set(links.map((link) => link.ifname));
    for (const endpoint of state.stoppedEndpoints()) table.stop(endpoint);
    for (const endpoint of state.endpoints()) {
      if (names.has(endpoint.hostInterface)) {
        table.set(endpoint);
        continue;
      }
      logger.info(
        { event: 'endpoint.gone', endpoint: endpoint.id, name: endpoint.name },
        'an endpoint has gone while vtepd did not run',
      );
      if (endpoint.standing === undefined) await state.removeEndpoint(endpoint.id);
      else {
        await state.stopEndpoint(endpoint);
        table.stop(endpoint);
      }
    }
  }

  /** Of networks that are neither in the local copy nor a lost endpoint's; a TAP that somebody has open is another's. */
  private async removeStrayBridges(links: readonly Link[]): Promise<void> {
    const { locals, lost, iproute, logger } = this.options;
    const byName = new Map(links.map((link) => [link.ifname, link]));
    const known = new Set(locals.stored().map((network) => network.vni));
    const strays = new Set(links.map((link) => parseVniName(link.ifname)).filter((vni) => vni !== undefined));
    for (const vni of strays) {
      if (known.has(vni) || lost.bridges().has(bridgeName(vni))) continue;
      if (byName.get(tapName(vni))?.flags.includes('LOWER_UP')) continue;
      logger.info({ event: 'network.stray', vni }, `bridge and TAP of VNI ${vni} belong to no network here: removed`);
      await removeBridge(iproute, vni);
    }
  }
}
