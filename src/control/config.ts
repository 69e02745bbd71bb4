/**
 * vtepd's options: one table that flags, environment and file are all read by.
 *
 * Place: control plane, first thing the daemon does; pure but for reading the file. A flag beats the environment, which
 * beats the file. Every wrong value ends in one VTEP_ERR_INVALID whose line names where it was given. Values are text
 * until the table's parser has seen them, also those of the file, so that `010` means the same in all three places.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { Command, CommanderError } from 'commander';
import { FDB_ENTRIES_DEFAULT } from '../shared/layout.js';
import { showValue } from './api/check-input.js';
import {
  CONFIG_OPTIONS,
  type ConfigKey,
  type ConfigValues,
  DOCKER_API_SOCKET,
  MULTICAST_FROM_DEFAULT,
  MULTICAST_HOPS_DEFAULT,
  QUERY_INTERVAL_SECONDS_DEFAULT,
  SESSION_TTL_SECONDS,
  SPIN_MICROSECONDS_DEFAULT,
  WORKER_NICE_DEFAULT,
} from './config-options.js';
import { VtepError } from './errors.js';
import { REAP_AFTER_SECONDS_DEFAULT } from './ipam/reaper.js';
import type { LogFormat, LogLevel } from './log.js';
import { DEFAULT_POOLS, type Pool } from './networks/subnet-pool.js';
import type { OffloadSwitches } from './offload-switches.js';
import { OUTER_HEADER_DEFAULT, type OuterHeader } from './outer-header.js';
import type { DockerScope } from './plugins/docker/network-maker.js';
import { type PortRange, portCount, SOURCE_PORTS_DEFAULT, SOURCE_PORTS_PER_WORKER } from './source-ports.js';
import type { UnderlayFamily } from './underlay.js';
import { usageMessage } from './usage-message.js';
import { VERSION } from './version.js';
import { familyName, familyOf } from './vtep-address.js';

/** Enough for a container that is started again in an outage, and its neighbour. */
const SPARE_ADDRESSES_DEFAULT = 2;

