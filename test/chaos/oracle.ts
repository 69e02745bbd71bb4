/**
 * Compares what is with what should be, at a quiet point: all is healed, every vtepd and Consul run. Pure; each line of
 * the result says one thing that differs, with what was expected. Nothing is allowed but what the model says.
 */
import type { Endpoint } from '../../src/control/api/schema.js';
import { gatewayMac } from '../../src/control/ipam/mac.js';
import { bridgeName, hostInterfaceName, tapName } from '../../src/control/ports/names.js';
import type { HostNumber } from './actions.js';
import {
  type AttachmentModel,
  addressesOf,
  type Model,
  type NetworkModel,
  subnetsOf,
  type Unsettled,
} from './model.js';
import type { HostObservation, Observation } from './observation.js';

export interface HostFacts {
  readonly host: HostNumber;
  readonly node: string;
  readonly address: string;
}

/** An attachment as the API tells of it. */
export function attachmentOf(at: Unsettled, endpoint: Endpoint): AttachmentModel {
  const { container, network, host } = at;
  const { id, mac } = endpoint;
  return {
    container,
    network,
    host,
    id,
    mac,
    ip: bare(endpoint.addresses[0]!),
    ...(endpoint.addresses[1] === undefined ? {} : { ip6: bare(endpoint.addresses[1]) }),
    interface: endpoint.local!.containerInterface,
  };
}

/** The model with what was unsettled as the hosts and the registry have it. */
export function settle(model: Model, seen: Observation): Model {
  const settled = model.copy();
  for (const [key, at] of model.unsettled) {
    settled.unsettled.delete(key);
    const found = seen.hosts
      .get(at.host)
      ?.endpoints.find(
        (endpoint) => endpoint.local && endpoint.name === at.container && endpoint.network === at.network,
      );
    if (found === undefined) continue;
    settled.attached(attachmentOf(at, found));
  }
  for (const [name, { pooled }] of model.unsettledNetworks) {
    settled.unsettledNetworks.delete(name);
    const found = seen.registry.networks.get(name);
    if (found === undefined) continue;
    const [subnet, subnet6] = found.subnets.map(({ cidr }) => cidr) as [string, string?];
    settled.networks.set(name, {
      ...{ name, id: found.id, vni: found.vni, subnet, pooled },
      ...(subnet6 === undefined ? {} : { subnet6 }),
    });
  }
  return settled;
}

/** @param spares addresses that each host claims in advance for each network that it has open. */
export function compare(model: Model, hosts: readonly HostFacts[], seen: Observation, spares: number): string[] {
  const comparison = new Comparison(model, hosts, seen, spares);
  comparison.registry();
  for (const host of hosts) comparison.host(host);
  comparison.containers();
  return comparison.differences;
}

class Comparison {
  readonly differences: string[] = [];
  readonly #model: Model;
  readonly #hosts: readonly HostFacts[];
  readonly #seen: Observation;
  readonly #spares: number;
  readonly #attachments: readonly AttachmentModel[];

  constructor(model: Model, hosts: readonly HostFacts[], seen: Observation, spares: number) {
    this.#spares = spares;
    this.#model = model;
    this.#hosts = hosts;
    this.#seen = seen;
    this.#attachments = [...model.attachments.values()];
  }

