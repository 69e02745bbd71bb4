/**
 * Docker's calls for networks and endpoints. Control plane, main thread.
 *
 *     CreateEndpoint   addresses reserved (Docker's IPAM has asked for them, or they are claimed now), MAC chosen
 *     Join             attached: a veth whose container's end stays on the host, for Docker to move
 *     ProgramExternalConnectivity, Revoke...   published ports
 *     Leave            detached; its addresses are reservations again
 *     DeleteEndpoint   those that Docker's IPAM will not give back are released
 *
 * Docker repeats calls after a failure, and after its own death calls for what is no more: the same answer again, and
 * success for what is gone. Nothing here calls Docker.
 */
import { VtepError } from '../../errors.js';
import { choosePorts } from '../../gateway/free-ports.js';
import { bareAddress, canonicalAddress, familyOf } from '../../ipam/address-span.js';
import { randomMac } from '../../ipam/mac.js';
import { familiesOf, subnetOf, usableText, whyUnusable } from '../../ipam/usable-addresses.js';
import { awaitedInterfaceName } from '../../ports/names.js';
import type { NetworkValue } from '../../registry/schema.js';
import type { LocalEndpoint } from '../../state/local-state.js';
import type { PluginHost } from '../plugin-host.js';
import type { Bindings, EndpointRecord } from './bindings.js';
import type { DockerHooks } from './hooks.js';
import { readEndpointGroup } from './network-options.js';
import type { PendingNames } from './pending-names.js';
import { readPortMap } from './port-map.js';
import type { CreateEndpointCall, JoinAnswer } from './requests.js';

const FIELDS = { 4: 'Address', 6: 'AddressIPv6' } as const;

export class NetworkDriver {
  private readonly host: PluginHost;
  private readonly bindings: Bindings;
  private readonly hooks: DockerHooks;
  private readonly names: PendingNames;

  constructor(host: PluginHost, bindings: Bindings, hooks: DockerHooks, names: PendingNames) {
    this.host = host;
    this.bindings = bindings;
    this.hooks = hooks;
    this.names = names;
  }

  /** For all hosts. Docker forgets its network whatever is answered; so does this host. @throws VtepError VTEP_ERR_NETWORK_IN_USE */
  async deleteNetwork(networkId: string): Promise<void> {
    const bound = this.bindings.binding(networkId);
    const network = await this.bindings.find(networkId);
    const ownId = network?.id ?? bound?.id;
    const others = this.bindings.all().filter(({ id, networkId: other }) => id === ownId && other !== networkId);
    await this.bindings.unbind(networkId);
    if (ownId === undefined || others.length > 0) return;
    if (network !== undefined) {
      await this.host.removeNetwork(network.name).catch((error: unknown) => {
        if (!(error instanceof VtepError) || error.code !== 'VTEP_ERR_NETWORK_UNKNOWN') throw error;
      });
    }
    for (const { poolId, id } of this.bindings.pools()) if (id === ownId) await this.bindings.removePool(poolId);
  }

  async createEndpoint(call: CreateEndpointCall) {
    const known = this.bindings.endpoint(call.EndpointID);
    if (known !== undefined) return { Interface: known.answer };
    const ports = readPortMap(call.Options);
    const group = readEndpointGroup(call.Options);
    const network = await this.names.settled(await this.networkOf(call));
    const mac = call.Interface.MacAddress === '' ? randomMac() : call.Interface.MacAddress.toLowerCase();
    const { addresses, own, given } = await this.addressesFor(network, call);
    const answer = { ...(call.Interface.MacAddress === '' ? { MacAddress: mac } : {}), ...given };
    const record: EndpointRecord = {
      ...{ endpointId: call.EndpointID, networkId: call.NetworkID, id: network.id },
      ...{ mac, addresses, own, answer },
      ...(ports === undefined ? {} : { ports }),
      ...(group === undefined ? {} : { group }),
    };
    await this.bindings.putEndpoint(record);
    return { Interface: answer };
  }

  async deleteEndpoint(endpointId: string): Promise<void> {
    await this.leave(endpointId);
    const record = this.bindings.endpoint(endpointId);
    if (record === undefined) return;
    for (const address of record.own) await this.host.endpoints.reservations.release(record.id, address);
    await this.bindings.removeEndpoint(endpointId);
  }

  async join(endpointId: string, sandboxKey: string): Promise<JoinAnswer> {
    const record = this.bindings.endpoint(endpointId);
    if (record === undefined) {
      const text = `endpoint ${endpointId.slice(0, 12)} is not known to vtep (its local copy was lost in between): start the container again`;
      throw new VtepError('VTEP_ERR_ENDPOINT_UNKNOWN', text);
    }
    const network = await this.bindings.require(record.networkId);
    const there = this.endpoint(endpointId);
    const endpoint = there ?? (await this.attach(network, record, sandboxKey));
    const gateways = this.gatewaysOf(network, endpoint);
    if (gateways[4] === undefined && gateways[6] === undefined) await this.checkNoPorts(network, record);
    this.hooks.endpointJoined(record.networkId, endpointId);
    return {
      InterfaceName: { SrcName: awaitedInterfaceName(endpoint.id), DstPrefix: 'eth' },
      ...(gateways[4] === undefined ? {} : { Gateway: gateways[4] }),
      ...(gateways[6] === undefined ? {} : { GatewayIPv6: gateways[6] }),
      DisableGatewayService: true,
    };
  }

