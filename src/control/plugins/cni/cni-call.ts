/**
 * What a runtime asks: the CNI_... variables of its environment and the configuration's version, checked. Pure.
 *
 * Which variables a command needs is the specification's table; the forms of a container's id and of an interface's name
 * are its too. Nothing here knows vtep's own fields: config.ts does.
 */
import { CniError } from './cni-error.js';

export const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Command = (typeof COMMANDS)[number];

/** Of 0.3 the results are those of 0.4; what came before is another world. */
export const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type Version = (typeof VERSIONS)[number];

/** Commands that came later, with the version that they need at least. */
const SINCE: Partial<Record<Command, Version>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

const CONTAINER_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** What the owner of an endpoint (200 characters) leaves for it. */
const CONTAINER_ID_CHARACTERS_MAX = 115;
const INTERFACE = /^(?!\.{1,2}$)[\x21-\x2e\x30-\x39\x3b-\x7e]{1,15}$/;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The container's side of an attachment. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

export function isVersion(text: unknown): text is Version {
  return (VERSIONS as readonly unknown[]).includes(text);
}

/** @throws CniError code 1 with the versions that there are */
export function checkVersion(text: unknown, command: Command): Version {
  const supported = `supported: ${VERSIONS.join(', ')}`;
  if (!isVersion(text)) {
    const what = text === undefined ? 'cniVersion is missing' : `cniVersion ${JSON.stringify(text)} is not supported`;
    throw new CniError('incompatibleVersion', `${what}: must be one of ${VERSIONS.join(', ')}`, supported);
  }
  const least = SINCE[command];
  if (least !== undefined && VERSIONS.indexOf(text) < VERSIONS.indexOf(least)) {
    throw new CniError('incompatibleVersion', `cniVersion "${text}" has no ${command}: must be ${least} or newer`);
  }
  return text;
}

/** @throws CniError code 4 */
export function checkCommand(environment: Environment): Command {
  const given = environment.CNI_COMMAND;
  const command = COMMANDS.find((known) => known === given);
  if (command !== undefined) return command;
  throw wrong('CNI_COMMAND', given, `must be one of ${COMMANDS.join(', ')}`);
}

/** @throws CniError code 4 */
export function checkAttachment(environment: Environment): Attachment {
  const containerId = environment.CNI_CONTAINERID;
  const ifname = environment.CNI_IFNAME;
  if (!isContainerId(containerId)) {
    const rule = `must be 1 to ${CONTAINER_ID_CHARACTERS_MAX} letters, digits, "_", "." or "-", and begin with a letter or a digit`;
    throw wrong('CNI_CONTAINERID', containerId, rule);
  }
  if (ifname === undefined || !INTERFACE.test(ifname)) {
    throw wrong('CNI_IFNAME', ifname, 'must be an interface name: 1 to 15 characters without white space, "/" or ":"');
  }
  return { containerId, ifname };
}

/**
 * Whose an endpoint is: of one attachment by one configuration. The configuration's name is part of it, since several may
 * share a network of vtep's, and what is garbage is a matter of each.
 */
export function ownerOf({ containerId, ifname }: Attachment, configName: string): string {
  return `cni:${containerId}/${ifname}@${configName}`;
}

/** @returns undefined for what is nobody's, or another plugin's */
export function parseOwner(owner: string | undefined): (Attachment & { readonly configName: string }) | undefined {
  const match = /^cni:([^/]+)\/(.+)@([^@]+)$/.exec(owner ?? '');
  return match === null ? undefined : { containerId: match[1]!, ifname: match[2]!, configName: match[3]! };
}

export function isContainerId(text: unknown): text is string {
  return typeof text === 'string' && text.length <= CONTAINER_ID_CHARACTERS_MAX && CONTAINER_ID.test(text);
}

/** @throws CniError code 4 */
export function checkNetns(environment: Environment): string {
  const netns = environment.CNI_NETNS;
  if (netns?.startsWith('/')) return netns;
  throw wrong('CNI_NETNS', netns, 'must be the absolute path of a network namespace');
}

/** `K8S_POD_NAME=web;IP=10.0.0.9`. @throws CniError code 4 */
export function parseArgs(text: string | undefined): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (const pair of (text ?? '').split(';')) {
    if (pair.trim() === '') continue;
    const equals = pair.indexOf('=');
    if (equals < 1) throw wrong('CNI_ARGS', text, 'must be KEY=VALUE pairs with ";" between them');
    pairs.set(pair.slice(0, equals).trim(), pair.slice(equals + 1).trim());
  }
  return pairs;
}

function wrong(variable: string, value: string | undefined, rule: string): CniError {
  const what = value === undefined || value === '' ? `${variable} is missing` : `${variable} "${value}"`;
  return new CniError('badEnvironment', `${what}: ${rule}`, variable);
}
