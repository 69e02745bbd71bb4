/**
 * `docker network create -o vtep.flood=auto ...`: the driver options that a network of vtep takes, named after the flags of
 * `vtep network create`. Control plane; pure.
 *
 * Options of other drivers are ignored, as Docker's own drivers do; what begins with `vtep.` and is not known is refused.
 */
import { z } from 'zod';
import { checkInput } from '../../api/check-input.js';
import { type CreateNetwork, createNetworkSchema, nameSchema } from '../../api/schema.js';
import { VtepError } from '../../errors.js';
import type { NetworkValue } from '../../registry/schema.js';

const PREFIX = 'vtep.';
/** Where Docker puts what was given by `-o`. */
const GENERIC = 'com.docker.network.generic';
const DOCKER_MTU = 'com.docker.network.driver.mtu';
const DOCKER_INTERNAL = 'com.docker.network.internal';
const DOCKER_IPV6 = 'com.docker.network.enable_ipv6';

const number = (text: string): unknown => (/^\d+$/.test(text) ? Number(text) : text);
const onOff = (text: string): unknown => ({ on: true, true: true, off: false, false: false })[text] ?? text;
const list = (text: string): unknown => text.split(',').map((part) => part.trim());
const plain = (text: string): unknown => text;

/** By the option's name without its prefix: the field of CreateNetwork, and how its text is read. */
const SETTINGS: Readonly<Record<string, readonly [keyof CreateNetwork, (text: string) => unknown]>> = {
  vni: ['vni', number],
  mtu: ['mtuBytes', number],
  flood: ['flood', plain],
  group: ['group', plain],
  snooping: ['snooping', onOff],
  learning: ['learning', onOff],
  'max-learnt-macs': ['learntMacsMax', number],
  'arp-suppression': ['arpSuppression', onOff],
  'port-security': ['portSecurity', onOff],
  'storm-limit': ['stormLimit', number],
  'group-policy': ['groupPolicy', onOff],
  'allow-groups': ['allowedGroups', list],
  'reserved-bits': ['reservedBits', plain],
};
const NETWORK = 'network';
/** The id of the network that is meant: with it none is made. What mirrors are made with. */
const ID = 'id';
/** Looked at by whoever answers names. */
const DNS = 'dns';
const KNOWN = [NETWORK, DNS, ...Object.keys(SETTINGS)].map((name) => PREFIX + name);

export type AskedSetting = keyof CreateNetwork;

export interface NetworkOptions {
  /** The network in the registry, if it was named. */
  readonly network?: string;
  /** Its id there: another one is not meant. */
  readonly id?: string;
  /** What was asked for of it. */
  readonly asked: Partial<Omit<CreateNetwork, 'name'>>;
  /** How the user knows each of them. */
  readonly labels: Readonly<Record<string, string>>;
  /** What is kept with the network for others to look at, by the option's name. */
  readonly kept: Readonly<Record<string, string>>;
}

/** @param options of a CreateNetwork call. @throws VtepError VTEP_ERR_INVALID naming the option, its value and what would be right */
export function readNetworkOptions(options: Readonly<Record<string, unknown>>): NetworkOptions {
  const given = options[GENERIC];
  const generic = typeof given === 'object' && given !== null ? (given as Record<string, unknown>) : {};
  const fields: Record<string, unknown> = {};
  const labels: Record<string, string> = {};
  const kept: Record<string, string> = {};
  let network: string | undefined;
  let id: string | undefined;
  for (const [key, value] of Object.entries(generic)) {
    const text = String(value);
    if (key === DOCKER_MTU) {
      if (generic[`${PREFIX}mtu`] !== undefined) continue;
      fields.mtuBytes = number(text);
      labels.mtuBytes = DOCKER_MTU;
    }
    if (!key.startsWith(PREFIX)) continue;
    const name = key.slice(PREFIX.length);
    const setting = SETTINGS[name];
    if (name === NETWORK) network = checkNetworkName(text, key);
    else if (name === ID) id = text;
    else if (name === DNS) kept[key] = checkDns(text, key);
    else if (setting === undefined) throw unknownOption(key);
    else {
      fields[setting[0]] = setting[1](text);
      labels[setting[0]] = key;
    }
  }
  if (options[DOCKER_INTERNAL] === true) {
    fields.internal = true;
    labels.internal = '--internal';
  }
  if (options[DOCKER_IPV6] === true) fields.ipv6 = true;
  const { name: _, ...asked } = checkInput(createNetworkSchema, { name: 'x', ...fields }, labels);
  return { ...(network === undefined ? {} : { network }), ...(id === undefined ? {} : { id }), asked, labels, kept };
}

/** `--ipam-opt vtep.network=NAME`. @throws VtepError VTEP_ERR_INVALID */
export function readPoolOptions(options: Readonly<Record<string, string>>): { name?: string; id?: string } {
  for (const key of Object.keys(options)) {
    if (key.startsWith(PREFIX) && key !== PREFIX + NETWORK && key !== PREFIX + ID) {
      throw new VtepError('VTEP_ERR_INVALID', `unknown IPAM option "${key}"; known: ${PREFIX}${NETWORK}`);
    }
  }
  const name = options[PREFIX + NETWORK];
  const id = options[PREFIX + ID];
  return {
    ...(name === undefined ? {} : { name: checkNetworkName(name, PREFIX + NETWORK) }),
    ...(id === undefined ? {} : { id }),
  };
}

/**
 * @param id of the network that is meant, if that was said
 * @returns `found`. @throws VtepError VTEP_ERR_NETWORK_UNKNOWN: it is gone, or another one has its name by now
 */
export function checkMeant(found: NetworkValue | undefined, name: string, id: string | undefined) {
  if (id === undefined || found?.id === id) return found;
  throw new VtepError('VTEP_ERR_NETWORK_UNKNOWN', `network "${name}" (${id}) was removed in the meantime`);
}

/** `docker network connect --driver-opt vtep.group=10`. @throws VtepError VTEP_ERR_INVALID */
export function readEndpointGroup(options: Readonly<Record<string, unknown>>): number | undefined {
  const key = `${PREFIX}group`;
  if (options[key] === undefined) return undefined;
  const rule = 'must be a group policy id: a whole number from 1 to 65535';
  const schema = z.object({ group: z.number(rule).int(rule).min(1, rule).max(65_535, rule) });
  return checkInput(schema, { group: number(String(options[key])) }, { group: key }).group;
}

function checkNetworkName(name: string, label: string): string {
  return checkInput(z.object({ name: nameSchema }), { name }, { name: label }).name;
}

function checkDns(text: string, label: string): string {
  const schema = z.object({ dns: z.enum(['on', 'off'], 'must be on or off') });
  return checkInput(schema, { dns: text }, { dns: label }).dns;
}

function unknownOption(key: string): VtepError {
  return new VtepError('VTEP_ERR_INVALID', `unknown option "${key}"; known: ${KNOWN.join(', ')}`);
}
