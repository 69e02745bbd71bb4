/**
 * Membership messages of the overlay (IGMP, MLD), on their way in either direction: what they say goes to the main thread,
 * which keeps who is a member of what. The frames themselves go on as any other. @hot
 *
 * Groups that are always flooded are left out: 224.0.0.0/24 (RFC 4541 section 2.1.2) and all that shares their MACs; of IPv6
 * the solicited-node groups, since a neighbour that is not found is lost, and ff0x::0 to ff0x::ff, among them all nodes.
 */
import {
  EVENT_MEMBER_JOINED,
  EVENT_MEMBER_JOINED_ALONE,
  EVENT_MEMBER_LEFT,
  EVENT_ROUTER,
} from '../shared/event-ring.js';
import { SELF_VTEP } from '../shared/layout.js';
import { readInt32 } from '../wire/byte-order.js';
import { ETHERTYPE_IPV6, readEthertype } from '../wire/ethernet.js';
import {
  MEMBERSHIP_JOIN,
  MEMBERSHIP_LEAVE,
  MEMBERSHIP_QUERY,
  MEMBERSHIP_RECORDS,
  membershipKind,
  membershipOffset,
  RECORD_ALLOW,
  RECORD_EXCLUDE,
  RECORD_INCLUDE,
  RECORD_TO_EXCLUDE,
  RECORD_TO_INCLUDE,
  readRecordBytes,
  readRecordCount,
  readRecordSources,
} from '../wire/membership.js';
import type { WorkerContext } from './context.js';
import { report } from './learn.js';

const MAC_HIGH_IPV4 = 0x0100;
const MAC_LOW_IPV4 = 0x5e000000;
const MAC_HIGH_IPV6 = 0x3333;
const NO_KIND = 0;

/** @param high bytes 0 and 1 of a MAC, @param low bytes 2 to 5. @returns whether the group may be kept from VTEPs */
export function isSnoopedMac(high: number, low: number): boolean {
  if (high === MAC_HIGH_IPV4) return low >>> 24 === 0x5e && (low & 0x7fff00) !== 0;
  return high === MAC_HIGH_IPV6 && low >>> 24 !== 0xff && (low & ~0xff) !== 0;
}

/** A frame to a multicast MAC, from a container of this host (SELF_VTEP) or from a VTEP. @returns whether it was a message */
export function snoop(
  context: WorkerContext,
  networkIndex: number,
  vtepIndex: number,
  frameOffset: number,
  frameBytes: number,
): boolean {
  const bytes = context.arena.bytes;
  const message = membershipOffset(bytes, frameOffset, frameBytes);
  if (message === 0) return false;
  const isIpv6 = readEthertype(bytes, frameOffset) === ETHERTYPE_IPV6;
  const kind = membershipKind(bytes, message, isIpv6);
  const end = frameOffset + frameBytes;
  const groupBytes = isIpv6 ? 16 : 4;
  if (kind === MEMBERSHIP_QUERY) {
    // A query from 0.0.0.0 is that of a switch, which wants no multicast for itself.
    const isRouter = isIpv6 || readInt32(bytes, frameOffset + 26) !== 0;
    if (isRouter && vtepIndex !== SELF_VTEP) report(context, EVENT_ROUTER, networkIndex, 0, 0, vtepIndex);
  } else if (kind === MEMBERSHIP_RECORDS) {
    let left = readRecordCount(bytes, message);
    let record = message + 8;
    while (left > 0 && record + 4 + groupBytes <= end) {
      const event = recordEvent(bytes[record] as number, readRecordSources(bytes, record));
      if (event !== NO_KIND) tell(context, event, networkIndex, vtepIndex, record + 4, isIpv6);
      record += readRecordBytes(bytes, record, groupBytes);
      left--;
    }
  } else if (kind === MEMBERSHIP_JOIN || kind === MEMBERSHIP_LEAVE) {
    const group = isIpv6 ? message + 8 : message + 4;
    const event = kind === MEMBERSHIP_JOIN ? EVENT_MEMBER_JOINED_ALONE : EVENT_MEMBER_LEFT;
    if (group + groupBytes <= end) tell(context, event, networkIndex, vtepIndex, group, isIpv6);
  }
  return true;
}

/** Which sources are wanted is not kept: who wants any is a member (RFC 4541 section 2.1.2, 9). */
function recordEvent(type: number, sources: number): number {
  if (type === RECORD_EXCLUDE || type === RECORD_TO_EXCLUDE || type === RECORD_ALLOW) return EVENT_MEMBER_JOINED;
  if (type === RECORD_INCLUDE) return sources > 0 ? EVENT_MEMBER_JOINED : NO_KIND;
  if (type === RECORD_TO_INCLUDE) return sources > 0 ? EVENT_MEMBER_JOINED : EVENT_MEMBER_LEFT;
  return NO_KIND;
}

function tell(
  context: WorkerContext,
  event: number,
  networkIndex: number,
  vtepIndex: number,
  groupOffset: number,
  isIpv6: boolean,
): void {
  const word = readInt32(context.arena.bytes, isIpv6 ? groupOffset + 12 : groupOffset);
  const high = isIpv6 ? MAC_HIGH_IPV6 : MAC_HIGH_IPV4;
  const low = isIpv6 ? word : MAC_LOW_IPV4 | (word & 0x7fffff);
  if (isSnoopedMac(high, low)) report(context, event, networkIndex, low, high, vtepIndex);
}
