/**
 * The HTTP API's requests and answers, as zod schemas: the one contract between vtepd, the CLI, the veth script and
 * whatever else speaks to the unix socket. Control plane, main thread.
 *
 * | route | request | answer |
 * |---|---|---|
 * | GET /v1/status | | Status |
 * | GET /v1/networks | | Network[] |
 * | POST /v1/networks | CreateNetwork | 201 Network |
 * | GET /v1/networks/:name | | NetworkDetail |
 * | DELETE /v1/networks/:name?force=true | | 204 |
 * | GET /v1/endpoints?network= | | Endpoint[] (all hosts) |
 * | POST /v1/endpoints | Attach | 201 Endpoint |
 * | DELETE /v1/endpoints/:id | | 204 |
 * | POST /v1/detach | Detach | Endpoint[] that went |
 * | POST /v1/cni | what vtep-cni was given | what it prints: plugins/cni/cni-route.ts |
 * | GET /v1/nodes | | Node[] |
 * | GET /v1/peers?network= | | Peer[] |
 * | POST /v1/peers | Peer input | 201 Peer |
 * | POST /v1/peers/remove | Peer input | 204 |
 * | GET /v1/fdb?network= | | Fdb[] |
 * | GET /v1/neighbours?network= | | Neighbour[] |
 * | GET /healthz | | `{ "ok": true }` |
 *
 * An error is `{ "error": { "code", "message", "retryable" } }` with the status of its code (errors.ts).
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { AttachmentFacts } from '../endpoints/attachment-facts.js';
import { askedSettings, storedSettings } from '../networks/network-settings.js';
import { canonicalIp, whyNoVtep } from '../vtep-address.js';
import { publishedPortSchema, publishSchema } from './publish-schema.js';

export { FLOOD_MODES, RESERVED_BITS_MODES } from '../networks/network-settings.js';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
/** Each is a key of the registry that one transaction must hold. */
const SUBNETS_MAX = 16;
const RESERVED_MAX = 256;
const NAME_RULE = 'must be 1 to 63 letters, digits, "_", "." or "-", and begin with a letter or a digit';
const VNI_RULE = 'must be a whole number from 1 to 16777215';
const MTU_RULE = 'must be a whole number of bytes from 576 to 65485';
const PORT_RULE = 'must be a UDP port from 1 to 65535';
const PID_RULE = 'must be a process id: a whole number above 0';
const MAC_RULE = 'must be six hexadecimal bytes, such as 02:00:5e:10:00:01';
const IP_RULE = 'must be an IPv4 or IPv6 address, such as 10.0.2.7 or fd00:2::7';
const IPS_RULE = 'must be at most one address a family';
const SUBNET_RULE = 'must be a network in CIDR form, such as 10.0.2.0/24 or fd00:2::/64';
const SPAN_RULE = 'must be an address, FIRST-LAST or a CIDR block, such as 10.0.2.10-10.0.2.19';
const YES_NO_RULE = 'must be true or false';
const CONTAINER_GROUP_RULE = 'must be a group policy id: a whole number from 1 to 65535';
const INTERFACE_RULE = 'must be 1 to 15 characters without white space, "/" or ":"';
const OWNER_RULE = 'must be 1 to 200 printable characters without white space';
const NETNS_RULE = 'must be the name of a network namespace or an absolute path to one';

function isCidr(text: string): boolean {
  const [address = '', prefix = '', ...rest] = text.split('/');
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!;
  return rest.length === 0 && !address.includes('%') && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits;
}

function isIpAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes('%');
}

function isSpan(text: string): boolean {
  return isCidr(text) || (text.split('-').length <= 2 && text.split('-').every(isIpAddress));
}

function isOneOfAFamily(ips: readonly string[]): boolean {
  return new Set(ips.map((ip) => isIP(ip))).size === ips.length;
}

