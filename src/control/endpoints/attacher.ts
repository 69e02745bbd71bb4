/**
 * The steps of an attach, each of which can be undone. Control plane, main thread; in the turn of the network and of the
 * container's namespace.
 *
 *     intent ─▶ address ─▶ bridge, TAP ─▶ published ports ─▶ veth ─▶ local copy ─▶ publish ─▶ data plane
 *
 * A failure undoes what was made, in reverse. A process that ends in between leaves an intent, or an endpoint in the local
 * copy: the next start removes what belongs to the first and completes the second. A registry that is away stops nothing
 * for which this host holds an address: the endpoint is published when it is back.
 */
import type { Logger } from 'pino';
import type { Attach } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Forwarding } from '../forwarding.js';
import { chooseDefaultGateways } from '../gateway/default-route.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { AddressPool } from '../ipam/address-pool.js';
import { canonicalAddress } from '../ipam/address-span.js';
import { randomMac } from '../ipam/mac.js';
import type { Iproute } from '../ports/iproute.js';
import { hostInterfaceName } from '../ports/names.js';
import type { Sandbox } from '../ports/namespace.js';
import { announce, chooseInterface, createVeth, removeVeth } from '../ports/veth.js';
import type { NetworkValue } from '../registry/schema.js';
import { bareAddress, type LocalEndpoint, type LocalState, type StockedAddress } from '../state/local-state.js';
import { type EndpointTable, hostEnd } from './endpoint-table.js';
import type { LocalNetworks } from './local-networks.js';
import type { OutageAddresses } from './outage-addresses.js';
import type { Publisher } from './publisher.js';
import { isUnreachable, type RegistryReach } from './registry-reach.js';
import type { RegistryReturn } from './registry-return.js';

const SECOND_ANNOUNCEMENT_MS = 1000;

export interface AttacherOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly addresses: AddressPool;
  readonly stock: OutageAddresses;
  readonly publisher: Publisher;
  readonly registryReturn: RegistryReturn;
  readonly reach: RegistryReach;
  readonly iproute: Iproute;
  readonly gateway: GatewayManager;
  readonly forwarding: Forwarding;
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
}

type Undo = (() => Promise<unknown> | unknown)[];

export class Attacher {
  private readonly options: AttacherOptions;

  constructor(options: AttacherOptions) {
    this.options = options;
  }

  /** @param answers whether the registry has just answered. @throws VtepError as its steps do; nothing is left then */
  async attach(network: NetworkValue, sandbox: Sandbox, input: Attach, answers: boolean): Promise<LocalEndpoint> {
    const { table, iproute, state, logger } = this.options;
    this.checkNotAttached(network, sandbox);
    const mac = input.mac ?? randomMac();
    if (table.macs(network.name).includes(mac)) {
      throw new VtepError(
        'VTEP_ERR_INVALID',
        `MAC ${mac} is in use on network "${network.name}" on this host: give another, or none`,
      );
    }
    const containerInterface = await chooseInterface(iproute, sandbox, input.interface);
    const id = table.newId();
    const undo: Undo = [];
    try {
      await state.putIntent({ id, network: network.name });
      undo.push(() => state.removeIntent(id));
      return await this.make(network, sandbox, { input, mac, containerInterface, id, answers }, undo);
    } catch (error) {
      for (const step of undo.reverse()) {
        try {
          await step();
        } catch (why) {
          logger.warn(
            { event: 'endpoint.undo-failed', err: why, endpoint: id },
            `an attach could not be undone in full: ${(why as Error).message}`,
          );
        }
      }
      throw error;
    }
  }

  private async make(
    network: NetworkValue,
    sandbox: Sandbox,
    begun: { input: Attach; mac: string; containerInterface: string; id: string; answers: boolean },
    undo: Undo,
  ): Promise<LocalEndpoint> {
    const { table, locals, addresses, stock, publisher, iproute, gateway, forwarding, state } = this.options;
    const { input, mac, containerInterface, id } = begun;
    const granted = await this.grant(network, id, input.ips, begun.answers, undo);
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
      ...(granted.taken.length === 0 ? {} : { heldAs: heldAs(granted.taken) }),
    };
    if (input.publish !== undefined) {
      await gateway.publish({ ...endpoint, publish: input.publish });
      undo.push(() => gateway.unpublish(id));
    }
    const route = { wanted: input.defaultRoute, network, gateways: gateway.gateways(network.name) };
    const defaultGateways = await chooseDefaultGateways(iproute, sandbox, { ...route, addresses: endpoint.addresses });
    await createVeth(iproute, sandbox, { ...endpoint, ...hostEnd(endpoint), defaultGateways });
    undo.push(() => removeVeth(iproute, id));
    await state.putEndpoint(endpoint);
    table.set(endpoint);
    undo.push(async () => {
      table.delete(id);
      await state.removeEndpoint(id, granted.taken);
    });
    undo.push(() => this.options.registryReturn.publish(network));
    // A publication that failed may have arrived all the same; so what is undone first is the endpoint, then the key.
    undo.push(() => table.delete(id));
    await this.publish(network, answers);
    forwarding.setLocal(network.vni, table.macs(network.name));
    addresses.settled(id);
    stock.settled(granted.taken);
    if (answers) stock.refill(network);
    this.announce(endpoint, sandbox);
    return endpoint;
  }

  private checkNotAttached(network: NetworkValue, sandbox: Sandbox): void {
    const there = this.options.table.on(network.name).find((endpoint) => endpoint.sandboxIdentity === sandbox.identity);
    if (there === undefined) return;
    throw new VtepError(
      'VTEP_ERR_INTERFACE_EXISTS',
      `${sandbox.label} is already attached to network "${network.name}" (${there.containerInterface}, ${there.addresses.join(', ')}): detach it first`,
    );
  }

  /** Addresses that the registry holds for this node: claimed now, or from the stock. */
  private async grant(
    network: NetworkValue,
    id: string,
    ips: readonly string[] | undefined,
    answers: boolean,
    undo: Undo,
  ): Promise<Granted> {
    const { addresses, stock, reach } = this.options;
    const wanted = (ips ?? []).map(canonicalAddress);
    const take = (): Granted => {
      const taken = stock.take(network, wanted);
      undo.push(() => stock.putBack(taken));
      return { addresses: taken.map(({ address }) => address), taken };
    };
    if (!answers) return take();
    // One's own spare, asked for by name.
    if (wanted.length > 0 && stock.hasAll(network, wanted)) return take();
    undo.push(() => addresses.settled(id));
    try {
      const claimed = await addresses.claim(network, id, ips);
      undo.push(async () => {
        // What can't be given back now is found by the sweep when the registry is back.
        if (reach.away) return;
        for (const address of claimed) await addresses.release(network.name, bareAddress(address), id);
      });
      return { addresses: claimed, taken: [] };
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

  /** Twice: the other hosts hear of a first endpoint on this host a moment after the registry does. Not waited for. */
  private announce(endpoint: LocalEndpoint, sandbox: Sandbox): void {
    const { table, iproute } = this.options;
    const once = async () => {
      if (!table.has(endpoint.id)) return;
      await announce(iproute, sandbox.path, { ...endpoint, endpointId: endpoint.id });
    };
    void once();
    setTimeout(() => void once(), SECOND_ANNOUNCEMENT_MS).unref();
  }
}

function heldAs(taken: readonly StockedAddress[]): Record<string, string> {
  return Object.fromEntries(taken.map(({ address, claimId }) => [bareAddress(address), claimId]));
}
