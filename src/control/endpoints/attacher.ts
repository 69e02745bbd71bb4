/**
 * The steps of an attach, each of which can be undone. Control plane, main thread; in the turn of the network and of the
 * container's namespace.
 *
 *     intent ─▶ address ─▶ bridge, TAP ─▶ published ports ─▶ port security ─▶ veth ─▶ local copy ─▶ publish ─▶ data plane
 *
 * A failure undoes what was made, in reverse. A process that ends in between leaves an intent, or an endpoint in the local
 * copy: the next start removes what belongs to the first and completes the second. A registry that is away stops nothing
 * for which this host holds an address: the endpoint is published when it is back.
 *
 * A standing endpoint whose container is back goes the same way, with the id, the addresses and the MAC that it has; what
 * is undone then leaves it stopped.
 */
import type { Logger } from 'pino';
import type { Attach } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { bareAddress, canonicalAddress } from '../ipam/address-span.js';
import { randomMac } from '../ipam/mac.js';
import type { Reservations } from '../ipam/reservations.js';
import type { Iproute } from '../ports/iproute.js';
import { hostInterfaceName } from '../ports/names.js';
import type { PortSecurity } from '../ports/port-security.js';
import { removeVeth } from '../ports/veth.js';
import type { NetworkValue } from '../registry/schema.js';
import type { LocalEndpoint, LocalState, Reservation, StockedAddress } from '../state/local-state.js';
import * as refusals from './attach-refusals.js';
import { standingOf, unfulfilled, wantsStanding } from './attach-wishes.js';
import type { ContainerSide } from './container-side.js';
import { type EndpointTable, hostEnd, securedPort } from './endpoint-table.js';
import type { LocalNetworks } from './local-networks.js';
import type { OutageAddresses } from './outage-addresses.js';
import type { Publisher } from './publisher.js';
import { isUnreachable, type RegistryReach } from './registry-reach.js';
import type { RegistryReturn } from './registry-return.js';
import { runUndo, type UndoStep } from './undo.js';

export interface AttacherOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly addresses: AddressPool;
  readonly stock: OutageAddresses;
  readonly reservations: Reservations;
  readonly publisher: Publisher;
  readonly registryReturn: RegistryReturn;
  readonly reach: RegistryReach;
  readonly iproute: Iproute;
  readonly gateway: GatewayManager;
  readonly ports: PortSecurity;
  /** What the network has here is another now. */
  readonly tell: (network: NetworkValue) => void;
  readonly state: LocalState;
  readonly logger: Logger;
  /** Something could not be told to the registry: it is to be published when it is back. */
  readonly onOwed: () => void;
  /** Closes the network if no endpoint is left on it. */
  readonly closeIfUnused: (network: string) => Promise<void>;
}

interface Granted {
  /** With prefix length. */
  readonly addresses: readonly string[];
  /** What of them comes from the stock. */
  readonly taken: readonly StockedAddress[];
  /** All of them are, if one is: its addresses were asked for ahead. */
  readonly reserved: readonly Reservation[];
  /** Perhaps: then it keeps its addresses until publishAll has put both right. */
  isPublished: boolean;
}

export interface AttachRequest extends Attach {
  /** Its addresses are reservations of this host, and will be again when it is detached. */
  readonly isReserved?: boolean;
}

export interface Attached {
  readonly endpoint: LocalEndpoint;
  /** Made now; else it was there. */
  readonly isNew: boolean;
}

interface Begun {
  readonly input: AttachRequest;
  readonly mac: string;
  readonly containerInterface: string;
  readonly id: string;
  readonly answers: boolean;
  readonly again: LocalEndpoint | undefined;
}

export class Attacher {
  private readonly options: AttacherOptions;

  constructor(options: AttacherOptions) {
    this.options = options;
  }

