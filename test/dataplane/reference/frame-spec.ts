/**
 * Frames from a description, with room for each fault that the data plane must not mend or merge. Test support.
 *
 * A description without faults gives a finished frame: lengths and checksums made.
 */
import { get16, join, with8, with16, with32 } from './octets.js';
import { bytesOf, checksumOffset, type Packet, TCP, UDP, withChecksum, withLengths, withPseudoSum } from './packet.js';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, tapMessageOf, type VirtioHeader } from './virtio-header.js';

export interface FrameSpec {
  readonly family: 4 | 6;
  readonly protocol: typeof TCP | typeof UDP;
  readonly sourceMac: number;
  readonly destinationMac: number;
  /** 0, 1 or 2 VLAN tags, the outer one first. */
  readonly vlanIds: readonly number[];
  /** The last byte of each address. */
  readonly source: number;
  readonly destination: number;
  readonly hopLimit: number;
  /** TOS, or traffic class. */
  readonly tos: number;
  readonly flowLabel: number;
  readonly id: number;
  /** IPv4's 16 bits of flags and fragment offset. */
  readonly fragmentField: number;
  /** A multiple of 4 bytes, at most 40. */
  readonly ipOptions: Uint8Array;
  /** How many bytes of destination options stand between IPv6 and the upper layer: 0, 8, 16 ... */
  readonly extensionBytes: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  /** The four bits between TCP's data offset and its flags. */
  readonly reservedBits: number;
  readonly window: number;
  readonly urgent: number;
  /** A multiple of 4 bytes, at most 40. */
  readonly tcpOptions: Uint8Array;
  readonly payload: Uint8Array;
  readonly fault: Fault;
}

/** What is wrong with the finished frame, or special about it. */
export type Fault =
  | 'none'
  /** One bit of the TCP or UDP checksum is flipped. */
  | 'bad checksum'
  /** IPv4 only: one bit of the header checksum is flipped. */
  | 'bad header checksum'
  /** UDP: checksum 0. TCP: as `bad checksum`. */
  | 'no checksum'
  /** Some bytes behind the packet, as an Ethernet of 60 bytes would have them. */
  | 'padding'
  /** UDP: the length field is 1 too small, the checksum made for it as it is. TCP: the IP length is. */
  | 'false length'
  /** The last byte is missing. */
  | 'cut short';

export const BASE_SPEC: FrameSpec = {
  family: 4,
  protocol: TCP,
  sourceMac: 2,
  destinationMac: 3,
  vlanIds: [],
  source: 2,
  destination: 3,
  hopLimit: 64,
  tos: 0,
  flowLabel: 0,
  id: 1,
  fragmentField: 0x4000,
  ipOptions: new Uint8Array(0),
  extensionBytes: 0,
  sourcePort: 40_000,
  destinationPort: 5201,
  sequence: 1000,
  acknowledgement: 2000,
  flags: 0x10,
  reservedBits: 0,
  window: 512,
  urgent: 0,
  tcpOptions: new Uint8Array(0),
  payload: new Uint8Array(0),
  fault: 'none',
};

/** A payload that differs from place to place and from seed to seed. */
export function payloadOf(bytes: number, seed: number): Uint8Array {
  const payload = new Uint8Array(bytes);
  let state = (seed % 0x7fff_ffff) + 1;
  for (let i = 0; i < bytes; i++) {
    // Lehmer's generator, with Park and Miller's numbers.
    state = (state * 48_271) % 0x7fff_ffff;
    payload[i] = state >> 8;
  }
  return payload;
}

/** @returns the finished Ethernet frame, with the fault that its description asks for */
export function emitFrame(spec: FrameSpec): Uint8Array {
  const packet = withChecksum(withLengths(packetOf(spec)));
  const at = checksumOffset(packet.protocol);
  const flipped = (bytes: Uint8Array, offset: number) => with8(bytes, offset, (bytes[offset] as number) ^ 0x10);
  switch (spec.fault) {
    case 'none':
      return bytesOf(packet);
    case 'bad header checksum':
      return bytesOf(packet.family === 4 ? { ...packet, network: flipped(packet.network, 11) } : packet);
    case 'no checksum':
      if (packet.protocol === UDP) return bytesOf({ ...packet, transport: with16(packet.transport, at, 0) });
      return bytesOf({ ...packet, transport: flipped(packet.transport, at) });
    case 'bad checksum':
      return bytesOf({ ...packet, transport: flipped(packet.transport, at) });
    case 'padding':
      return join(bytesOf(packet), new Uint8Array(6));
    case 'false length':
      return bytesOf(falseLength(packet));
    case 'cut short':
      return bytesOf(packet).slice(0, -1);
  }
}

