/**
 * The table of vtepd's options: name, help, and how its text becomes a value. config.ts reads the sources with it.
 *
 * Place: control plane, cold. A parser answers the value or what would be right ("must be ..."); the table's `read` makes
 * the one line of it. To add an option: one type in ConfigValues, one row here, one field in DaemonConfig.
 */
import { isIP, isIPv4 } from 'node:net';
import { resolve } from 'node:path';
import { FDB_ENTRIES_DEFAULT, WORKERS_MAX } from '../shared/layout.js';
import { showValue } from './api/check-input.js';
import { nameSchema } from './api/schema.js';
import { matching, oneOf, parseRegistryUrls, Refusal, wholeNumber } from './config-parsers.js';
import { VtepError } from './errors.js';
import { REAP_AFTER_SECONDS_DEFAULT } from './ipam/reaper.js';
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './log.js';
import { DEFAULT_POOLS_TEXT, type Pool, parsePools, withDefaults } from './networks/subnet-pool.js';
import { OFFLOAD_SWITCHES, type OffloadSwitch } from './offload-switches.js';
import { DF_POLICIES, type DfPolicy, type OuterHeader, parseTos, parseTtl } from './outer-header.js';
import type { DockerScope } from './plugins/docker/network-maker.js';
import { type PortRange, SOURCE_PORT_MIN, SOURCE_PORTS_DEFAULT } from './source-ports.js';
import { UNDERLAY_FAMILIES, type UnderlayFamily } from './underlay.js';
import { canonicalIp, familyOf, whyNoVtep } from './vtep-address.js';

export interface ConfigValues {
  registry?: readonly string[];
  embeddedRegistry?: string;
  underlay?: string;
  advertise?: readonly string[];
  underlayFamily?: UnderlayFamily;
  port?: number;
  node?: string;
  socket?: string;
  stateDir?: string;
  sessionTtl?: number;
  reapAfter?: number;
  defaultPool?: Pool[];
  workers?: number;
  spareAddresses?: number;
  fdbEntries?: number;
  sourcePorts?: PortRange;
  spinUs?: number;
  workerNice?: number;
  multicastTtl?: number;
  multicastFrom?: number;
  queryInterval?: number;
  outerTos?: OuterHeader['tos'];
  outerTtl?: number;
  outerDf?: DfPolicy;
  outerChecksum?: OnOff;
  acceptZeroChecksum6?: OnOff;
  offloadTapTso?: OffloadSwitch;
  offloadTapUso?: OffloadSwitch;
  offloadUnderlayGso?: OffloadSwitch;
  offloadUnderlayGro?: OffloadSwitch;
  offloadCoalesceTcp?: OffloadSwitch;
  offloadCoalesceUdp?: OffloadSwitch;
  offloadSimdChecksum?: OffloadSwitch;
  token?: string;
  registryTokenFile?: string;
  registryCa?: string;
  registryCert?: string;
  registryKey?: string;
  datacenter?: string;
  registryNamespace?: string;
  registryPartition?: string;
  registryPrefix?: string;
  logLevel?: LogLevel;
  logFormat?: LogFormat;
  dns?: OnOff;
  dnsUpstream?: readonly string[];
  dockerPlugin?: string;
  dockerScope?: DockerScope;
  dockerApi?: string;
}
export type OnOff = (typeof ON_OFF)[number];
const ON_OFF = ['on', 'off'] as const;

export type ConfigKey = keyof ConfigValues;

export interface ConfigOption {
  /** The name in camelCase: the key of the values. */
  readonly key: ConfigKey;
  /** The flag without its dashes. */
  readonly name: string;
  readonly env: string;
  readonly argument: string;
  readonly help: string;
  /** May be given several times, and as a list in the file: the same as with commas between. */
  readonly isList: boolean;
  /** @throws VtepError VTEP_ERR_INVALID that begins with `where` and the text. */
  read(text: string, where: string, into: ConfigValues): void;
}

