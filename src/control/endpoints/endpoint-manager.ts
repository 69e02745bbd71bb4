/**
 * This host's endpoints: attached, detached, restored. Control plane, main thread; docs/states.md has the states.
 *
 *     attach   Attacher: addresses, kernel objects, local copy, registry, data plane
 *     detach   unpublish ─▶ data plane ─▶ veth ─▶ address ─▶ local copy ─▶ (last one: the network closes)
 *     restore  LocalRestore: from the local copy and the kernel, without the registry
 *     stop     as detach, but the addresses stay claimed: a standing endpoint whose container ended (standing.ts)
 *
 * A detach succeeds without the registry: what is owed to it is done when it is back (RegistryReturn). Operations on one
 * network follow one another.
 */
import type { Logger } from 'pino';
import type { Attach, Detach } from '../api/schema.js';
import type { Forwarding } from '../forwarding.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { Reservations } from '../ipam/reservations.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { ContainerFinder } from '../plugins/engines/container-finder.js';
import type { Iproute } from '../ports/iproute.js';
import { resolveSandbox, type SandboxInput, sandboxIdentity, sandboxLabel } from '../ports/namespace.js';
import type { PortSecurity } from '../ports/port-security.js';
import { adoptHostEnd, removeVeth } from '../ports/veth.js';
import type { Registry } from '../registry/registry.js';
import type { NetworkValue } from '../registry/schema.js';
import type { LocalEndpoint, LocalState } from '../state/local-state.js';
import { AddressReturn } from './address-return.js';
import * as refusals from './attach-refusals.js';
import { unfulfilled, wishesOf } from './attach-wishes.js';
import { type Attached, Attacher, type AttachRequest } from './attacher.js';
import { AwaitedEnds } from './awaited-ends.js';
import { type ContainerSide, inNamespace, onTheHost } from './container-side.js';
import { EndpointNames, type EndpointNaming } from './endpoint-names.js';
import { EndpointTable, hostEnd, securedPort } from './endpoint-table.js';
import { KeyedMutex } from './keyed-mutex.js';
import { LinkCheck } from './link-check.js';
import type { LocalNetworks } from './local-networks.js';
import { LocalRestore } from './local-restore.js';
import { LostEndpoints } from './lost-endpoints.js';
import { MtuChange } from './mtu-change.js';
import { lookUpNetwork } from './network-look-up.js';
import { OutageAddresses } from './outage-addresses.js';
import { findPlace, fitsDetach } from './place.js';
import { PortPublishing } from './port-publishing.js';
import type { Publisher } from './publisher.js';
import type { RegistryReach } from './registry-reach.js';
import { RegistryReturn } from './registry-return.js';
import { StandingEndpoints } from './standing.js';

export interface EndpointManagerOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly networks: NetworkStore;
  readonly locals: LocalNetworks;
  readonly addresses: AddressPool;
  readonly publisher: Publisher;
  readonly reach: RegistryReach;
  readonly iproute: Iproute;
  readonly containers: ContainerFinder;
  readonly gateway: GatewayManager;
  readonly ports: PortSecurity;
  readonly forwarding: Forwarding;
  readonly state: LocalState;
  readonly logger: Logger;
  /** Of each family, for each network that is open here. */
  readonly spareAddresses: number;
  /** Since when the registry has not answered. */
  readonly silentMs: () => number;
  readonly reapAfterMs?: number | undefined;
  /** For tests: when reservations were made, and expire. @default Date.now */
  readonly now?: () => number;
  /** Something is owed to the registry: publishAll() is to be called when it answers. */
  readonly onOwed: () => void;
  /** The endpoints that a network has here, each time that they change. */
  readonly onEndpoints?: ((network: string, endpoints: readonly LocalEndpoint[]) => void) | undefined;
}

