/**
 * This host's endpoints: attached, detached, restored, published. Control plane, main thread.
 *
 *     attach  network active ─▶ namespace, interface name ─▶ address ─▶ bridge, TAP ─▶ veth ─▶ local copy ─▶ publish ─▶ data plane
 *     detach  unpublish ─▶ data plane ─▶ veth ─▶ address ─▶ local copy ─▶ (last one: the network closes)
 *
 * A failure of attach undoes what was made, in reverse. A detach succeeds without the registry: what is owed to it is
 * done when it is back. Operations on one network follow one another.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Attach, Detach } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Forwarding } from '../forwarding.js';
import { chooseDefaultGateways } from '../gateway/default-route.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { bareAddress as bare } from '../ipam/address-span.js';
import { randomMac } from '../ipam/mac.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { Iproute, Link } from '../ports/iproute.js';
import { hostInterfaceName } from '../ports/names.js';
import { resolveSandbox, type Sandbox, sandboxIdentity, sandboxLabel } from '../ports/namespace.js';
import { adoptHostEnd, chooseInterface, createVeth, removeVeth } from '../ports/veth.js';
import { type NetworkValue, networkValueSchema } from '../registry/schema.js';
import type { LocalEndpoint, LocalState } from '../state/local-state.js';
import { announceTwice } from './announcement.js';
import * as refusals from './attach-refusals.js';
import { KeyedMutex } from './keyed-mutex.js';
import type { LocalNetworks } from './local-networks.js';
import type { Publisher } from './publisher.js';
import { runUndo, type UndoStep } from './undo.js';

export interface EndpointManagerOptions {
  readonly networks: NetworkStore;
  readonly locals: LocalNetworks;
  readonly addresses: AddressPool;
  readonly publisher: Publisher;
  readonly iproute: Iproute;
  readonly gateway: GatewayManager;
  readonly forwarding: Forwarding;
  readonly state: LocalState;
  readonly logger: Logger;
  /** The registry has more of this host than there is: publishAll is due. */
  readonly onOwed: () => void;
}

export class EndpointManager {
  private readonly options: EndpointManagerOptions;
  private readonly endpoints = new Map<string, LocalEndpoint>();
  private readonly published = new Set<string>();
  private readonly mutex = new KeyedMutex();
  /** Networks that are being removed by force: nothing more is published on them. */
  private readonly dropping = new Set<string>();

  constructor(options: EndpointManagerOptions) {
    this.options = options;
  }

  all(): LocalEndpoint[] {
    return [...this.endpoints.values()];
  }

  get(id: string): LocalEndpoint | undefined {
    return this.endpoints.get(id);
  }

  isPublished(id: string): boolean {
    return this.published.has(id);
  }

  /**
   * From the local copy, without the registry: what stood when the last run ended works when this returns. Endpoints
   * whose veth is gone (the container ended, the host was booted) are forgotten; the registry is told by publishAll.
   */
  async restore(): Promise<void> {
    const { state, logger } = this.options;
    const links = new Set((await this.options.iproute.links()).map((link) => link.ifname));
    for (const endpoint of state.endpoints()) {
      if (links.has(endpoint.hostInterface)) this.endpoints.set(endpoint.id, endpoint);
      else {
        logger.info(
          { event: 'endpoint.gone', endpoint: endpoint.id, name: endpoint.name },
          'an endpoint has gone while vtepd did not run',
        );
        await state.removeEndpoint(endpoint.id);
      }
    }
    const used = this.options.locals.stored().filter(({ name }) => this.on(name).length > 0);
    this.options.gateway.restore(used, this.all());
    for (const name of state.networks().keys()) {
      try {
        await this.adoptNetwork(name);
      } catch (error) {
        const text = `network "${name}" could not be restored: ${(error as Error).message}`;
        logger.error({ event: 'network.restore-failed', err: error, network: name }, text);
      }
    }
    await this.options.gateway.restored();
  }

