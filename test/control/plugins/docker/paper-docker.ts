/**
 * A host with the Docker drivers and without kernel, data plane and socket, over a registry in memory; and a dockerd that
 * calls them in Docker's order. Whatever the host does passes a gate, at which it can die. Test support.
 */
import { join } from 'node:path';
import { pino } from 'pino';
import { EndpointManager } from '../../../../src/control/endpoints/endpoint-manager.js';
import { LocalNetworks } from '../../../../src/control/endpoints/local-networks.js';
import { Publisher } from '../../../../src/control/endpoints/publisher.js';
import { RegistryReach } from '../../../../src/control/endpoints/registry-reach.js';
import type { GatewayManager } from '../../../../src/control/gateway/gateway-manager.js';
import { AddressPool } from '../../../../src/control/ipam/address-pool.js';
import { NetworkStore } from '../../../../src/control/networks/network-store.js';
import { Bindings } from '../../../../src/control/plugins/docker/bindings.js';
import { NO_HOOKS } from '../../../../src/control/plugins/docker/hooks.js';
import { IpamDriver } from '../../../../src/control/plugins/docker/ipam-driver.js';
import { NetworkDriver } from '../../../../src/control/plugins/docker/network-driver.js';
import { PendingNames } from '../../../../src/control/plugins/docker/pending-names.js';
import { PortSecurity } from '../../../../src/control/ports/port-security.js';
import type { Reconciler } from '../../../../src/control/reconcile/reconciler.js';
import { NETWORKS_PREFIX } from '../../../../src/control/registry/schema.js';
import { LocalState } from '../../../../src/control/state/local-state.js';
import { CrashGate } from '../../crash-gate.js';
import { FakeKernel } from '../../endpoints/fake-kernel.js';
import { FakePortTable } from '../../endpoints/fake-port-table.js';
import { FakeForwarding } from '../../fake-forwarding.js';
import type { MemoryRegistry } from '../../memory-registry.js';

const logger = pino({ level: 'silent' });

export class PaperHost {
  readonly kernel = new FakeKernel();
  readonly clock = { nowMs: 1_700_000_000_000 };
  gate = new CrashGate();
  manager!: EndpointManager;
  ipam!: IpamDriver;
  driver!: NetworkDriver;
  bindings!: Bindings;
  state!: LocalState;
  private readonly portTable = new FakePortTable();
  private session: string | undefined;

  constructor(
    readonly node: string,
    private readonly registry: MemoryRegistry,
    readonly directory: string,
  ) {}

  async start(): Promise<void> {
    const gate = new CrashGate();
    this.gate = gate;
    const { node } = this;
    const registry = gate.wrap(this.registry, 'registry');
    const iproute = gate.wrap(this.kernel, 'kernel');
    this.state = new LocalState(join(this.directory, node));
    const state = gate.wrap(this.state, 'local copy');
    const networks = new NetworkStore(registry, async () => []);
    const session = () => this.session;
    const addresses = new AddressPool(registry, node, logger, { session });
    const forwarding = gate.wrap(new FakeForwarding(), 'data plane');
    const nothing = async () => undefined;
    const gateway = {
      ...{ restore: () => undefined, restored: nothing, open: nothing, closeNetwork: nothing },
      ...{ publish: nothing, unpublish: nothing, gateways: () => [], checkSoon: () => undefined },
      ...{ isPortFree: async () => true, status: () => ({ networks: [], problems: [] }) },
    } as unknown as GatewayManager;
    const reconciler = { openNetwork: () => undefined, closeNetwork: nothing } as unknown as Reconciler;
    const parts = { iproute, forwarding, reconciler, state, gateway };
    const locals = new LocalNetworks({ ...parts, underlayMtuBytes: 1500, families: [4] });
    const ports = new PortSecurity(this.portTable, logger);
    const reach = new RegistryReach(registry, () => this.registry.down);
    const endpoints = new EndpointManager({
      ...{ registry, node, networks, locals, addresses, iproute, gateway, ports, forwarding, state, logger, reach },
      publisher: new Publisher({ registry, node, networks, addresses, logger, session }),
      ...{ spareAddresses: 1, silentMs: () => 0, onOwed: () => undefined, now: () => this.clock.nowMs },
    });
    this.manager = endpoints;
    const removeNetwork = (name: string) => networks.remove(name);
    const host = { node, networks, reach, endpoints, gateway, state, removeNetwork, hostRoutes: async () => [] };
    this.bindings = new Bindings(host);
    const names = new PendingNames(this.bindings, NO_HOOKS);
    this.ipam = new IpamDriver(host, this.bindings, names);
    this.driver = new NetworkDriver(host, this.bindings, NO_HOOKS, names);
    await endpoints.restore();
    await this.heard();
  }