export class EndpointManager {
  readonly reservations: Reservations;
  /** Published ports of endpoints that are there already. */
  readonly publishing: PortPublishing;
  private readonly options: EndpointManagerOptions;
  private readonly table = new EndpointTable();
  private readonly mutex = new KeyedMutex();
  private readonly stock: OutageAddresses;
  private readonly lost: LostEndpoints;
  private readonly registryReturn: RegistryReturn;
  private readonly attacher: Attacher;
  private readonly linkCheck: LinkCheck;
  private readonly localRestore: LocalRestore;
  private readonly mtuChange: MtuChange;
  private readonly names: EndpointNames;
  private readonly awaited: AwaitedEnds;
  private readonly standing: StandingEndpoints;
  private readonly addressReturn: AddressReturn;

  constructor(options: EndpointManagerOptions) {
    this.options = options;
    const { table, mutex } = this;
    const { registry, node, networks, locals, iproute, state, logger, spareAddresses } = options;
    const { silentMs, reapAfterMs } = options;
    this.stock = new OutageAddresses({
      ...{ registry, node, state, logger, silentMs, reapAfterMs, sparesPerNetwork: spareAddresses },
      isOpen: ({ name, id }) => locals.get(name)?.id === id,
    });
    this.lost = new LostEndpoints({
      ...{ registry, node, networks, iproute, logger },
      mtuBytes: (network) => locals.mtuBytes(network),
      take: (network, endpoint) => mutex.run(network.name, () => this.takeUp(network, endpoint)),
    });
    this.reservations = new Reservations({ ...options, stock: this.stock });
    const { stock, lost, reservations } = this;
    this.registryReturn = new RegistryReturn({ ...options, table, mutex, stock, reservations, lost });
    this.attacher = new Attacher({
      ...{ ...options, table, stock, reservations, registryReturn: this.registryReturn },
      closeIfUnused: (network) => this.closeIfUnused(network),
      tell: (network) => this.tell(network),
    });
    this.addressReturn = new AddressReturn({ ...options, stock, reservations });
    this.names = new EndpointNames({
      ...{ ...options, table, mutex, registryReturn: this.registryReturn },
      tell: (network) => this.tell(network),
    });
    this.localRestore = new LocalRestore({ ...options, table, stock, lost, tell: (network) => this.tell(network) });
    this.mtuChange = new MtuChange({ table, locals, iproute, mutex, state, logger });
    this.awaited = new AwaitedEnds({ table, iproute, mutex, state, logger });
    this.publishing = new PortPublishing({ table, mutex, iproute, state, gateway: options.gateway });
    this.linkCheck = new LinkCheck({
      ...{ table, locals, iproute, mutex, logger },
      detach: (endpoint) => this.detachNow(endpoint, endpoint.standing !== undefined),
      adoptNetwork: (name) => this.localRestore.adoptNetwork(name),
    });
    this.standing = new StandingEndpoints({
      ...{ table, logger, containers: options.containers },
      resume: (endpoint, place) => mutex.run(endpoint.network, () => this.resume(endpoint, place)),
      stop: (endpoint) => mutex.run(endpoint.network, () => this.detachNow(endpoint, true)),
    });
  }

  all(): LocalEndpoint[] {
    return this.table.all();
  }

  /** Standing ones whose container does not run. */
  allStopped(): LocalEndpoint[] {
    return this.table.allStopped();
  }

  ownedBy(owner: string): LocalEndpoint | undefined {
    return this.table.ownedBy(owner);
  }

  get(id: string): LocalEndpoint | undefined {
    return this.table.get(id);
  }

  isPublished(id: string): boolean {
    return this.table.isPublished(id);
  }

  /** The registry's listing lacks what was published: whether this host thinks it is there. */
  hasPublished(network: string): boolean {
    return this.table.on(network).some((endpoint) => this.table.isPublished(endpoint.id));
  }

  /** What stood when the last run ended works when this returns, without the registry. */
  restore(): Promise<void> {
    this.reservations.load();
    return this.localRestore.restore();
  }