  /** @throws VtepError as its steps do; nothing of the endpoint is left then. */
  attach(input: Attach): Promise<LocalEndpoint> {
    return this.mutex.run(input.network, async () => {
      const { value: network } = await this.options.networks.require(input.network);
      if (network.state !== 'active') {
        throw refusals.isBeingRemoved(network.name);
      }
      const open = this.options.locals.get(network.name);
      if (open !== undefined && open.id !== network.id) {
        throw refusals.wasMadeAnew(network.name);
      }
      const sandbox = await resolveSandbox(this.options.iproute, input);
      // Inside the network's turn: two networks must not choose one interface name for the same container.
      return this.mutex.run(`namespace ${sandbox.identity}`, () => this.attachTo(network, sandbox, input));
    });
  }

  /** @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN */
  async detachById(id: string): Promise<void> {
    const endpoint = this.endpoints.get(id);
    if (endpoint === undefined) throw refusals.endpointUnknown(`with id "${id}"`);
    await this.mutex.run(endpoint.network, () => this.detachNow(endpoint));
  }

  /** @returns those that went. @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN if none fits. */
  async detach(input: Detach): Promise<LocalEndpoint[]> {
    const bySandbox = input.netns !== undefined || input.pid !== undefined;
    const label = sandboxLabel(input);
    // The same namespace by another name is meant too; one that is gone is known by its label only.
    const identity = bySandbox ? await sandboxIdentity(input) : undefined;
    const fits = (endpoint: LocalEndpoint): boolean => {
      if (input.id !== undefined) return endpoint.id === input.id;
      if (input.name !== undefined) return endpoint.name === input.name;
      return endpoint.sandbox === label || endpoint.sandboxIdentity === identity;
    };
    return this.mutex.run(input.network, async () => {
      const going = this.on(input.network).filter(fits);
      if (going.length === 0) {
        const what = input.id ?? input.name ?? label;
        throw refusals.endpointUnknown(`"${what}" on network "${input.network}"`);
      }
      for (const endpoint of going) await this.detachNow(endpoint);
      return going;
    });
  }

