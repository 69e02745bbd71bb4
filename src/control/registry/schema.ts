/**
 * What the registry holds: its keys and the values under them. Control plane; the only place that spells a key.
 *
 * | key | value | held by |
 * |---|---|---|
 * | nodes/NODE | NodeValue | the node's session |
 * | networks/NETWORK | NetworkValue | |
 * | vnis/VNI | VniValue | |
 * | subnets/CIDR (its "/" as "_") | SubnetValue | |
 * | addresses/NETWORK/IP | AddressValue | |
 * | endpoints/NETWORK/NODE | EndpointsValue | the node's session |
 * | peers/NETWORK/IP | PeerValue | |
 * | meta/registry-id | RegistryIdValue | |
 * | journal/nodes, journal/endpoints/NETWORK | JournalValue: which keys of nodes/ or endpoints/NETWORK/ have changed | |
 *
 * Every value is a JSON object with `v: 1`. Fields that this version does not know are kept, so that an older vtepd
 * that rewrites a value loses nothing of a newer one's. Keys are relative to the client's prefix.
 */
import { z } from 'zod';
import { VtepError } from '../errors.js';
import { storedSettings } from '../networks/network-settings.js';
import type { RegistryEntry } from './registry.js';

export const SCHEMA_VERSION = 1;
export const NODES_PREFIX = 'nodes/';
export const NETWORKS_PREFIX = 'networks/';
export const VNIS_PREFIX = 'vnis/';
export const SUBNETS_PREFIX = 'subnets/';
export const ADDRESSES_PREFIX = 'addresses/';
export const ENDPOINTS_PREFIX = 'endpoints/';
export const PEERS_PREFIX = 'peers/';
export const REGISTRY_ID_KEY = 'meta/registry-id';
const JOURNAL_PREFIX = 'journal/';
/** Of a node that writes the journals of what it changes: unless all do, nobody goes by them. */
export const JOURNAL_FEATURE = 'journal';

const v = z.literal(SCHEMA_VERSION);
const name = z.string().min(1);
const ip = z.union([z.ipv4(), z.ipv6()], 'must be an IP address');
const cidr = z.union([z.cidrv4(), z.cidrv6()], 'must be a CIDR, such as 10.0.2.0/24');
const port = z.number().int().min(1).max(65_535);
const vni = z.number().int().min(1).max(16_777_215);
const mac = z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'must be a MAC address in lower case');
/** ISO 8601, UTC. */
const time = z.iso.datetime();

export const nodeValueSchema = z.looseObject({
  v,
  /** Where others send to. A host with both families has IPv4 in `ip`; the port is the same. */
  vtep: z.looseObject({ ip, port, otherIp: ip.optional() }),
  /** What this node's vtepd speaks with others; raised when nodes must know of each other's version. */
  apiVersion: z.number().int().min(1),
  features: z.array(z.string()),
  /** A new one each time that vtepd starts: tells a restart from a second node of the same name. */
  instanceId: z.string().min(1),
  /** Of the host's state directory, for good: the same host at another address is known by it. */
  hostId: z.string().min(1).optional(),
});
export type NodeValue = z.infer<typeof nodeValueSchema>;

export const subnetRecordSchema = z.looseObject({
  cidr,
  /** Without: the network has none. No container gets it. */
  gateway: ip.optional(),
  /** The part that is given to containers that ask for no address by name. Without: all of it. */
  range: z.string().min(1).optional(),
  /** Never given: blocks, FIRST-LAST or single addresses. */
  reserved: z.array(z.string().min(1)).optional(),
});
export type SubnetRecord = z.infer<typeof subnetRecordSchema>;

export const networkValueSchema = z.looseObject({
  v,
  name,
  id: z.string().min(1),
  vni,
  /** Of a family, the next is used when the one before is full. They do not overlap. */
  subnets: z.array(subnetRecordSchema).min(1),
  /** No way out: hosts give the bridge no address and containers no default route. */
  internal: z.boolean().default(false),
  /** 0: from the underlay of each host. */
  mtuBytes: z.union([z.literal(0), z.number().int().min(68).max(65_535)]),
  ...storedSettings,
  /** A network that is `removing` takes no new endpoints. */
  state: z.enum(['active', 'removing']),
  /** Removing: each host detaches what it has on the network. */
  forced: z.boolean().optional(),
  /** Removing: to be made anew at once under this name, by whoever wrote it. */
  renamingTo: name.optional(),
  createdAt: time,
  options: z.record(z.string(), z.unknown()),
});
export type NetworkValue = z.infer<typeof networkValueSchema>;

