/**
 * This host's endpoints: attached, detached, restored. Control plane, main thread; docs/states.md has the states.
 *
 *     attach   Attacher: addresses, kernel objects, local copy, registry, data plane
 *     detach   unpublish ─▶ data plane ─▶ veth ─▶ address ─▶ local copy ─▶ (last one: the network closes)
 *     restore  LocalRestore: from the local copy and the kernel, without the registry
 *
 * A detach succeeds without the registry: what is owed to it is done when it is back (RegistryReturn). Operations on one
 * network follow one another.
 */
import type { Logger } from 'pino';
import type { Attach, Detach } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Forwarding } from '../forwarding.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { bareAddress } from '../ipam/address-span.js';
import { Reservations } from '../ipam/reservations.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { Iproute } from '../ports/iproute.js';
import { resolveSandbox, sandboxIdentity, sandboxLabel } from '../ports/namespace.js';
import type { PortSecurity } from '../ports/port-security.js';
import { adoptHostEnd, removeVeth } from '../ports/veth.js';
import type { Registry } from '../registry/registry.js';
import { NETWORKS_PREFIX, type NetworkValue, networkKey, parseNetwork } from '../registry/schema.js';
import type { LocalEndpoint, LocalState, Reservation, StockedAddress } from '../state/local-state.js';
import * as refusals from './attach-refusals.js';
import { Attacher, type AttachRequest } from './attacher.js';
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
import { OutageAddresses } from './outage-addresses.js';
import { PortPublishing } from './port-publishing.js';
import type { Publisher } from './publisher.js';
import { isUnreachable, type RegistryReach } from './registry-reach.js';
import { RegistryReturn } from './registry-return.js';