  /** Before a new session is made: what the registry holds by the one of before. Never rejects. */
  readLost(): Promise<void> {
    return this.lost.readRecords();
  }

  /** Resolves when nothing goes on in the background. */
  idle(): Promise<void> {
    return this.stock.idle();
  }

  /** Containers of standing endpoints are looked for from now on. */
  follow(): void {
    this.standing.start();
  }

  /** Nothing more begins in the background; waits for what goes on. */
  async close(): Promise<void> {
    await this.standing.close();
    this.reservations.close();
    this.awaited.close();
    await this.stock.close();
  }

  /** After a new session or the registry's return: all of this host's endpoints, and its addresses, as they are here. */
  publishAll(): Promise<void> {
    return this.registryReturn.publishAll();
  }

  /** Publishes one network's endpoints as they are now. */
  publishNetwork(name: string): Promise<void> {
    return this.registryReturn.publishNetwork(name);
  }

  /** Looks whether endpoints that lost their address to others have it again. Never rejects. */
  async retryConflicts(): Promise<void> {
    for (const { network } of [...this.options.addresses.allConflicts().values()]) {
      await this.publishNetwork(network).catch(() => undefined);
    }
  }

  /** The network was removed by force: its containers go on without their interface. Never rejects. */
  async dropNetwork({ name, id }: NetworkValue): Promise<void> {
    const { locals, logger } = this.options;
    await this.mutex.run(name, async () => {
      if (locals.get(name)?.id !== id) return;
      const going = this.table.on(name);
      const text = `network "${name}" was removed by force: ${going.map((one) => one.name).join(', ')} detached`;
      logger.warn({ event: 'network.removed-by-force', network: name }, text);
      this.registryReturn.dropping.add(name);
      const failed = (error: Error) =>
        logger.error({ event: 'network.drop-failed', err: error, network: name }, error.message);
      for (const endpoint of going) await this.detachNow(endpoint).catch(failed);
      this.registryReturn.dropping.delete(name);
    });
  }

  /** Stopped endpoints of networks that are no more stand no more. Never rejects. */
  async endStopped(networks: readonly NetworkValue[], wasRemoved: (networkId: string) => boolean): Promise<void> {
    for (const endpoint of this.table.allStopped()) {
      const { networkId } = endpoint.standing!;
      const now = networks.find(({ name }) => name === endpoint.network);
      const isGone = now === undefined ? wasRemoved(networkId) : now.id !== networkId || now.forced === true;
      if (isGone) await this.mutex.run(endpoint.network, () => this.forgetStopped(endpoint)).catch(() => undefined);
    }
  }

  /** Looks at the kernel: what others changed is put right. Never rejects. */
  async checkLinks(): Promise<void> {
    await this.linkCheck.check();
    await this.awaited.check();
    this.options.gateway.checkSoon();
  }

  /** As EndpointNames.describe. */
  describe(id: string, naming: EndpointNaming): Promise<void> {
    return this.names.describe(id, naming);
  }

  /** The underlay's MTU is this: the networks that follow it get theirs. Never rejects. */
  followMtu(underlayMtuBytes: number): Promise<void> {
    this.options.locals.underlayMtuBytes = underlayMtuBytes;
    return this.mtuChange.apply();
  }

  /** @throws VtepError as its steps do; nothing of the endpoint is left then. */
  async attach(input: Attach): Promise<LocalEndpoint> {
    return (await this.attachOrFind(input)).endpoint;
  }