export const vniValueSchema = z.looseObject({ v, network: name });
export type VniValue = z.infer<typeof vniValueSchema>;

export const subnetValueSchema = z.looseObject({ v, network: name });
export type SubnetValue = z.infer<typeof subnetValueSchema>;

export const addressValueSchema = z.looseObject({
  v,
  node: name,
  endpointId: z.string().min(1),
  /** Claimed in advance, for an attach while the registry is away: no endpoint has it yet. */
  spare: z.boolean().optional(),
});
export type AddressValue = z.infer<typeof addressValueSchema>;

export const endpointRecordSchema = z.looseObject({
  id: z.string().min(1),
  name: z.string(),
  /** Further names that lead to it. */
  aliases: z.array(z.string()).optional(),
  mac,
  /** With prefix length: 10.0.0.2/24. */
  addresses: z.array(cidr),
  /** Milliseconds since 1970, raised above what others had published for the MAC then: the newest has it. */
  attachedAt: z.number().int().nonnegative().optional(),
  /** Its group policy id. */
  group: z.number().int().min(1).max(65_535).optional(),
});
export type EndpointRecord = z.infer<typeof endpointRecordSchema>;

export const endpointsValueSchema = z.looseObject({ v, endpoints: z.array(endpointRecordSchema) });
export type EndpointsValue = z.infer<typeof endpointsValueSchema>;

/** Made anew with a registry that has none: whoever remembers another knows that this one has lost its data. */
export const registryIdValueSchema = z.looseObject({ v, id: z.string().min(1) });
export type RegistryIdValue = z.infer<typeof registryIdValueSchema>;

export const journalValueSchema = z.looseObject({
  v,
  /** Newest first: the key's last part, what tells this change from any other of that index, the index of the one before. */
  changes: z.array(z.tuple([z.string(), z.string(), z.number().int().nonnegative()])),
});
export type JournalValue = z.infer<typeof journalValueSchema>;

export const peerValueSchema = z.looseObject({ v, address: ip, port, createdAt: time });
export type PeerValue = z.infer<typeof peerValueSchema>;

/** One part of a key. @throws VtepError VTEP_ERR_INVALID */
function part(what: string, text: string): string {
  if (!/^[^/\s\p{Cc}]{1,255}$/u.test(text) || text === '.' || text === '..') {
    const rule = 'use 1 to 255 characters without "/" or white space';
    throw new VtepError('VTEP_ERR_INVALID', `${what} ${JSON.stringify(text)} cannot be a key of the registry: ${rule}`);
  }
  return text;
}

/** Each throws VtepError VTEP_ERR_INVALID for a name that cannot be part of a key. */
export const nodeKey = (node: string): string => NODES_PREFIX + part('node name', node);
export const networkKey = (network: string): string => NETWORKS_PREFIX + part('network name', network);
export const vniKey = (number: number): string => VNIS_PREFIX + part('VNI', String(number));
export const subnetKey = (subnet: string): string => SUBNETS_PREFIX + part('subnet', subnet.replace('/', '_'));
export const addressesPrefix = (network: string): string => `${ADDRESSES_PREFIX}${part('network name', network)}/`;
export const addressKey = (network: string, address: string): string =>
  addressesPrefix(network) + part('address', address);
export const endpointsPrefix = (network: string): string => `${ENDPOINTS_PREFIX}${part('network name', network)}/`;
export const endpointsKey = (network: string, node: string): string =>
  endpointsPrefix(network) + part('node name', node);
export const peersPrefix = (network: string): string => `${PEERS_PREFIX}${part('network name', network)}/`;
export const peerKey = (network: string, address: string): string => peersPrefix(network) + part('address', address);

