/**
 * What every step of a worker works on: one object of fixed shape, made before the first frame. Worker thread only.
 */
import { Counters } from '../shared/counters.js';
import { EventRing } from '../shared/event-ring.js';
import { Fdb } from '../shared/fdb.js';
import { FloodList } from '../shared/flood-list.js';
import { NetworkTable } from '../shared/network-table.js';
import { VTEP_ROWS_OFFSET, VtepTable } from '../shared/vtep-table.js';
import type { WorkerInput } from '../shared/worker-input.js';
import { addressOf } from '../sys/memory.js';
import { Arena, BATCH_MESSAGES } from './arena.js';

/** How many MACs a worker remembers having reported lately. */
export const REPORTED_CELLS = 1024;

export class WorkerContext {
  readonly workerIndex: number;
  readonly epoch: Int32Array;
  readonly fdb: Fdb;
  readonly networks: NetworkTable;
  readonly members: FloodList;
  readonly vteps: VtepTable;
  readonly vtepRowsAddress: number;
  readonly counters: Counters;
  readonly events: EventRing;
  readonly arena: Arena;
  readonly epollFd: number;
  readonly wakeFd: number;
  readonly underlayFd: number;
  readonly txFds: Int32Array;
  readonly txMask: number;
  /** Messages that wait for each sending socket, and for each message its VTEP and network. */
  readonly txCounts: Int32Array;
  readonly txVteps: Int32Array;
  readonly txNetworks: Int32Array;
  readonly reported: Int32Array;
  /** Tells the main thread that its event ring is no longer empty. */
  readonly wakeMain: () => void;
  /** Seconds since the daemon's start, read once a turn. */
  nowSeconds = 0;

  constructor(input: WorkerInput, wakeMain: () => void) {
    this.wakeMain = wakeMain;
    const tables = input.tables;
    this.workerIndex = input.workerIndex;
    this.epoch = new Int32Array(tables.epoch);
    this.fdb = new Fdb(tables.fdb);
    this.networks = new NetworkTable(tables.networks, tables.vnis);
    this.members = new FloodList(tables.membership);
    this.vteps = new VtepTable(tables.vteps);
    this.vtepRowsAddress = addressOf(this.vteps.words) + VTEP_ROWS_OFFSET;
    this.counters = new Counters(tables.counters[input.workerIndex] as SharedArrayBuffer);
    this.events = new EventRing(tables.events[input.workerIndex] as SharedArrayBuffer);
    this.arena = new Arena(input.txFds.length);
    this.epollFd = input.epollFd;
    this.wakeFd = input.wakeFd;
    this.underlayFd = input.underlayFd;
    this.txFds = Int32Array.from(input.txFds);
    this.txMask = input.txFds.length - 1;
    this.txCounts = new Int32Array(input.txFds.length);
    this.txVteps = new Int32Array(input.txFds.length * BATCH_MESSAGES);
    this.txNetworks = new Int32Array(input.txFds.length * BATCH_MESSAGES);
    this.reported = new Int32Array(REPORTED_CELLS * 4);
  }
}
