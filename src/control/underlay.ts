/**
 * The underlay as this host has it: which interface and addresses the tunnels use, and who else holds the port.
 *
 *     --underlay-family   auto   IPv4 if the interface has it, else IPv6; with --advertise, the families given there
 *                         ipv4, ipv6, both
 *
 * Place: control plane, at start-up; underlay-monitor.ts asks later. Facts come from `ip -json`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { z } from 'zod';
import type { IpFamily } from '../wire/ip-address.js';
import { VtepError } from './errors.js';
import { familyName, familyOf, type VtepIps } from './vtep-address.js';

export const UNDERLAY_FAMILIES = ['auto', 'ipv4', 'ipv6', 'both'] as const;
export type UnderlayFamily = (typeof UNDERLAY_FAMILIES)[number];

export interface UnderlayWish {
  readonly underlay?: string | undefined;
  /** At most one of each family. */
  readonly advertise?: readonly string[] | undefined;
  /** @default auto */
  readonly underlayFamily?: UnderlayFamily | undefined;
}

/** With both families IPv4 is the first. */
export interface Underlay extends VtepIps {
  readonly interface: string;
  readonly mtuBytes: number;
}

const addressSchema = z.object({
  family: z.string().optional(),
  local: z.string().optional(),
  scope: z.string().optional(),
  tentative: z.boolean().optional(),
  dadfailed: z.boolean().optional(),
  deprecated: z.boolean().optional(),
  temporary: z.boolean().optional(),
});
type AddressFacts = z.infer<typeof addressSchema>;

const interfaceSchema = z.object({
  ifname: z.string(),
  altnames: z.array(z.string()).optional(),
  mtu: z.number(),
  flags: z.array(z.string()).optional(),
  addr_info: z.array(addressSchema).default([]),
});
export type InterfaceFacts = z.infer<typeof interfaceSchema>;

const vxlanSchema = z.object({
  ifname: z.string(),
  linkinfo: z.object({ info_data: z.object({ port: z.number().optional() }).optional() }).optional(),
});

/** The kernel asks for a second or two whether somebody else has a new IPv6 address. */
const TENTATIVE_WAIT_MS = 200;
const TENTATIVE_TRIES = 25;

/** Waits for an IPv6 address that is just being made sure of. @throws VtepError VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL */
export async function findUnderlay(wanted: UnderlayWish): Promise<Underlay> {
  for (let tries = 1; ; tries++) {
    const interfaces = await readInterfaces();
    try {
      return chooseUnderlay(interfaces, wanted);
    } catch (error) {
      if (tries === TENTATIVE_TRIES || !isOneAwaited(interfaces, wanted.underlay)) throw error;
    }
    await sleep(TENTATIVE_WAIT_MS);
  }
}

function isOneAwaited(interfaces: readonly InterfaceFacts[], underlay: string | undefined): boolean {
  const awaited = (facts: AddressFacts) => facts.scope === 'global' && facts.tentative === true && !facts.dadfailed;
  return interfaces.some((one) => (underlay === undefined || isNamed(one, underlay)) && one.addr_info.some(awaited));
}

/**
 * Of each family that is wanted the first usable address of the interface, or the one that is advertised. Without an
 * interface, the one that holds the advertised address; all addresses are of one interface.
 *
 * @throws VtepError VTEP_ERR_UNDERLAY
 */
export function chooseUnderlay(interfaces: readonly InterfaceFacts[], wanted: UnderlayWish): Underlay {
  const { underlay, advertise = [], underlayFamily = 'auto' } = wanted;
  let candidates = interfaces;
  if (underlay !== undefined) {
    candidates = interfaces.filter((one) => isNamed(one, underlay));
    if (candidates.length === 0) {
      const names = interfaces.map((i) => i.ifname).join(', ');
      throw new VtepError('VTEP_ERR_UNDERLAY', `underlay "${underlay}": no such interface; this host has ${names}`);
    }
  }
  const chosen = new Map<IpFamily, string>();
  for (const ip of advertise) {
    const holder = requireHolder(candidates, ip, candidates === interfaces ? undefined : candidates[0]?.ifname);
    candidates = [holder];
    chosen.set(familyOf(ip), ip);
  }
  const [facts] = candidates;
  if (facts === undefined) throw new VtepError('VTEP_ERR_UNDERLAY', 'no underlay: this host has no interface');
  for (const family of wantedFamilies(underlayFamily, facts, advertise)) {
    const ip = chosen.get(family) ?? usableAddress(facts, family);
    if (ip === undefined) throw noAddress(facts, underlay ?? facts.ifname, underlayFamily, family);
    chosen.set(family, ip);
  }
  const [ip, otherIp] = ([4, 6] as const).flatMap((family) => chosen.get(family) ?? []);
  const addresses = otherIp === undefined ? { ip: ip as string } : { ip: ip as string, otherIp };
  return { interface: facts.ifname, ...addresses, mtuBytes: facts.mtu };
}

function wantedFamilies(
  underlayFamily: UnderlayFamily,
  facts: InterfaceFacts,
  advertise: readonly string[],
): readonly IpFamily[] {
  if (underlayFamily === 'both') return [4, 6];
  if (underlayFamily !== 'auto') return [underlayFamily === 'ipv4' ? 4 : 6];
  if (advertise.length > 0) return advertise.map(familyOf);
  return [usableAddress(facts, 4) === undefined && usableAddress(facts, 6) !== undefined ? 6 : 4];
}