/** Where Docker looks for plugins first; it is called after the file. */
export const DOCKER_API_SOCKET = '/run/docker.sock';
const DOCKER_SOCKET = '/run/docker/plugins/vtep.sock';
/** sockaddr_un.sun_path is 108 bytes with its closing zero (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** How long a worker polls on after its last frame: a frame that comes meanwhile needs no wake-up. */
/** Polling shortens round trips by a tenth and takes a tenth and more of small packets, where cores are shared. */
export const SPIN_MICROSECONDS_DEFAULT = 0;
/** Below 0 workers take the cores from the programs that they move frames for: measured with small UDP packets. */
export const WORKER_NICE_DEFAULT = 0;
/** As the kernel's VXLAN: not beyond the link. */
export const MULTICAST_HOPS_DEFAULT = 1;
/** Below, copies cost hardly more than one datagram, and nothing can be wrong with them. */
export const MULTICAST_FROM_DEFAULT = 3;
/** RFC 3376 section 8.2. */
export const QUERY_INTERVAL_SECONDS_DEFAULT = 125;
const SPIN_MICROSECONDS_MAX = 1000;

/** Consul's least TTL is 10 s, and a session lives for two of them after its last renewal. */
export const SESSION_TTL_SECONDS = { min: 20, max: 3600, default: 20 };

const FDB_ENTRIES_MIN = 1000;
/** 84 MB of memory once they are there. */
const FDB_ENTRIES_MAX = 4_000_000;

function option<K extends ConfigKey>(
  key: K,
  argument: string,
  help: string,
  parse: (text: string) => NonNullable<ConfigValues[K]> | Refusal,
): ConfigOption {
  const name = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return {
    key,
    name,
    env: `VTEP_${name.replace(/-/g, '_').toUpperCase()}`,
    argument,
    help,
    isList: key === 'registry' || key === 'advertise',
    read(text, where, into) {
      const value = parse(text);
      if (!(value instanceof Refusal)) {
        into[key] = value;
        return;
      }
      // Secrets are in no message: the token, and a password that somebody put in a URL.
      const shown = key === 'token' ? '' : ` ${showValue(text.replace(/[^/,\s]*@/g, '...@'))}`;
      throw new VtepError('VTEP_ERR_INVALID', `${where}${shown} ${value.rule}`);
    },
  };
}

function parseFile(text: string): string | Refusal {
  return text === '' || text.endsWith('/') ? new Refusal('must be the path of a file') : resolve(text);
}

function parseListen(text: string): string | Refusal {
  const refusal = new Refusal('must be HOST:PORT to listen on, such as 10.30.10.111:8500 or 127.0.0.1:8500');
  const match = /^(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9.-]+):(\d{1,5})$/.exec(text);
  if (match === null) return refusal;
  const host = match[1]!;
  const looksNumeric = /^[\d.]+$/.test(host);
  if (looksNumeric && !isIPv4(host)) return refusal;
  if (host.startsWith('[') && isIP(host.slice(1, -1)) !== 6) return refusal;
  return Number(match[2]) <= 65_535 ? text : refusal;
}

function parseSocket(text: string): string | Refusal {
  if (text === '' || text.endsWith('/')) return new Refusal('must be the path of a socket file');
  const path = resolve(text);
  const fits = Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX;
  return fits
    ? path
    : new Refusal(`must be at most ${SOCKET_PATH_BYTES_MAX} bytes long: the kernel takes no longer one`);
}

function parseNode(text: string): string | Refusal {
  const result = nameSchema.safeParse(text);
  return result.success ? result.data : new Refusal(result.error.issues[0]!.message);
}

function parsePrefix(text: string): string | Refusal {
  const path = text.replace(/^\/+|\/+$/g, '');
  const right = /^[\w.-]+(\/[\w.-]+)*$/.test(path);
  return right ? `${path}/` : new Refusal('must be a key prefix of letters, digits, "_", "." and "-", such as vtep/v1');
}

