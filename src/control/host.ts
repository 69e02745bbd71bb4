/**
 * One host of the overlay: all of the control plane behind the API. Main thread; docs/architecture.md draws it.
 *
 *     API ─▶ Host ─┬─ NetworkStore, PeerStore, AddressPool      keys of the registry
 *                  ├─ EndpointManager ─ LocalNetworks ─ ports/  kernel objects of this host
 *                  ├─ NamesService                              DNS on the networks' gateways
 *                  ├─ NodeSession                               this node's presence
 *                  └─ Reconciler ─▶ Forwarding                  what other hosts bring
 *
 * Start: the local copy is put to work first, then the registry is asked. Close: watches and timers end; the kernel
 * objects, the registry's keys (until the session's TTL) and Forwarding, which is the caller's, stay.
 */
import { randomBytes } from 'node:crypto';
import type {
  Attach,
  CreatedNetwork,
  CreateNetwork,
  Detach,
  Endpoint,
  HostOperations,
  Network,
  NetworkDetail,
  Node,
  Peer,
  Status,
} from './api/schema.js';
import { SESSION_TTL_SECONDS } from './config-options.js';
import { reportDrops } from './drop-report.js';
import { type AttachmentFacts, attachmentFacts } from './endpoints/attachment-facts.js';
import { endpointAnswer } from './endpoints/endpoint-answer.js';
import { EndpointListing } from './endpoints/endpoint-listing.js';
import { EndpointManager } from './endpoints/endpoint-manager.js';
import { LatestRun } from './endpoints/latest-run.js';
import { LocalNetworks } from './endpoints/local-networks.js';
import { Publisher } from './endpoints/publisher.js';
import { isUnreachable, RegistryReach } from './endpoints/registry-reach.js';
import { VtepError } from './errors.js';
import type { FdbEntry, NeighbourEntry } from './forwarding.js';
import { GatewayManager } from './gateway/gateway-manager.js';
import { nameClients } from './gateway/name-redirects.js';
import { Nftables } from './gateway/nftables.js';
import type { HostOptions } from './host-options.js';
import { AddressPool } from './ipam/address-pool.js';
import { Reaper } from './ipam/reaper.js';
import { NamesService, namedNetwork } from './names/names-service.js';
import { hostRoutes } from './networks/host-routes.js';
import { toNetwork } from './networks/network-listing.js';
import { NetworkStore, parseAll } from './networks/network-store.js';
import { PeerStore } from './networks/peer-store.js';
import { listNodes } from './nodes/node-listing.js';
import { NodeSession } from './nodes/node-session.js';
import { DockerEngine } from './plugins/docker/engine.js';
import { ContainerFinder } from './plugins/engines/container-finder.js';
import type { PluginHost } from './plugins/plugin-host.js';
import { Iproute } from './ports/iproute.js';
import { linkDrops } from './ports/link-drops.js';
import { PORT_TABLE } from './ports/port-ruleset.js';
import { PortSecurity } from './ports/port-security.js';
import { Reconciler } from './reconcile/reconciler.js';
import { RegistryKeeper } from './reconcile/registry-keeper.js';
import { RegistryContact, secondsSince } from './registry-contact.js';
import { type LocalEndpoint, LocalState } from './state/local-state.js';
import { allIps, familiesOf, type VtepIps } from './vtep-address.js';

export class Host implements HostOperations {
  private readonly options: HostOptions;
  private readonly state: LocalState;
  private readonly networks: NetworkStore;
  private readonly peers: PeerStore;
  private readonly locals: LocalNetworks;
  private readonly endpoints: EndpointManager;
  private readonly names: NamesService | undefined;
  private readonly session: NodeSession;
  private readonly reconciler: Reconciler;
  private readonly keeper: RegistryKeeper;
  private vtep: HostOptions['vtep'];
  private readonly iproute: Iproute;
  private readonly addresses: AddressPool;
  private readonly reaper: Reaper;
  private readonly gateway: GatewayManager;
  private readonly ports: PortSecurity;
  /** What goes through Docker's own API; start it once the plugin listens, which Docker asks in return. */
  readonly docker: DockerEngine | undefined;
  private monitor: { close(): Promise<void> } | undefined;
  private readonly linkChecks = new LatestRun(() => this.endpoints.checkLinks());
  private readonly startedMs = performance.now();
  private readonly contact: RegistryContact;
  private readonly reach: RegistryReach;
  private readonly listing: EndpointListing;

