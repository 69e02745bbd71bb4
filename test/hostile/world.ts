/**
 * A worker's context with some networks and VTEPs, and what the test itself knows of them, written down apart from the
 * tables: who is a member of what, whose MAC is where. Test support.
 *
 *     networks   1: VNI 0x123456, members 1, 2       2: VNI 1, MTU 9000, no learning, member 1
 *                3: VNI 0xffffff, members 2, 3, 40 (in the second word of the member bits)
 *     VTEPs      192.0.2.<index + 1>; 0 is this host; 4 is a stranger to all networks
 */
import { WorkerContext } from '../../src/dataplane/context.js';
import { prepareReceive } from '../../src/dataplane/underlay-rx.js';
import {
  DROP_COUNTERS_START,
  NETWORK_COUNTERS,
  TRAFFIC_COUNTERS,
  VTEP_COUNTERS,
  VTEP_COUNTERS_START,
  VTEP_TX_DATAGRAMS,
} from '../../src/shared/counters.js';
import { DROP_CAUSES } from '../../src/shared/drop-causes.js';
import { fdbKeyHigh, KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../../src/shared/fdb.js';
import { allocateTables } from '../../src/shared/tables.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';
import { NetworkWriter } from '../../src/shared/writers/network-writer.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';
import type { Totals } from './conservation.js';
import { SeededEntropy } from './entropy.js';
import { makePool, type Pool, type PoolMacs } from './pool.js';

export const TAP_FD = 100;
export const TX_FD = 200;
export const UNDERLAY_FD = 50;
export const TX_SOCKETS = 4;
export const VTEPS = 42;
export const STRANGER = 4;
export const ROWS = 4;
const LEARNT_MAX = 400;

export interface Network {
  readonly index: number;
  readonly vni: number;
  readonly mtuBytes: number;
  readonly learning: boolean;
  readonly members: readonly number[];
  /** Eight bytes that only this network's payloads are made of. */
  readonly mark: Uint8Array;
}

const network = (index: number, vni: number, mtuBytes: number, learning: boolean, members: number[]): Network => ({
  ...{ index, vni, mtuBytes, learning, members },
  mark: Uint8Array.of(0xa0 + index, 0x5c, index, 0xc5, 0xe0 + index, 0x3a, 0x0f - index, 0x91),
});

export const NETWORKS: readonly Network[] = [
  network(1, 0x123456, 1450, true, [1, 2]),
  network(2, 1, 9000, false, [1]),
  network(3, 0xffffff, 1450, true, [2, 3, 40]),
];

const mac = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);
const gateway = (vni: number) => mac(2, 0x76, 0x74, vni >> 16, vni >> 8, vni);
/** Owner of a MAC on each network: the same addresses live at different places. */
const OWNED: readonly { mac: Uint8Array; kind: number; vteps: readonly number[] }[] = [
  { mac: mac(2, 0, 0, 0, 0, 1), kind: KIND_LOCAL, vteps: [0, 0, 0] },
  { mac: mac(2, 0, 0, 0, 0, 2), kind: KIND_STATIC, vteps: [1, 1, 2] },
  { mac: mac(2, 0, 0, 0, 0, 3), kind: KIND_STATIC, vteps: [2, 1, 40] },
  { mac: mac(2, 0, 0, 0, 0, 4), kind: KIND_DYNAMIC, vteps: [1, 1, 3] },
];
const UNKNOWN = mac(2, 9, 9, 9, 9, 9);