/** IP[,IP], one of each family. */
function parseAdvertise(text: string): readonly string[] | Refusal {
  const ips = text.split(',').map((part) => part.trim());
  for (const ip of ips) {
    const why = whyNoVtep(ip);
    if (why !== undefined) return new Refusal(why);
  }
  const own = ips.map(canonicalIp);
  return new Set(own.map(familyOf)).size === own.length
    ? own
    : new Refusal('must be at most one address of each family');
}

/** FIRST-LAST. That it holds enough for the workers is config.ts's to see. */
function parseSourcePorts(text: string): PortRange | Refusal {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  const right = first >= SOURCE_PORT_MIN && first <= last && last <= 65_535;
  return right
    ? { first, last }
    : new Refusal(`must be FIRST-LAST, UDP ports from ${SOURCE_PORT_MIN} to 65535, such as 49152-65535`);
}

function parseDefaultPool(text: string): Pool[] | Refusal {
  try {
    return withDefaults(parsePools(text));
  } catch (error) {
    if (!(error instanceof VtepError)) throw error;
    return new Refusal(`is not right: ${error.message}`);
  }
}

function parseSocketOrOff(text: string): string | Refusal {
  return text === 'off' ? text : parseSocket(text);
}

/** IP[,IP]. */
function parseAddresses(text: string): readonly string[] | Refusal {
  const addresses = text.split(',').map((part) => part.trim());
  return addresses.every((address) => isIP(address) !== 0)
    ? addresses
    : new Refusal('must be IP addresses, such as 192.0.2.53 or 192.0.2.53,2001:db8::53');
}

function offload(key: ConfigKey & `offload${string}`, help: string): ConfigOption {
  return option(key, 'switch', `${help}: auto (where the kernel can) or off (default: auto)`, oneOf(OFFLOAD_SWITCHES));
}

