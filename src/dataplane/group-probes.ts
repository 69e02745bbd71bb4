/**
 * Step 2a of decapsulation: a datagram whose VXLAN header is not plain. It is a probe of the network's multicast group, or an
 * answer to one, which goes to the main thread; or it is refused. @hot
 */
import { EVENTS_LOST } from '../shared/counters.js';
import { DROP_RESERVED_BITS, DROP_SOURCE_SELF, DROP_VTEP_NOT_MEMBER } from '../shared/drop-causes.js';
import { EVENT_GROUP_ANSWER, EVENT_GROUP_PROBE } from '../shared/event-ring.js';
import { NO_NETWORK, SELF_VTEP } from '../shared/layout.js';
import { VTEP_MISS } from '../shared/vtep-table.js';
import { GROUP_PROBE, groupProbeType, readNonceHigh, readNonceLow } from '../wire/group-probe.js';
import type { WorkerContext } from './context.js';

/** @returns NO_NETWORK: there is no frame in it */
export function takeGroupProbe(
  context: WorkerContext,
  network: number,
  datagramOffset: number,
  datagramBytes: number,
  vtep: number,
): number {
  const bytes = context.arena.bytes;
  const type = groupProbeType(bytes, datagramOffset, datagramBytes);
  if (type === 0) {
    context.counters.drop(network, DROP_RESERVED_BITS);
  } else if (vtep === SELF_VTEP) {
    context.counters.drop(network, DROP_SOURCE_SELF);
  } else if (vtep === VTEP_MISS || !context.members.has(network, vtep)) {
    context.counters.drop(network, DROP_VTEP_NOT_MEMBER);
  } else {
    const event = type === GROUP_PROBE ? EVENT_GROUP_PROBE : EVENT_GROUP_ANSWER;
    const nonceHigh = readNonceHigh(bytes, datagramOffset);
    const nonceLow = readNonceLow(bytes, datagramOffset);
    if (!context.events.push(event, network, nonceHigh, nonceLow, vtep)) {
      context.counters.add(network, EVENTS_LOST, 1);
    } else if (context.events.needsWake()) {
      context.wakeMain();
    }
  }
  return NO_NETWORK;
}
