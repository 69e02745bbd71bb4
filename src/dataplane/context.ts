/**
 * What every step of a worker works on: one object of fixed shape, made before the first frame. Worker thread only.
 */
import { Counters } from '../shared/counters.js';
import { EventRing } from '../shared/event-ring.js';
import { Fdb } from '../shared/fdb.js';
import { FloodList } from '../shared/flood-list.js';
import { VTEPS_MAX } from '../shared/layout.js';
import { NeighbourTable } from '../shared/neighbour-table.js';
import { NetworkTable } from '../shared/network-table.js';
import { VTEP_ROW_BYTES, VTEP_ROWS_OFFSET, VtepTable } from '../shared/vtep-table.js';
import type { WorkerInput, WorkerOffloads } from '../shared/worker-input.js';
import { addressOf } from '../sys/memory.js';
import type { DifferFunction } from '../wire/masked-compare.js';
import type { SumFunction } from '../wire/simd-checksum.js';
import { Aggregate } from './aggregate.js';
import { Arena, DATAGRAM_BYTES_MAX, TX_MESSAGES_MAX } from './arena.js';
import { STORM_WORDS } from './storm-control.js';
import { Superframe } from './superframe.js';

/** How many MACs a worker remembers having reported lately. */
export const REPORTED_CELLS = 1024;
/** No message of the socket takes another datagram. */
export const NO_OPEN_MESSAGE = -1;

/** The upper six bits of a TOS (RFC 2474). */
const DSCP_MASK = 0xfc;

export class WorkerContext {
  readonly workerIndex: number;
  readonly epoch: Int32Array;
  readonly fdb: Fdb;
  readonly networks: NetworkTable;
  readonly members: FloodList;
  readonly vteps: VtepTable;
  readonly neighbours: NeighbourTable;
  readonly counters: Counters;
  readonly events: EventRing;
  readonly arena: Arena;
  readonly epollFd: number;
  readonly wakeFd: number;
  readonly offloads: WorkerOffloads;
  readonly spinMs: number;
  readonly sum: SumFunction;
  readonly differ: DifferFunction;
  readonly reported: Int32Array;
  /** What each source MAC has flooded (storm-control.ts). */
  readonly stormCells: Int32Array;
  /** Tells the main thread that its event ring is no longer empty. */
  readonly wakeMain: () => void;
  /** Seconds since the daemon's start, read once a turn. */
  nowSeconds = 0;
  /** The last turn moved something, but little. */
  isTrickle = false;

  /** Frames that the next burst from a TAP takes at most (tap-rx.ts). */
  tapBurst = 1;

  // Encapsulation: what waits to be sent.
  /** The sending sockets of all families, a pool of equal size each. */
  readonly txFds: Int32Array;
  /** Picks within a pool. */
  readonly txMask: number;
  /** Where the IPv6 pool begins; 0: there is one pool only. What is for the other family fails on it, and is counted. */
  readonly tx6Start: number;
  /** Of each sending socket: messages and iovecs that wait, and the message that may take another datagram. */
  readonly txCounts: Int32Array;
  readonly txIovecCounts: Int32Array;
  readonly txOpen: Int32Array;
  /** Of each message (socket * TX_MESSAGES_MAX + place). */
  readonly txVteps: Int32Array;
  readonly txNetworks: Int32Array;
  readonly txSegments: Int32Array;
  readonly txSegmentBytes: Int32Array;
  readonly txBytes: Int32Array;
  readonly txFirstIovec: Int32Array;
  /** The outer TOS of its datagrams. */
  readonly txTos: Int32Array;
  /** The sending sockets' own TOS: what a message says nothing about. */
  readonly outerTos: number;
  /** What of the inner TOS goes outside besides ECN: the DSCP, or nothing. */
  readonly dscpMask: number;
  readonly inheritsDf: boolean;
  /** The outer TOS of the frame that is being encapsulated. */
  frameTos = 0;
  headerBlockCount = 0;
  readonly superframe = new Superframe();
  /** Machine address of the VTEPs' socket addresses, as words. */
  readonly vtepRowsLow: number;
  readonly vtepRowsHigh: number;
  /** Largest segment that may go to each VTEP by UDP_SEGMENT: lowered when the kernel refuses (underlay-tx.ts). */
  readonly gsoBytesMax: Int32Array;
  gsoForgetSeconds = Number.MAX_SAFE_INTEGER;
  /** How often in this second somebody was told that a packet is too big (too-big.ts). */
  tooBigSeconds = 0;
  tooBigCount = 0;
  /** What the kernel's latest EMSGSIZE was about. */
  isTooBigForPath = false;