export const CONFIG_OPTIONS: readonly ConfigOption[] = [
  option(
    'registry',
    'url',
    'the Consul that keeps the networks, such as http://10.30.10.111:8500; several servers: commas, or once for each',
    parseRegistryUrls,
  ),
  option(
    'embeddedRegistry',
    'host:port',
    'serve a registry here, in this process, and use it if no --registry is given',
    parseListen,
  ),
  option(
    'underlay',
    'interface',
    'the interface to the other hosts; its first global address is used',
    matching(/^[^\s/:]{1,15}$/, 'must be the name of a network interface, such as eth0'),
  ),
  option(
    'underlayFamily',
    'family',
    'ipv4, ipv6, both (IPv4 first), or auto: IPv4 if the interface has it, else IPv6 (default: auto)',
    oneOf(UNDERLAY_FAMILIES),
  ),
  option(
    'advertise',
    'ip',
    "this host's address for the other hosts, or one of each family: commas, or twice; its interface is found by it",
    parseAdvertise,
  ),
  option(
    'port',
    'port',
    'the UDP port of VXLAN, the same on every host (default: 4789)',
    wholeNumber(1, 65_535, 'must be a UDP port from 1 to 65535'),
  ),
  option('node', 'name', "this host's name in the registry (default: the host name)", parseNode),
  option('socket', 'path', 'the unix socket of the API (default: /run/vtep/vtepd.sock)', parseSocket),
  option('stateDir', 'path', 'where the local copy of the registry is kept (default: /var/lib/vtep)', (text) =>
    text === '' ? new Refusal('must be the path of a directory') : resolve(text),
  ),
  option(
    'sessionTtl',
    'seconds',
    `after how long without a sign of life this host counts as gone, ${SESSION_TTL_SECONDS.min} to ${SESSION_TTL_SECONDS.max} (default: ${SESSION_TTL_SECONDS.default})`,
    wholeNumber(
      SESSION_TTL_SECONDS.min,
      SESSION_TTL_SECONDS.max,
      `must be a whole number of seconds from ${SESSION_TTL_SECONDS.min} to ${SESSION_TTL_SECONDS.max}: Consul ends a session at twice its TTL, of which 10 s is the least`,
    ),
  ),
  option(
    'spareAddresses',
    'count',
    'addresses of each family claimed in advance for each network, for attaches while the registry is away, 0 to 64 (default: 2)',
    wholeNumber(0, 64, 'must be a whole number from 0 to 64'),
  ),
  option(
    'reapAfter',
    'seconds',
    `after how long its addresses go to others, once a host counts as gone, 10 to 86400 (default: ${REAP_AFTER_SECONDS_DEFAULT})`,
    wholeNumber(10, 86_400, 'must be a whole number of seconds from 10 to 86400'),
  ),
  option(
    'defaultPool',
    'pool/length,...',
    `what networks get subnets of that are given none, and how long their prefix is (default: ${DEFAULT_POOLS_TEXT})`,
    parseDefaultPool,
  ),
  option(
    'workers',
    'count',
    `threads that move frames, 1 to ${WORKERS_MAX} (default: 1)`,
    wholeNumber(1, WORKERS_MAX, `must be a whole number from 1 to ${WORKERS_MAX}`),
  ),
  option(
    'fdbEntries',
    'count',
    `how many MACs of all networks are kept, ${FDB_ENTRIES_MIN} to ${FDB_ENTRIES_MAX} (default: ${FDB_ENTRIES_DEFAULT})`,
    wholeNumber(
      FDB_ENTRIES_MIN,
      FDB_ENTRIES_MAX,
      `must be a whole number from ${FDB_ENTRIES_MIN} to ${FDB_ENTRIES_MAX}`,
    ),
  ),
  option(
    'sourcePorts',
    'first-last',
    `the UDP ports to send from (default: ${SOURCE_PORTS_DEFAULT.first}-${SOURCE_PORTS_DEFAULT.last})`,
    parseSourcePorts,
  ),
  option(
    'spinUs',
    'microseconds',
    `how long a worker polls on after its last frame, 0 to ${SPIN_MICROSECONDS_MAX} (default: ${SPIN_MICROSECONDS_DEFAULT})`,
    wholeNumber(0, SPIN_MICROSECONDS_MAX, `must be a whole number of microseconds from 0 to ${SPIN_MICROSECONDS_MAX}`),
  ),
  option(
    'workerNice',
    'nice',
    `the niceness of the threads that move frames, -20 to 19 (default: ${WORKER_NICE_DEFAULT})`,
    wholeNumber(-20, 19, 'must be a whole number from -20 to 19'),
  ),
  option(
    'multicastTtl',
    'hops',
    `how many routers multicast on the underlay may pass, and one more, 1 to 255 (default: ${MULTICAST_HOPS_DEFAULT})`,
    wholeNumber(1, 255, 'must be a whole number from 1 to 255'),
  ),
  option(
    'multicastFrom',
    'hosts',
    `other hosts of a network from which on --flood auto may use multicast, 1 to 4094 (default: ${MULTICAST_FROM_DEFAULT})`,
    wholeNumber(1, 4094, 'must be a whole number from 1 to 4094'),
  ),
  option(
    'queryInterval',
    'seconds',
    `how often containers are asked for their multicast memberships, 2 to 3600 (default: ${QUERY_INTERVAL_SECONDS_DEFAULT})`,
    wholeNumber(2, 3600, 'must be a whole number of seconds from 2 to 3600'),
  ),
  option(
    'outerTos',
    'tos',
    "the outer header's TOS or traffic class: a number, or inherit for the inner packet's DSCP (default: 0)",
    (text) =>
      parseTos(text) ?? new Refusal('must be 0 to 252 without the two ECN bits, such as 184 or 0xb8, or inherit'),
  ),
  option(
    'outerTtl',
    'ttl',
    "the outer header's TTL or hop limit, 1 to 255, or auto for the kernel's (default: auto)",
    (text) => parseTtl(text) ?? new Refusal('must be a whole number from 1 to 255, or auto'),
  ),
  option(
    'outerDf',
    'policy',
    "the outer header's DF: unset, set, or inherit from the inner packet (default: unset)",
    oneOf(DF_POLICIES),
  ),
  option('outerChecksum', 'switch', 'on or off: a UDP checksum on what is sent (default: on)', oneOf(ON_OFF)),
  option(
    'acceptZeroChecksum6',
    'switch',
    'on or off: take datagrams over IPv6 that have no UDP checksum (default: off)',
    oneOf(ON_OFF),
  ),
  offload('offloadTapTso', 'TCP superframes from the containers'),
  offload('offloadTapUso', 'UDP superframes from the containers'),
  offload('offloadUnderlayGso', 'many datagrams of one size to the kernel in one message'),
  offload('offloadUnderlayGro', 'many datagrams of one flow from the kernel in one message'),
  offload('offloadCoalesceTcp', 'TCP superframes to the containers'),
  offload('offloadCoalesceUdp', 'UDP superframes to the containers'),
  offload('offloadSimdChecksum', 'checksums by WebAssembly SIMD'),
  option('dns', 'switch', "on or off: answer containers' names on the networks' gateways (default: on)", oneOf(ON_OFF)),
  option(
    'dnsUpstream',
    'ip[,ip]',
    "the DNS servers to ask for names that are no container's (default: those of /etc/resolv.conf)",
    parseAddresses,
  ),
  option(
    'dockerPlugin',
    'switch',
    `on, off or the path of the unix socket at which Docker finds its network and IPAM driver (default: off; on: ${DOCKER_SOCKET})`,
    (text) => (text === 'off' ? text : parseSocket(text === 'on' ? DOCKER_SOCKET : text)),
  ),
  option(
    'dockerScope',
    'scope',
    'local, or global for Docker daemons that share a cluster store (default: local)',
    oneOf(['local', 'global'] as const),
  ),
  option(
    'dockerApi',
    'path|off',
    `the unix socket of Docker's own API, asked for names and told of networks where the plugin is on (default: ${DOCKER_API_SOCKET})`,
    parseSocketOrOff,
  ),
  option(
    'token',
    'token',
    'the ACL token for Consul; better in VTEP_TOKEN or a file, since other users can read flags',
    matching(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces'),
  ),
  option('registryTokenFile', 'file', 'a file with that token, read again when it changes', parseFile),
  option(
    'registryCa',
    'file',
    "PEM: who signed the certificates of https:// registries (default: Node.js's CAs)",
    parseFile,
  ),
  option('registryCert', 'file', "PEM: this host's certificate for registries that ask for one", parseFile),
  option('registryKey', 'file', 'PEM: the key of that certificate', parseFile),
  option(
    'datacenter',
    'name',
    "the Consul datacenter (default: the server's own)",
    matching(/^[a-zA-Z0-9_-]+$/, 'must be letters, digits, "_" and "-"'),
  ),
  option(
    'registryNamespace',
    'name',
    "the namespace in Consul Enterprise (default: the token's own)",
    matching(/^[a-zA-Z0-9-]{1,64}$/, 'must be at most 64 letters, digits and "-"'),
  ),
  option(
    'registryPartition',
    'name',
    "the admin partition in Consul Enterprise (default: the server's own)",
    matching(/^[a-zA-Z0-9-]{1,64}$/, 'must be at most 64 letters, digits and "-"'),
  ),
  option('registryPrefix', 'prefix', 'where the keys are in the registry (default: vtep/v1/)', parsePrefix),
  option('logLevel', 'level', `${LOG_LEVELS.join(', ')} (default: info)`, oneOf(LOG_LEVELS)),
  option('logFormat', 'format', 'json or text (default: text on a terminal, else json)', oneOf(LOG_FORMATS)),
];
