/**
 * @hot
 * The VXLAN header (RFC 7348 section 5), 8 bytes between the UDP header and the inner Ethernet frame:
 *
 *      0         1                          4                       7          8
 *      | R R R R I R R R | reserved 24 bits | VNI, 24 bits          | reserved |
 *                0x08
 *
 * "the I flag MUST be set to 1 for a valid VXLAN Network ID (VNI). The other 7 bits (designated "R") are reserved fields
 * and MUST be set to zero on transmission and ignored on receipt." The kernel drops a header with reserved bits that no
 * extension claims; so the check tells them apart and the caller decides.
 *
 * With a group policy id (VXLAN-GBP, draft-smith-vxlan-group-policy; the kernel's struct vxlanhdr_gbp):
 *
 *      0         1          2               4
 *      | G R R R I R R R | R D R R A R R R | group policy id, 16 bits | VNI ...
 *        0x80    0x08      0x40    0x08
 *
 * G: the id is there. D: the receiver does not learn the source. A: the policy has been applied already.
 */
import { fits } from './bounds.js';
import { readInt32, readUint16, writeUint32 } from './byte-order.js';

export const VXLAN_HEADER_BYTES = 8;
/** IANA's. The kernel's own default, 8472, is older than the assignment. */
export const VXLAN_PORT = 4789;
export const VXLAN_FLAG_VNI = 0x08;
export const VXLAN_VNI_MAX = 0xffffff;

export const VXLAN_OK = 0;
export const VXLAN_SHORT = 1;
export const VXLAN_NO_VNI_FLAG = 2;
export const VXLAN_RESERVED_BITS = 3;

const FIRST_WORD = VXLAN_FLAG_VNI << 24;

const FLAG_GROUP = 0x80;
const GROUP_DONT_LEARN = 0x40;
const GROUP_POLICY_APPLIED = 0x08;
const GROUP_WORD = (FLAG_GROUP << 24) | FIRST_WORD;

/** @returns VXLAN_OK, VXLAN_SHORT, VXLAN_NO_VNI_FLAG or VXLAN_RESERVED_BITS; in the last case the VNI is readable. */
export function checkVxlan(bytes: Uint8Array, offset: number, length: number): number {
  if (!fits(bytes, offset, length, VXLAN_HEADER_BYTES)) return VXLAN_SHORT;
  if ((bytes[offset]! & VXLAN_FLAG_VNI) === 0) return VXLAN_NO_VNI_FLAG;
  if (readInt32(bytes, offset) !== FIRST_WORD || bytes[offset + 7] !== 0) return VXLAN_RESERVED_BITS;
  return VXLAN_OK;
}

/** @returns the first 16 bits; the extensions' flags are among them, VXLAN_FLAG_VNI is 0x0800. */
export function readVxlanFlags(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset);
}

/** @returns 0 to 16,777,215. */
export function readVni(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + 4]! << 16) | (bytes[offset + 5]! << 8) | bytes[offset + 6]!;
}

/** Whether the header has no bit but those that the VNI and a group policy id use. As in the kernel, all 24 bits behind the flags are the latter's. */
export function hasGroupBitsOnly(bytes: Uint8Array, offset: number): boolean {
  return bytes[offset] === (FLAG_GROUP | VXLAN_FLAG_VNI) && bytes[offset + 7] === 0;
}

/** @returns the group policy id; 0: none */
export function readGroup(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! & FLAG_GROUP) === 0 ? 0 : readUint16(bytes, offset + 2);
}

export function isDontLearn(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset]! & FLAG_GROUP) !== 0 && (bytes[offset + 1]! & GROUP_DONT_LEARN) !== 0;
}

export function isPolicyApplied(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset]! & FLAG_GROUP) !== 0 && (bytes[offset + 1]! & GROUP_POLICY_APPLIED) !== 0;
}

/** Puts a group policy id, 1 to 65535, into a header that emitVxlan has written; D and A stay 0. */
export function emitGroup(bytes: Uint8Array, offset: number, group: number): void {
  writeUint32(bytes, offset, GROUP_WORD | group);
}

/** Writes all 8 bytes: flags 0x08, the low 24 bits of `vni`, every reserved bit 0. */
export function emitVxlan(bytes: Uint8Array, offset: number, vni: number): void {
  writeUint32(bytes, offset, FIRST_WORD);
  writeUint32(bytes, offset + 4, vni << 8);
}