export interface DaemonConfig {
  /** `http://host:port`, in the order to try them. Absent: the embedded registry's own. */
  readonly registryUrls?: readonly string[];
  /** HOST:PORT that the embedded registry listens on. Absent: none is served. */
  readonly embeddedRegistry?: string;
  /** At least one of underlay and advertise is there. */
  readonly underlay?: string;
  /** At most one of each family. */
  readonly advertise?: readonly string[];
  readonly underlayFamily: UnderlayFamily;
  readonly port: number;
  readonly node: string;
  readonly socketPath: string;
  readonly stateDirectory: string;
  readonly sessionTtlSeconds: number;
  readonly reapAfterSeconds: number;
  readonly defaultPools: readonly Pool[];
  readonly workers: number;
  readonly spareAddresses: number;
  readonly fdbEntries: number;
  readonly sourcePorts: PortRange;
  readonly spinMicroseconds: number;
  readonly workerNice: number;
  readonly multicastHops: number;
  readonly multicastFrom: number;
  readonly queryIntervalSeconds: number;
  readonly offloads: OffloadSwitches;
  readonly outer: OuterHeader;
  /** Whether names are served on the networks' gateways. */
  readonly dns: boolean;
  /** Absent: those of /etc/resolv.conf. */
  readonly dnsUpstream?: readonly string[];
  /** The socket of Docker's own API, asked where the plugin is on. Absent: never. */
  readonly dockerApi?: string;
  /** The socket of the Docker plugin. Absent: none. */
  readonly dockerPlugin?: string;
  readonly dockerScope: DockerScope;
  readonly token?: string;
  readonly registryTokenFile?: string;
  readonly registryCa?: string;
  readonly registryCert?: string;
  readonly registryKey?: string;
  readonly datacenter?: string;
  readonly registryNamespace?: string;
  readonly registryPartition?: string;
  readonly registryPrefix?: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

export interface ConfigSources {
  /** Without the interpreter and the script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stderrIsTty: boolean;
  /** Where --help and --version go. */
  readonly print: (text: string) => void;
}

const EXAMPLES = `
Every option can also be given in the environment (VTEP_ and its name in capitals: VTEP_REGISTRY, VTEP_STATE_DIR) and in
a YAML file (--config), by the same name: "state-dir" or "stateDir". A flag beats the environment, the environment the
file; an empty variable counts as not given.

Examples:
  # join the networks that a Consul server keeps, over the interface eth0
  vtepd --registry http://10.30.10.111:8500 --underlay eth0

  # three servers of one Consul cluster with TLS and ACLs
  vtepd --registry https://c1:8501,https://c2:8501,https://c3:8501 --registry-ca ca.pem --registry-token-file token --underlay eth0

  # the first host serves the registry itself, without Consul; the others point at it
  vtepd --embedded-registry 10.30.10.111:8500 --underlay eth0
  vtepd --registry 10.30.10.111:8500 --underlay eth0

  # over IPv4 and IPv6 at once
  vtepd --registry http://10.30.10.111:8500 --underlay eth0 --underlay-family both

  # by address instead of by interface, and with everything in a file
  vtepd --registry http://10.30.10.111:8500 --advertise 10.30.10.112
  vtepd --config /etc/vtep.yaml
`;

/**
 * @returns the configuration, or undefined if --help or --version was asked for and printed.
 * @throws VtepError VTEP_ERR_INVALID
 */
export function loadConfig(sources: ConfigSources): DaemonConfig | undefined {
  const flags = readFlags(sources);
  if (flags === undefined) return undefined;
  const given: GivenOptions = new Map();
  const configPath = flags.config ?? nonEmpty(sources.env.VTEP_CONFIG);
  if (configPath !== undefined) readFile(configPath, given);
  for (const { key, env } of CONFIG_OPTIONS) {
    const text = nonEmpty(sources.env[env]);
    if (text !== undefined) given.set(key, { text, where: env });
  }
  for (const { key, name } of CONFIG_OPTIONS) {
    const text = flags[key];
    if (text !== undefined) given.set(key, { text, where: `--${name}` });
  }
  return complete(given, sources);
}

/** What was given for a key, and where: the last source that set it wins. */
type GivenOptions = Map<ConfigKey, { readonly text: string; readonly where: string }>;

function readFlags(sources: ConfigSources): Record<string, string | undefined> | undefined {
  const command = new Command('vtepd')
    .description(
      "The host process of vtep: carries the frames of this host's containers to the other hosts over VXLAN.",
    )
    .version(VERSION, '--version', 'print the version and exit')
    .helpOption('-h, --help', 'print this help and exit')
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({ writeOut: sources.print, writeErr: () => {} });
  for (const { name, argument, help, isList } of CONFIG_OPTIONS) {
    const flag = `--${name} <${argument}>`;
    if (isList) command.option(flag, help, (text: string, before?: string) => (before ? `${before},${text}` : text));
    else command.option(flag, help);
  }
  command.option('--config <file>', 'a YAML file with any of these options');
  try {
    command.parse([...sources.argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw new VtepError('VTEP_ERR_INVALID', `${usageMessage(error)}; see vtepd --help`);
  }
  return command.opts<Record<string, string | undefined>>();
}

function readFile(path: string, given: GivenOptions): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new VtepError('VTEP_ERR_INVALID', `--config "${path}": can't be read (${reason})`, { cause });
  }
  // Loaded only for a file, since it takes longer than all else here.
  const { parseDocument } = createRequire(import.meta.url)('yaml') as typeof import('yaml');
  // The failsafe schema keeps every scalar as the text that was typed.
  const document = parseDocument(text, { schema: 'failsafe', logLevel: 'error' });
  const problem = document.errors[0];
  if (problem !== undefined) {
    const line = problem.message.split('\n')[0]?.replace(/:$/, '') ?? 'malformed';
    throw new VtepError('VTEP_ERR_INVALID', `--config "${path}": is not valid YAML: ${line}`, { cause: problem });
  }
  const content: unknown = document.toJS();
  if (content === null || content === undefined || content === '') return;
  if (typeof content !== 'object' || Array.isArray(content)) {
    throw new VtepError('VTEP_ERR_INVALID', `--config "${path}": must hold keys and values, such as "underlay: eth0"`);
  }
  for (const [name, value] of Object.entries(content)) {
    const option = CONFIG_OPTIONS.find((o) => o.key === name || o.name === name);
    if (option === undefined) {
      const known = CONFIG_OPTIONS.map((o) => o.name).join(', ');
      throw new VtepError('VTEP_ERR_INVALID', `unknown key "${name}" in "${path}"; known: ${known}`);
    }
    if (given.has(option.key)) {
      throw new VtepError('VTEP_ERR_INVALID', `"${option.name}" and "${option.key}" in "${path}": give one of them`);
    }
    if (option.isList && Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string')) {
      given.set(option.key, { text: value.join(','), where: `"${name}" in "${path}":` });
      continue;
    }
    if (typeof value !== 'string') {
      throw new VtepError('VTEP_ERR_INVALID', `"${name}" in "${path}": must be a single value`);
    }
    given.set(option.key, { text: value, where: `"${name}" in "${path}":` });
  }
}

function complete(given: GivenOptions, sources: ConfigSources): DaemonConfig {
  const values: ConfigValues = {};
  for (const option of CONFIG_OPTIONS) {
    const entry = given.get(option.key);
    if (entry !== undefined) option.read(entry.text, entry.where, values);
  }
  if (values.registry === undefined && values.embeddedRegistry === undefined) {
    const hint = 'give --registry URL (a Consul server) or --embedded-registry HOST:PORT (served by this vtepd)';
    throw new VtepError('VTEP_ERR_INVALID', `no registry: ${hint}`);
  }
  if (values.underlay === undefined && values.advertise === undefined) {
    const hint = 'give --underlay INTERFACE or --advertise IP: where the other hosts reach this one';
    throw new VtepError('VTEP_ERR_INVALID', `no underlay: ${hint}`);
  }
  if (values.node === undefined) {
    const node = CONFIG_OPTIONS.find((o) => o.key === 'node');
    node?.read(hostname(), 'the host name (give --node NAME instead):', values);
  }
  const workers = values.workers ?? 1;
  const sourcePorts = values.sourcePorts ?? SOURCE_PORTS_DEFAULT;
  const portsNeeded = workers * SOURCE_PORTS_PER_WORKER;
  if (portCount(sourcePorts) < portsNeeded) {
    const { where, text } = given.get('sourcePorts') ?? { where: '--source-ports', text: '' };
    const rule = `must hold at least ${portsNeeded} ports: ${SOURCE_PORTS_PER_WORKER} for each worker`;
    throw new VtepError('VTEP_ERR_INVALID', `${where} ${showValue(text)} ${rule}`);
  }
  return {
    ...(values.registry !== undefined && { registryUrls: values.registry }),
    ...(values.embeddedRegistry !== undefined && { embeddedRegistry: values.embeddedRegistry }),
    ...(values.underlay !== undefined && { underlay: values.underlay }),
    ...(values.advertise !== undefined && { advertise: values.advertise }),
    underlayFamily: underlayFamily(values),
    port: values.port ?? 4789,
    node: values.node ?? '',
    socketPath: values.socket ?? '/run/vtep/vtepd.sock',
    stateDirectory: values.stateDir ?? '/var/lib/vtep',
    sessionTtlSeconds: values.sessionTtl ?? SESSION_TTL_SECONDS.default,
    reapAfterSeconds: values.reapAfter ?? REAP_AFTER_SECONDS_DEFAULT,
    defaultPools: values.defaultPool ?? DEFAULT_POOLS,
    workers,
    spareAddresses: values.spareAddresses ?? SPARE_ADDRESSES_DEFAULT,
    fdbEntries: values.fdbEntries ?? FDB_ENTRIES_DEFAULT,
    sourcePorts,
    spinMicroseconds: values.spinUs ?? SPIN_MICROSECONDS_DEFAULT,
    workerNice: values.workerNice ?? WORKER_NICE_DEFAULT,
    queryIntervalSeconds: values.queryInterval ?? QUERY_INTERVAL_SECONDS_DEFAULT,
    multicastFrom: values.multicastFrom ?? MULTICAST_FROM_DEFAULT,
    multicastHops: values.multicastTtl ?? MULTICAST_HOPS_DEFAULT,
    offloads: {
      'tap-tso': values.offloadTapTso ?? 'auto',
      'tap-uso': values.offloadTapUso ?? 'auto',
      'underlay-gso': values.offloadUnderlayGso ?? 'auto',
      'underlay-gro': values.offloadUnderlayGro ?? 'auto',
      'coalesce-tcp': values.offloadCoalesceTcp ?? 'auto',
      'coalesce-udp': values.offloadCoalesceUdp ?? 'auto',
      'simd-checksum': values.offloadSimdChecksum ?? 'auto',
    },
    outer: {
      tos: values.outerTos ?? OUTER_HEADER_DEFAULT.tos,
      ttl: values.outerTtl ?? OUTER_HEADER_DEFAULT.ttl,
      df: values.outerDf ?? OUTER_HEADER_DEFAULT.df,
      checksum: values.outerChecksum !== 'off',
      acceptZeroChecksum6: values.acceptZeroChecksum6 === 'on',
    },
    dns: values.dns !== 'off',
    ...(values.dnsUpstream !== undefined && { dnsUpstream: values.dnsUpstream }),
    ...(values.dockerApi !== 'off' && { dockerApi: values.dockerApi ?? DOCKER_API_SOCKET }),
    ...(values.dockerPlugin !== undefined && values.dockerPlugin !== 'off' && { dockerPlugin: values.dockerPlugin }),
    dockerScope: values.dockerScope ?? 'local',
    ...registryOptions(values),
    logLevel: values.logLevel ?? 'info',
    logFormat: values.logFormat ?? (sources.stderrIsTty ? 'text' : 'json'),
  };
}

/** @throws VtepError VTEP_ERR_INVALID for an advertised address of a family that is not wanted */
function underlayFamily({ underlayFamily: wanted = 'auto', advertise = [] }: ConfigValues): UnderlayFamily {
  const stray = advertise.find((ip) => wanted === (familyOf(ip) === 4 ? 'ipv6' : 'ipv4'));
  if (stray === undefined) return wanted;
  const hint = `give an ${familyName(wanted === 'ipv4' ? 4 : 6)} address, or --underlay-family both`;
  throw new VtepError('VTEP_ERR_INVALID', `--advertise "${stray}" does not fit --underlay-family ${wanted}: ${hint}`);
}

/** Those that the registry's client takes, as they were given. @throws VtepError VTEP_ERR_INVALID for two that exclude each other */
function registryOptions(values: ConfigValues): Partial<DaemonConfig> {
  if (values.token !== undefined && values.registryTokenFile !== undefined) {
    throw new VtepError('VTEP_ERR_INVALID', '--token and --registry-token-file are both given: give one of them');
  }
  const isPlain = values.registry?.[0]?.startsWith('https:') !== true;
  const tls = (['registryCa', 'registryCert', 'registryKey'] as const).find((key) => values[key] !== undefined);
  if (tls !== undefined && isPlain) {
    const name = CONFIG_OPTIONS.find(({ key }) => key === tls)?.name;
    throw new VtepError(
      'VTEP_ERR_INVALID',
      `--${name} is given for a registry without TLS: give --registry https://...`,
    );
  }
  const keys = [
    ...(['token', 'registryTokenFile', 'registryCa', 'registryCert', 'registryKey'] as const),
    ...(['datacenter', 'registryNamespace', 'registryPartition', 'registryPrefix'] as const),
  ];
  return Object.fromEntries(keys.flatMap((key) => (values[key] === undefined ? [] : [[key, values[key]]])));
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text;
}