export const nameSchema = z.string(NAME_RULE).regex(NAME, NAME_RULE);
export const vniSchema = z.number(VNI_RULE).int(VNI_RULE).min(1, VNI_RULE).max(16_777_215, VNI_RULE);
export const portSchema = z.number(PORT_RULE).int(PORT_RULE).min(1, PORT_RULE).max(65_535, PORT_RULE);
export const macSchema = z
  .string(MAC_RULE)
  .transform((mac) => mac.toLowerCase())
  .refine((mac) => /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac), MAC_RULE)
  .refine((mac) => (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0, 'must be a unicast address: the first byte even')
  .refine((mac) => mac !== '00:00:00:00:00:00', 'must not be zero')
  .refine((mac) => !mac.startsWith('02:76:74:'), 'must not begin with 02:76:74, which the gateways of networks have');
export const ipSchema = z.string(IP_RULE).refine(isIpAddress, IP_RULE);
/** The form only; networks/ says more (host bits, size, overlap). */
export const subnetSchema = z.string(SUBNET_RULE).refine(isCidr, SUBNET_RULE);
const spanSchema = z.string(SPAN_RULE).refine(isSpan, SPAN_RULE);
const gatewaySchema = z.string(IP_RULE).refine((text) => text === 'none' || isIpAddress(text), `${IP_RULE}, or "none"`);

const createNetworkFields = z.strictObject({
  name: nameSchema,
  /** The same as `subnets` for one. */
  subnet: subnetSchema.optional(),
  /** @default the next free block of the default IPv4 pool */
  subnets: z.array(subnetSchema).min(1).max(SUBNETS_MAX, `must be at most ${SUBNETS_MAX} subnets`).optional(),
  /** A subnet of the default IPv6 pool besides, if none of the subnets is IPv6. */
  ipv6: z.boolean(YES_NO_RULE).optional(),
  /** Each of the subnet that it lies in; `none`: no gateway where none is given. @default each subnet's first address */
  gateways: z
    .array(gatewaySchema)
    .max(SUBNETS_MAX + 1)
    .optional(),
  /** Each narrows what is given of the subnet that it lies in. */
  ranges: z.array(spanSchema).max(SUBNETS_MAX).optional(),
  /** Never given to containers. */
  reserved: z.array(spanSchema).max(RESERVED_MAX, `must be at most ${RESERVED_MAX}`).optional(),
  /** No way out of the network. @default false */
  internal: z.boolean(YES_NO_RULE).optional(),
  vni: vniSchema.optional(),
  mtuBytes: z.number(MTU_RULE).int(MTU_RULE).min(576, MTU_RULE).max(65_485, MTU_RULE).optional(),
  ...askedSettings,
});

export const createNetworkSchema = createNetworkFields
  .refine((n) => n.subnet === undefined || n.subnets === undefined, 'give one of subnet and subnets')
  .refine((n) => n.allowedGroups === undefined || n.groupPolicy === true, {
    path: ['allowedGroups'],
    message: 'needs a group policy: switch that on as well',
  })
  .transform(({ subnet, ...network }) => (subnet === undefined ? network : { ...network, subnets: [subnet] }));
export type CreateNetwork = z.infer<typeof createNetworkSchema>;

export const subnetInfoSchema = z.object({
  cidr: z.string(),
  /** Absent: none. */
  gateway: z.string().optional(),
  range: z.string().optional(),
  reserved: z.array(z.string()).optional(),
});

export const networkSchema = z.object({
  name: z.string(),
  id: z.string(),
  vni: z.number(),
  subnets: z.array(subnetInfoSchema),
  internal: z.boolean(),
  /** 0: from the underlay of each host. */
  mtuBytes: z.number(),
  ...storedSettings,
  scope: z.literal('global'),
  createdAt: z.string(),
});
export type Network = z.infer<typeof networkSchema>;

/** What a network's maker should know that is no error. */
export const createdNetworkSchema = networkSchema.extend({ warnings: z.array(z.string()).optional() });
export type CreatedNetwork = z.infer<typeof createdNetworkSchema>;

export const endpointSchema = z.object({
  id: z.string(),
  /** Container's or person's name for it; unique only by habit. */
  name: z.string(),
  /** Further names that DNS answers. */
  aliases: z.array(z.string()).optional(),
  network: z.string(),
  node: z.string(),
  mac: z.string(),
  /** With prefix length: 10.0.0.2/24. */
  addresses: z.array(z.string()),
  /** Its group policy id. */
  group: z.number().optional(),
  /** As it was when the registry last answered: it is away. */
  stale: z.boolean().optional(),
  /** On the endpoint's own host only. */
  local: z
    .object({
      hostInterface: z.string(),
      containerInterface: z.string(),
      /** What was asked for: `netns:NAME` or `pid:N`. */
      sandbox: z.string(),
      mtuBytes: z.number(),
      /** conflict: another endpoint got its address while this host was not heard of; it is not published. */
      state: z.enum(['published', 'waiting', 'conflict']),
      /** Ports of the host that lead to the endpoint. */
      publish: z.array(publishedPortSchema).optional(),
      owner: z.string().optional(),
    })
    .optional(),
});
export type Endpoint = z.infer<typeof endpointSchema>;

/** How a network's floods leave this host now. */
const floodSchema = z.object({
  via: z.enum(['replicate', 'multicast']),
  /** The underlay's multicast group that this host receives. */
  group: z.string().optional(),
  /** Why it is so, where the network's setting does not say it. */
  reason: z.string().optional(),
});

export const networkDetailSchema = networkSchema.extend({
  endpoints: z.array(endpointSchema),
  peers: z.array(z.object({ address: z.string(), port: z.number() })),
  /** Of each subnet: addresses that are claimed, and those that can be given without being asked for by name. */
  usage: z.array(z.object({ cidr: z.string(), used: z.number(), spare: z.number(), free: z.number() })).optional(),
  /** Being removed by force: hosts detach their endpoints. */
  removing: z.boolean().optional(),
  local: z
    .object({ bridge: z.string(), tap: z.string(), mtuBytes: z.number(), flood: floodSchema.optional() })
    .optional(),
});
export type NetworkDetail = z.infer<typeof networkDetailSchema>;

/** Who made an endpoint, by a name of its own: `docker:<endpoint id>`, `cni:<container id>/<interface>@<configuration>`. */
const ownerSchema = z.string(OWNER_RULE).regex(/^[\x21-\x7e]{1,200}$/, OWNER_RULE);

const sandboxFields = {
  /** A name in /run/netns, or an absolute path to a network namespace. */
  netns: z.string(NETNS_RULE).min(1, NETNS_RULE).optional(),
  pid: z.number(PID_RULE).int(PID_RULE).positive(PID_RULE).optional(),
};

export const attachSchema = z
  .strictObject({
    network: nameSchema,
    ...sandboxFields,
    /** At most one a family. @default the lowest free one of each family that the network has */
    ips: z.array(ipSchema).max(2, IPS_RULE).refine(isOneOfAFamily, IPS_RULE).optional(),
    /** The same for one address. */
    ip: ipSchema.optional(),
    mac: macSchema.optional(),
    name: nameSchema.optional(),
    /** The interface's name inside the container. @default the first free of eth0, eth1, ... */
    interface: z
      .string(INTERFACE_RULE)
      .regex(/^[^\s/:]{1,15}$/, INTERFACE_RULE)
      .optional(),
    publish: publishSchema.optional(),
    /** The group policy id of what it sends; the network has a group policy. @default none */
    group: z
      .number(CONTAINER_GROUP_RULE)
      .int(CONTAINER_GROUP_RULE)
      .min(1, CONTAINER_GROUP_RULE)
      .max(65_535, CONTAINER_GROUP_RULE)
      .optional(),
    /** @default auto: where the network leads outside and the container has none yet */
    defaultRoute: z.enum(['yes', 'no', 'auto'], 'must be yes, no or auto').optional(),
    /** Of at most one endpoint of this host. It can be detached by it, also when its container is gone. */
    owner: ownerSchema.optional(),
  })
  .refine((a) => (a.netns === undefined) !== (a.pid === undefined), 'give one of netns and pid')
  .refine((a) => a.ip === undefined || a.ips === undefined, 'give one of ip and ips')
  .transform(({ ip, ...attach }) => (ip === undefined ? attach : { ...attach, ips: [ip] }));
export type Attach = z.infer<typeof attachSchema>;

export const detachSchema = z
  .strictObject({
    network: nameSchema,
    ...sandboxFields,
    id: z.string().optional(),
    name: nameSchema.optional(),
    owner: ownerSchema.optional(),
  })
  .refine(
    (d) => [d.netns, d.pid, d.id, d.name, d.owner].filter((v) => v !== undefined).length === 1,
    'give one of netns, pid, id, name and owner',
  );
export type Detach = z.infer<typeof detachSchema>;

/** An underlay address, and of a host with both families the other one. */
const vtepSchema = z.object({ ip: z.string(), otherIp: z.string().optional(), port: z.number() });

export const nodeSchema = z.object({
  name: z.string(),
  vtep: vtepSchema,
  /** This daemon's own. */
  self: z.boolean(),
});
export type Node = z.infer<typeof nodeSchema>;

/** One text for each address: it is a key of the registry. */
const vtepIpSchema = ipSchema
  .check((context) => {
    const why = whyNoVtep(context.value);
    if (why !== undefined) context.issues.push({ code: 'custom', message: why, input: context.value });
  })
  .transform(canonicalIp);

/** A VTEP that runs no vtepd (the kernel's VXLAN, a switch): in the flood list of the network on every host. */
export const peerInputSchema = z.strictObject({
  network: nameSchema,
  address: vtepIpSchema,
  port: portSchema.default(4789),
});
export const peerSchema = z.object({ network: z.string(), address: z.string(), port: z.number() });
export type Peer = z.infer<typeof peerSchema>;

export const fdbSchema = z.object({
  network: z.string(),
  vni: z.number(),
  mac: z.string(),
  kind: z.enum(['local', 'static', 'dynamic']),
  vtep: z.object({ address: z.string(), port: z.number() }).optional(),
  idleSeconds: z.number().optional(),
});

/** What ARP requests and neighbour solicitations are answered, or kept on this host, by. */
export const neighbourSchema = z.object({
  network: z.string(),
  vni: z.number(),
  address: z.string(),
  mac: z.string(),
  kind: z.enum(['local', 'remote', 'gateway']),
  /** Of a remote one: the host that has published it. */
  node: z.string().optional(),
  vtep: z.object({ address: z.string(), port: z.number() }).optional(),
});

const counters = z.record(z.string(), z.number());
export const statusSchema = z.object({
  version: z.string(),
  node: z.string(),
  vtep: vtepSchema,
  underlay: z.object({ interface: z.string(), mtuBytes: z.number() }),
  uptimeSeconds: z.number(),
  registry: z.object({
    url: z.string(),
    connected: z.boolean(),
    /** Seconds since the registry last answered; absent before the first answer. */
    staleSeconds: z.number().optional(),
    error: z.string().optional(),
  }),
  counts: z.object({
    networks: z.number(),
    localNetworks: z.number(),
    localEndpoints: z.number(),
    /** Of the local endpoints. */
    addressConflicts: z.number().optional(),
    nodes: z.number(),
  }),
  workers: z.array(z.object({ id: z.number(), state: z.enum(['running', 'stopped', 'failed']), turns: z.number() })),
  offloads: z.array(
    z.object({
      name: z.string(),
      state: z.enum(['on', 'off', 'unsupported']),
      /** Unsupported: the kernel's reason. On: what it has refused since. */
      detail: z.string().optional(),
    }),
  ),
  /** The gateways' addresses on this host, and what keeps containers from the outside. */
  gateway: z
    .object({
      networks: z.array(z.object({ network: z.string(), addresses: z.array(z.string()) })),
      problems: z.array(z.string()),
    })
    .optional(),
  /** The names servers of this host's networks; absent: off. */
  dns: z
    .array(
      z.object({
        network: z.string(),
        names: z.number(),
        /** Whether the host's resolvers are asked for other names. */
        forward: z.boolean(),
        addresses: z.array(
          z.object({ address: z.string(), state: z.enum(['listening', 'waiting']), error: z.string().optional() }),
        ),
        counters,
      }),
    )
    .optional(),
  /** Docker's own API: whether it answers, and what Docker can't show or name. Absent: it is not asked. */
  docker: z.object({ connected: z.boolean(), error: z.string().optional(), problems: z.array(z.string()) }).optional(),
  totals: counters,
  drops: counters,
  networks: z.array(z.object({ vni: z.number(), network: z.string(), flood: floodSchema.optional(), counters })),
  /** This host's endpoints: what was dropped at the port of each, by cause. */
  ports: z
    .array(z.object({ id: z.string(), name: z.string(), network: z.string(), interface: z.string(), drops: counters }))
    .optional(),
  /** How many ports are held to their MAC and addresses; with a problem, none is. */
  portSecurity: z.object({ ports: z.number(), problem: z.string().optional() }).optional(),
  vteps: z.array(z.object({ address: z.string(), port: z.number(), otherAddress: z.string().optional(), counters })),
  /** VTEPs of this host's networks that share no family of the underlay with it. */
  unreachable: z
    .array(z.object({ network: z.string(), source: z.string(), addresses: z.array(z.string()), reason: z.string() }))
    .optional(),
});
export type Status = z.infer<typeof statusSchema>;

/** The `network` filter of the list routes. */
export const networkQuerySchema = z.strictObject({ network: nameSchema.optional() });

export const removeNetworkQuerySchema = z.strictObject({ force: z.enum(['true', 'false'], YES_NO_RULE).optional() });

/** The body of every answer that is not 2xx. */
export const errorBodySchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), retryable: z.boolean() }),
});

