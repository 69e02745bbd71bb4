/** Allocates the shared tables. Main thread, once at start; workers get the buffers by workerData. */
import { COUNTER_BYTES } from './counters.js';
import { EPOCH_BYTES } from './epoch.js';
import { EVENT_RING_BYTES } from './event-ring.js';
import { fdbBytes } from './fdb.js';
import { MEMBERSHIP_BYTES } from './flood-list.js';
import { FDB_ENTRIES_DEFAULT, type SharedTables } from './layout.js';
import { neighbourBytes } from './neighbour-table.js';
import { NETWORK_BYTES, VNI_INDEX_BYTES } from './network-table.js';
import { VTEP_BYTES } from './vtep-table.js';

/** @param fdbEntries how many (network, MAC) pairs the FDB is to hold at least, and addresses the neighbour table */
export function allocateTables(workerCount: number, fdbEntries = FDB_ENTRIES_DEFAULT): SharedTables {
  const each = (bytes: number) => Array.from({ length: workerCount }, () => new SharedArrayBuffer(bytes));
  return {
    epoch: new SharedArrayBuffer(EPOCH_BYTES),
    fdb: new SharedArrayBuffer(fdbBytes(fdbEntries)),
    vnis: new SharedArrayBuffer(VNI_INDEX_BYTES),
    networks: new SharedArrayBuffer(NETWORK_BYTES),
    membership: new SharedArrayBuffer(MEMBERSHIP_BYTES),
    vteps: new SharedArrayBuffer(VTEP_BYTES),
    neighbours: new SharedArrayBuffer(neighbourBytes(fdbEntries)),
    counters: each(COUNTER_BYTES),
    events: each(EVENT_RING_BYTES),
  };
}