  /** @throws VtepError VTEP_ERR_NODE_NAME_IN_USE. A registry that is not reachable is no error: it is tried for ever. */
  static async start(options: HostOptions): Promise<Host> {
    const state = options.openState?.(options.stateDirectory) ?? new LocalState(options.stateDirectory);
    const host = new Host(options, state, await state.hostId());
    try {
      await host.endpoints.restore();
      await host.endpoints.readLost();
      host.monitor = host.iproute.monitorLinks(() => host.linkChecks.request());
      host.gateway.start();
      await host.session.start();
      host.reconciler.start();
      host.reaper.start();
      host.endpoints.follow();
      // What changed before the monitor listened.
      host.linkChecks.request();
      return host;
    } catch (error) {
      await host.close();
      throw error;
    }
  }

  private constructor(options: HostOptions, state: LocalState, hostId: string) {
    this.options = options;
    this.vtep = options.vtep;
    const { registry, node, forwarding, logger } = options;
    const onContact = (error?: unknown) => this.contact.note(error);
    const iproute = options.iproute ?? new Iproute(options.ipCommandPrefix);
    this.state = state;
    this.contact = new RegistryContact(state);
    this.iproute = iproute;
    const { nftProgram, servesDocker } = options;
    const gateway = new GatewayManager({ iproute, logger, tunnel: () => this.vtep, nftProgram, servesDocker });
    this.gateway = gateway;
    const { portTable = new Nftables(iproute.prefix, nftProgram, PORT_TABLE) } = options;
    this.ports = new PortSecurity(portTable, logger);
    this.networks = new NetworkStore(registry, () => hostRoutes(iproute), options.pools);
    this.peers = new PeerStore(registry, this.networks);
    this.session = new NodeSession({
      ...{ registry, node, hostId, state, logger },
      onContact: (error) => {
        this.contact.note(error);
        this.reconciler.noteContact(error);
      },
      vtep: options.vtep,
      ttlSeconds: options.sessionTtlSeconds ?? SESSION_TTL_SECONDS.default,
      instanceId: randomBytes(16).toString('hex'),
      onLive: async () => {
        await Promise.all([this.endpoints.publishAll(), this.keeper.check()]);
      },
    });
    this.keeper = new RegistryKeeper({ registry, state, networks: this.networks, logger });
    const { dns, holdMs } = options;
    const families = familiesOf(options.vtep);
    const names =
      dns &&
      new NamesService({
        ...{ node, logger, upstream: dns.upstream },
        onListening: (address, isListening) => gateway.setNameServer(address, isListening),
      });
    this.names = names;
    this.reconciler = new Reconciler({
      ...{ registry, node, families, forwarding, state, logger, onContact, keeper: this.keeper, holdMs },
      onNode: (network, other, endpoints) => names?.setRemoteEndpoints(network, other, endpoints),
      onOwnNodeMissing: () => this.session.republish(),
      onOwnEndpointsMissing: (network) => {
        if (this.endpoints.hasPublished(network)) this.session.republish();
      },
      onNetworks: (entries) => {
        const there = new Set(entries.map((entry) => entry.key));
        const networks = parseAll(entries);
        void this.endpoints.endStopped(networks, (id) => this.keeper.wasRemoved(id));
        this.docker?.setRegistry(networks);
        for (const network of networks) {
          if (network.state === 'removing' && network.forced === true) void this.endpoints.dropNetwork(network);
        }
        const missing = this.locals.all().filter(({ name }) => !there.has(`networks/${name}`));
        // Removed by force while this host was not heard of; else the registry may have lost it.
        for (const network of missing) if (this.keeper.wasRemoved(network.id)) void this.endpoints.dropNetwork(network);
        if (missing.some(({ id }) => !this.keeper.wasRemoved(id))) this.session.republish();
      },
    });
    const parts = { iproute, forwarding, state, gateway, ports: this.ports };
    this.locals = new LocalNetworks({
      ...{ ...parts, reconciler: this.reconciler, underlayMtuBytes: options.underlay.mtuBytes, families },
      onOpened: (network) => names?.networkOpened(namedNetwork(network)),
      onClosed: async (name) => names?.networkClosed(name),
    });
    const session = () => this.session.id;
    const { networks } = this;
    this.reaper = new Reaper({
      ...{ registry, node, logger, reapAfterMs: options.reapAfterMs },
      onLooked: () => this.endpoints.retryConflicts(),
    });
    const absence = (other: string) => this.reaper.absence(other);
    this.addresses = new AddressPool(registry, node, logger, { session, absence });
    this.reach = new RegistryReach(registry, () => this.contact.away);
    const known = { registry, node, logger, state, networks, locals: this.locals, reach: this.reach };
    this.listing = new EndpointListing(known);
    this.endpoints = new EndpointManager({
      ...{ ...known, spareAddresses: options.spareAddresses ?? 0, reapAfterMs: options.reapAfterMs },
      silentMs: () => this.contact.silentMs(),
      onOwed: () => this.session.republish(),
      onEndpoints: (network, endpoints) => {
        names?.setLocalEndpoints(network, endpoints);
        if (names) gateway.setNameClients(network, nameClients(this.locals.get(network), endpoints));
      },
      ...{ ...parts, addresses: this.addresses, containers: options.containers ?? new ContainerFinder([]) },
      publisher: new Publisher({
        registry,
        node,
        networks,
        addresses: this.addresses,
        logger,
        session,
        mayRestore: ({ id }) => this.keeper.mayPutBack(id),
      }),
    });
    const { endpoints } = this;
    this.docker = options.docker && new DockerEngine({ ...options.docker, networks, endpoints, state, logger });
  }

