/**
 * Headers that the reference's frame description has no room for: ARP, ICMP, neighbour discovery, IGMP, MLD, VXLAN inside a
 * frame, tag chains and extension headers of any length. Well formed; what lies about itself is made from these
 * (mutations.ts). Test support, slow and plain: used when a pool is made.
 */
import { checksumOf, join, onesSum, with8, with16, with32 } from '../dataplane/reference/octets.js';

export const ICMP = 1;
export const IGMP = 2;
export const ICMP6 = 58;
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const AUTHENTICATION = 51;
export const DESTINATION_OPTIONS = 60;

export const be16 = (value: number): Uint8Array => with16(new Uint8Array(2), 0, value);
export const be32 = (value: number): Uint8Array => with32(new Uint8Array(4), 0, value);
export const octets = (...values: number[]): Uint8Array => Uint8Array.from(values);

export function ethernet(to: Uint8Array, from: Uint8Array, type: number, ...payload: Uint8Array[]): Uint8Array {
  return join(to, from, be16(type), ...payload);
}

/** A chain of tags before the frame's type. */
export function tagged(frame: Uint8Array, types: readonly number[]): Uint8Array {
  const tags = types.map((type, i) => join(be16(type), be16(i + 7)));
  return join(frame.slice(0, 12), ...tags, frame.slice(12));
}

export interface Ipv4Options {
  readonly options?: Uint8Array;
  readonly fragment?: number;
  readonly destination?: number;
  readonly ttl?: number;
}

export function ipv4(protocol: number, payload: Uint8Array, more: Ipv4Options = {}): Uint8Array {
  const options = more.options ?? new Uint8Array(0);
  let header: Uint8Array = join(new Uint8Array(20), options);
  header = with8(header, 0, 0x45 + options.length / 4);
  header = with16(header, 2, header.length + payload.length);
  header = with16(with16(header, 4, 77), 6, more.fragment ?? 0);
  header = with8(with8(header, 8, more.ttl ?? 64), 9, protocol);
  header = with32(with32(header, 12, 0x0a00_0002), 16, more.destination ?? 0x0a00_0003);
  return join(with16(header, 10, checksumOf(header)), payload);
}

const IPV6_SOURCE = octets(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
const IPV6_DESTINATION = octets(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3);

/** @param extensions protocol number and whole header of each, in order; their next-header bytes are set here */
export function ipv6(
  protocol: number,
  payload: Uint8Array,
  extensions: readonly (readonly [number, Uint8Array])[] = [],
): Uint8Array {
  const chain = extensions.map(([, header], i) => with8(header, 0, extensions[i + 1]?.[0] ?? protocol));
  const rest = join(...chain, payload);
  const first = extensions[0]?.[0] ?? protocol;
  const header = join(be32(0x6000_0000), be16(rest.length), octets(first, 64), IPV6_SOURCE, IPV6_DESTINATION);
  return join(header, rest);
}

/** An extension header of `units` times 8 bytes beyond the first 8, filled by one PadN option. */
export function extension(units: number): Uint8Array {
  return with8(with8(join(octets(0, units, 1), new Uint8Array(5 + units * 8)), 3, 4 + units * 8), 1, units);
}

export const fragmentHeader = (field: number): Uint8Array => join(octets(0, 0), be16(field), be32(99));

/** Length in words of four, minus two (RFC 4302). */
export const authenticationHeader = (words: number): Uint8Array =>
  join(octets(0, words), new Uint8Array(6 + words * 4));

export function icmp4(type: number, code: number, rest: Uint8Array): Uint8Array {
  const message = join(octets(type, code, 0, 0), rest);
  return with16(message, 2, checksumOf(message));
}

export function icmp6(type: number, code: number, rest: Uint8Array): Uint8Array {
  const message = join(octets(type, code, 0, 0), rest);
  const pseudo = join(IPV6_SOURCE, IPV6_DESTINATION, be32(message.length), be32(ICMP6));
  return with16(message, 2, 0xffff - onesSum(join(be16(onesSum(pseudo)), message)));
}

/** A neighbour discovery option: its length is in units of 8 bytes, both bytes of the head included. */
export const ndOption = (type: number, body: Uint8Array): Uint8Array => join(octets(type, (body.length + 2) / 8), body);

export function arp(
  operation: number,
  from: Uint8Array,
  senderIp: number,
  to: Uint8Array,
  targetIp: number,
): Uint8Array {
  return join(be16(1), be16(0x0800), octets(6, 4), be16(operation), from, be32(senderIp), to, be32(targetIp));
}

/** IGMPv3 membership report, or the same shape as MLDv2 with 16-byte groups. */
export function groupRecords(groups: readonly Uint8Array[], sources: readonly Uint8Array[]): Uint8Array {
  const records = groups.map((group) => join(octets(4, 0), be16(sources.length), group, ...sources));
  return join(be16(0), be16(groups.length), ...records);
}

export const vxlan = (vni: number, frame: Uint8Array): Uint8Array => join(be32(0x0800_0000), be32(vni * 256), frame);

/** A UDP datagram without checksum, as VXLAN's often is. */
export function udp(sourcePort: number, destinationPort: number, payload: Uint8Array): Uint8Array {
  return join(be16(sourcePort), be16(destinationPort), be16(8 + payload.length), be16(0), payload);
}