/** Every address that a frame may be given as its source. */
export const MACS: Uint8Array = Uint8Array.from(
  [
    ...OWNED.map((owned) => owned.mac),
    ...NETWORKS.map(({ vni }) => gateway(vni)),
    UNKNOWN,
    mac(0, 0, 0, 0, 0, 0),
    mac(0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    mac(1, 0, 0x5e, 0, 0, 1),
    mac(0, 0, 0, 0, 0, 1),
  ].flatMap((bytes) => [...bytes]),
);

const fromUnderlay: PoolMacs = {
  sources: [OWNED[1]!.mac, OWNED[1]!.mac, OWNED[3]!.mac, UNKNOWN],
  destinations: [OWNED[0]!.mac, mac(0xff, 0xff, 0xff, 0xff, 0xff, 0xff), mac(1, 0, 0x5e, 1, 2, 3)],
};
const fromTap: PoolMacs = {
  sources: [OWNED[0]!.mac],
  destinations: [
    OWNED[1]!.mac,
    OWNED[2]!.mac,
    UNKNOWN,
    mac(0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    mac(0x33, 0x33, 0, 0, 0, 1),
  ],
};

/** One number for a MAC: 48 bits, exact. */
export function macNumber(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  const low = new DataView(bytes.buffer, bytes.byteOffset + at + 2, 4).getUint32(0);
  return high * 2 ** 32 + low;
}

/** Whether a frame says that it is IP, behind tags or not, and ends before the IP header does. */
export function endsInIpHeader(bytes: Uint8Array, frame: number, length: number): boolean {
  const type = (at: number) => (bytes[frame + at] as number) * 256 + (bytes[frame + at + 1] as number);
  let at = 12;
  for (let tags = 0; tags < 8 && at + 6 <= length && (type(at) === 0x8100 || type(at) === 0x88a8); tags++) at += 4;
  return length < at + 2 + (type(at) === 0x0800 ? 20 : type(at) === 0x86dd ? 40 : 0);
}

/** What the test knows of a MAC: its kind, times 65,536, and its VTEP. */
const known = (kind: number, vtep: number) => kind * 0x1_0000 + vtep;

export class World {
  readonly #tables = allocateTables(1, 4096);
  readonly fdb = new FdbWriter(this.#tables.fdb);
  readonly context: WorkerContext;
  /** By network index: MAC number to known(). */
  readonly model: Map<number, number>[] = Array.from({ length: ROWS }, () => new Map());
  readonly #isMember = new Uint8Array(ROWS * VTEPS);
  underlayPools: Pool[] = [];
  tapPools: Pool[] = [];
  #learnt = 0;

  constructor() {
    const networks = new NetworkWriter(this.#tables.networks, this.#tables.vnis, this.#tables.membership);
    const vteps = new VtepWriter(this.#tables.vteps);
    for (let i = 0; i < VTEPS; i++) vteps.add(Uint8Array.of(192, 0, 2, i + 1), 4789);
    for (const { index, vni, mtuBytes, learning, members } of NETWORKS) {
      if (networks.reserve() !== index) throw new Error('the networks are not numbered as the test believes');
      networks.publish(index, { vni, tapFds: [TAP_FD + index], mtuBytes, learning });
      for (const member of members) {
        networks.addMember(index, member);
        this.#isMember[index * VTEPS + member] = 1;
      }
    }
    const offloads = { underlayGso: true, underlayGro: true, coalesceTcp: true, coalesceUdp: true, simdChecksum: true };
    const txFds = Array.from({ length: TX_SOCKETS }, (_, i) => TX_FD + i);
    const underlay = [{ family: 4 as const, rxFd: UNDERLAY_FD, txFds }];
    const ends = { epollFd: -1, wakeFd: -1, underlay };
    const input = { workerIndex: 0, tables: this.#tables, ...ends, offloads, spinMicroseconds: 0, nice: 0 };
    this.context = new WorkerContext(input, () => {});
    prepareReceive(this.context);
  }

  get vtepRows(): SharedArrayBuffer {
    return this.#tables.vteps;
  }

  /** As at first, with pools of the seed's. */
  reset(seed: number): void {
    this.resetTables();
    const entropy = new SeededEntropy(seed);
    this.underlayPools = NETWORKS.map(({ mark, mtuBytes }) => makePool(entropy, mark, fromUnderlay, mtuBytes));
    this.tapPools = NETWORKS.map(({ mark, mtuBytes }) => makePool(entropy, mark, fromTap, mtuBytes));
  }

  /** Nothing is learnt, and every counter is 0. */
  resetTables(): void {
    const { context } = this;
    this.fdb.removeWhere(() => true);
    for (const model of this.model) model.clear();
    for (const { index, vni } of NETWORKS) {
      for (const owned of OWNED) this.#own(index, owned.mac, owned.kind, owned.vteps[index - 1] as number);
      this.#own(index, gateway(vni), KIND_LOCAL, 0);
    }
    context.counters.cells.fill(0);
    context.events.drain(() => {});
    context.reported.fill(0);
    context.nowSeconds = 1;
    this.#learnt = 0;
    this.permitAll();
  }

  /** What a kernel's refusal has turned off is on again. */
  permitAll(): void {
    this.context.coalesceTcp = true;
    this.context.coalesceUdp = true;
    this.context.allowGso();
  }

  /** The main thread takes in what was learnt, as far as its table is to go. */
  takeEvents(): void {
    this.context.events.drain((type, networkIndex, low, high16, vtep) => {
      if (type !== 1 || this.#learnt >= LEARNT_MAX) return;
      const key = fdbKeyHigh(high16, networkIndex);
      const number = high16 * 2 ** 32 + (low >>> 0);
      const model = this.model[networkIndex] as Map<number, number>;
      if (!model.has(number)) this.#learnt++;
      if (this.fdb.set(low, key, KIND_DYNAMIC, vtep, this.context.nowSeconds))
        model.set(number, known(KIND_DYNAMIC, vtep));
    });
    this.context.nowSeconds++;
  }

  isMember(networkIndex: number, vtep: number): boolean {
    return this.#isMember[networkIndex * VTEPS + vtep] === 1;
  }

  drop(row: number, cause: number): number {
    return this.context.counters.cells[row * NETWORK_COUNTERS + DROP_COUNTERS_START + cause] as number;
  }

  counter(row: number, counter: number): number {
    return this.context.counters.cells[row * NETWORK_COUNTERS + counter] as number;
  }

  vtepCounter(vtep: number, counter: number): number {
    return this.context.counters.cells[VTEP_COUNTERS_START + vtep * VTEP_COUNTERS + counter] as number;
  }

  /** Over all networks and VTEPs, by name. */
  totals(): Totals {
    const rows = Array.from({ length: ROWS }, (_, row) => row);
    const over = (value: (row: number) => number) => rows.reduce((sum, row) => sum + value(row), 0);
    const vteps = Array.from({ length: VTEPS }, (_, vtep) => this.vtepCounter(vtep, VTEP_TX_DATAGRAMS));
    return {
      traffic: Object.fromEntries(TRAFFIC_COUNTERS.map((name, i) => [name, over((row) => this.counter(row, i))])),
      drops: Object.fromEntries(DROP_CAUSES.map(({ id, name }) => [name, over((row) => this.drop(row, id))])),
      txDatagrams: vteps.reduce((sum, count) => sum + count, 0),
    };
  }

  #own(index: number, bytes: Uint8Array, kind: number, vtep: number): void {
    const number = macNumber(bytes, 0);
    this.fdb.set((number % 2 ** 32) | 0, fdbKeyHigh(Math.floor(number / 2 ** 32), index), kind, vtep, 0);
    (this.model[index] as Map<number, number>).set(number, known(kind, vtep));
  }
}
