/**
 * @hot
 * Explicit congestion notification through a tunnel (RFC 6040): the two low bits of the IPv4 TOS or IPv6 traffic class.
 *
 *     out   inner        not-ECT  ECT(0)  ECT(1)  CE         in    outer:       not-ECT  ECT(0)   ECT(1)   CE
 *           outer        not-ECT  ECT(0)  ECT(1)  ECT(0)           not-ECT      not-ECT  not-ECT  not-ECT  drop
 *                                                                  ECT(0)       ECT(0)   ECT(0)   ECT(1)   CE
 *                                                            inner ECT(1)       ECT(1)   ECT(1)   ECT(1)   CE
 *                                                                  CE           CE       CE       CE       CE
 *
 * On the way out a CE becomes ECT(0), as in the kernel's VXLAN (INET_ECN_encapsulate, after RFC 3168): RFC 6040's normal
 * mode would copy it. What comes out of the tunnel is the same: the inner CE stays what it is.
 *
 * VLAN tags are looked through. What is not IP, or too short for its header, has no ECN and is left as it is.
 */
import { readUint16, writeUint16 } from './byte-order.js';
import { updateChecksum } from './checksum.js';
import { findIp } from './inner-ip.js';
import { IPV4_CHECKSUM_OFFSET } from './ipv4.js';

export const ECN_MASK = 3;
export const ECN_NOT_ECT = 0;
export const ECN_ECT_1 = 1;
export const ECN_ECT_0 = 2;
export const ECN_CE = 3;

/** What applyOuterEcn has done. */
export const ECN_KEPT = 0;
export const ECN_CHANGED = 1;
/** Congestion that the inner packet's sender could not be told of: the packet is to be dropped, as a router would have. */
export const ECN_LOST = 2;

/** The IPv6 header's first word: 4 bits of version, 8 of traffic class, 4 of the flow label. */
const IPV6_ECN_SHIFT = 4;

/** @returns the inner packet's TOS or traffic class; 0 for what is not IP. */
export function readInnerTos(bytes: Uint8Array, frameOffset: number, frameBytes: number): number {
  const ip = findIp(bytes, frameOffset, frameBytes);
  if (ip < 0) return 0;
  return bytes[ip]! >>> 4 === 4 ? bytes[ip + 1]! : (readUint16(bytes, ip) >>> IPV6_ECN_SHIFT) & 0xff;
}

/** @returns the ECN bits that the outer header gets. */
export function encapsulatedEcn(innerTos: number): number {
  const ecn = innerTos & ECN_MASK;
  return ecn === ECN_CE ? ECN_ECT_0 : ecn;
}

/**
 * Carries the outer header's ECN bits over to the inner packet, in place.
 *
 * @param outerTos of which only the ECN bits count
 * @returns ECN_KEPT, ECN_CHANGED or ECN_LOST; nothing has been written then
 */
export function applyOuterEcn(bytes: Uint8Array, frameOffset: number, frameBytes: number, outerTos: number): number {
  const outer = outerTos & ECN_MASK;
  if (outer !== ECN_CE && outer !== ECN_ECT_1) return ECN_KEPT;
  const ip = findIp(bytes, frameOffset, frameBytes);
  if (ip < 0) return ECN_KEPT;
  const isIpv4 = bytes[ip]! >>> 4 === 4;
  const shift = isIpv4 ? 0 : IPV6_ECN_SHIFT;
  const before = readUint16(bytes, ip);
  const inner = (before >>> shift) & ECN_MASK;
  if (inner === ECN_NOT_ECT) return outer === ECN_CE ? ECN_LOST : ECN_KEPT;
  // ECT(1) is the weaker mark: it changes nothing but ECT(0).
  if (inner === outer || inner === ECN_CE) return ECN_KEPT;
  const after = (before & ~(ECN_MASK << shift)) | (outer << shift);
  writeUint16(bytes, ip, after);
  if (isIpv4) updateChecksum(bytes, ip + IPV4_CHECKSUM_OFFSET, before, after);
  return ECN_CHANGED;
}
