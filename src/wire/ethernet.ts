/**
 * @hot
 * The Ethernet II header, without the frame check sequence (a TAP and a tunnel carry none).
 *
 *      0            6            12       14
 *      | destination |   source   |  type  | payload, or a VLAN tag's rest (vlan.ts)
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint16 } from './byte-order.js';
import { writeMacKey } from './mac-key.js';

export const ETHERNET_HEADER_BYTES = 14;
export const ETHERNET_DESTINATION_OFFSET = 0;
export const ETHERNET_SOURCE_OFFSET = 6;
export const ETHERNET_TYPE_OFFSET = 12;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const ETHERNET_OK = 0;
export const ETHERNET_SHORT = 1;

/** @returns ETHERNET_OK or ETHERNET_SHORT. */
export function checkEthernet(bytes: Uint8Array, offset: number, length: number): number {
  return fits(bytes, offset, length, ETHERNET_HEADER_BYTES) ? ETHERNET_OK : ETHERNET_SHORT;
}

/** @returns the type field as it stands; behind a VLAN tag the payload's type is elsewhere: see vlan.ts. */
export function readEthertype(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + ETHERNET_TYPE_OFFSET);
}

/** Writes all 14 bytes. MACs come as the halves of mac-key.ts. */
export function emitEthernet(
  bytes: Uint8Array,
  offset: number,
  destinationHigh: number,
  destinationLow: number,
  sourceHigh: number,
  sourceLow: number,
  ethertype: number,
): void {
  writeMacKey(bytes, offset + ETHERNET_DESTINATION_OFFSET, destinationHigh, destinationLow);
  writeMacKey(bytes, offset + ETHERNET_SOURCE_OFFSET, sourceHigh, sourceLow);
  writeUint16(bytes, offset + ETHERNET_TYPE_OFFSET, ethertype);
}

/** `macOffset` is that of the MAC itself. The group bit is the lowest of the first byte; broadcast has it too. */
export function isMulticastMac(bytes: Uint8Array, macOffset: number): boolean {
  return (bytes[macOffset]! & 1) !== 0;
}

export function isBroadcastMac(bytes: Uint8Array, macOffset: number): boolean {
  return readUint16(bytes, macOffset) === 0xffff && readInt32(bytes, macOffset + 2) === -1;
}

export function isZeroMac(bytes: Uint8Array, macOffset: number): boolean {
  return (readUint16(bytes, macOffset) | readInt32(bytes, macOffset + 2)) === 0;
}

/** Neither multicast nor zero: what a frame may have as its source (the kernel's is_valid_ether_addr). */
export function isUnicastMac(bytes: Uint8Array, macOffset: number): boolean {
  return !isMulticastMac(bytes, macOffset) && !isZeroMac(bytes, macOffset);
}