function falseLength(packet: Packet): Packet {
  if (packet.protocol === UDP) {
    return withChecksum({ ...packet, transport: with16(packet.transport, 4, get16(packet.transport, 4) - 1) });
  }
  const offset = packet.family === 4 ? 2 : 4;
  return { ...packet, network: with16(packet.network, offset, get16(packet.network, offset) - 1) };
}

/**
 * @returns the message that a TAP gives for a superframe: pseudo-header sum in the checksum field, NEEDS_CSUM
 * @param virtio what the header is to say otherwise, for messages that are wrong
 */
export function emitSuperframe(spec: FrameSpec, gsoSize: number, virtio: Partial<VirtioHeader> = {}): Uint8Array {
  const packet = withPseudoSum(withLengths(packetOf(spec)));
  const csumStart = packet.link.length + packet.network.length;
  const header: VirtioHeader = {
    flags: NEEDS_CSUM,
    gsoType: spec.protocol === UDP ? GSO_UDP_L4 : spec.family === 4 ? GSO_TCPV4 : GSO_TCPV6,
    ecn: false,
    hdrLen: csumStart + packet.transport.length,
    gsoSize,
    csumStart,
    csumOffset: checksumOffset(spec.protocol),
    ...virtio,
  };
  return tapMessageOf(header, bytesOf(packet));
}

function packetOf(spec: FrameSpec): Packet {
  const { family, protocol, payload } = spec;
  const network = family === 4 ? ipv4Header(spec) : ipv6Header(spec);
  return {
    link: linkHeader(spec),
    network,
    transport: protocol === TCP ? tcpHeader(spec) : udpHeader(spec),
    payload,
    family,
    protocol,
  };
}

function linkHeader({ sourceMac, destinationMac, vlanIds, family }: FrameSpec): Uint8Array {
  const mac = (low: number) => Uint8Array.of(2, 0, 0, 0, low >> 8, low);
  const tags = vlanIds.map((id, i) => {
    const protocol = vlanIds.length === 2 && i === 0 ? 0x88a8 : 0x8100;
    return with16(with16(new Uint8Array(4), 0, protocol), 2, id);
  });
  const type = with16(new Uint8Array(2), 0, family === 4 ? 0x0800 : 0x86dd);
  return join(mac(destinationMac), mac(sourceMac), ...tags, type);
}

function ipv4Header(spec: FrameSpec): Uint8Array {
  let header: Uint8Array = new Uint8Array(20);
  header = with8(header, 0, 0x45 + spec.ipOptions.length / 4);
  header = with8(header, 1, spec.tos);
  header = with16(header, 4, spec.id);
  header = with16(header, 6, spec.fragmentField);
  header = with8(header, 8, spec.hopLimit);
  header = with8(header, 9, spec.protocol);
  header = with32(header, 12, 0x0a00_0000 + spec.source);
  header = with32(header, 16, 0x0a00_0000 + spec.destination);
  return join(header, spec.ipOptions);
}

function ipv6Header(spec: FrameSpec): Uint8Array {
  let header: Uint8Array = new Uint8Array(40);
  header = with32(header, 0, 0x6000_0000 + spec.tos * 0x10_0000 + spec.flowLabel);
  header = with8(header, 6, spec.extensionBytes > 0 ? 60 : spec.protocol);
  header = with8(header, 7, spec.hopLimit);
  header = with8(with8(header, 8, 0xfd), 23, spec.source);
  header = with8(with8(header, 24, 0xfd), 39, spec.destination);
  if (spec.extensionBytes === 0) return header;
  // RFC 8200 section 4.2: one PadN option fills the header.
  const extension = new Uint8Array(spec.extensionBytes);
  extension.set([spec.protocol, spec.extensionBytes / 8 - 1, 1, spec.extensionBytes - 4]);
  return join(header, extension);
}

function tcpHeader(spec: FrameSpec): Uint8Array {
  let header: Uint8Array = new Uint8Array(20);
  header = with16(header, 0, spec.sourcePort);
  header = with16(header, 2, spec.destinationPort);
  header = with32(header, 4, spec.sequence);
  header = with32(header, 8, spec.acknowledgement);
  header = with8(header, 12, (5 + spec.tcpOptions.length / 4) * 16 + spec.reservedBits);
  header = with8(header, 13, spec.flags);
  header = with16(header, 14, spec.window);
  header = with16(header, 18, spec.urgent);
  return join(header, spec.tcpOptions);
}

function udpHeader(spec: FrameSpec): Uint8Array {
  return with16(with16(new Uint8Array(8), 0, spec.sourcePort), 2, spec.destinationPort);
}
