/**
 * @hot
 * ARP for IPv4 over Ethernet (RFC 826, RFC 5227), 28 bytes:
 *
 *      0      2      4    5    6      8            14         18            24         28
 *      | hw 1 | 0800 | 6  | 4  |  op  | sender MAC | sender IP | target MAC | target IP |
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint16, writeUint32 } from './byte-order.js';
import { writeMacKey } from './mac-key.js';

export const ARP_BYTES = 28;
export const ARP_SENDER_MAC_OFFSET = 8;
export const ARP_SENDER_IP_OFFSET = 14;
export const ARP_TARGET_MAC_OFFSET = 18;
export const ARP_TARGET_IP_OFFSET = 24;

export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

export const ARP_OK = 0;
export const ARP_SHORT = 1;
/** Another hardware, another protocol or other address lengths than IPv4 over Ethernet. */
export const ARP_FOREIGN = 2;

const ARP_HARDWARE_AND_PROTOCOL = 0x00010800;
const ARP_ADDRESS_LENGTHS = 0x0604;

/** @returns ARP_OK, ARP_SHORT or ARP_FOREIGN. */
export function checkArp(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, ARP_BYTES)) return ARP_SHORT;
  if (readInt32(bytes, offset) !== ARP_HARDWARE_AND_PROTOCOL) return ARP_FOREIGN;
  if (readUint16(bytes, offset + 4) !== ARP_ADDRESS_LENGTHS) return ARP_FOREIGN;
  return ARP_OK;
}

export function readArpOperation(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + 6);
}

/** @returns the IPv4 address as a signed int32. */
export function readArpSenderIp(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + ARP_SENDER_IP_OFFSET);
}

/** @returns the IPv4 address as a signed int32. */
export function readArpTargetIp(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + ARP_TARGET_IP_OFFSET);
}

/** A probe (sender 0.0.0.0) or an announcement (sender = target): who asks wants no answer from a third party. */
export function isArpProbeOrGratuitous(bytes: Uint8Array, offset: number): boolean {
  const senderIp = readArpSenderIp(bytes, offset);
  return senderIp === 0 || senderIp === readArpTargetIp(bytes, offset);
}

/** Writes all 28 bytes. MACs come as the halves of mac-key.ts, addresses as 32-bit words. */
export function emitArp(
  bytes: Uint8Array,
  offset: number,
  operation: number,
  senderMacHigh: number,
  senderMacLow: number,
  senderIp: number,
  targetMacHigh: number,
  targetMacLow: number,
  targetIp: number,
): void {
  writeUint32(bytes, offset, ARP_HARDWARE_AND_PROTOCOL);
  writeUint16(bytes, offset + 4, ARP_ADDRESS_LENGTHS);
  writeUint16(bytes, offset + 6, operation);
  writeMacKey(bytes, offset + ARP_SENDER_MAC_OFFSET, senderMacHigh, senderMacLow);
  writeUint32(bytes, offset + ARP_SENDER_IP_OFFSET, senderIp);
  writeMacKey(bytes, offset + ARP_TARGET_MAC_OFFSET, targetMacHigh, targetMacLow);
  writeUint32(bytes, offset + ARP_TARGET_IP_OFFSET, targetIp);
}