  /**
   * @param answers whether the registry has just answered. @param again a stopped endpoint that `input` makes again
   * @throws VtepError as its steps do; nothing is left then
   */
  async attach(
    network: NetworkValue,
    sandbox: ContainerSide,
    input: AttachRequest,
    answers: boolean,
    again?: LocalEndpoint,
  ): Promise<Attached> {
    const { table, state, logger } = this.options;
    const there = table.on(network.name).find((endpoint) => endpoint.sandboxIdentity === sandbox.identity);
    if (there !== undefined) {
      if (input.mayExist !== true) throw refusals.isAttachedAlready(sandbox.label, there);
      const wish = unfulfilled(input, there);
      if (wish !== undefined) throw refusals.isAttachedOtherwise(there, wish);
      return { endpoint: there, isNew: false };
    }
    const owned = input.owner === undefined ? undefined : table.ownedBy(input.owner);
    if (owned !== undefined && owned !== again) throw refusals.isOwnedAlready(owned);
    if (input.group !== undefined && !network.groupPolicy) throw refusals.hasNoGroups(network.name);
    const mac = input.mac ?? randomMac();
    if (table.hasMac(network.name, mac, again?.id)) throw refusals.macInUse(mac, network.name);
    const id = again?.id ?? table.newId();
    const containerInterface = await chooseInterface(sandbox, id, input, again);
    const undo: UndoStep[] = [];
    try {
      await state.putIntent({ id, network: network.name });
      undo.push(() => state.removeIntent(id));
      const begun = { input, mac, containerInterface, id, answers, again };
      return { endpoint: await this.make(network, sandbox, begun, undo), isNew: true };
    } catch (error) {
      await runUndo(undo, logger, id);
      throw error;
    }
  }

  private async make(
    network: NetworkValue,
    sandbox: ContainerSide,
    begun: Begun,
    undo: UndoStep[],
  ): Promise<LocalEndpoint> {
    const { table, locals, addresses, stock, reservations, publisher, iproute, gateway, ports, state } = this.options;
    const { input, mac, containerInterface, id, again } = begun;
    const granted = await this.grantFor(network, begun, undo);
    const answers = begun.answers && !this.options.reach.away;
    await locals.open(network);
    undo.push(() => this.options.closeIfUnused(network.name));
    const endpoint: LocalEndpoint = {
      id,
      name: input.name ?? sandbox.defaultName,
      network: network.name,
      vni: network.vni,
      mac,
      addresses: granted.addresses,
      mtuBytes: locals.mtuBytes(network),
      sandbox: sandbox.label,
      sandboxIdentity: sandbox.identity,
      hostInterface: hostInterfaceName(id),
      containerInterface,
      // A MAC made here is nobody else's: only a given one can have come from another host.
      attachedAt: await (input.mac === undefined || !answers ? Date.now() : publisher.attachedAt(network.name, mac)),
      ...(input.publish === undefined ? {} : { publish: input.publish }),
      ...(input.group === undefined ? {} : { group: input.group }),
      ...(input.owner === undefined ? {} : { owner: input.owner }),
      ...(sandbox.containerId === undefined ? {} : { containerId: sandbox.containerId }),
      ...(wantsStanding(input) ? { standing: standingOf(input, network.id) } : {}),
      ...(granted.taken.length === 0 ? {} : { heldAs: heldAs(granted.taken) }),
      ...(again?.heldAs === undefined ? {} : { heldAs: again.heldAs }),
      ...(granted.reserved.length === 0 ? {} : { heldAs: heldAs(granted.reserved), isReserved: true }),
    };
    if (input.publish !== undefined) {
      await gateway.publish({ ...endpoint, publish: input.publish });
      undo.push(() => gateway.unpublish(id));
    }
    const route = { wanted: input.defaultRoute, network, gateways: gateway.gateways(network.name) };
    const defaultGateways = await sandbox.defaultGateways({ ...route, addresses: endpoint.addresses });
    if (network.portSecurity) {
      // Before there is an interface to send from.
      await ports.secure(securedPort(endpoint));
      undo.push(() => ports.release(endpoint.hostInterface));
    }
    await sandbox.connect({ ...endpoint, ...hostEnd(endpoint), defaultGateways });
    undo.push(() => removeVeth(iproute, id));
    await state.putEndpoint(endpoint);
    table.set(endpoint);
    const forget = () => (again === undefined ? table.delete(id) : table.stop(again));
    undo.push(async () => {
      forget();
      if (again === undefined) await state.removeEndpoint(id, granted.taken, granted.reserved);
      else await state.stopEndpoint(again);
    });
    undo.push(async () => {
      granted.isPublished = true;
      await this.options.registryReturn.publish(network).catch((error: unknown) => {
        this.options.onOwed();
        throw error;
      });
      granted.isPublished = false;
    });
    // A publication that failed may have arrived all the same; so what is undone first is the endpoint, then the key.
    undo.push(forget);
    await this.publish(network, answers);
    this.options.tell(network);
    addresses.settled(id);
    stock.settled(granted.taken);
    reservations.settled(granted.reserved);
    if (answers) stock.refill(network);
    sandbox.announce(endpoint, () => table.has(id));
    return endpoint;
  }

