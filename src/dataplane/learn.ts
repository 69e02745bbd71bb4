/**
 * Source MACs of the tunnel: accepted, refused, or reported to the main thread, which alone writes the FDB. @hot
 *
 * As the kernel's vxlan_snoop: a registered (static) MAC behind another VTEP is refused; a learnt one moves. What was
 * reported within the last second is not reported again, so a busy flow costs one event until the entry is there.
 */
import { EVENTS_LOST } from '../shared/counters.js';
import { DROP_ENTRY_EXISTS, DROP_LOCAL_MAC } from '../shared/drop-causes.js';
import { EVENT_CONFLICT, EVENT_LEARN } from '../shared/event-ring.js';
import { FDB_MISS, fdbKeyHigh, fdbKind, fdbVtep, KIND_DYNAMIC, KIND_LOCAL } from '../shared/fdb.js';
import { NETWORK_FLAG_LEARNING } from '../shared/network-table.js';
import { REPORTED_CELLS, type WorkerContext } from './context.js';

export const LEARN_ACCEPT = -1;

/**
 * @param mayLearn false: the sender asks for this frame's source not to be learnt
 * @returns LEARN_ACCEPT or the drop cause
 */
export function learn(
  context: WorkerContext,
  networkIndex: number,
  macLow: number,
  macHigh16: number,
  vtepIndex: number,
  mayLearn: boolean,
): number {
  const value = context.fdb.lookup(macLow, fdbKeyHigh(macHigh16, networkIndex));
  if (value !== FDB_MISS) {
    const kind = fdbKind(value);
    if (kind === KIND_LOCAL) {
      report(context, EVENT_CONFLICT, networkIndex, macLow, macHigh16, vtepIndex);
      return DROP_LOCAL_MAC;
    }
    if (fdbVtep(value) === vtepIndex) {
      if (kind === KIND_DYNAMIC) context.fdb.stamp(context.nowSeconds);
      return LEARN_ACCEPT;
    }
    if (kind !== KIND_DYNAMIC) {
      report(context, EVENT_CONFLICT, networkIndex, macLow, macHigh16, vtepIndex);
      return DROP_ENTRY_EXISTS;
    }
  }
  if (mayLearn && (context.networks.flags(networkIndex) & NETWORK_FLAG_LEARNING) !== 0) {
    report(context, EVENT_LEARN, networkIndex, macLow, macHigh16, vtepIndex);
  }
  return LEARN_ACCEPT;
}

/** Tells the main thread, unless it was told the same within this second. */
export function report(
  context: WorkerContext,
  type: number,
  networkIndex: number,
  macLow: number,
  macHigh16: number,
  vtepIndex: number,
): void {
  const reported = context.reported;
  const keyHigh = fdbKeyHigh(macHigh16, networkIndex);
  const cell = ((Math.imul(macLow ^ keyHigh, 0x9e3779b1) >>> 22) & (REPORTED_CELLS - 1)) << 2;
  const what = (vtepIndex << 4) | type;
  if (
    reported[cell] === macLow &&
    reported[cell + 1] === keyHigh &&
    reported[cell + 2] === what &&
    reported[cell + 3] === context.nowSeconds
  ) {
    return;
  }
  if (!context.events.push(type, networkIndex, macLow, macHigh16, vtepIndex)) {
    context.counters.add(networkIndex, EVENTS_LOST, 1);
    return;
  }
  if (context.events.needsWake()) context.wakeMain();
  reported[cell] = macLow;
  reported[cell + 1] = keyHigh;
  reported[cell + 2] = what;
  reported[cell + 3] = context.nowSeconds;
}
