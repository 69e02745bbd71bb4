/**
 * A frame taken apart into its four pieces, and put together with every length and checksum made. Test support.
 *
 *     link                      network                              transport           payload
 *     MACs, VLAN tags, type     IPv4 with options, or IPv6 with      TCP with options,   the rest, up to
 *                               its extension headers                or UDP              the frame's end
 *
 * What takes apart believes the frame's end, not the length fields: in a superframe those need not say the truth.
 */
import { areEqual, checksumOf, get16, join, onesSum, with16 } from './octets.js';

export const TCP = 6;
export const UDP = 17;

export interface Packet {
  readonly link: Uint8Array;
  readonly network: Uint8Array;
  readonly transport: Uint8Array;
  readonly payload: Uint8Array;
  readonly family: 4 | 6;
  readonly protocol: typeof TCP | typeof UDP;
}

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HIP = 139;
const SHIM6 = 140;
const EXTENSIONS = [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6];

/** @returns undefined for a frame that is not a whole, unfragmented TCP or UDP packet over IP with at most two VLAN tags. */
export function takeApart(frame: Uint8Array): Packet | undefined {
  if (frame.length < 14) return undefined;
  let linkBytes = 14;
  for (let tags = 0; tags < 2; tags++) {
    const type = get16(frame, linkBytes - 2);
    if (type !== 0x8100 && type !== 0x88a8) break;
    linkBytes += 4;
    if (linkBytes > frame.length) return undefined;
  }
  const type = get16(frame, linkBytes - 2);
  const rest = frame.slice(linkBytes);
  const network = type === 0x0800 ? networkOfIpv4(rest) : type === 0x86dd ? networkOfIpv6(rest) : undefined;
  if (network === undefined) return undefined;
  const upper = rest.slice(network.bytes);
  const transportBytes = transportHeaderBytes(network.protocol, upper);
  if (transportBytes === undefined) return undefined;
  return {
    link: frame.slice(0, linkBytes),
    network: rest.slice(0, network.bytes),
    transport: upper.slice(0, transportBytes),
    payload: upper.slice(transportBytes),
    family: type === 0x0800 ? 4 : 6,
    protocol: network.protocol as typeof TCP | typeof UDP,
  };
}

function networkOfIpv4(rest: Uint8Array): { bytes: number; protocol: number } | undefined {
  if (rest.length < 20 || (rest[0] as number) >> 4 !== 4) return undefined;
  const bytes = ((rest[0] as number) % 16) * 4;
  const isFragment = get16(rest, 6) % 0x4000 !== 0;
  if (bytes < 20 || bytes > rest.length || isFragment) return undefined;
  return { bytes, protocol: rest[9] as number };
}

function networkOfIpv6(rest: Uint8Array): { bytes: number; protocol: number } | undefined {
  if (rest.length < 40 || (rest[0] as number) >> 4 !== 6) return undefined;
  let bytes = 40;
  let protocol = rest[6] as number;
  while (EXTENSIONS.includes(protocol)) {
    if (bytes + 8 > rest.length) return undefined;
    // An atomic fragment (RFC 6946) is the whole packet.
    if (protocol === FRAGMENT && get16(rest, bytes + 2) & 0xfff9) return undefined;
    const lengthField = rest[bytes + 1] as number;
    const length =
      protocol === FRAGMENT ? 8 : protocol === AUTHENTICATION ? (lengthField + 2) * 4 : (lengthField + 1) * 8;
    protocol = rest[bytes] as number;
    bytes += length;
    if (bytes > rest.length) return undefined;
  }
  return { bytes, protocol };
}

function transportHeaderBytes(protocol: number, upper: Uint8Array): number | undefined {
  if (protocol === UDP) return upper.length < 8 ? undefined : 8;
  if (protocol !== TCP || upper.length < 20) return undefined;
  const bytes = ((upper[12] as number) >> 4) * 4;
  return bytes < 20 || bytes > upper.length ? undefined : bytes;
}

/** Where the upper layer has its checksum: csum_offset. */
export function checksumOffset(protocol: number): number {
  return protocol === TCP ? 16 : 6;
}

/** The frame's bytes as the pieces have them: nothing is recomputed. */
export function bytesOf(packet: Packet): Uint8Array {
  return join(packet.link, packet.network, packet.transport, packet.payload);
}

/** Source, destination, protocol and length (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export function pseudoHeader(packet: Packet): Uint8Array {
  const addresses = packet.family === 4 ? packet.network.slice(12, 20) : packet.network.slice(8, 40);
  const upperBytes = packet.transport.length + packet.payload.length;
  const tail = [0, 0, upperBytes >> 8, upperBytes % 256, 0, packet.protocol];
  return join(addresses, Uint8Array.from(tail));
}

/** The packet with lengths that fit its payload, and the IPv4 header's checksum made. */
export function withLengths(packet: Packet): Packet {
  const upperBytes = packet.transport.length + packet.payload.length;
  const ipBytes = packet.network.length + upperBytes;
  let network = packet.network;
  if (packet.family === 4) {
    network = with16(with16(network, 2, ipBytes), 10, 0);
    network = with16(network, 10, checksumOf(network));
  } else {
    network = with16(network, 4, ipBytes - 40);
  }
  const transport = packet.protocol === UDP ? with16(packet.transport, 4, upperBytes) : packet.transport;
  return { ...packet, network, transport };
}

/** The packet with its TCP or UDP checksum made. A UDP checksum of 0 would say "none", so it is sent as 0xffff. */
export function withChecksum(packet: Packet): Packet {
  const at = checksumOffset(packet.protocol);
  const blank = with16(packet.transport, at, 0);
  const checksum = checksumOf(join(pseudoHeader(packet), blank, packet.payload));
  const stored = checksum === 0 && packet.protocol === UDP ? 0xffff : checksum;
  return { ...packet, transport: with16(blank, at, stored) };
}

/** The packet with the pseudo-header's sum in the checksum field: what NEEDS_CSUM promises. */
export function withPseudoSum(packet: Packet): Packet {
  const sum = onesSum(pseudoHeader(packet));
  return { ...packet, transport: with16(packet.transport, checksumOffset(packet.protocol), sum) };
}

/** Whether IPv4 header and TCP or UDP checksum are right; a UDP checksum of 0 ("none made") is not. */
export function isSound(packet: Packet): boolean {
  if (packet.family === 4 && onesSum(packet.network) !== 0xffff) return false;
  if (packet.protocol === UDP && get16(packet.transport, 6) === 0) return false;
  return onesSum(join(pseudoHeader(packet), packet.transport, packet.payload)) === 0xffff;
}

/** Whether each length field says what the frame's end says: no padding, nothing cut off. */
export function areLengthsTrue(packet: Packet): boolean {
  const upperBytes = packet.transport.length + packet.payload.length;
  const ipBytes = packet.network.length + upperBytes;
  const ipField = packet.family === 4 ? get16(packet.network, 2) : get16(packet.network, 4) + 40;
  return ipField === ipBytes && (packet.protocol === TCP || get16(packet.transport, 4) === upperBytes);
}

/** Whether two headers agree in all bytes but those at the given places. */
export function agreeBut(a: Uint8Array, b: Uint8Array, ...but: [offset: number, bytes: number][]): boolean {
  const blank = (bytes: Uint8Array) => {
    const copy = Uint8Array.from(bytes);
    for (const [offset, length] of but) copy.fill(0, offset, offset + length);
    return copy;
  };
  return areEqual(blank(a), blank(b));
}
