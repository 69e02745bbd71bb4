/**
 * Segmentation, slow and obvious: what must go on the wire for a message that a TAP gave. Test support: the data plane's
 * own, fast way is compared with it.
 *
 * Choices where the kernel's own messages leave none, so that both ways can be held to the same:
 * - hdr_len is never looked at;
 * - a superframe's payload goes up to the frame's end, whatever its IP and UDP length fields say;
 * - gso size >= payload makes one segment, its header finished like any other's;
 * - the ECN bit changes nothing: CWR stays on the first segment only, with it and without it;
 * - the checksum field is believed to hold the pseudo-header's sum, as the kernel believes it: behind a routing header that
 *   is one over an address that the IPv6 header does not have;
 * - a superframe without NEEDS_CSUM is refused, as is one whose csum_start is not the TCP or UDP header's place.
 */
import { areEqual, checksumOf, get16, get32, join, onesSum, with8, with16, with32 } from './octets.js';
import {
  areLengthsTrue,
  bytesOf,
  checksumOffset,
  type Packet,
  TCP,
  takeApart,
  UDP,
  withLengths,
  withPseudoSum,
} from './packet.js';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  NEEDS_CSUM,
  readVirtioHeader,
  VIRTIO_BYTES,
  type VirtioHeader,
} from './virtio-header.js';

/** With 8 bytes of VXLAN the largest UDP payload over IPv4, 65,507. */
const FRAME_BYTES_MAX = 65_499;
/** Of TCP with the smallest segments that any kernel sends, 8 bytes: more are an attack. */
const SEGMENTS_MAX = 8192;
const FIN = 0x01;
const PSH = 0x08;
const CWR = 0x80;

/**
 * @param message virtio_net_hdr (10 bytes) and Ethernet frame, as read from a TAP
 * @returns the finished frames, in the order in which they go on the wire
 * @throws Error if the virtio header does not fit the frame
 */
export function segmentReference(message: Uint8Array): Uint8Array[] {
  if (message.length < VIRTIO_BYTES + 14) throw new Error('shorter than a virtio and an Ethernet header');
  const header = readVirtioHeader(message);
  const frame = message.slice(VIRTIO_BYTES);
  const needsChecksum = header.flags % 2 === NEEDS_CSUM;
  if (needsChecksum && header.csumStart + header.csumOffset + 2 > frame.length) {
    throw new Error('the checksum field is not in the frame');
  }
  if (header.gsoType === GSO_NONE && header.ecn) throw new Error('the ECN bit of a packet that is not segmented');
  if (header.gsoType === GSO_NONE) return [needsChecksum ? completed(frame, header) : frame];

  if (![GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4].includes(header.gsoType)) throw new Error('unknown gso type');
  if (header.gsoSize === 0) throw new Error('gso size 0');
  if (!needsChecksum) throw new Error('a superframe without NEEDS_CSUM');
  const packet = takeApart(frame);
  if (packet === undefined) throw new Error('a superframe that is no TCP or UDP packet');
  if (!isOfType(packet, header.gsoType)) throw new Error('the gso type is not that of the packet');
  if (header.csumStart !== packet.link.length + packet.network.length) throw new Error('csum_start is elsewhere');
  if (header.csumOffset !== checksumOffset(packet.protocol)) throw new Error('csum_offset is elsewhere');
  const headerBytes = header.csumStart + packet.transport.length;
  if (headerBytes + header.gsoSize > FRAME_BYTES_MAX) throw new Error('segments too long for a datagram');
  if (packet.payload.length === 0) throw new Error('a superframe of headers only');
  if (Math.ceil(packet.payload.length / header.gsoSize) > SEGMENTS_MAX) throw new Error('too many segments');
  return cut(packet.payload, header.gsoSize).map((payload, i, all) =>
    bytesOf(segment(packet, payload, i, i * header.gsoSize, i === all.length - 1)),
  );
}

function completed(frame: Uint8Array, { csumStart, csumOffset }: VirtioHeader): Uint8Array {
  const checksum = checksumOf(frame.slice(csumStart));
  return with16(frame, csumStart + csumOffset, checksum === 0 && csumOffset === 6 ? 0xffff : checksum);
}

function isOfType(packet: Packet, gsoType: number): boolean {
  if (gsoType === GSO_UDP_L4) return packet.protocol === UDP;
  return packet.protocol === TCP && packet.family === (gsoType === GSO_TCPV4 ? 4 : 6);
}

function cut(payload: Uint8Array, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let from = 0; from === 0 || from < payload.length; from += size) pieces.push(payload.slice(from, from + size));
  return pieces;
}

function segment(whole: Packet, payload: Uint8Array, index: number, before: number, isLast: boolean): Packet {
  let { network, transport } = whole;
  if (whole.family === 4) network = with16(network, 4, get16(network, 4) + index);
  if (whole.protocol === TCP) {
    let flags = transport[13] as number;
    if (!isLast) flags = without(without(flags, FIN), PSH);
    if (index > 0) flags = without(flags, CWR);
    transport = with8(with32(transport, 4, get32(transport, 4) + before), 13, flags);
  }
  return finished(withLengths({ ...whole, network, transport, payload }), pseudoSumOf(whole, payload));
}

/** The sum in the superframe's checksum field, for a payload of another length. */
function pseudoSumOf(whole: Packet, payload: Uint8Array): number {
  const stored = get16(whole.transport, checksumOffset(whole.protocol));
  const before = whole.transport.length + whole.payload.length;
  const length = whole.transport.length + payload.length;
  return onesSum(with16(with16(with16(new Uint8Array(6), 0, stored), 2, 0xffff - before), 4, length));
}

function finished(packet: Packet, pseudoSum: number): Packet {
  const at = checksumOffset(packet.protocol);
  const summed = with16(packet.transport, at, pseudoSum);
  const checksum = checksumOf(join(summed, packet.payload));
  return { ...packet, transport: with16(summed, at, checksum === 0 && packet.protocol === UDP ? 0xffff : checksum) };
}

function without(flags: number, flag: number): number {
  return flags & ~flag;
}

/**
 * What this host's kernel makes of a message that is written to a TAP: the frames as the sender had them, if the message
 * was made rightly. Stricter than segmentReference, since here every field is of our own making.
 *
 * @throws Error if the kernel would refuse the message, or would deliver something else than what came in
 */
export function expandReference(tapMessage: Uint8Array): Uint8Array[] {
  const frames = segmentReference(tapMessage);
  const header = readVirtioHeader(tapMessage);
  const frame = tapMessage.slice(VIRTIO_BYTES);
  if (header.hdrLen > frame.length) throw new Error('hdr_len is beyond the frame');
  if (header.gsoType === GSO_NONE && header.ecn) throw new Error('the ECN bit of a packet that is not segmented');
  if (header.gsoType === GSO_NONE) return frames;
  const packet = takeApart(frame) as Packet;
  if (!areLengthsTrue(packet)) throw new Error('a length field of the superframe is wrong');
  if (packet.network.length + packet.transport.length + packet.payload.length > 0xffff) {
    throw new Error('the superframe is longer than an IP packet may be');
  }
  if (!areEqual(bytesOf(withLengths(packet)), frame)) throw new Error('the IPv4 header checksum is wrong');
  if (!areEqual(bytesOf(withPseudoSum(packet)), frame)) {
    throw new Error("the checksum field does not hold the pseudo-header's sum");
  }
  if (frames.length < 2) throw new Error('a superframe of a single segment');
  return frames;
}