  async close(): Promise<void> {
    await this.docker?.close();
    await this.monitor?.close();
    await this.linkChecks.idle();
    await this.gateway.close();
    await this.ports.close();
    await this.reaper.close();
    await this.session.close();
    await this.endpoints.close();
    await this.reconciler.close();
    this.keeper.close();
    await this.names?.close();
    await this.state.close();
  }

  /**
   * An underlay address of this host is another one: the data plane's sockets move, and peers are told. Containers see
   * nothing of it. @throws VtepError as Forwarding.moveUnderlay; nothing has changed then
   */
  moveUnderlay({ ip, otherIp }: VtepIps): void {
    if (ip === this.vtep.ip && otherIp === this.vtep.otherIp) return;
    this.options.forwarding.moveUnderlay({ ip, otherIp });
    this.vtep = { ...this.vtep, ip, otherIp };
    this.session.move(this.vtep);
    this.reconciler.applyAgain();
  }

  /** The underlay is back after it was down: the registry is asked at once, and told of this host. */
  returnToRegistry(): void {
    this.options.forwarding.renewUnderlay();
    this.session.republish();
  }

  /** The underlay's MTU, at first and when it has changed: networks without one of their own follow it. Never rejects. */
  followMtu(mtuBytes: number): Promise<void> {
    return this.endpoints.followMtu(mtuBytes);
  }

  /** For the plugins of container engines. */
  pluginHost(): PluginHost {
    const { networks, reach, endpoints, gateway, state, iproute } = this;
    const removeNetwork = (name: string) => this.removeNetwork(name);
    const parts = { networks, reach, endpoints, gateway, state, removeNetwork };
    return { ...parts, node: this.options.node, hostRoutes: () => hostRoutes(iproute) };
  }

  async status(): Promise<Status> {
    const { vtep } = this;
    const { version, node, underlay, forwarding, registry } = this.options;
    const [security, links] = await Promise.all([this.ports.status(), linkDrops(this.iproute)]);
    const { workers, offloads, totals, vteps, ...frames } = forwarding.status();
    return {
      ...{ version, node, vtep: { ...vtep }, underlay: { ...underlay, mtuBytes: this.locals.underlayMtuBytes } },
      uptimeSeconds: secondsSince(this.startedMs),
      registry: this.contact.status(registry.url),
      counts: {
        ...this.reconciler.counts(),
        localNetworks: this.locals.all().length,
        localEndpoints: this.endpoints.all().length,
        addressConflicts: this.addresses.allConflicts().size,
      },
      workers: workers.map((worker) => ({ ...worker })),
      offloads: offloads.map((offload) => ({ ...offload })),
      gateway: this.gateway.status() as NonNullable<Status['gateway']>,
      ...(this.names === undefined
        ? {}
        : { dns: this.names.status().map((served) => ({ ...served, addresses: [...served.addresses] })) }),
      ...(this.docker === undefined ? {} : { docker: this.docker.status() }),
      totals: { ...totals },
      ...reportDrops(frames, security, links, this.endpoints.all()),
      unreachable: this.reconciler.unreachable().map((one) => ({ ...one, addresses: [...one.addresses] })),
      vteps: vteps.map((remote) => ({ ...remote, counters: { ...remote.counters } })),
    };
  }

  /** A line for the service manager, without asking anybody. */
  outline(): string {
    return `${this.endpoints.all().length} containers on ${this.locals.all().length} networks here; ${this.contact.outline()}`;
  }

  async listNetworks(): Promise<Network[]> {
    return (await this.networks.list()).map(toNetwork);
  }

  async createNetwork(input: CreateNetwork): Promise<CreatedNetwork> {
    const value = await this.networks.create(input);
    // Made it is: a registry that went away just now takes no more than the warnings along.
    const warnings = await this.networks.overlaps(value).catch(() => []);
    return { ...toNetwork(value), ...(warnings.length === 0 ? {} : { warnings }) };
  }

