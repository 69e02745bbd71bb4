/**
 * Step 2a of decapsulation: a probe of the network's multicast group, an answer to one, or word of a VTEP that asks its
 * containers for memberships; from a member of the network. It goes to the main thread. @hot
 */
import { EVENTS_LOST, GROUP_MESSAGES } from '../shared/counters.js';
import { EVENT_GROUP_ANSWER, EVENT_GROUP_PROBE, EVENT_GROUP_QUERIED } from '../shared/event-ring.js';
import { NO_NETWORK } from '../shared/layout.js';
import { GROUP_ANSWER, GROUP_PROBE, readNonceHigh, readNonceLow } from '../wire/group-probe.js';
import type { WorkerContext } from './context.js';

/** @returns NO_NETWORK: there is no frame in it */
export function tellGroupProbe(
  context: WorkerContext,
  network: number,
  datagramOffset: number,
  type: number,
  vtep: number,
): number {
  const bytes = context.arena.bytes;
  context.counters.add(network, GROUP_MESSAGES, 1);
  let event = EVENT_GROUP_QUERIED;
  if (type === GROUP_PROBE) event = EVENT_GROUP_PROBE;
  else if (type === GROUP_ANSWER) event = EVENT_GROUP_ANSWER;
  const nonceHigh = readNonceHigh(bytes, datagramOffset);
  const nonceLow = readNonceLow(bytes, datagramOffset);
  if (!context.events.push(event, network, nonceHigh, nonceLow, vtep)) context.counters.add(network, EVENTS_LOST, 1);
  else if (context.events.needsWake()) context.wakeMain();
  return NO_NETWORK;
}
