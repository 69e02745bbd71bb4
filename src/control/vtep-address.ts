/**
 * The addresses of VTEPs, and by which of them two hosts speak. Pure.
 *
 * A host has an underlay address of one family or of both; the first is its primary one, and IPv4 is first where it has
 * both. Two hosts speak IPv4 if both have it, else IPv6 if both have that, else not at all: each side finds the same.
 */
import { formatIp, type IpFamily, parseIp } from '../wire/ip-address.js';

/** A host's addresses as the registry has them. */
export interface VtepIps {
  readonly ip: string;
  /** Of the other family. */
  readonly otherIp?: string | undefined;
}

/** Where to send, and the address of the other family from which datagrams are the VTEP's as well. */
export interface VtepAddress {
  readonly address: string;
  readonly port: number;
  readonly otherAddress?: string | undefined;
}

export function familyOf(ip: string): IpFamily {
  return ip.includes(':') ? 6 : 4;
}

export function familyName(family: IpFamily): 'IPv4' | 'IPv6' {
  return family === 4 ? 'IPv4' : 'IPv6';
}

/** All of a host's, the primary one first. */
export function allIps({ ip, otherIp }: VtepIps): string[] {
  return otherIp === undefined || familyOf(otherIp) === familyOf(ip) ? [ip] : [ip, otherIp];
}

export function familiesOf(ips: VtepIps): IpFamily[] {
  return allIps(ips).map(familyOf);
}

/**
 * @param own the families that this host has
 * @returns where this host sends to the other one; undefined: they have no family in common
 */
export function addressFor(own: readonly IpFamily[], other: VtepIps & { port: number }): VtepAddress | undefined {
  const { port } = other;
  const ips = allIps(other);
  const common = ips.filter((ip) => own.includes(familyOf(ip)));
  const address = common.find((ip) => familyOf(ip) === 4) ?? common[0];
  if (address === undefined) return undefined;
  const otherAddress = ips.find((ip) => ip !== address);
  return otherAddress === undefined ? { address, port } : { address, port, otherAddress };
}

/** `192.0.2.1:4789`, `[2001:db8::1]:4789`. */
export function endText(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** One text for each address (RFC 5952). @throws Error for what is no IP address */
export function canonicalIp(text: string): string {
  return formatIp(parseIp(text));
}

/** @returns why the address can't be a VTEP's; undefined: it can */
export function whyNoVtep(ip: string): string | undefined {
  const bytes = bytesOf(ip);
  if (bytes === undefined) return 'must be an IPv4 or IPv6 address, such as 192.0.2.7 or 2001:db8::7';
  const [first = 0, second = 0] = bytes;
  if (bytes.length === 4) return first >= 1 && first <= 223 ? undefined : UNICAST_RULE;
  if (first === 0xfe && (second & 0xc0) === 0x80) {
    return 'must not be link-local (fe80::/10): such an address says nothing without its interface';
  }
  // ::, ::1 is a host's own as 127.0.0.1 is; the rest of ::/8 holds mapped and compatible IPv4 addresses.
  const isLoopback = bytes.every((byte, i) => byte === (i === 15 ? 1 : 0));
  return first === 0xff || (first === 0 && !isLoopback) ? UNICAST_RULE : undefined;
}

const UNICAST_RULE = 'must be the unicast address of one VTEP';

function bytesOf(ip: string): Uint8Array | undefined {
  try {
    return parseIp(ip);
  } catch {
    return undefined;
  }
}