  /** As attach; with `mayExist` it may be there already. */
  async attachOrFind(input: Attach): Promise<Attached> {
    const { labels, sandbox } = await findPlace(this.options.containers, input);
    const attached = await this.mutex.run(input.network, async () => {
      const stopped = this.stoppedOn(input.network).find((one) => labels.includes(one.sandbox));
      if (stopped === undefined) {
        if ('error' in sandbox) throw sandbox.error;
        return this.attachAt(input, () => this.sideOf(sandbox));
      }
      if (input.mayExist !== true) throw refusals.isStandingAlready(stopped);
      const wish = unfulfilled({ ...input, interface: undefined }, stopped);
      if (wish !== undefined) throw refusals.isAttachedOtherwise(stopped, wish);
      const isThere = !('error' in sandbox) && (await sandboxIdentity(sandbox)) !== undefined;
      if (isThere) await this.resume(stopped, sandbox);
      return { endpoint: this.table.get(stopped.id) ?? stopped, isNew: false };
    });
    if (attached.endpoint.standing !== undefined) this.standing.changed();
    return attached;
  }

  /**
   * As attach, but the container's end of the veth stays on the host, for the owner to move into the container.
   * @param label where it will be then, as far as that is known: `netns:PATH`
   */
  attachAwaited(input: AttachRequest & { readonly owner: string }, label: string): Promise<LocalEndpoint> {
    return this.mutex.run(input.network, async () => {
      const side = async () => onTheHost(this.options.iproute, input.owner, label);
      return (await this.attachAt(input, side)).endpoint;
    });
  }

  /** In the network's turn. */
  private async attachAt(
    input: AttachRequest,
    find: () => Promise<ContainerSide>,
    again?: LocalEndpoint,
  ): Promise<Attached> {
    const { network, answers } = await lookUpNetwork(input.network, this.options);
    if (network.state !== 'active') throw refusals.isBeingRemoved(network.name);
    const open = this.options.locals.get(network.name);
    const known = again?.standing?.networkId ?? open?.id;
    if (known !== undefined && known !== network.id) throw refusals.wasMadeAnew(network.name);
    const side = await find();
    // Inside the network's turn: two networks must not choose one interface name for the same container.
    return this.mutex.run(`namespace ${side.identity}`, () =>
      this.attacher.attach(network, side, input, answers, again),
    );
  }

  private async sideOf(place: SandboxInput): Promise<ContainerSide> {
    const { iproute } = this.options;
    return inNamespace(iproute, await resolveSandbox(iproute, place));
  }

  /** In the network's turn: a stopped endpoint is attached as it was. */
  private async resume(endpoint: LocalEndpoint, place: SandboxInput): Promise<void> {
    if (!this.table.isStopped(endpoint)) return;
    await this.attachAt(wishesOf(endpoint), () => this.sideOf(place), endpoint);
    const { id, name, network, sandbox } = endpoint;
    const text = `${sandbox} runs again: endpoint "${name}" of network "${network}" is attached as it was`;
    this.options.logger.info({ event: 'endpoint.resumed', endpoint: id, name, network }, text);
  }

  private stoppedOn(network: string): LocalEndpoint[] {
    return this.table.allStopped().filter((endpoint) => endpoint.network === network);
  }

  /** @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN */
  async detachById(id: string): Promise<void> {
    const endpoint = this.table.get(id) ?? this.table.allStopped().find((one) => one.id === id);
    if (endpoint === undefined) throw refusals.endpointUnknown(`with id "${id}"`);
    await this.mutex.run(endpoint.network, () => this.end(this.table.get(id) ?? endpoint));
  }

  /** @returns those that went. @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN if none fits. */
  async detach(input: Detach): Promise<LocalEndpoint[]> {
    const fits = await fitsDetach(this.options.containers, input);
    return this.mutex.run(input.network, async () => {
      const going = [...this.table.on(input.network), ...this.stoppedOn(input.network)].filter(fits);
      if (going.length === 0 && input.ifExists !== true) {
        const what =
          input.owner ??
          input.id ??
          input.name ??
          input.container ??
          sandboxLabel({ netns: input.netns, pid: input.pid });
        throw refusals.endpointUnknown(`"${what}" on network "${input.network}"`);
      }
      for (const endpoint of going) await this.end(endpoint);
      return going;
    });
  }

