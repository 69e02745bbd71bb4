/**
 * Frames of the table's cases: inner ones with a mark that finds them again, and whole datagrams of the underlay with
 * any header that no kernel would send. Test support.
 */
import { parseIp } from '../../src/wire/ip-address.js';
import { BASE_SPEC, emitFrame, type FrameSpec, payloadOf } from '../dataplane/reference/frame-spec.js';
import { checksumOf, hex, join, onesSum, with16, with32 } from '../dataplane/reference/octets.js';
import { UDP } from '../dataplane/reference/packet.js';

export const mac = (text: string): Uint8Array => hex(text.replaceAll(':', ''));
const ip = (text: string): Uint8Array => Uint8Array.from(parseIp(text));
const u16 = (value: number): Uint8Array => with16(new Uint8Array(2), 0, value);

export interface Ends {
  readonly from: string;
  readonly to: string;
}

/** A frame of any EtherType. */
export function ether({ from, to }: Ends, type: number, ...payload: Uint8Array[]): Uint8Array {
  return join(mac(to), mac(from), u16(type), ...payload);
}

/** The mark, and bytes behind it up to `bytes`. */
export function filled(mark: Uint8Array, bytes: number): Uint8Array {
  return join(mark, payloadOf(Math.max(0, bytes - mark.length), bytes)).subarray(0, Math.max(bytes, mark.length));
}

/** An IP packet with the mark in its payload, from nobody's address, so that no kernel answers it. */
export function packet({ from, to }: Ends, mark: Uint8Array, spec: Partial<FrameSpec> & { bytes?: number } = {}) {
  const { bytes = 64, ...rest } = spec;
  const whole: FrameSpec = {
    ...BASE_SPEC,
    protocol: UDP,
    source: 77,
    destination: 78,
    payload: filled(mark, bytes),
    ...rest,
  };
  const frame = emitFrame(whole);
  frame.set(mac(to), 0);
  frame.set(mac(from), 6);
  return frame;
}

/** A frame whose packet (behind its 14 bytes and its tags) has `bytes`. */
export function sized(ends: Ends, mark: Uint8Array, family: 4 | 6, bytes: number, spec: Partial<FrameSpec> = {}) {
  return packet(ends, mark, { ...spec, family, bytes: bytes - (family === 4 ? 28 : 48) });
}

/** A VXLAN header as it should be, unless told otherwise. */
export function vxlan(vni: number, { flags = 0x0800_0000, last = 0 } = {}): Uint8Array {
  return with32(with32(new Uint8Array(8), 0, flags), 4, vni * 256 + last);
}

export interface Underlay {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly ttl?: number;
  readonly tos?: number;
  readonly df?: boolean;
  readonly checksum?: 'good' | 'zero' | 'bad';
  readonly id?: number;
  /** Of each fragment, a multiple of 8 bytes. Without: one datagram. */
  readonly fragmentBytes?: number;
  /** Over IPv6 a header of destination options, whole. */
  readonly ipOptions?: Uint8Array;
  readonly flowLabel?: number;
}

/** The datagram's frames on the underlay: one, or its fragments in order. */
export function underlay(options: Underlay, payload: Uint8Array): Uint8Array[] {
  return options.source.includes(':') ? underlay6(options, payload) : underlay4(options, payload);
}

function underlay4(options: Underlay, payload: Uint8Array): Uint8Array[] {
  const { sourceMac, destinationMac, ttl = 64, tos = 0, df = false, id = 7, fragmentBytes } = options;
  const datagram = udp(options, payload);
  const optionBytes = options.ipOptions ?? new Uint8Array(0);
  const step = fragmentBytes ?? Math.max(datagram.length, 1);
  const frames: Uint8Array[] = [];
  for (let at = 0; at < datagram.length; at += step) {
    const piece = datagram.subarray(at, at + step);
    const isLast = at + step >= datagram.length;
    const field = (df ? 0x4000 : 0) + (isLast ? 0 : 0x2000) + at / 8;
    const start = Uint8Array.of(0x45 + optionBytes.length / 4, tos);
    const length = u16(20 + optionBytes.length + piece.length);
    const middle = join(u16(id), u16(field), Uint8Array.of(ttl, 17), u16(0));
    const header = join(start, length, middle, ip(options.source), ip(options.destination), optionBytes);
    const ends = { from: sourceMac, to: destinationMac };
    frames.push(ether(ends, 0x0800, with16(header, 10, checksumOf(header)), piece));
  }
  return frames;
}

function underlay6(options: Underlay, payload: Uint8Array): Uint8Array[] {
  const { sourceMac, destinationMac, ttl = 64, tos = 0, id = 7, flowLabel = 0, fragmentBytes } = options;
  const datagram = udp(options, payload);
  const destinationOptions = options.ipOptions ?? new Uint8Array(0);
  const step = fragmentBytes ?? datagram.length;
  const frames: Uint8Array[] = [];
  for (let at = 0; at < datagram.length; at += step) {
    const piece = datagram.subarray(at, at + step);
    const isLast = at + step >= datagram.length;
    const offsetField = u16(at + (isLast ? 0 : 1));
    // RFC 8200 section 4.5: the fragment header; next header, reserved, offset and flag, identification.
    const fragment = fragmentBytes === undefined ? [] : [Uint8Array.of(17, 0), offsetField, u16(0), u16(id)];
    const body = join(destinationOptions, ...fragment, piece);
    const next = destinationOptions.length > 0 ? 60 : fragment.length > 0 ? 44 : 17;
    const start = with32(new Uint8Array(4), 0, 0x6000_0000 + tos * 0x10_0000 + flowLabel);
    const header = join(start, u16(body.length), Uint8Array.of(next, ttl), ip(options.source), ip(options.destination));
    frames.push(ether({ from: sourceMac, to: destinationMac }, 0x86dd, header, body));
  }
  return frames;
}

function udp(options: Underlay, payload: Uint8Array): Uint8Array {
  const { source, destination, sourcePort = 50_000, destinationPort = 4789, checksum = 'good' } = options;
  const length = 8 + payload.length;
  const datagram = join(u16(sourcePort), u16(destinationPort), u16(length), u16(0), payload);
  if (checksum === 'zero') return datagram;
  // The words of the sum are the same in both families' pseudo-headers.
  const pseudo = join(ip(source), ip(destination), u16(17), u16(length));
  const right = 0xffff - onesSum(join(pseudo, datagram));
  return with16(datagram, 6, (right === 0 ? 0xffff : right) ^ (checksum === 'bad' ? 0x10 : 0));
}
