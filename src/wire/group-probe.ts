/**
 * @hot
 * The datagrams by which vtepds find out whether a network's multicast group reaches them. They are VXLAN with the O bit of
 * its generic extension (draft-ietf-nvo3-vxlan-gpe: "the packet is an OAM packet", not to be forwarded), so that they take
 * the way of the network's own datagrams, firewalls included, and no container can make one. The kernel drops them.
 *
 *      0      1             4      7   8                12     13        14         16                24
 *      | 0x09 | reserved 24 | VNI  | 0 | "vtep"         | type | version | reserved | nonce, 64 bits    |
 *
 * A probe goes to the group, its answer to the prober alone, with the same nonce. The third type tells a VTEP that this one
 * has just asked its containers for their memberships: within so many milliseconds (the nonce's low half) they are told, and
 * asked again after so many seconds (its high half).
 */
import { fits } from './bounds.js';
import { readInt32, writeUint32 } from './byte-order.js';
import { VXLAN_FLAG_VNI, VXLAN_HEADER_BYTES } from './vxlan.js';

export const GROUP_PROBE_BYTES = 24;
export const GROUP_PROBE = 1;
export const GROUP_ANSWER = 2;
export const GROUP_QUERIED = 3;

const VXLAN_FLAG_OAM = 0x01;
const FIRST_WORD = (VXLAN_FLAG_VNI | VXLAN_FLAG_OAM) << 24;
const MAGIC = 0x76746570;
const VERSION = 1;
const TYPE_OFFSET = 12;
const NONCE_OFFSET = 16;

/** @returns GROUP_PROBE, GROUP_ANSWER, GROUP_QUERIED, or 0 for anything else */
export function groupProbeType(bytes: Uint8Array, offset: number, length: number): number {
  if (length !== GROUP_PROBE_BYTES || !fits(bytes, offset, length, GROUP_PROBE_BYTES)) return 0;
  if (readInt32(bytes, offset) !== FIRST_WORD || bytes[offset + 7] !== 0) return 0;
  if (readInt32(bytes, offset + VXLAN_HEADER_BYTES) !== MAGIC || bytes[offset + TYPE_OFFSET + 1] !== VERSION) return 0;
  const type = bytes[offset + TYPE_OFFSET] as number;
  return type >= GROUP_PROBE && type <= GROUP_QUERIED ? type : 0;
}

/** Each half of the nonce as an int32. */
export function readNonceHigh(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + NONCE_OFFSET);
}

export function readNonceLow(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + NONCE_OFFSET + 4);
}

/** Writes all GROUP_PROBE_BYTES. */
export function emitGroupProbe(
  bytes: Uint8Array,
  offset: number,
  type: number,
  vni: number,
  nonceHigh: number,
  nonceLow: number,
): void {
  writeUint32(bytes, offset, FIRST_WORD);
  writeUint32(bytes, offset + 4, vni << 8);
  writeUint32(bytes, offset + VXLAN_HEADER_BYTES, MAGIC);
  writeUint32(bytes, offset + TYPE_OFFSET, (type << 24) | (VERSION << 16));
  writeUint32(bytes, offset + NONCE_OFFSET, nonceHigh);
  writeUint32(bytes, offset + NONCE_OFFSET + 4, nonceLow);
}