export interface EndpointManagerOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly networks: NetworkStore;
  readonly locals: LocalNetworks;
  readonly addresses: AddressPool;
  readonly publisher: Publisher;
  readonly reach: RegistryReach;
  readonly iproute: Iproute;
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
      detach: (endpoint) => this.detachNow(endpoint),
      adoptNetwork: (name) => this.localRestore.adoptNetwork(name),
    });
  }

  all(): LocalEndpoint[] {
    return this.table.all();
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

  /** Nothing more begins in the background; waits for what goes on. */
  close(): Promise<void> {
    this.reservations.close();
    this.awaited.close();
    return this.stock.close();
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
  attach(input: Attach): Promise<LocalEndpoint> {
    const { iproute } = this.options;
    return this.attachAt(input, async () => inNamespace(iproute, await resolveSandbox(iproute, input)));
  }

  /**
   * As attach, but the container's end of the veth stays on the host, for the owner to move into the container.
   * @param label where it will be then, as far as that is known: `netns:PATH`
   */
  attachAwaited(input: AttachRequest & { readonly owner: string }, label: string): Promise<LocalEndpoint> {
    return this.attachAt(input, async () => onTheHost(this.options.iproute, input.owner, label));
  }

  private attachAt(input: AttachRequest, find: () => Promise<ContainerSide>): Promise<LocalEndpoint> {
    return this.mutex.run(input.network, async () => {
      const { network, answers } = await this.lookUp(input.network);
      if (network.state !== 'active') {
        throw refusals.isBeingRemoved(network.name);
      }
      const open = this.options.locals.get(network.name);
      if (open !== undefined && open.id !== network.id) {
        throw refusals.wasMadeAnew(network.name);
      }
      const sandbox = await find();
      // Inside the network's turn: two networks must not choose one interface name for the same container.
      return this.mutex.run(`namespace ${sandbox.identity}`, () =>
        this.attacher.attach(network, sandbox, input, answers),
      );
    });
  }

  /** @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN */
  async detachById(id: string): Promise<void> {
    const endpoint = this.table.get(id);
    if (endpoint === undefined) throw refusals.endpointUnknown(`with id "${id}"`);
    await this.mutex.run(endpoint.network, () => this.detachNow(this.table.get(id) ?? endpoint));
  }

  /** @returns those that went. @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN if none fits. */
  async detach(input: Detach): Promise<LocalEndpoint[]> {
    const bySandbox = input.netns !== undefined || input.pid !== undefined;
    const label = sandboxLabel(input);
    // The same namespace by another name is meant too; one that is gone is known by its label only.
    const identity = bySandbox ? await sandboxIdentity(input) : undefined;
    const fits = (endpoint: LocalEndpoint): boolean => {
      if (input.owner !== undefined) return endpoint.owner === input.owner;
      if (input.id !== undefined) return endpoint.id === input.id;
      if (input.name !== undefined) return endpoint.name === input.name;
      return endpoint.sandbox === label || endpoint.sandboxIdentity === identity;
    };
    return this.mutex.run(input.network, async () => {
      const going = this.table.on(input.network).filter(fits);
      if (going.length === 0) {
        const what = input.owner ?? input.id ?? input.name ?? label;
        throw refusals.endpointUnknown(`"${what}" on network "${input.network}"`);
      }
      for (const endpoint of going) await this.detachNow(endpoint);
      return going;
    });
  }

  /** From the registry, or from the local copy of it while it is away. */
  private async lookUp(name: string): Promise<{ network: NetworkValue; answers: boolean }> {
    const { reach, networks, locals, state } = this.options;
    try {
      return { network: (await reach.read(() => networks.require(name))).value, answers: true };
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      const entry = state.snapshot(NETWORKS_PREFIX).find(({ key }) => key === networkKey(name));
      const network = locals.get(name) ?? (entry && parseNetwork(entry));
      if (network !== undefined) return { network, answers: false };
      throw new VtepError(
        'VTEP_ERR_REGISTRY_UNREACHABLE',
        `${(error as Error).message}; network "${name}" is not in this host's copy of it: try again when it is back`,
        { cause: error },
      );
    }
  }

  private async detachNow(endpoint: LocalEndpoint): Promise<void> {
    if (this.table.get(endpoint.id) !== endpoint) return;
    const { locals, iproute, state, logger, gateway, ports, reach, onOwed } = this.options;
    const network = locals.get(endpoint.network);
    const wasPublished = this.table.isPublished(endpoint.id);
    this.table.delete(endpoint.id);
    // What the registry still has published keeps its addresses: publishAll puts both right.
    let unpublished = true;
    if (network !== undefined) {
      if (reach.away) onOwed();
      else {
        await this.registryReturn.publish(network).catch((error: unknown) => {
          unpublished = false;
          this.owed(endpoint, error);
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
    const reserved = this.reservedOf(endpoint, network);
    const stocked = unpublished && reserved.length === 0 ? await this.releaseAddresses(endpoint, network) : [];
    try {
      await state.removeEndpoint(endpoint.id, stocked, reserved);
      this.stock.add(stocked);
      this.reservations.add(reserved);
    } catch (error) {
      // A start that finds the record without the veth forgets it, and the sweep releases the address.
      logger.error({ event: 'state.write-failed', err: error, endpoint: endpoint.id }, (error as Error).message);
      onOwed();
    }
    await this.closeIfUnused(endpoint.network);
  }

  /** Addresses that somebody asked for ahead: they are that one's until he gives them back. */
  private reservedOf(endpoint: LocalEndpoint, network: NetworkValue | undefined): Reservation[] {
    if (endpoint.isReserved !== true || network === undefined) return [];
    this.options.addresses.forget(endpoint.id);
    const held = endpoint.addresses.map((address) => ({
      ...{ network: network.name, networkId: network.id, address },
      claimId: endpoint.heldAs?.[bareAddress(address)] ?? endpoint.id,
    }));
    return this.reservations.ofEndpoint(held);
  }

  /** @returns those that go to the stock: nothing was asked of a registry that is known to be away. */
  private async releaseAddresses(
    endpoint: LocalEndpoint,
    network: NetworkValue | undefined,
  ): Promise<StockedAddress[]> {
    const { reach, addresses } = this.options;
    const stocked: StockedAddress[] = [];
    addresses.forget(endpoint.id);
    for (const address of endpoint.addresses) {
      const claimId = endpoint.heldAs?.[bareAddress(address)] ?? endpoint.id;
      if (reach.away) {
        if (network !== undefined) stocked.push({ network: network.name, networkId: network.id, address, claimId });
        continue;
      }
      // One that did not answer may have released it all the same: such an address must not be given again.
      await this.stock
        .release(endpoint.network, address, claimId)
        .catch((error: unknown) => this.owed(endpoint, error));
    }
    if (reach.away) this.options.onOwed();
    return stocked;
  }

  private owed(endpoint: LocalEndpoint, error: unknown): void {
    this.options.logger.warn(
      { event: 'endpoint.detach-owed', err: error, endpoint: endpoint.id },
      `detached; the registry is told when it is back: ${(error as Error).message}`,
    );
    this.options.onOwed();
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