  /** After a new session or the registry's return: all of this host's endpoints, and its addresses, as they are here. */
  async publishAll(): Promise<void> {
    let failure: unknown;
    for (const network of this.options.locals.all()) {
      await this.publishNetwork(network.name).catch((error: unknown) => {
        this.options.logger.error(
          { event: 'endpoint.publish-failed', err: error, network: network.name },
          (error as Error).message,
        );
        if (!(error instanceof VtepError) || error.retryable) failure = error;
      });
    }
    await this.unpublishForgotten();
    const held = this.all()
      .filter((endpoint) => this.published.has(endpoint.id))
      .flatMap(({ id, network, addresses }) =>
        addresses.map((text) => ({ network, address: bare(text), endpointId: id })),
      );
    const contested = await this.options.addresses.sweep(held, (id) => this.endpoints.has(id));
    for (const network of contested) await this.publishNetwork(network);
    if (failure !== undefined) throw failure;
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
      const going = this.on(name);
      const text = `network "${name}" was removed by force: ${going.map((one) => one.name).join(', ')} detached`;
      logger.warn({ event: 'network.removed-by-force', network: name }, text);
      this.dropping.add(name);
      const failed = (error: Error) =>
        logger.error({ event: 'network.drop-failed', err: error, network: name }, error.message);
      for (const endpoint of going) await this.detachNow(endpoint).catch(failed);
      this.dropping.delete(name);
    });
  }

  /** Publishes one network's endpoints as they are now. */
  publishNetwork(name: string): Promise<void> {
    return this.mutex.run(name, async () => {
      const network = this.options.locals.get(name);
      if (network !== undefined) await this.publish(network);
    });
  }

  /** The registry's listing lacks what was published: whether this host thinks it is there. */
  hasPublished(network: string): boolean {
    return this.on(network).some((endpoint) => this.published.has(endpoint.id));
  }

  /** Looks at the kernel: detaches endpoints whose veth is gone, rebuilds bridges and TAPs that are. Never rejects. */
  async checkLinks(): Promise<void> {
    const { iproute, locals, logger } = this.options;
    const names = new Set([...locals.all().map(({ name }) => name), ...this.all().map(({ network }) => network)]);
    // One reading clears nearly all networks; a change that comes after it is told of again.
    const first = await this.linksByName().catch(() => undefined);
    for (const name of names) {
      if (first !== undefined && this.isInOrder(name, first)) continue;
      try {
        await this.mutex.run(name, async () => {
          // Read inside the turn: an attach under way is not half seen.
          const links = await this.linksByName();
          for (const endpoint of this.on(name)) {
            if (links.has(endpoint.hostInterface)) continue;
            logger.info(
              { event: 'endpoint.gone', endpoint: endpoint.id, name: endpoint.name, network: name },
              'the container is gone: detached',
            );
            await this.detachNow(endpoint);
          }
          if (locals.get(name) === undefined) await this.adoptNetwork(name);
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
          for (const endpoint of this.on(name)) {
            if (lacking !== undefined || !isInPlace(endpoint, links)) await adoptHostEnd(iproute, hostEnd(endpoint));
          }
        });
      } catch (error) {
        logger.error(
          { event: 'network.links-failed', err: error, network: name },
          `the links of network "${name}" could not be put right: ${(error as Error).message}`,
        );
      }
    }
    this.options.gateway.checkSoon();
  }

  private async linksByName(): Promise<Map<string, Link>> {
    return new Map((await this.options.iproute.links()).map((link) => [link.ifname, link]));
  }

  private isInOrder(name: string, links: ReadonlyMap<string, Link>): boolean {
    const network = this.options.locals.get(name);
    if (network === undefined || this.options.locals.lacks(network, links) !== undefined) return false;
    return this.on(name).every((endpoint) => isInPlace(endpoint, links));
  }

  private async attachTo(network: NetworkValue, sandbox: Sandbox, input: Attach): Promise<LocalEndpoint> {
    const { addresses, locals, iproute, state, forwarding, publisher, gateway } = this.options;
    const there = this.on(network.name).find((endpoint) => endpoint.sandboxIdentity === sandbox.identity);
    if (there !== undefined) {
      throw refusals.isAttachedAlready(sandbox.label, there);
    }
    const mac = input.mac ?? randomMac();
    if (this.macs(network.name).includes(mac)) {
      throw refusals.macInUse(mac, network.name);
    }
    const containerInterface = await chooseInterface(iproute, sandbox, input.interface);
    const id = this.newId();
    const undo: UndoStep[] = [];
    undo.push(() => addresses.settled(id));
    try {
      const claimed = await addresses.claim(network, id, input.ips);
      let unpublished = true;
      undo.push(async () => {
        // Published, it keeps its addresses until publishAll has put both right.
        for (const address of unpublished ? claimed : []) await addresses.release(network.name, bare(address), id);
      });
      await locals.open(network);
      undo.push(() => this.closeIfUnused(network.name));
      const endpoint: LocalEndpoint = {
        id,
        name: input.name ?? sandbox.defaultName,
        network: network.name,
        vni: network.vni,
        mac,
        addresses: claimed,
        mtuBytes: locals.mtuBytes(network),
        sandbox: sandbox.label,
        sandboxIdentity: sandbox.identity,
        hostInterface: hostInterfaceName(id),
        containerInterface,
        // A MAC made here is nobody else's: only a given one can have come from another host.
        attachedAt: await (input.mac === undefined ? Date.now() : publisher.attachedAt(network.name, mac)),
        ...(input.publish === undefined ? {} : { publish: input.publish }),
      };
      if (input.publish !== undefined) {
        await gateway.publish({ ...endpoint, publish: input.publish });
        undo.push(() => gateway.unpublish(id));
      }
      const route = { wanted: input.defaultRoute, network, gateways: gateway.gateways(network.name) };
      const defaultGateways = await chooseDefaultGateways(iproute, sandbox, {
        ...route,
        addresses: endpoint.addresses,
      });
      await createVeth(iproute, sandbox, { ...endpoint, ...hostEnd(endpoint), defaultGateways });
      undo.push(() => removeVeth(iproute, id));
      await state.putEndpoint(endpoint);
      this.endpoints.set(id, endpoint);
      undo.push(async () => {
        this.endpoints.delete(id);
        await state.removeEndpoint(id);
      });
      undo.push(async () => {
        unpublished = false;
        await this.publish(network).catch((error: unknown) => {
          this.options.onOwed();
          throw error;
        });
        unpublished = true;
      });
      // A publication that failed may have arrived all the same; so what is undone first is the endpoint, then the key.
      undo.push(() => {
        this.endpoints.delete(id);
        this.published.delete(id);
      });
      await this.publish(network);
      forwarding.setLocal(network.vni, this.macs(network.name));
      addresses.settled(id);
      announceTwice(iproute, sandbox.path, endpoint, () => this.endpoints.get(id) === endpoint);
      return endpoint;
    } catch (error) {
      await runUndo(undo, this.options.logger, id);
      throw error;
    }
  }

  private async detachNow(endpoint: LocalEndpoint): Promise<void> {
    if (this.endpoints.get(endpoint.id) !== endpoint) return;
    const { locals, iproute, addresses, state, logger, forwarding, gateway } = this.options;
    const owed = (error: unknown) => {
      const text = `detached; the registry is told when it is back: ${(error as Error).message}`;
      logger.warn({ event: 'endpoint.detach-owed', err: error, endpoint: endpoint.id }, text);
      this.options.onOwed();
    };
    this.endpoints.delete(endpoint.id);
    this.published.delete(endpoint.id);
    const network = locals.get(endpoint.network);
    let unpublished = true;
    if (network !== undefined) {
      await this.publish(network).catch((error: unknown) => {
        unpublished = false;
        owed(error);
      });
      forwarding.setLocal(network.vni, this.macs(endpoint.network));
    }
    try {
      await removeVeth(iproute, endpoint.id);
    } catch (error) {
      this.endpoints.set(endpoint.id, endpoint);
      throw error;
    }
    await gateway.unpublish(endpoint.id);
    // What the registry still has published keeps its addresses: publishAll puts both right.
    for (const address of unpublished ? endpoint.addresses : [])
      await addresses.release(endpoint.network, bare(address), endpoint.id).catch(owed);
    await state.removeEndpoint(endpoint.id);
    await this.closeIfUnused(endpoint.network);
  }

  private async publish(network: NetworkValue): Promise<void> {
    const endpoints = this.dropping.has(network.name) ? [] : this.on(network.name);
    try {
      const lost = await this.options.publisher.publish(network, endpoints);
      for (const { id } of endpoints) {
        if (lost.has(id)) this.published.delete(id);
        else this.published.add(id);
      }
    } catch (error) {
      const gone = error instanceof VtepError && error.code === 'VTEP_ERR_NETWORK_UNKNOWN';
      if (gone) for (const { id } of endpoints) this.published.delete(id);
      throw error;
    }
  }

  /** Opens a network of the local copy if it has endpoints here; removes what is left of it if it has none. */
  private async adoptNetwork(name: string): Promise<void> {
    const text = this.options.state.networks().get(name);
    if (text === undefined) return;
    const network = networkValueSchema.parse(JSON.parse(text));
    if (this.on(name).length === 0) {
      await this.options.locals.close(network);
      return;
    }
    await this.options.locals.adopt(network);
    for (const endpoint of this.on(name)) await adoptHostEnd(this.options.iproute, hostEnd(endpoint));
    this.options.forwarding.setLocal(network.vni, this.macs(name));
  }

  /** Keys of this node for networks that have no endpoint here any more: detached while the registry was away. */
  private async unpublishForgotten(): Promise<void> {
    for (const network of await this.options.publisher.publishedNetworks()) {
      if (this.on(network).length > 0) continue;
      await this.mutex.run(network, async () => {
        if (this.on(network).length === 0) await this.options.publisher.unpublish(network);
      });
    }
  }

  private async closeIfUnused(name: string): Promise<void> {
    const network = this.options.locals.get(name);
    if (network !== undefined && this.on(name).length === 0) await this.options.locals.close(network);
  }

  private on(network: string): LocalEndpoint[] {
    return this.all().filter((endpoint) => endpoint.network === network);
  }

  private macs(network: string): string[] {
    return this.on(network).map((endpoint) => endpoint.mac);
  }

  /** The host interface is named after the first 8 digits: they must be free here. */
  private newId(): string {
    for (;;) {
      const id = randomBytes(16).toString('hex');
      if (!this.all().some((endpoint) => endpoint.hostInterface === hostInterfaceName(id))) return id;
    }
  }
}

function hostEnd({ id, vni, mtuBytes, publish }: LocalEndpoint) {
  return { endpointId: id, vni, mtuBytes, hairpin: publish !== undefined };
}

function isInPlace(endpoint: LocalEndpoint, links: ReadonlyMap<string, Link>): boolean {
  const link = links.get(endpoint.hostInterface);
  return link?.master === `vtep-b${endpoint.vni}` && link.flags.includes('UP');
}