/** @param prefix with its slash */
export const journalKey = (prefix: string): string => JOURNAL_PREFIX + prefix.slice(0, -1);

function partsAfter(prefix: string, count: number, key: string): readonly string[] | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const parts = key.slice(prefix.length).split('/');
  return parts.length === count && parts.every((text) => text !== '') ? parts : undefined;
}

function pairAfter<A extends string, B extends string>(prefix: string, first: A, second: B) {
  return (key: string): Record<A | B, string> | undefined => {
    const parts = partsAfter(prefix, 2, key);
    return parts && ({ [first]: parts[0], [second]: parts[1] } as Record<A | B, string>);
  };
}

/** Each answers undefined for a key of another kind. */
export const parseNodeKey = (key: string): string | undefined => partsAfter(NODES_PREFIX, 1, key)?.[0];
export const parseNetworkKey = (key: string): string | undefined => partsAfter(NETWORKS_PREFIX, 1, key)?.[0];
export const parseVniKey = (key: string): number | undefined => {
  const number = Number(partsAfter(VNIS_PREFIX, 1, key)?.[0]);
  return vni.safeParse(number).success ? number : undefined;
};
export const parseSubnetKey = (key: string): string | undefined =>
  partsAfter(SUBNETS_PREFIX, 1, key)?.[0]?.replace('_', '/');
export const parseAddressKey = pairAfter(ADDRESSES_PREFIX, 'network', 'address');
export const parseEndpointsKey = pairAfter(ENDPOINTS_PREFIX, 'network', 'node');
/** The prefix that the journal is of, without its slash. */
export const parseJournalKey = (key: string): string | undefined =>
  key.startsWith(JOURNAL_PREFIX) ? key.slice(JOURNAL_PREFIX.length) : undefined;
export const parsePeerKey = pairAfter(PEERS_PREFIX, 'network', 'address');

/** Where a malformed value goes: the parsers never throw, since one bad key must not stop a watcher. */
export type ReportMalformed = (error: VtepError) => void;

function parser<T>(schema: z.ZodType<T>) {
  return (entry: RegistryEntry, report?: ReportMalformed): T | undefined => {
    const malformed = (why: string) => {
      report?.(new VtepError('VTEP_ERR_REGISTRY', `registry key ${entry.key} is malformed: ${why}`));
      return undefined;
    };
    let json: unknown;
    try {
      json = JSON.parse(entry.value);
    } catch {
      return malformed('its value is not JSON');
    }
    const parsed = schema.safeParse(json);
    if (parsed.success) return parsed.data;
    const written = (json as { v?: unknown } | null)?.v;
    if (typeof written === 'number' && written > SCHEMA_VERSION) {
      return malformed(`it has version ${written}, and this vtepd reads ${SCHEMA_VERSION}: bring vtepd up to date`);
    }
    const issue = parsed.error.issues[0];
    const where = issue === undefined || issue.path.length === 0 ? 'its value' : issue.path.join('.');
    return malformed(`${where}: ${(issue?.message ?? 'is not right').replace(/\s+/g, ' ')}`);
  };
}

/** (entry, report?) => the value, or undefined after `report` was told what is wrong with it. */
export const parseNode = parser(nodeValueSchema);
export const parseNetwork = parser(networkValueSchema);
export const parseVni = parser(vniValueSchema);
export const parseSubnet = parser(subnetValueSchema);
export const parseAddress = parser(addressValueSchema);
export const parseEndpoints = parser(endpointsValueSchema);
export const parsePeer = parser(peerValueSchema);
export const parseRegistryId = parser(registryIdValueSchema);
export const parseJournal = parser(journalValueSchema);

/** The text to write. @throws VtepError VTEP_ERR_INTERNAL for a value that could not be read back: a programmer's error. */
export function encodeValue<T>(schema: z.ZodType<T>, value: T): string {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const text = `a value for the registry is malformed: ${issue?.path.join('.')}: ${issue?.message}`;
    throw new VtepError('VTEP_ERR_INTERNAL', text, { cause: parsed.error });
  }
  return JSON.stringify(parsed.data);
}
