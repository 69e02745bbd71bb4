/**
 * The simulated system: which host has which endpoints in which network, and what of it stands in the registry. Pure.
 *
 *     net-0000           wide: one endpoint of each host
 *     net-0001 .. last   the other endpoints, two of a host in each network that it has endpoints in
 *
 * The watched networks are the first ones, so the wide one is always among them. VTEPs are 198.18.0.0/15 (RFC 2544), which
 * no host of the benchmark has a route to: what vtepd floods leaves no trace on its interface.
 */
import { settingsOf } from '../../src/control/networks/network-settings.js';
import type { RegistryOperation } from '../../src/control/registry/registry.js';
import {
  addressKey,
  addressValueSchema,
  type EndpointRecord,
  encodeValue,
  endpointsKey,
  endpointsValueSchema,
  JOURNAL_FEATURE,
  networkKey,
  networkValueSchema,
  nodeKey,
  nodeValueSchema,
  vniKey,
  vniValueSchema,
} from '../../src/control/registry/schema.js';

const FIRST_VNI = 256;
const ENDPOINTS_PER_KEY = 2;
/** Of the wide network: 65,534 addresses. */
const WIDE_SUBNET = '172.16.0.0/16';
const CREATED_AT = '2025-01-01T00:00:00.000Z';

export interface SimulatedEndpoint extends EndpointRecord {
  readonly network: string;
}

export interface SimulatedHost {
  readonly name: string;
  readonly vtep: string;
  readonly byNetwork: Map<string, SimulatedEndpoint[]>;
}

export const networkName = (index: number): string => `net-${String(index).padStart(4, '0')}`;
export const WIDE_NETWORK = networkName(0);

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
/** As random as real ones for a compressor, and the same in each run. */
const scrambled = (value: number) => hex((Math.imul(value + 1, 0x9e3779b1) ^ Math.imul(value, 0x85ebca6b)) >>> 0, 8);
const longId = (value: number) => [0, 1, 2, 3].map((part) => scrambled(value * 4 + part)).join('');

export class Population {
  readonly hosts: SimulatedHost[] = [];
  readonly #networkCount: number;
  readonly #addressesGiven = new Map<string, number>();
  #endpointCount = 0;
  #extraNetworks = 0;

  constructor(counts: { readonly hosts: number; readonly endpoints: number; readonly networks: number }) {
    this.#networkCount = counts.networks;
    for (let index = 0; index < counts.hosts; index++) {
      this.addHost();
      this.addEndpoint(this.hosts[index]!, WIDE_NETWORK);
    }
    for (let index = counts.hosts; index < counts.endpoints; index++) {
      const host = index % counts.hosts;
      const turn = Math.floor(index / counts.hosts) - 1;
      // 7 spreads neighbours over the networks; each pair of turns stays in one network.
      const narrow = (host * 7 + Math.floor(turn / ENDPOINTS_PER_KEY)) % (counts.networks - 1);
      this.addEndpoint(this.hosts[host]!, networkName(1 + narrow));
    }
  }