function requireHolder(candidates: readonly InterfaceFacts[], ip: string, of: string | undefined): InterfaceFacts {
  const own = (facts: InterfaceFacts) => facts.addr_info.find(({ local }) => local === ip);
  const holder = candidates.find(own);
  if (holder !== undefined && own(holder)?.dadfailed !== true && own(holder)?.tentative !== true) return holder;
  if (holder !== undefined) {
    const why = own(holder)?.dadfailed === true ? 'another machine has it too' : 'it is not yet known to be unique';
    throw new VtepError('VTEP_ERR_UNDERLAY', `advertise "${ip}": can't be used on ${holder.ifname}: ${why}`);
  }
  const where = of === undefined ? 'this host' : `interface "${of}"`;
  const family = familyOf(ip) === 4 ? 'inet' : 'inet6';
  const held = candidates
    .flatMap((i) => i.addr_info.filter((a) => a.family === family).map((a) => `${a.local} (${i.ifname})`))
    .join(', ');
  throw new VtepError('VTEP_ERR_UNDERLAY', `advertise "${ip}": ${where} does not hold it; it has ${held || 'none'}`);
}

function noAddress(facts: InterfaceFacts, name: string, wanted: UnderlayFamily, family: IpFamily): VtepError {
  const what = wanted === 'auto' ? 'IPv4 or IPv6' : familyName(family);
  const unusable = facts.addr_info.flatMap((address) => {
    const why = isOfFamily(address, family) || wanted === 'auto' ? whyUnusable(address) : undefined;
    return why === undefined ? [] : [`${address.local} is ${why}`];
  });
  const but = unusable.length === 0 ? '' : ` that can be used (${unusable.join(', ')})`;
  const example = family === 4 ? '10.30.10.111/24' : '2001:db8::111/64';
  const other = wanted === 'both' ? `, or --underlay-family ${family === 4 ? 'ipv6' : 'ipv4'}` : '';
  const hint = `give it one (ip addr add ${example} dev ${name}) or choose another interface${other}`;
  return new VtepError('VTEP_ERR_UNDERLAY', `underlay "${name}": has no global ${what} address${but}; ${hint}`);
}

/** The interface's first address of the family that others can send to for as long as it is there. */
export function usableAddress(facts: InterfaceFacts, family: IpFamily): string | undefined {
  return facts.addr_info.find(
    (address) => isOfFamily(address, family) && address.scope === 'global' && whyUnusable(address) === undefined,
  )?.local;
}

/** @returns undefined also for what is no global address */
function whyUnusable(address: AddressFacts): string | undefined {
  if (address.scope !== 'global' || address.family !== 'inet6') return undefined;
  if (address.dadfailed === true) return 'a duplicate';
  return (['tentative', 'deprecated', 'temporary'] as const).find((flag) => address[flag] === true);
}

function isOfFamily({ family, local }: AddressFacts, wanted: IpFamily): boolean {
  return family === (wanted === 4 ? 'inet' : 'inet6') && local !== undefined;
}

export function isNamed({ ifname, altnames }: InterfaceFacts, name: string): boolean {
  return ifname === name || altnames?.includes(name) === true;
}

/** Says which kernel VXLAN device holds the UDP port, if that is why it is taken. Other errors come back as they are. */
export async function explainPortInUse(error: unknown, port: number): Promise<unknown> {
  if (!(error instanceof VtepError) || error.code !== 'VTEP_ERR_PORT_IN_USE') return error;
  const device = await findVxlanDevice(port).catch(() => undefined);
  if (device === undefined) return error;
  const hint = `remove it (ip link del ${device}) or give another --port on every host`;
  const message = `UDP port ${port} is taken by the kernel's VXLAN device ${device}: ${hint}`;
  return new VtepError('VTEP_ERR_PORT_IN_USE', message, { cause: error });
}

async function findVxlanDevice(port: number): Promise<string | undefined> {
  const devices = await readIp(['-d', 'link', 'show', 'type', 'vxlan'], vxlanSchema);
  return devices.find((device) => device.linkinfo?.info_data?.port === port)?.ifname;
}

export function readInterfaces(): Promise<InterfaceFacts[]> {
  return readIp(['addr', 'show'], interfaceSchema);
}

async function readIp<T extends z.ZodType>(args: readonly string[], schema: T): Promise<z.output<T>[]> {
  const command = `ip -json ${args.join(' ')}`;
  try {
    const { stdout } = await execa('ip', ['-json', ...args]);
    const rows: unknown = JSON.parse(stdout === '' ? '[]' : stdout);
    // Some versions print {} in place of a row that a filter left out.
    const kept = z
      .array(z.record(z.string(), z.unknown()))
      .parse(rows)
      .filter((row) => Object.keys(row).length > 0);
    return z.array(schema).parse(kept);
  } catch (cause) {
    const reason = (cause as { shortMessage?: string }).shortMessage ?? 'its output is not what iproute2 prints';
    throw new VtepError('VTEP_ERR_KERNEL', `${command} failed: ${reason.replace(/\s+/g, ' ')}`, { cause });
  }
}