  /** In the network's turn. */
  private async end(endpoint: LocalEndpoint): Promise<void> {
    await (this.table.isStopped(endpoint) ? this.forgetStopped(endpoint) : this.detachNow(endpoint));
    if (endpoint.standing !== undefined) this.standing.changed();
  }

  /** In the network's turn. */
  private async forgetStopped(endpoint: LocalEndpoint): Promise<void> {
    if (!this.table.isStopped(endpoint)) return;
    this.table.delete(endpoint.id);
    const network = { name: endpoint.network, id: endpoint.standing!.networkId };
    const stocked = await this.addressReturn.release(endpoint, network);
    await this.options.state.removeEndpoint(endpoint.id, stocked).catch((error: unknown) => {
      this.table.stop(endpoint);
      throw error;
    });
    this.stock.add(stocked);
  }

  /** @param stops its addresses stay its own, and it comes back. */
  private async detachNow(endpoint: LocalEndpoint, stops = false): Promise<void> {
    if (this.table.get(endpoint.id) !== endpoint) return;
    const { locals, iproute, state, logger, gateway, ports, reach, onOwed } = this.options;
    const network = locals.get(endpoint.network);
    const wasPublished = this.table.isPublished(endpoint.id);
    if (stops) this.table.stop(endpoint);
    else this.table.delete(endpoint.id);
    // What the registry still has published keeps its addresses: publishAll puts both right.
    let unpublished = true;
    if (network !== undefined) {
      if (reach.away) onOwed();
      else {
        await this.registryReturn.publish(network).catch((error: unknown) => {
          unpublished = false;
          this.addressReturn.owed(endpoint, error);
        });
      }
      this.tell(network);
    }
    try {
      await removeVeth(iproute, endpoint.id);
    } catch (error) {
      this.table.set(endpoint);
      if (wasPublished) onOwed();
      throw error;
    }
    await ports.release(endpoint.hostInterface);
    await gateway.unpublish(endpoint.id);
    if (stops) this.options.addresses.forget(endpoint.id);
    const reserved = stops ? [] : this.addressReturn.reservedOf(endpoint, network);
    const isFree = unpublished && !stops && reserved.length === 0;
    const stocked = isFree ? await this.addressReturn.release(endpoint, network) : [];
    try {
      await (stops ? state.stopEndpoint(endpoint) : state.removeEndpoint(endpoint.id, stocked, reserved));
      this.stock.add(stocked);
      this.reservations.add(reserved);
    } catch (error) {
      // A start that finds the record without the veth forgets it, and the sweep releases the address.
      logger.error({ event: 'state.write-failed', err: error, endpoint: endpoint.id }, (error as Error).message);
      onOwed();
    }
    await this.closeIfUnused(endpoint.network);
    if (stops) this.standing.changed();
  }

  /** Who needs to know what the network has here: the data plane, and whoever answers names. */
  private tell(network: NetworkValue): void {
    this.options.forwarding.setLocal(network.vni, this.table.claims(network.name));
    this.options.onEndpoints?.(network.name, this.table.on(network.name));
  }

  private async closeIfUnused(name: string): Promise<void> {
    const { locals, reach, onOwed } = this.options;
    const network = locals.get(name);
    if (network === undefined || this.table.on(name).length > 0) return;
    await locals.close(network);
    // While the registry is away they are kept, for a container that comes back.
    if (reach.away) return;
    for (const { address, claimId } of await this.stock.closeNetwork(name)) {
      await this.stock.release(name, address, claimId).catch(onOwed);
    }
  }

  /** In the network's turn: a lost endpoint becomes one of this host's. */
  private async takeUp(network: NetworkValue, endpoint: LocalEndpoint): Promise<void> {
    const { locals, state, iproute, ports } = this.options;
    await locals.adopt(network);
    if (network.portSecurity) await ports.secure(securedPort(endpoint));
    await state.putEndpoint(endpoint);
    this.table.set(endpoint);
    await adoptHostEnd(iproute, hostEnd(endpoint));
    this.tell(network);
  }
}