  networkNames(): string[] {
    return Array.from({ length: this.#networkCount }, (_, index) => networkName(index));
  }

  addHost(): SimulatedHost {
    const index = this.hosts.length;
    const vtep = `198.${18 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
    const host = { name: `host-${String(index).padStart(4, '0')}`, vtep, byNetwork: new Map() };
    this.hosts.push(host);
    return host;
  }

  addEndpoint(host: SimulatedHost, network: string): SimulatedEndpoint {
    const number = this.#endpointCount++;
    const endpoint = {
      id: longId(number),
      name: `container-${number}`,
      mac: `02:00:${(hex(number, 8).match(/../g) as string[]).join(':')}`,
      addresses: [this.#nextAddress(network)],
      network,
    };
    const there = host.byNetwork.get(network);
    if (there === undefined) host.byNetwork.set(network, [endpoint]);
    else there.push(endpoint);
    return endpoint;
  }

  /** What `host` had in the network as last; the network is left when none remains. */
  removeEndpoint(host: SimulatedHost, network: string): SimulatedEndpoint {
    const there = host.byNetwork.get(network) ?? [];
    const endpoint = there.pop();
    if (endpoint === undefined) throw new Error(`${host.name} has no endpoint in ${network}`);
    if (there.length === 0) host.byNetwork.delete(network);
    return endpoint;
  }

  /** A network beyond the first ones. */
  extraNetworkName(): string {
    return networkName(this.#networkCount + this.#extraNetworks++);
  }

  /** The MACs that a host which has the networks must know, as "network mac". */
  macsOf(networks: ReadonlySet<string>): Set<string> {
    const macs = new Set<string>();
    for (const host of this.hosts) {
      for (const [network, endpoints] of host.byNetwork) {
        if (networks.has(network)) for (const { mac } of endpoints) macs.add(`${network} ${mac}`);
      }
    }
    return macs;
  }

  // From the top down, so that the real vtepd's lowest free ones do not meet them.
  #nextAddress(network: string): string {
    const given = this.#addressesGiven.get(network) ?? 0;
    this.#addressesGiven.set(network, given + 1);
    if (network === WIDE_NETWORK) {
      const host = 0xff00 - given;
      return `172.16.${host >> 8}.${host & 255}/16`;
    }
    // A network of more than 240 endpoints gets some addresses twice: they are all alike to the registry.
    return `${subnetOf(network).replace(/0\/24$/, String(254 - (given % 240)))}/24`;
  }
}

function subnetOf(network: string): string {
  if (network === WIDE_NETWORK) return WIDE_SUBNET;
  const index = Number(network.slice(4));
  return `10.${index >> 8}.${index & 255}.0/24`;
}

export function networkOperations(network: string): RegistryOperation[] {
  const vni = FIRST_VNI + Number(network.slice(4));
  const subnet = subnetOf(network);
  const value = encodeValue(networkValueSchema, {
    v: 1,
    name: network,
    id: longId(1_000_000 + vni),
    vni,
    subnets: [{ cidr: subnet, gateway: subnet.replace(/0\/\d+$/, '1') }],
    internal: false,
    mtuBytes: 0,
    ...settingsOf({ flood: 'replicate', learning: true }),
    state: 'active',
    createdAt: CREATED_AT,
    options: {},
  });
  const claim = encodeValue(vniValueSchema, { v: 1, network });
  return [
    { verb: 'set', key: networkKey(network), value },
    { verb: 'set', key: vniKey(vni), value: claim },
  ];
}

export function nodeOperation(host: SimulatedHost, session: string): RegistryOperation {
  const value = encodeValue(nodeValueSchema, {
    v: 1,
    vtep: { ip: host.vtep, port: 4789 },
    apiVersion: 1,
    features: [JOURNAL_FEATURE],
    instanceId: longId(2_000_000 + Number(host.name.slice(5))),
  });
  return { verb: 'lock', key: nodeKey(host.name), value, session };
}

/** What the host has in the network now: its key, or the key's end. */
export function endpointsOperation(host: SimulatedHost, network: string, session: string): RegistryOperation {
  const key = endpointsKey(network, host.name);
  const endpoints = host.byNetwork.get(network);
  if (endpoints === undefined) return { verb: 'delete', key };
  const records = endpoints.map(({ id, name, mac, addresses }) => ({ id, name, mac, addresses }));
  return { verb: 'lock', key, value: encodeValue(endpointsValueSchema, { v: 1, endpoints: records }), session };
}

export function addressOperation(host: SimulatedHost, endpoint: SimulatedEndpoint): RegistryOperation {
  const address = endpoint.addresses[0]!.split('/')[0]!;
  const value = encodeValue(addressValueSchema, { v: 1, node: host.name, endpointId: endpoint.id });
  return { verb: 'set', key: addressKey(endpoint.network, address), value };
}
