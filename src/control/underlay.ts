/**
 * The underlay as this host has it: which interface and address the tunnels use, and who else holds the port.
 *
 * Place: control plane, at start-up; underlay-monitor.ts asks later. Facts come from `ip -json`.
 */
import { execa } from 'execa';
import { z } from 'zod';
import { VtepError } from './errors.js';

export interface Underlay {
  readonly interface: string;
  /** IPv4. */
  readonly ip: string;
  readonly mtuBytes: number;
}

const interfaceSchema = z.object({
  ifname: z.string(),
  altnames: z.array(z.string()).optional(),
  mtu: z.number(),
  flags: z.array(z.string()).optional(),
  addr_info: z
    .array(z.object({ family: z.string().optional(), local: z.string().optional(), scope: z.string().optional() }))
    .default([]),
});
export type InterfaceFacts = z.infer<typeof interfaceSchema>;

const vxlanSchema = z.object({
  ifname: z.string(),
  linkinfo: z.object({ info_data: z.object({ port: z.number().optional() }).optional() }).optional(),
});

/** @throws VtepError VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL */
export async function findUnderlay(wanted: { underlay?: string; advertise?: string }): Promise<Underlay> {
  return chooseUnderlay(await readInterfaces(), wanted);
}

/**
 * The first global IPv4 address of the interface, or the interface that holds the address; with both given, the address
 * must be the interface's.
 *
 * @throws VtepError VTEP_ERR_UNDERLAY
 */
export function chooseUnderlay(
  interfaces: readonly InterfaceFacts[],
  wanted: { underlay?: string; advertise?: string },
): Underlay {
  const { underlay, advertise } = wanted;
  let candidates = interfaces;
  if (underlay !== undefined) {
    candidates = interfaces.filter((i) => i.ifname === underlay || i.altnames?.includes(underlay));
    if (candidates.length === 0) {
      const names = interfaces.map((i) => i.ifname).join(', ');
      throw new VtepError('VTEP_ERR_UNDERLAY', `underlay "${underlay}": no such interface; this host has ${names}`);
    }
  }
  for (const facts of candidates) {
    for (const { family, local, scope } of facts.addr_info) {
      if (family !== 'inet' || local === undefined) continue;
      if (advertise === undefined ? scope === 'global' : local === advertise) {
        return { interface: facts.ifname, ip: local, mtuBytes: facts.mtu };
      }
    }
  }
  if (advertise === undefined) {
    const hint = `give it one (ip addr add 10.30.10.111/24 dev ${underlay}) or choose another interface`;
    throw new VtepError('VTEP_ERR_UNDERLAY', `underlay "${underlay}": has no global IPv4 address; ${hint}`);
  }
  const of = underlay === undefined ? 'this host' : `interface "${underlay}"`;
  const held = candidates
    .flatMap((i) => i.addr_info.filter((a) => a.family === 'inet').map((a) => `${a.local} (${i.ifname})`))
    .join(', ');
  throw new VtepError(
    'VTEP_ERR_UNDERLAY',
    `advertise "${advertise}": ${of} does not hold it; it has ${held || 'none'}`,
  );
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
