/** Reads what is: Consul's keys and sessions, each host's API, kernel objects, containers' addresses. Test support. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Endpoint, Network, Status } from '../../src/control/api/schema.js';
import type { FdbEntry } from '../../src/control/forwarding.js';
import * as schema from '../../src/control/registry/schema.js';
import type { HostNumber } from './actions.js';
import { nodeName, type World } from './world.js';

const PREFIX = 'vtep/v1/';

export interface RegistryObservation {
  readonly nodes: ReadonlyMap<string, schema.NodeValue>;
  readonly networks: ReadonlyMap<string, schema.NetworkValue>;
  /** VNI to network. */
  readonly vnis: ReadonlyMap<string, string>;
  /** CIDR to network. */
  readonly subnets: ReadonlyMap<string, string>;
  /** `network/ip` to the holder. */
  readonly addresses: ReadonlyMap<string, schema.AddressValue>;
  /** `network/node` to the endpoints. */
  readonly endpoints: ReadonlyMap<string, readonly schema.EndpointRecord[]>;
  readonly peers: readonly string[];
  readonly malformed: readonly string[];
  /** Names, one per session. */
  readonly sessions: readonly string[];
}

export interface HostObservation {
  readonly status: Status;
  readonly networks: readonly Network[];
  readonly endpoints: readonly Endpoint[];
  readonly fdb: readonly FdbEntry[];
  /** vtep's own, name to `master state`. */
  readonly links: ReadonlyMap<string, { readonly master: string; readonly up: boolean }>;
  /** Of vtep's bridges, without prefix length. */
  readonly bridgeAddresses: ReadonlyMap<string, readonly string[]>;
  /** The nftables table `inet vtep` is there. */
  readonly hasRules: boolean;
}

export interface ContainerObservation {
  /** `mac ip` of every interface but loopback; IPv6 link-local left out. */
  readonly interfaces: readonly string[];
}

export interface Observation {
  readonly registry: RegistryObservation;
  readonly hosts: ReadonlyMap<HostNumber, HostObservation>;
  readonly containers: ReadonlyMap<string, ContainerObservation>;
}

interface RawEntry {
  readonly Key: string;
  readonly Value: string | null;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
}

/** @returns what is, or the first thing that could not be read. */
export async function observe(world: World, containers: readonly string[]): Promise<Observation | string> {
  const registry = await observeRegistry(world);
  if (typeof registry === 'string') return registry;
  const hosts = new Map<HostNumber, HostObservation>();
  for (const host of world.hosts) {
    const seen = await observeHost(world, host);
    if (typeof seen === 'string') return seen;
    hosts.set(host, seen);
  }
  const seen = new Map<string, ContainerObservation>();
  for (const container of containers) {
    if (world.hasNamespace(container)) seen.set(container, await observeContainer(world, container));
  }
  return { registry, hosts, containers: seen };
}

export async function observeRegistry(world: World): Promise<RegistryObservation | string> {
  // A registry without a key answers 404 and an empty body.
  const entries = (await world.registry<RawEntry[]>(`/v1/kv/${PREFIX}?recurse=true&consistent`)) ?? [];
  const sessions = await world.registry<{ Name: string }[]>('/v1/session/list?consistent');
  if (sessions === undefined) return 'Consul does not list its sessions';
  return { ...parseRegistry(entries), sessions: sessions.map(({ Name }) => Name) };
}

