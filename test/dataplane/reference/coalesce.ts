/**
 * Coalescing, slow and obvious: which frames from the underlay may become one message to the TAP. Test support: the data
 * plane's own, fast way is compared with it.
 *
 * One aggregate is open at a time. A frame joins it or closes it: order is never changed, also not between flows. What
 * may join must come out of the kernel's segmentation again byte for byte but for ids that mean nothing, hence:
 * - IPv4 ids go up by exactly 1 (modulo 65,536), for TCP and for UDP: the kernel numbers the segments so. With DF an id
 *   may also be that of the packet before: it then says nothing (RFC 6864 section 4.1), and the kernel renumbers it;
 * - header bytes that the kernel copies to each segment are equal: MACs, TOS or class and flow label, TTL, DF, addresses,
 *   ports, acknowledgement, window, urgent pointer, TCP options.
 *
 * A checksum of 0xffff where the rule gives 0 is sound too (both are zeros of one's complement); such a frame may be
 * merged and comes out with the other zero.
 */
import { get16, get32, join, with8, with16 } from './octets.js';
import {
  agreeBut,
  areLengthsTrue,
  bytesOf,
  checksumOffset,
  isSound,
  type Packet,
  TCP,
  takeApart,
  withLengths,
  withPseudoSum,
} from './packet.js';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, PLAIN, tapMessageOf } from './virtio-header.js';

export const SEGMENTS_MAX = 64;
/** IP header included, for both families. */
export const IP_BYTES_MAX = 65_535;

const PSH = 0x08;
const ACK = 0x10;

/** The frames of one message to the TAP, in arrival order, unchanged. */
export type Group = Uint8Array[];

/** @returns every frame in arrival order, in groups: a group of several is merged, a group of one passes as it came */
export function coalesceReference(frames: readonly Uint8Array[]): Group[] {
  const groups: { frames: Group; packets: (Packet | undefined)[] }[] = [];
  for (const frame of frames) {
    const packet = candidateOf(frame);
    const open = groups.at(-1);
    if (open !== undefined && mayJoin(open.packets, packet)) {
      open.frames.push(frame);
      open.packets.push(packet);
    } else {
      groups.push({ frames: [frame], packets: [packet] });
    }
  }
  return groups.map((group) => group.frames);
}

/**
 * The one message that a group becomes. hdr_len is that of all headers.
 *
 * @param group of coalesceReference
 */
export function mergeReference(group: Group): Uint8Array {
  const packets = group.map((frame) => takeApart(frame) as Packet);
  const first = packets[0] as Packet;
  const last = packets.at(-1) as Packet;
  if (group.length === 1) return tapMessageOf(PLAIN, group[0] as Uint8Array);
  const payload = join(...packets.map((packet) => packet.payload));
  const isTcp = first.protocol === TCP;
  const transport = isTcp ? with8(first.transport, 13, last.transport[13] as number) : first.transport;
  const merged = withPseudoSum(withLengths({ ...first, transport, payload }));
  const csumStart = first.link.length + first.network.length;
  return tapMessageOf(
    {
      flags: NEEDS_CSUM,
      gsoType: isTcp ? (first.family === 4 ? GSO_TCPV4 : GSO_TCPV6) : GSO_UDP_L4,
      ecn: false,
      hdrLen: csumStart + first.transport.length,
      gsoSize: first.payload.length,
      csumStart,
      csumOffset: checksumOffset(first.protocol),
    },
    bytesOf(merged),
  );
}

/** @returns what comes out of the merged group again: the frames that came in, those with DF numbered one after the other */
export function renumberedReference(group: Group): Group {
  if (group.length === 1) return group;
  const packets = group.map((frame) => takeApart(frame) as Packet);
  const first = packets[0] as Packet;
  if (first.family !== 4 || !hasDontFragment(first)) return group;
  return packets.map((packet, i) => {
    const network = with16(packet.network, 4, idOf(first) + i);
    return idOf({ ...packet, network }) === idOf(packet)
      ? (group[i] as Uint8Array)
      : bytesOf(withLengths({ ...packet, network }));
  });
}

const idOf = (packet: Packet): number => get16(packet.network, 4);

const hasDontFragment = (packet: Packet): boolean => get16(packet.network, 6) >= 0x4000;

/** @returns the frame taken apart, or undefined if it may not be merged with any other */
function candidateOf(frame: Uint8Array): Packet | undefined {
  const packet = takeApart(frame);
  if (packet === undefined) return undefined;
  const isUntagged = packet.link.length === 14;
  const isBareHeader = packet.network.length === (packet.family === 4 ? 20 : 40);
  if (!isUntagged || !isBareHeader) return undefined;
  // The reserved bit of IPv4: nobody's segmentation is bound to keep it.
  if (packet.family === 4 && (packet.network[6] as number) >= 0x80) return undefined;
  if (!areLengthsTrue(packet) || !isSound(packet) || packet.payload.length === 0) return undefined;
  if (packet.protocol !== TCP) return packet;
  const reservedBits = (packet.transport[12] as number) % 16;
  return reservedBits === 0 && [ACK, ACK + PSH].includes(packet.transport[13] as number) ? packet : undefined;
}

function mayJoin(open: readonly (Packet | undefined)[], next: Packet | undefined): boolean {
  const first = open[0];
  const last = open.at(-1);
  if (first === undefined || last === undefined || next === undefined) return false;
  return (
    areOneFlow(first, next) &&
    follows(last, next) &&
    last.payload.length === first.payload.length &&
    next.payload.length <= first.payload.length &&
    open.length < SEGMENTS_MAX &&
    // All before have the first one's size.
    first.network.length + first.transport.length + open.length * first.payload.length + next.payload.length <=
      IP_BYTES_MAX
  );
}

/** All that the kernel copies from the superframe's header to every segment's. */
function areOneFlow(first: Packet, next: Packet): boolean {
  if (first.family !== next.family || first.protocol !== next.protocol) return false;
  // IPv4: total length, id, header checksum. IPv6: payload length.
  const network: [number, number][] =
    first.family === 4
      ? [
          [2, 4],
          [10, 2],
        ]
      : [[4, 2]];
  // TCP: sequence, flags, checksum. UDP: length, checksum.
  const transport: [number, number][] =
    first.protocol === TCP
      ? [
          [4, 4],
          [13, 1],
          [16, 2],
        ]
      : [[4, 4]];
  return (
    agreeBut(first.link, next.link) &&
    agreeBut(first.network, next.network, ...network) &&
    agreeBut(first.transport, next.transport, ...transport)
  );
}

function follows(last: Packet, next: Packet): boolean {
  if (last.family === 4) {
    const isNext = idOf(next) === (idOf(last) + 1) % 0x1_0000;
    if (!isNext && !(hasDontFragment(next) && idOf(next) === idOf(last))) return false;
  }
  if (last.protocol !== TCP) return true;
  const hasPush = (last.transport[13] as number) === ACK + PSH;
  const sequenceAfter = (get32(last.transport, 4) + last.payload.length) % 0x1_0000_0000;
  return !hasPush && get32(next.transport, 4) === sequenceAfter;
}