  async leave(endpointId: string): Promise<void> {
    const endpoint = this.endpoint(endpointId);
    if (endpoint === undefined) return;
    await this.host.endpoints.detachById(endpoint.id).catch((error: unknown) => {
      if (!(error instanceof VtepError) || error.code !== 'VTEP_ERR_ENDPOINT_UNKNOWN') throw error;
    });
  }

  /** @param options the container's: with several networks Docker says here whose the ports are */
  async programExternal(endpointId: string, options: Readonly<Record<string, unknown>>): Promise<void> {
    const endpoint = this.endpoint(endpointId);
    const wanted = readPortMap(options) ?? this.bindings.endpoint(endpointId)?.ports ?? [];
    if (endpoint === undefined || endpoint.publish !== undefined || wanted.length === 0) return;
    const ports = await choosePorts(wanted, (port) => this.host.gateway.isPortFree(port));
    await this.host.endpoints.publishing.publish(endpoint.id, ports);
  }

  async revokeExternal(endpointId: string): Promise<void> {
    const endpoint = this.endpoint(endpointId);
    if (endpoint !== undefined) await this.host.endpoints.publishing.unpublish(endpoint.id);
  }

  private endpoint(endpointId: string): LocalEndpoint | undefined {
    return this.host.endpoints.ownedBy(ownerOf(endpointId));
  }

  private async attach(network: NetworkValue, record: EndpointRecord, sandboxKey: string): Promise<LocalEndpoint> {
    const { reservations } = this.host.endpoints;
    for (const address of record.addresses) {
      // Given back or expired since: Docker joins an endpoint again.
      if (reservations.find(record.id, address) !== undefined) continue;
      await reservations.reserve(network, subnetOf(network, bareAddress(address))!, bareAddress(address));
    }
    const input = {
      network: network.name,
      owner: ownerOf(record.endpointId),
      name: `docker-${record.endpointId.slice(0, 12)}`,
      mac: record.mac,
      ips: record.addresses.map(bareAddress),
      isReserved: true,
      ...(record.group === undefined ? {} : { group: record.group }),
    };
    return this.host.endpoints.attachAwaited(input, `netns:${sandboxKey}`);
  }

  private gatewaysOf(network: NetworkValue, endpoint: LocalEndpoint): { 4?: string; 6?: string } {
    if (network.internal) return {};
    const found: { 4?: string; 6?: string } = {};
    const present = this.host.gateway.gateways(network.name);
    for (const text of endpoint.addresses) {
      const own = subnetOf(network, bareAddress(text))?.gateway;
      if (own !== undefined && present.some(({ address }) => address === own)) found[familyOf(text)] ??= own;
    }
    return found;
  }

  /** Docker asks for published ports only where there is a gateway: without, nobody would hear that there are none. */
  private async checkNoPorts(network: NetworkValue, { endpointId, ports = [] }: EndpointRecord): Promise<void> {
    if (ports.length === 0) return;
    await this.leave(endpointId);
    const problem = this.host.gateway.status().problems.find((text) => text.includes(`"${network.name}"`));
    const why = network.internal ? 'it is internal' : (problem ?? 'it has no gateway on this host');
    throw new VtepError('VTEP_ERR_INVALID', `network "${network.name}" publishes no ports: ${why}`);
  }

  /** By Docker's id; or, where the local copy was lost, by the address that was reserved of it a moment ago. */
  private async networkOf({ NetworkID, Interface }: CreateEndpointCall): Promise<NetworkValue> {
    const found = await this.bindings.find(NetworkID);
    if (found !== undefined) return found;
    const address = bareAddress(Interface.Address || Interface.AddressIPv6);
    const fitting = this.host.endpoints.reservations.all().filter((one) => bareAddress(one.address) === address);
    const network = fitting.length === 1 ? await this.bindings.byId(fitting[0]!.networkId) : undefined;
    if (network === undefined || this.bindings.binding(NetworkID) !== undefined)
      return this.bindings.require(NetworkID);
    await this.bindings.bind(NetworkID, network);
    return network;
  }

  /** One address of each family that the network has. After a failure nothing is reserved that was not before. */
  private async addressesFor(network: NetworkValue, { Interface }: CreateEndpointCall) {
    const { reservations } = this.host.endpoints;
    const addresses: string[] = [];
    const own: string[] = [];
    const given: Record<string, string> = {};
    try {
      for (const family of familiesOf(network)) {
        const field = FIELDS[family];
        const asked = Interface[field] === '' ? undefined : canonicalAddress(bareAddress(Interface[field]));
        const known = asked === undefined ? undefined : reservations.find(network.id, asked);
        if (known !== undefined) {
          addresses.push(known.address);
          continue;
        }
        const subnet =
          asked === undefined
            ? network.subnets.find(({ cidr }) => familyOf(cidr) === family)!
            : subnetFor(network, asked);
        const address = await reservations.reserve(network, subnet, asked);
        own.push(address);
        addresses.push(address);
        if (asked === undefined) given[field] = address;
      }
    } catch (error) {
      for (const address of own) await reservations.release(network.id, address);
      throw error;
    }
    return { addresses, own, given };
  }
}

export function ownerOf(endpointId: string): string {
  return `docker:${endpointId}`;
}

/** @throws VtepError VTEP_ERR_INVALID */
function subnetFor(network: NetworkValue, address: string) {
  const subnet = subnetOf(network, address);
  const why = whyUnusable(network, address);
  if (subnet !== undefined && why === undefined) return subnet;
  const right = (subnet === undefined ? network.subnets : [subnet]).map(usableText).join(', or ');
  throw new VtepError(
    'VTEP_ERR_INVALID',
    `address ${address} of network "${network.name}" ${why}: give one of ${right}`,
  );
}