  // Decapsulation: the outer TOS of the message at hand, and what is being coalesced.
  rxTos = 0;
  readonly aggregate = new Aggregate();
  coalesceTcp: boolean;
  coalesceUdp: boolean;

  /** @param arena for as many sending sockets as `input` has. @default one of its own */
  constructor(input: WorkerInput, wakeMain: () => void, arena = makeArena(input)) {
    const { tables, workerIndex, offloads, underlay } = input;
    const txFds = underlay.flatMap((sockets) => sockets.txFds);
    this.wakeMain = wakeMain;
    this.workerIndex = workerIndex;
    this.epoch = new Int32Array(tables.epoch);
    this.fdb = new Fdb(tables.fdb);
    this.networks = new NetworkTable(tables.networks, tables.vnis);
    this.members = new FloodList(tables.membership);
    this.vteps = new VtepTable(tables.vteps);
    this.neighbours = new NeighbourTable(tables.neighbours);
    this.counters = new Counters(tables.counters[workerIndex] as SharedArrayBuffer);
    this.events = new EventRing(tables.events[workerIndex] as SharedArrayBuffer);
    this.arena = arena;
    this.epollFd = input.epollFd;
    this.wakeFd = input.wakeFd;
    this.offloads = offloads;
    this.spinMs = input.spinMicroseconds / 1000;
    this.sum = this.arena.sum;
    this.differ = this.arena.differ;
    this.reported = new Int32Array(REPORTED_CELLS * 4);
    this.stormCells = new Int32Array(STORM_WORDS);

    const messages = txFds.length * TX_MESSAGES_MAX;
    this.txFds = Int32Array.from(txFds);
    const poolSize = txFds.length / underlay.length;
    this.txMask = poolSize - 1;
    this.tx6Start =
      Math.max(
        0,
        underlay.findIndex(({ family }) => family === 6),
      ) * poolSize;
    this.txCounts = new Int32Array(txFds.length);
    this.txIovecCounts = new Int32Array(txFds.length);
    this.txOpen = new Int32Array(txFds.length).fill(NO_OPEN_MESSAGE);
    this.txVteps = new Int32Array(messages);
    this.txNetworks = new Int32Array(messages);
    this.txSegments = new Int32Array(messages);
    this.txSegmentBytes = new Int32Array(messages);
    this.txBytes = new Int32Array(messages);
    this.txFirstIovec = new Int32Array(messages);
    this.txTos = new Int32Array(messages);
    this.outerTos = input.outer?.tos ?? 0;
    this.dscpMask = input.outer?.inheritsDscp === true ? DSCP_MASK : 0;
    this.inheritsDf = input.outer?.inheritsDf === true;
    const rows = addressOf(this.vteps.words) + VTEP_ROWS_OFFSET;
    this.vtepRowsLow = (rows % 2 ** 32) | 0;
    this.vtepRowsHigh = Math.floor(rows / 2 ** 32);
    this.gsoBytesMax = new Int32Array(VTEPS_MAX);
    this.coalesceTcp = offloads.coalesceTcp;
    this.coalesceUdp = offloads.coalesceUdp;
    this.allowGso();
  }

  /** Machine address of a VTEP's socket address. Not for every frame: the number is made. */
  vtepAddress(vtepIndex: number): number {
    return this.vtepRowsHigh * 2 ** 32 + (this.vtepRowsLow >>> 0) + vtepIndex * VTEP_ROW_BYTES;
  }

  /** Every VTEP gets UDP_SEGMENT (again): refusals are forgotten, since routes and devices change. */
  allowGso(): void {
    this.gsoBytesMax.fill(this.offloads.underlayGso ? DATAGRAM_BYTES_MAX : 0);
    this.gsoForgetSeconds = Number.MAX_SAFE_INTEGER;
  }
}

export function makeArena(input: WorkerInput): Arena {
  const sockets = input.underlay.reduce((sum, { txFds }) => sum + txFds.length, 0);
  return new Arena(sockets, input.offloads.simdChecksum);
}
