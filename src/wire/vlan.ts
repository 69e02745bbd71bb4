/**
 * @hot
 * VLAN tags (802.1Q, 802.1ad): none, one or two of them between the source MAC and the payload's type.
 *
 *      12      14      16      18      20      22
 *      | type  |  payload                                 no tag:   layer 3 at 14
 *      | 8100  |  TCI  | type  |  payload                 one tag:  layer 3 at 18
 *      | 88a8  |  TCI  | 8100  |  TCI  | type  | payload  two tags: layer 3 at 22
 *
 * The payload's type is always the 16 bits before layer 3. More than two tags are not followed: the type then reads as
 * the third tag's, which is no protocol that anyone here knows.
 */
import { fits } from './bounds.js';
import { readUint16, writeUint16 } from './byte-order.js';
import { ETHERNET_HEADER_BYTES, ETHERNET_TYPE_OFFSET } from './ethernet.js';

export const VLAN_TAG_BYTES = 4;
export const VLAN_TAGS_MAX = 2;
/** 802.1Q: the customer's tag. */
export const ETHERTYPE_VLAN = 0x8100;
/** 802.1ad: the provider's tag. */
export const ETHERTYPE_VLAN_SERVICE = 0x88a8;

export function isVlanEthertype(ethertype: number): boolean {
  return ethertype === ETHERTYPE_VLAN || ethertype === ETHERTYPE_VLAN_SERVICE;
}

/** @returns the offset in the buffer of the layer-3 header, or -1 if the frame ends before its type is complete. */
export function findLayer3Offset(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  if (!fits(bytes, frameOffset, frameBytes, ETHERNET_HEADER_BYTES)) return -1;
  const frameEnd = frameOffset + frameBytes;
  let layer3Offset = frameOffset + ETHERNET_HEADER_BYTES;
  for (let tagIndex = 0; tagIndex < VLAN_TAGS_MAX; tagIndex++) {
    if (!isVlanEthertype(readUint16(bytes, layer3Offset - 2))) return layer3Offset;
    layer3Offset += VLAN_TAG_BYTES;
    if (layer3Offset > frameEnd) return -1;
  }
  return layer3Offset;
}

/** @param layer3Offset what findLayer3Offset answered. @returns the payload's type. */
export function readLayer3Ethertype(bytes: Uint8Array, layer3Offset: number): number {
  return readUint16(bytes, layer3Offset - 2);
}

/** @param layer3Offset what findLayer3Offset answered for the frame at `frameOffset`. @returns 0, 1 or 2. */
export function vlanTagCount(frameOffset: number, layer3Offset: number): number {
  return ((layer3Offset - frameOffset - ETHERNET_HEADER_BYTES) / VLAN_TAG_BYTES) | 0;
}

/** @returns the offset of tag `tagIndex`, 0 being the outer one. */
export function vlanTagOffset(frameOffset: number, tagIndex: number): number {
  return frameOffset + ETHERNET_TYPE_OFFSET + tagIndex * VLAN_TAG_BYTES;
}

/** @returns ETHERTYPE_VLAN or ETHERTYPE_VLAN_SERVICE. */
export function readVlanProtocol(bytes: Uint8Array, tagOffset: number): number {
  return readUint16(bytes, tagOffset);
}

/** @returns 0 to 4095; 0 is a priority tag and 4095 is reserved. */
export function readVlanId(bytes: Uint8Array, tagOffset: number): number {
  return readUint16(bytes, tagOffset + 2) & 0x0fff;
}

/** @returns 0 to 7. */
export function readVlanPriority(bytes: Uint8Array, tagOffset: number): number {
  return bytes[tagOffset + 2]! >>> 5;
}

/** @returns 0 or 1. */
export function readVlanDropEligible(bytes: Uint8Array, tagOffset: number): number {
  return (bytes[tagOffset + 2]! >>> 4) & 1;
}

/** Writes the tag's 4 bytes at `tagOffset`; the type that follows is the caller's. */
export function emitVlanTag(
  bytes: Uint8Array,
  tagOffset: number,
  protocol: number,
  priority: number,
  dropEligible: number,
  vlanId: number,
): void {
  writeUint16(bytes, tagOffset, protocol);
  writeUint16(bytes, tagOffset + 2, ((priority & 7) << 13) | ((dropEligible & 1) << 12) | (vlanId & 0x0fff));
}