  private async grantFor(network: NetworkValue, begun: Begun, undo: UndoStep[]): Promise<Granted> {
    const { id, input, answers, again } = begun;
    if (again !== undefined) return this.regain(network, again, answers);
    if (input.isReserved === true) return this.grantReserved(network, input.ips ?? [], undo);
    return this.grant(network, id, input.ips, answers, undo);
  }

  /** A stopped endpoint's own addresses. @throws VtepError VTEP_ERR_ADDRESS_IN_USE */
  private async regain(network: NetworkValue, again: LocalEndpoint, answers: boolean): Promise<Granted> {
    const { addresses, stock } = this.options;
    const granted: Granted = { addresses: again.addresses, taken: [], reserved: [], isPublished: false };
    if (!answers) return granted;
    try {
      await stock.settle(again);
      if ((await addresses.hold(network.name, [again])).lost.has(again.id)) throw refusals.addressWent(again);
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      this.options.onOwed();
    }
    return granted;
  }

  private grantReserved(network: NetworkValue, ips: readonly string[], undo: UndoStep[]): Granted {
    const { reservations } = this.options;
    const reserved = reservations.take(network, ips.map(canonicalAddress));
    undo.push(() => reservations.putBack(reserved));
    return { addresses: reserved.map(({ address }) => address), taken: [], reserved, isPublished: false };
  }

  /** Addresses that the registry holds for this node: claimed now, or from the stock. */
  private async grant(
    network: NetworkValue,
    id: string,
    ips: readonly string[] | undefined,
    answers: boolean,
    undo: UndoStep[],
  ): Promise<Granted> {
    const { addresses, stock, reach } = this.options;
    const wanted = (ips ?? []).map(canonicalAddress);
    const take = (): Granted => {
      const taken = stock.take(network, wanted);
      undo.push(() => stock.putBack(taken));
      return { addresses: taken.map(({ address }) => address), taken, reserved: [], isPublished: false };
    };
    if (!answers) return take();
    // One's own spare, asked for by name.
    if (wanted.length > 0 && stock.hasAll(network, wanted)) return take();
    undo.push(() => addresses.settled(id));
    try {
      const claimed = await addresses.claim(network, id, ips);
      const granted: Granted = { addresses: claimed, taken: [], reserved: [], isPublished: false };
      undo.push(async () => {
        // What can't be given back now is found by the sweep when the registry is back.
        if (reach.away || granted.isPublished) return;
        for (const address of claimed) await addresses.release(network.name, bareAddress(address), id);
      });
      return granted;
    } catch (error) {
      if (isUnreachable(error)) {
        this.options.onOwed();
        return take();
      }
      const exhausted = error instanceof VtepError && error.code === 'VTEP_ERR_POOL_EXHAUSTED';
      if (exhausted && stock.hasAll(network, wanted)) return take();
      throw error;
    }
  }

  private async publish(network: NetworkValue, answers: boolean): Promise<void> {
    const { registryReturn, onOwed, logger } = this.options;
    if (answers) {
      try {
        await registryReturn.publish(network);
        return;
      } catch (error) {
        if (!isUnreachable(error)) throw error;
      }
    }
    logger.warn(
      { event: 'endpoint.publish-owed', network: network.name },
      'attached; the registry is told when it is back',
    );
    onOwed();
  }
}

function heldAs(taken: readonly StockedAddress[]): Record<string, string> {
  return Object.fromEntries(taken.map(({ address, claimId }) => [bareAddress(address), claimId]));
}

/** As it was asked for; else as it was before, or the first that is free. */
async function chooseInterface(sandbox: ContainerSide, id: string, input: Attach, again?: LocalEndpoint) {
  if (input.interface !== undefined || again === undefined) return sandbox.chooseInterface(id, input.interface);
  return sandbox.chooseInterface(id, again.containerInterface).catch((error: unknown) => {
    if (error instanceof VtepError && error.code === 'VTEP_ERR_INTERFACE_EXISTS') {
      return sandbox.chooseInterface(id, undefined);
    }
    throw error;
  });
}