  /** The registry answers: what a live session brings about. */
  async heard(): Promise<void> {
    if (this.registry.down) return;
    if (this.session === undefined || !(await this.registry.renewSession(this.session))) {
      this.session = await this.registry.createSession(this.node);
    }
    await this.registry.acquire(`nodes/${this.node}`, '{}', this.session);
    this.state.saveSnapshot(NETWORKS_PREFIX, (await this.registry.list(NETWORKS_PREFIX)).entries);
    await this.manager.publishAll();
    await this.manager.idle();
  }

  async stop(): Promise<void> {
    await this.manager.close();
    await this.state.close();
  }

  /** Does `job`, of which `count` effects happen. @returns whether the process died of it; it is to be started then. */
  async die(count: number, job: () => Promise<unknown>): Promise<boolean> {
    this.gate.arm(count);
    const outcome = await Promise.race([job().then(() => 'done'), this.gate.death.then(() => 'dead')]);
    if (outcome === 'done') {
      this.gate.arm(Number.POSITIVE_INFINITY);
      return false;
    }
    this.manager.reservations.close();
    await this.state.close();
    return true;
  }

  /** Ten minutes and more go by. */
  async later(): Promise<void> {
    this.clock.nowMs += 700_000;
    await this.manager.reservations.expire();
  }

  /** What the registry holds for this node, without spares, by address. */
  claims(): Map<string, string> {
    const claims = this.registry
      .under('addresses/')
      .map((key) => [key.split('/').at(-1)!, JSON.parse(this.registry.keys.get(key)!.value)] as const)
      .filter(([, { node, spare }]) => node === this.node && spare === undefined);
    return new Map(claims.map(([address, { endpointId }]) => [address, endpointId]));
  }

  /** What this host says that it has, by address. */
  held(): Map<string, string> {
    const held = new Map<string, string>();
    const add = (text: string, id: string) => {
      const address = text.split('/')[0]!;
      if (held.has(address)) throw new Error(`${address} is held twice: ${held.get(address)} and ${id}`);
      held.set(address, id);
    };
    for (const { addresses, id } of this.manager.all()) for (const address of addresses) add(address, id);
    for (const { address, claimId } of this.manager.reservations.all()) add(address, claimId);
    return held;
  }
}

/** One container of a dockerd, and how far its start or its end has come. */
export class PaperContainer {
  address = '';
  private source = '';

  constructor(
    private readonly host: PaperHost,
    readonly poolId: string,
    readonly networkId: string,
    readonly endpointId: string,
  ) {}

  get path(): string {
    return join(this.host.directory, `${this.host.node}-${this.endpointId}`);
  }

  /** In Docker's order; each can be repeated. */
  readonly calls: Readonly<Record<string, () => Promise<void>>> = {
    requestAddress: async () => {
      const call = { PoolID: this.poolId, Address: '', Options: {} };
      this.address = (await this.host.ipam.requestAddress(call)).Address;
    },
    createEndpoint: async () => {
      const Interface = { Address: this.address, AddressIPv6: '', MacAddress: '' };
      const ids = { NetworkID: this.networkId, EndpointID: this.endpointId };
      await this.host.driver.createEndpoint({ ...ids, Interface, Options: {} });
    },
    join: async () => {
      this.source = (await this.host.driver.join(this.endpointId, this.path)).InterfaceName.SrcName;
    },
    move: async () => {
      this.host.kernel.boot(this.path);
      if (this.host.kernel.all.has(this.source)) this.host.kernel.move(this.source, this.path, 'eth0');
      await this.host.manager.checkLinks();
    },
    leave: () => this.host.driver.leave(this.endpointId),
    deleteEndpoint: () => this.host.driver.deleteEndpoint(this.endpointId),
    releaseAddress: () => this.host.ipam.releaseAddress(this.poolId, this.address.split('/')[0]!),
  };

  /** The container's namespace goes, and its interfaces with it. */
  end(): void {
    this.host.kernel.end(this.path);
  }
}
