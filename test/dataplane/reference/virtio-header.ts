/** struct virtio_net_hdr as an object, little-endian as on the hosts that vtep runs on. Test support. */
import { join } from './octets.js';

export const VIRTIO_BYTES = 10;
export const NEEDS_CSUM = 1;
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
export const GSO_ECN = 0x80;

export interface VirtioHeader {
  readonly flags: number;
  /** Without the ECN bit. */
  readonly gsoType: number;
  readonly ecn: boolean;
  readonly hdrLen: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
}

export const PLAIN: VirtioHeader = {
  flags: 0,
  gsoType: GSO_NONE,
  ecn: false,
  hdrLen: 0,
  gsoSize: 0,
  csumStart: 0,
  csumOffset: 0,
};

export function readVirtioHeader(message: Uint8Array): VirtioHeader {
  const buffer = Buffer.from(message);
  const type = buffer.readUInt8(1);
  return {
    flags: buffer.readUInt8(0),
    gsoType: type >= GSO_ECN ? type - GSO_ECN : type,
    ecn: type >= GSO_ECN,
    hdrLen: buffer.readUInt16LE(2),
    gsoSize: buffer.readUInt16LE(4),
    csumStart: buffer.readUInt16LE(6),
    csumOffset: buffer.readUInt16LE(8),
  };
}

/** The message that a TAP gives or takes: this header, then the frame. */
export function tapMessageOf(header: VirtioHeader, frame: Uint8Array): Uint8Array {
  const buffer = Buffer.alloc(VIRTIO_BYTES);
  buffer.writeUInt8(header.flags, 0);
  buffer.writeUInt8(header.gsoType + (header.ecn ? GSO_ECN : 0), 1);
  buffer.writeUInt16LE(header.hdrLen, 2);
  buffer.writeUInt16LE(header.gsoSize, 4);
  buffer.writeUInt16LE(header.csumStart, 6);
  buffer.writeUInt16LE(header.csumOffset, 8);
  return join(buffer, frame);
}