export function parseRegistry(entries: readonly RawEntry[]): Omit<RegistryObservation, 'sessions'> {
  const nodes = new Map<string, schema.NodeValue>();
  const networks = new Map<string, schema.NetworkValue>();
  const vnis = new Map<string, string>();
  const subnets = new Map<string, string>();
  const addresses = new Map<string, schema.AddressValue>();
  const endpoints = new Map<string, readonly schema.EndpointRecord[]>();
  const peers: string[] = [];
  const malformed: string[] = [];
  for (const raw of entries) {
    const key = raw.Key.slice(PREFIX.length);
    const value = Buffer.from(raw.Value ?? '', 'base64').toString();
    const entry = { key, value, createIndex: raw.CreateIndex, modifyIndex: raw.ModifyIndex };
    const report = (error: Error) => malformed.push(error.message);
    const rest = key.slice(key.indexOf('/') + 1);
    const put = <T>(map: Map<string, T>, name: string, parsed: T | undefined) => {
      if (parsed !== undefined) map.set(name, parsed);
    };
    if (schema.parseNodeKey(key) !== undefined) put(nodes, rest, schema.parseNode(entry, report));
    else if (schema.parseNetworkKey(key) !== undefined) put(networks, rest, schema.parseNetwork(entry, report));
    else if (schema.parseVniKey(key) !== undefined) put(vnis, rest, schema.parseVni(entry, report)?.network);
    else if (schema.parseSubnetKey(key) !== undefined)
      put(subnets, schema.parseSubnetKey(key)!, schema.parseSubnet(entry, report)?.network);
    else if (schema.parseAddressKey(key) !== undefined) put(addresses, rest, schema.parseAddress(entry, report));
    else if (schema.parseEndpointsKey(key) !== undefined)
      put(endpoints, rest, schema.parseEndpoints(entry, report)?.endpoints);
    else if (schema.parsePeerKey(key) !== undefined) peers.push(rest);
    else if (key === schema.REGISTRY_ID_KEY) schema.parseRegistryId(entry, report);
    else if (schema.parseJournalKey(key) !== undefined) schema.parseJournal(entry, report);
    else malformed.push(`registry key ${key} is of no kind`);
  }
  return { nodes, networks, vnis, subnets, addresses, endpoints, peers, malformed };
}

async function observeHost(world: World, host: HostNumber): Promise<HostObservation | string> {
  const answers = [];
  for (const path of ['/v1/status', '/v1/networks', '/v1/endpoints', '/v1/fdb']) {
    const answer = await world.api(host, 'GET', path);
    if (answer.status !== 200) return `${nodeName(host)} answers GET ${path} with ${answer.text}`;
    answers.push(answer.body);
  }
  const [status, networks, endpoints, fdb] = answers;
  const netns = world.netns(nodeName(host));
  const { ok: hasRules } = await world.run('ip', ['netns', 'exec', netns, 'nft', 'list', 'table', 'inet', 'vtep']);
  const links = await hostLinks(world, host);
  return { status, networks, endpoints, fdb, links, bridgeAddresses: await bridgeAddresses(world, netns), hasRules };
}

async function bridgeAddresses(world: World, netns: string): Promise<HostObservation['bridgeAddresses']> {
  const text = await world.must('ip', '-n', netns, '-json', 'address', 'show', 'type', 'bridge');
  const bridges = JSON.parse(text || '[]') as { ifname?: string; addr_info?: { local: string }[] }[];
  return new Map(bridges.map(({ ifname = '', addr_info = [] }) => [ifname, addr_info.map(({ local }) => local)]));
}

export async function hostLinks(world: World, host: HostNumber): Promise<HostObservation['links']> {
  const text = await world.must('ip', '-n', world.netns(nodeName(host)), '-json', 'link');
  const links = JSON.parse(text) as { ifname: string; master?: string; flags: string[] }[];
  return new Map(
    links
      .filter(({ ifname }) => ifname.startsWith('vtep-'))
      .map(({ ifname, master, flags }) => [ifname, { master: master ?? '', up: flags.includes('UP') }]),
  );
}

async function observeContainer(world: World, container: string): Promise<ContainerObservation> {
  const { stdout, ok } = await world.run('ip', ['-n', world.netns(container), '-json', 'address']);
  if (!ok) return { interfaces: ['unreadable'] };
  const links = JSON.parse(stdout) as {
    ifname: string;
    address?: string;
    addr_info: { local: string; scope: string }[];
  }[];
  return {
    interfaces: links
      .filter(({ ifname }) => ifname !== 'lo')
      .map(({ address, addr_info }) => {
        const ips = addr_info.filter(({ scope }) => scope !== 'link').map(({ local }) => local);
        return [address, ...ips.sort()].join(' ');
      })
      .sort(),
  };
}

/** Polls until `probe` answers true; false after `timeoutMs`. */
export async function settles(probe: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!(await probe())) {
    if (performance.now() > deadline) return false;
    await sleep(250);
  }
  return true;
}