/** What stands behind the routes; host.ts implements it. Every method rejects with VtepError. */
export interface HostOperations {
  status(): Promise<Status>;
  listNetworks(): Promise<Network[]>;
  createNetwork(input: CreateNetwork): Promise<CreatedNetwork>;
  inspectNetwork(name: string): Promise<NetworkDetail>;
  /** @param force also with endpoints: hosts detach them, and their containers lose the interface. */
  removeNetwork(name: string, force?: boolean): Promise<void>;
  listEndpoints(network?: string): Promise<Endpoint[]>;
  attach(input: Attach): Promise<Endpoint>;
  detachById(id: string): Promise<void>;
  /** This host's endpoints; nobody is asked. */
  localEndpoints(): Promise<Endpoint[]>;
  /** @returns what there is of an endpoint of this host now; undefined: there is no such endpoint here */
  attachment(id: string): Promise<AttachmentFacts | undefined>;
  /** Where a network's containers on this host ask for names; none: DNS is off, or the network has no gateway. */
  nameservers(network: string): Promise<string[]>;
  detach(input: Detach): Promise<Endpoint[]>;
  listNodes(): Promise<Node[]>;
  listPeers(network?: string): Promise<Peer[]>;
  addPeer(input: Peer): Promise<Peer>;
  removePeer(input: Peer): Promise<void>;
  fdb(network?: string): Promise<z.infer<typeof fdbSchema>[]>;
  neighbours(network?: string): Promise<z.infer<typeof neighbourSchema>[]>;
}
