/**
 * @hot
 * The TCP header (RFC 9293), 20 to 60 bytes:
 *
 *      0             2                  4          8                 12            13      14       16         18       20
 *      | source port | destination port | sequence | acknowledgement | words | 0    | flags | window | checksum | urgent | options
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint16, writeUint32 } from './byte-order.js';

export const TCP_HEADER_BYTES_MIN = 20;
export const TCP_CHECKSUM_OFFSET = 16;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_ECE = 0x40;
export const TCP_CWR = 0x80;

export const TCP_OK = 0;
export const TCP_SHORT = 1;
/** The data offset is under 5 words or more than what is there. */
export const TCP_BAD_HEADER_LENGTH = 2;

/** @returns TCP_OK or what is wrong. */
export function checkTcp(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, TCP_HEADER_BYTES_MIN)) return TCP_SHORT;
  const headerBytes = readTcpHeaderBytes(bytes, offset);
  return headerBytes < TCP_HEADER_BYTES_MIN || headerBytes > length ? TCP_BAD_HEADER_LENGTH : TCP_OK;
}

export function readTcpSourcePort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset);
}

export function readTcpDestinationPort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 2);
}

/** @returns a signed int32; sums of sequence numbers wrap with `| 0`. */
export function readTcpSequence(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + 4);
}

/** @returns a signed int32. */
export function readTcpAcknowledgement(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + 8);
}

export function readTcpHeaderBytes(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + 12]! >>> 4) << 2;
}

export function readTcpFlags(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 13]!;
}

export function readTcpWindow(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 14);
}

export function readTcpChecksum(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + TCP_CHECKSUM_OFFSET);
}

export function readTcpUrgent(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 18);
}

/** Writes the 20 bytes of a header without options; the urgent pointer is 0. */
export function emitTcp(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  sequence: number,
  acknowledgement: number,
  flags: number,
  window: number,
  checksum: number,
): void {
  writeUint16(bytes, offset, sourcePort);
  writeUint16(bytes, offset + 2, destinationPort);
  writeUint32(bytes, offset + 4, sequence);
  writeUint32(bytes, offset + 8, acknowledgement);
  bytes[offset + 12] = (TCP_HEADER_BYTES_MIN >>> 2) << 4;
  bytes[offset + 13] = flags;
  writeUint16(bytes, offset + 14, window);
  writeUint16(bytes, offset + TCP_CHECKSUM_OFFSET, checksum);
  writeUint16(bytes, offset + 18, 0);
}