  registry(): void {
    const { registry } = this.#seen;
    for (const text of registry.malformed) this.differences.push(`registry: ${text}`);
    this.#same(
      'registry nodes/',
      this.#hosts.map(({ node, address }) => [node, `${address}:4789`]),
      [...registry.nodes].map(([node, { vtep }]) => [node, `${vtep.ip}:${vtep.port}`]),
    );
    this.#same(
      'sessions of Consul',
      this.#hosts.map(({ node }) => [`vtepd ${node}`, '1']),
      count(registry.sessions),
    );
    this.#same(
      'registry networks/',
      this.#networks().map((n) => [n.name, `${n.id} ${n.vni} ${subnetsOf(n).join(',')} active`]),
      [...registry.networks].map(([name, n]) => [
        name,
        `${n.id} ${n.vni} ${n.subnets.map(({ cidr }) => cidr).join(',')} ${n.state}`,
      ]),
    );
    this.#same(
      'registry vnis/',
      this.#networks().map(({ name, vni }) => [String(vni), name]),
      registry.vnis,
    );
    this.#same(
      'registry subnets/',
      // That of IPv6 is always of the pool.
      this.#networks().flatMap((n) =>
        subnetsOf(n)
          .filter((subnet) => n.pooled || subnet === n.subnet6)
          .map((subnet) => [subnet, n.name] as const),
      ),
      registry.subnets,
    );
    const addresses = [...registry.addresses];
    this.#same(
      'registry addresses/',
      this.#attachments.flatMap((at) =>
        addressesOf(at).map((ip) => [`${at.network}/${ip}`, `${this.#node(at.host)} ${at.id}`] as const),
      ),
      addresses
        .filter(([, { spare }]) => spare !== true)
        .map(([key, { node, endpointId }]) => [key, `${node} ${endpointId}`]),
    );
    this.#same(
      'spare addresses in the registry',
      this.#spares === 0
        ? []
        : this.#hosts.flatMap(({ host, node }) =>
            this.#open(host).map((n) => [`${n.name} ${node}`, String(this.#spares * subnetsOf(n).length)] as const),
          ),
      count(
        addresses
          .filter(([, { spare }]) => spare === true)
          .map(([key, { node }]) => `${key.slice(0, key.indexOf('/'))} ${node}`),
      ),
    );
    const published = [...registry.endpoints].flatMap(([key, endpoints]) =>
      endpoints.map((e) => [`${key}/${e.id}`, `${e.name} ${e.mac} ${e.addresses.map(bare).join(',')}`] as const),
    );
    this.#same(
      'registry endpoints/',
      this.#attachments.map((at) => [
        `${at.network}/${this.#node(at.host)}/${at.id}`,
        `${at.container} ${at.mac} ${addressesOf(at).join(',')}`,
      ]),
      published,
    );
    for (const [key, endpoints] of registry.endpoints)
      if (endpoints.length === 0) this.differences.push(`registry endpoints/${key}: there, but without an endpoint`);
    for (const key of registry.peers) this.differences.push(`registry peers/${key}: nobody made it`);
  }

  host({ host, node }: HostFacts): void {
    const seen = this.#seen.hosts.get(host);
    if (seen === undefined) return;
    const own = this.#attachments.filter((at) => at.host === host);
    const open = this.#open(host);
    this.#same(
      `${node}: networks`,
      this.#networks().map(({ name, vni }) => [name, String(vni)]),
      seen.networks.map(({ name, vni }) => [name, String(vni)]),
    );
    this.#same(
      `${node}: endpoints`,
      this.#attachments.map((at) => [
        at.id,
        [
          at.container,
          at.network,
          this.#node(at.host),
          at.mac,
          addressesOf(at).join(','),
          at.host === host ? 'published' : '',
        ].join(' '),
      ]),
      seen.endpoints.map((e) => [
        e.id,
        [e.name, e.network, e.node, e.mac, e.addresses.map(bare).join(','), e.local?.state ?? ''].join(' '),
      ]),
    );
    const entry = (at: AttachmentModel) =>
      at.host === host ? 'local ' : `static ${this.#hosts.find((facts) => facts.host === at.host)?.address}:4789`;
    this.#same(
      `${node}: FDB`,
      open.flatMap(({ name, vni }) => [
        [`${name} ${gatewayMac(vni)}`, 'local '] as const,
        ...this.#attachments.filter((at) => at.network === name).map((at) => [`${name} ${at.mac}`, entry(at)] as const),
      ]),
      // What was learnt ages by itself; what it may not do is stand for a MAC that is registered.
      seen.fdb
        .filter((row) => row.kind !== 'dynamic' || this.#attachments.some((at) => isOf(at, row)))
        .map((row) => [
          `${row.network} ${row.mac}`,
          `${row.kind} ${row.vtep === undefined ? '' : `${row.vtep.address}:${row.vtep.port}`}`,
        ]),
    );
    this.#same(
      `${node}: links`,
      [
        ...open.flatMap(({ vni }) => [
          [bridgeName(vni), ' up'] as const,
          [tapName(vni), `${bridgeName(vni)} up`] as const,
        ]),
        ...own.map((at) => [hostInterfaceName(at.id), `${bridgeName(this.#vni(at.network))} up`] as const),
      ],
      [...seen.links].map(([name, { master, up }]) => [name, `${master} ${up ? 'up' : 'down'}`]),
    );
    this.#gateways(node, open, seen);
    const { status } = seen;
    this.#same(
      `${node}: status`,
      [
        ['registry connected', 'true'],
        ['nodes', String(this.#hosts.length)],
        ['networks', String(this.#model.networks.size)],
        ['local networks', String(open.length)],
        ['local endpoints', String(own.length)],
        ['workers', 'running'],
      ],
      [
        ['registry connected', String(status.registry.connected)],
        ['nodes', String(status.counts.nodes)],
        ['networks', String(status.counts.networks)],
        ['local networks', String(status.counts.localNetworks)],
        ['local endpoints', String(status.counts.localEndpoints)],
        ['workers', status.workers.map(({ state }) => state).join(',')],
      ],
    );
  }

  /** Of networks that overlap one has the gateway. */
  #gateways(node: string, open: readonly NetworkModel[], seen: HostObservation): void {
    const holders = new Map<string, string[]>();
    for (const network of open) {
      for (const subnet of subnetsOf(network)) {
        const has = seen.bridgeAddresses.get(bridgeName(network.vni))?.includes(gatewayOf(subnet)) === true;
        holders.set(subnet, [...(holders.get(subnet) ?? []), ...(has ? [network.name] : [])]);
      }
    }
    const subnets = new Set(open.flatMap(subnetsOf));
    this.#same(
      `${node}: holders of the gateway of`,
      [...subnets].map((subnet) => [subnet, '1']),
      [...holders].map(([subnet, names]) => [subnet, String(names.length)]),
    );
    this.#same(
      `${node}: table of rules`,
      open.length === 0 ? [] : [['inet vtep', '']],
      seen.hasRules ? [['inet vtep', '']] : [],
    );
  }

  containers(): void {
    for (const [container, { interfaces }] of this.#seen.containers) {
      const expected = this.#attachments.filter((at) => at.container === container);
      this.#same(
        `interfaces of container ${container}`,
        expected.map((at) => [[at.mac, ...addressesOf(at).sort()].join(' '), '']),
        interfaces.map((text) => [text, '']),
      );
    }
  }

  /** The networks that the host has a container on. */
  #open(host: HostNumber) {
    return this.#networks().filter(({ name }) =>
      this.#attachments.some((at) => at.host === host && at.network === name),
    );
  }

  #networks() {
    return [...this.#model.networks.values()];
  }

  #vni(network: string): number {
    return this.#model.networks.get(network)?.vni ?? 0;
  }

  #node(host: HostNumber): string {
    return this.#hosts.find((facts) => facts.host === host)?.node ?? `h${host}?`;
  }

  #same(
    what: string,
    expected: Iterable<readonly [string, string]>,
    actual: Iterable<readonly [string, string]>,
  ): void {
    const wanted = new Map(expected);
    const there = new Map<string, string>();
    for (const [key, value] of actual) {
      if (there.has(key)) this.differences.push(`${what} ${key}: there twice (${there.get(key)}; ${value})`);
      there.set(key, value);
    }
    for (const [key, value] of wanted) {
      const found = there.get(key);
      if (found === undefined) this.differences.push(`${what} ${key}: missing, expected ${value || 'it'}`);
      else if (found !== value) this.differences.push(`${what} ${key}: expected ${value}, actual ${found}`);
    }
    for (const [key, value] of there) {
      if (!wanted.has(key)) this.differences.push(`${what} ${key}: nothing expected, actual ${value || 'it'}`);
    }
  }
}

function isOf(at: AttachmentModel, row: { readonly network: string; readonly mac: string }): boolean {
  return at.network === row.network && at.mac === row.mac;
}

/** The first address: 10.0.0.0/24 has 10.0.0.1, fd76::/64 has fd76::1. */
export function gatewayOf(subnet: string): string {
  return bare(subnet).replace(/(0|::)$/, (end) => (end === '0' ? '1' : '::1'));
}

function bare(address: string): string {
  return address.split('/')[0]!;
}

function count(names: readonly string[]): [string, string][] {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, times]) => [name, String(times)]);
}