  async inspectNetwork(name: string): Promise<NetworkDetail> {
    const { value } = await this.networks.require(name);
    const [endpoints, peers, usage] = await Promise.all([
      this.listEndpoints(name),
      this.peers.list(name),
      this.addresses.usage(value),
    ]);
    const local = this.locals.get(name);
    return {
      ...toNetwork(value),
      ...(value.state === 'removing' ? { removing: true } : {}),
      endpoints,
      usage,
      peers: peers.map(({ address, port }) => ({ address, port })),
      ...(local === undefined ? {} : { local: this.locals.facts(local) }),
    };
  }

  async removeNetwork(name: string, force = false): Promise<void> {
    if (force) return this.networks.remove(name, true);
    // Endpoints that the registry has not heard of count too.
    const here = this.endpoints.all().filter((endpoint) => endpoint.network === name);
    if (here.length > 0) await this.endpoints.publishNetwork(name);
    await this.networks.remove(name);
  }

  async listEndpoints(network?: string): Promise<Endpoint[]> {
    const others = await this.listing.ofOthers(network);
    const mine = [...this.endpoints.all(), ...this.endpoints.allStopped()];
    const shown = mine.filter((endpoint) => network === undefined || endpoint.network === network);
    return [...shown.map((endpoint) => this.toEndpoint(endpoint)), ...others].sort(
      (a, b) => compare(a.network, b.network) || compare(a.node, b.node) || compare(a.name, b.name),
    );
  }

  async attach(input: Attach): Promise<Endpoint> {
    const { endpoint, isNew } = await this.endpoints.attachOrFind(input);
    return { ...this.toEndpoint(endpoint), ...(isNew ? {} : { existed: true }) };
  }

  async detachById(id: string): Promise<void> {
    await this.endpoints.detachById(id);
  }

  async localEndpoints(): Promise<Endpoint[]> {
    return this.endpoints.all().map((endpoint) => this.toEndpoint(endpoint));
  }

  async attachment(id: string): Promise<AttachmentFacts | undefined> {
    const endpoint = this.endpoints.get(id);
    return endpoint && attachmentFacts(this.iproute, endpoint, this.gateway.gateways(endpoint.network));
  }

  async nameservers(network: string): Promise<string[]> {
    return this.names === undefined ? [] : this.gateway.gateways(network).map(({ address }) => address);
  }

  async detach(input: Detach): Promise<Endpoint[]> {
    try {
      return (await this.endpoints.detach(input)).map((endpoint) => this.toEndpoint(endpoint));
    } catch (error) {
      // The clearer word, where the network is what does not exist.
      if (error instanceof VtepError && error.code === 'VTEP_ERR_ENDPOINT_UNKNOWN') {
        await this.reach
          .read(() => this.networks.require(input.network))
          .catch((why: unknown) => {
            if (!isUnreachable(why)) throw why;
          });
      }
      throw error;
    }
  }

  listNodes(): Promise<Node[]> {
    return listNodes(this.options.registry, this.options.node, this.options.logger);
  }

  async listPeers(network?: string): Promise<Peer[]> {
    if (network !== undefined) await this.networks.require(network);
    return this.peers.list(network);
  }

  async addPeer(input: Peer): Promise<Peer> {
    if (allIps(this.vtep).includes(input.address)) {
      throw new VtepError(
        'VTEP_ERR_INVALID',
        `peer ${input.address} is this host's own VTEP: give the address of a VTEP without vtepd`,
      );
    }
    await this.peers.add(input);
    return { network: input.network, address: input.address, port: input.port };
  }

  removePeer(input: Peer): Promise<void> {
    return this.peers.remove(input.network, input.address);
  }

  fdb(network?: string): Promise<FdbEntry[]> {
    return this.entriesOf(network, (vni) => this.options.forwarding.fdb(vni));
  }

  neighbours(network?: string): Promise<NeighbourEntry[]> {
    return this.entriesOf(network, (vni) => this.options.forwarding.neighbours(vni));
  }

  /** None of a network that has no container here. */
  private async entriesOf<T>(network: string | undefined, read: (vni?: number) => T[]): Promise<T[]> {
    const vni = network === undefined ? undefined : this.locals.get(network)?.vni;
    if (network === undefined || vni !== undefined) return read(vni);
    await this.networks.require(network);
    return [];
  }

  private toEndpoint(endpoint: LocalEndpoint): Endpoint {
    const stopped = this.endpoints.allStopped().includes(endpoint);
    if (stopped) return endpointAnswer(endpoint, this.options.node, 'stopped');
    const waiting = this.addresses.allConflicts().has(endpoint.id) ? 'conflict' : 'waiting';
    const state = this.endpoints.isPublished(endpoint.id) ? 'published' : waiting;
    return endpointAnswer(endpoint, this.options.node, state);
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
