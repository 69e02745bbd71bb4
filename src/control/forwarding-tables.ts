/**
 * Forwarding over the shared tables: each call of the reconciler becomes rows, bits and entries, in the order that keeps
 * readers right (docs/shared-memory.md): VTEP, member bit, FDB entry, neighbour; and the reverse on removal. Main thread.
 */
import { DROP_CAUSES, DROP_UNDERLAY_OVERFLOW, type DropCause } from '../shared/drop-causes.js';
import { EventRing } from '../shared/event-ring.js';
import { fdbKeyHigh, fdbKind, KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../shared/fdb.js';
import { SELF_VTEP, type SharedTables } from '../shared/layout.js';
import { allocateTables } from '../shared/tables.js';
import type { WorkerInput } from '../shared/worker-input.js';
import { EpochWriter } from '../shared/writers/epoch-writer.js';
import { FdbWriter } from '../shared/writers/fdb-writer.js';
import { type NetworkRow, NetworkWriter } from '../shared/writers/network-writer.js';
import { VtepWriter } from '../shared/writers/vtep-writer.js';
import { writeTap } from '../sys/tap.js';
import { formatMacKey, macHigh16, macLow32 } from '../wire/mac.js';
import { type Groups, groupsOf, writeGroups, writeRules } from './container-groups.js';
import { VtepError } from './errors.js';
import { FdbLearning } from './fdb-learning.js';
import { listFdb } from './fdb-listing.js';
import { FdbSweeper } from './fdb-sweeper.js';
import { Floods } from './floods.js';
import type {
  FdbEntry,
  Forwarding,
  ForwardingNetwork,
  ForwardingStatus,
  NeighbourEntry,
  VtepAddress,
} from './forwarding.js';
import { CounterReader } from './forwarding-counters.js';
import { type ForwardingOptions, ipsOf, socketOptions } from './forwarding-options.js';
import { gatewayMac } from './ipam/mac.js';
import { LearningLimit } from './learning-limit.js';
import { LOCAL_SOURCE, type MacClaim, MacClaims, type MacWinner } from './mac-claims.js';
import { Neighbours } from './neighbours.js';
import { closeOffloads, noteRefusals, type Offloads, probeOffloads } from './offloads.js';
import { allowedOffloads, explainOffloads, OUTER_HEADER_DEFAULT, workerOuterHeader } from './outer-header.js';
import { Supervisor } from './supervisor.js';
import { TapQueues } from './tap-queues.js';
import { familyOf, type VtepIps } from './vtep-address.js';
import { VtepRegistrar } from './vtep-registrar.js';
import { makeWarmUpTables } from './warm-up-tables.js';
import {
  closeWorkerDescriptors,
  moveWorkerDescriptors,
  openWorkerDescriptors,
  overflowCounts,
  type WorkerDescriptors,
  wakeAll,
} from './worker-descriptors.js';

const OVERFLOW = DROP_CAUSES[DROP_UNDERLAY_OVERFLOW] as DropCause;
const CLOCK_MS = 1000;

interface OpenNetwork {
  readonly index: number;
  network: ForwardingNetwork;
  taps: TapQueues;
  /** The VTEP of each source. */
  readonly sources: Map<string, number>;
  /** How many sources name a VTEP. */
  readonly uses: Map<number, number>;
  readonly claims: MacClaims;
  readonly limit: LearningLimit;
  /** Group policy ids of this host's containers, by MAC. */
  groups: Groups;
}

/** Opens the underlay and starts the workers. @throws VtepError VTEP_ERR_PORT_IN_USE, VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL */
export async function createForwarding(options: ForwardingOptions): Promise<Forwarding> {
  const { workers, logger } = options;
  const ips = ipsOf(options.listen);
  const outer = options.outer ?? OUTER_HEADER_DEFAULT;
  const probed = probeOffloads(allowedOffloads(options.offloads, outer), workers, ips.map(familyOf));
  const offloads = { ...probed, status: explainOffloads(probed.status, options.offloads, outer) };
  logger.debug({ event: 'offloads.probed', offloads: offloads.status }, 'offloads are probed');
  let descriptors: WorkerDescriptors[];
  try {
    descriptors = openWorkerDescriptors(ips, socketOptions(options, offloads));
  } catch (error) {
    closeOffloads(offloads);
    throw error;
  }
  const forwarding = new ForwardingTables(options, offloads, descriptors);
  await forwarding.start();
  return forwarding;
}

class ForwardingTables implements Forwarding {
  readonly #options: ForwardingOptions;
  readonly #offloads: Offloads;
  /** By worker index. */
  readonly #workers: readonly WorkerDescriptors[];
  readonly #tables: SharedTables;
  readonly #fdb: FdbWriter;
  readonly #sweeper: FdbSweeper;
  readonly #neighbours: Neighbours;
  readonly #networkWriter: NetworkWriter;
  readonly #epoch: EpochWriter;
  readonly #vteps: VtepRegistrar;
  readonly #floods: Floods;
  readonly #supervisor: Supervisor;
  readonly #learning: FdbLearning;
  readonly #clock: NodeJS.Timeout;
  readonly #counters: CounterReader;
  readonly #byVni = new Map<number, OpenNetwork>();
  readonly #byIndex: (OpenNetwork | undefined)[] = [];
  readonly #closing = new Map<number, Promise<void>>();
  #listen: VtepAddress;
  #macConflicts = 0;

  constructor(options: ForwardingOptions, offloads: Offloads, workers: readonly WorkerDescriptors[]) {
    this.#options = options;
    this.#listen = options.listen;
    this.#offloads = offloads;
    this.#workers = workers;
    const tables = allocateTables(workers.length, options.fdbEntries);
    this.#tables = tables;
    this.#fdb = new FdbWriter(tables.fdb);
    this.#sweeper = new FdbSweeper(this.#fdb);
    this.#neighbours = new Neighbours(tables.neighbours, options.logger);
    this.#networkWriter = new NetworkWriter(tables.networks, tables.vnis, tables.membership);
    this.#epoch = new EpochWriter(tables.epoch, workers.length, () => wakeAll(workers));
    this.#counters = new CounterReader(tables.counters);
    this.#vteps = new VtepRegistrar(
      new VtepWriter(tables.vteps),
      () => this.#settle(),
      (index) => this.#counters.useVtep(index),
    );
    this.#floods = new Floods({
      ...{ workers, vteps: this.#vteps, networks: this.#networkWriter, fdb: this.#fdb, logger: options.logger },
      interfaceName: options.underlayInterface,
      port: options.listen.port,
      families: ipsOf(options.listen).map(familyOf),
      hops: options.multicastHops,
      hostsMin: options.multicastFrom,
      gro: offloads.worker.underlayGro,
      settle: () => this.#epoch.quiesce(),
      queryIntervalSeconds: options.queryIntervalSeconds,
      eventsLost: (index: number) => this.#counters.eventsLost(index),
    });
    const startedAt = performance.now();
    this.#clock = setInterval(() => {
      this.#epoch.setClock(Math.floor((performance.now() - startedAt) / 1000));
      this.#floods.tick();
    }, CLOCK_MS);
    this.#clock.unref();
    const rings = tables.events.map((buffer) => new EventRing(buffer));
    this.#learning = new FdbLearning(rings, {
      ...{ learnt: this.#learnt.bind(this), conflict: this.#conflict.bind(this), age: this.#age.bind(this) },
      doubt: (index, low, high16, vtepIndex) =>
        this.#neighbours.doubt(this.#byIndex[index], formatMacKey(high16, low), this.#vteps.get(vtepIndex)?.address),
      heard: this.#floods.heard.bind(this.#floods),
    });
    this.#supervisor = new Supervisor(this.#epoch, () => this.#learning.drain(), options.logger);
    // Row SELF_VTEP is this host, the first of all: datagrams from its own address are known and dropped.
    this.#vteps.acquireSelf(options.listen);
  }

  async start(): Promise<void> {
    for (const [workerIndex, descriptors] of this.#workers.entries()) {
      const input: WorkerInput = {
        workerIndex,
        tables: this.#tables,
        ...descriptors,
        offloads: this.#offloads.worker,
        spinMicroseconds: this.#options.spinMicroseconds,
        nice: this.#options.workerNice,
        outer: workerOuterHeader(this.#options.outer ?? OUTER_HEADER_DEFAULT),
      };
      this.#supervisor.start({ input, warmUpInput: makeWarmUpTables(ipsOf(this.#listen).map(familyOf)) });
    }
    await this.#supervisor.running();
  }

  openNetwork(network: ForwardingNetwork): void {
    const open = this.#byVni.get(network.vni);
    if (open === undefined) {
      this.#openNew(network);
      return;
    }
    if (!open.taps.isAlive()) this.#replaceTap(open, network.tapName);
    open.network = network;
    this.#networkWriter.publish(open.index, rowOf(network, open.taps));
  }

  #openNew(network: ForwardingNetwork): void {
    const index = this.#networkWriter.reserve();
    if (index === 0) {
      throw new VtepError('VTEP_ERR_TABLE_FULL', `the network table is full: no room for "${network.name}"`);
    }
    let taps: TapQueues;
    try {
      taps = this.#openTap(network.tapName);
    } catch (error) {
      this.#networkWriter.release(index);
      throw error;
    }
    const claims = new MacClaims({
      won: (mac, winner) => this.#writeEntry(open, mac, winner),
      conflict: (mac, source) => this.#localConflict(open, mac, source),
      addressWon: (address, winner) => this.#neighbours.write(open, address, winner),
    });
    const limit = new LearningLimit(this.#options.logger);
    const maps = { sources: new Map(), uses: new Map(), groups: new Map() };
    const open: OpenNetwork = { index, network, taps, claims, limit, ...maps };
    this.#byVni.set(network.vni, open);
    this.#byIndex[index] = open;
    // Before the first frame: whoever sends with the gateway's MAC through the tunnel is refused from the start.
    this.setLocal(network.vni, []);
    writeRules(this.#fdb, index, network.allowedGroups ?? []);
    this.#counters.use(index);
    this.#floods.open(index, network, (frame) => writeTap(open.taps.fds[0] as number, frame));
    this.#networkWriter.publish(index, rowOf(network, taps));
    taps.watch(index);
  }

  /** Someone deleted the interface: a new one takes its place under the same index. */
  #replaceTap(open: OpenNetwork, tapName: string): void {
    const old = open.taps;
    open.taps = this.#openTap(tapName);
    this.#networkWriter.publish(open.index, rowOf(open.network, open.taps));
    old.unwatch();
    open.taps.watch(open.index);
    void this.#epoch.quiesce().then(() => old.close());
  }

  #openTap(tapName: string): TapQueues {
    return new TapQueues(tapName, this.#workers, this.#offloads);
  }

  async closeNetwork(vni: number): Promise<void> {
    const open = this.#byVni.get(vni);
    if (open === undefined) return this.#closing.get(vni);
    this.#byVni.delete(vni);
    const closing = this.#close(vni, open).finally(() => this.#closing.delete(vni));
    this.#closing.set(vni, closing);
    return closing;
  }

  async #close(vni: number, open: OpenNetwork): Promise<void> {
    open.taps.unwatch();
    this.#networkWriter.unpublish(vni);
    // From here on nothing is learnt for it.
    this.#byIndex[open.index] = undefined;
    await this.#neighbours.removeNetwork(open);
    await this.#sweeper.removeNetwork(open.index);
    this.#floods.close(open.index);
    for (const vtepIndex of open.uses.keys()) this.#networkWriter.removeMember(open.index, vtepIndex);
    await this.#settle();
    open.taps.close();
    this.#counters.retire(open.index);
    this.#networkWriter.release(open.index);
    for (const vtepIndex of open.sources.values()) this.#vteps.release(vtepIndex);
  }

  /** Resolves when no worker holds what was unpublished before, and no event tells of it: indices may be used again. */
  async #settle(): Promise<void> {
    await this.#epoch.quiesce();
    this.#learning.drain();
  }

  setLocal(vni: number, macs: readonly MacClaim[]): void {
    const open = this.#byVni.get(vni);
    if (open === undefined) return;
    open.groups = groupsOf(macs);
    const gateway = { mac: gatewayMac(vni), since: 0, addresses: open.network.gateways ?? [] };
    open.claims.replace(LOCAL_SOURCE, SELF_VTEP, [...macs, gateway]);
    writeGroups(this.#fdb, open.index, macs, open.groups);
  }

  setRemote(vni: number, source: string, vtep: VtepAddress, macs: readonly MacClaim[]): void {
    const open = this.#byVni.get(vni);
    if (open === undefined) return;
    const vtepIndex = this.#vteps.acquire(vtep);
    if (vtepIndex === SELF_VTEP) {
      this.#vteps.release(vtepIndex);
      throw new VtepError('VTEP_ERR_INVALID', `${source}: VTEP ${vtep.address} is this host's own address`);
    }
    const before = open.sources.get(source);
    open.sources.set(source, vtepIndex);
    open.uses.set(vtepIndex, (open.uses.get(vtepIndex) ?? 0) + 1);
    this.#networkWriter.addMember(open.index, vtepIndex);
    this.#floods.setMember(open.index, source, vtepIndex);
    // Each entry goes from the old VTEP to the new in one write; only then is the old one no member.
    open.claims.replace(source, vtepIndex, macs);
    this.#neighbours.reaffirm(open, source);
    if (before !== undefined) this.#dropVtepUse(open, before);
  }

  removeRemote(vni: number, source: string): void {
    const open = this.#byVni.get(vni);
    const before = open?.sources.get(source);
    if (open === undefined || before === undefined) return;
    open.sources.delete(source);
    this.#floods.removeMember(open.index, source);
    open.claims.replace(source, before, []);
    this.#dropVtepUse(open, before);
  }

  /**
   * A source has let go of the VTEP; the last one on the network takes what was learnt from it along, then its membership.
   * Meanwhile nothing more is learnt from it (#learnt), and another source may come that names it.
   */
  #dropVtepUse(open: OpenNetwork, vtepIndex: number): void {
    const left = (open.uses.get(vtepIndex) ?? 0) - 1;
    if (left > 0) {
      open.uses.set(vtepIndex, left);
      this.#vteps.release(vtepIndex);
      return;
    }
    open.uses.delete(vtepIndex);
    void this.#sweeper.removeLearnt(open.index, vtepIndex).then(() => {
      if (!open.uses.has(vtepIndex)) this.#networkWriter.removeMember(open.index, vtepIndex);
      this.#vteps.release(vtepIndex);
    });
  }

  #writeEntry(open: OpenNetwork, mac: string, winner: MacWinner | undefined): void {
    const low = macLow32(mac);
    const keyHigh = fdbKeyHigh(macHigh16(mac), open.index);
    if (winner === undefined) {
      this.#fdb.remove(low, keyHigh);
      return;
    }
    const isLocal = winner.source === LOCAL_SOURCE;
    // A local entry has the container's group where another has the VTEP.
    const value = isLocal ? (open.groups.get(mac) ?? 0) : winner.vtepIndex;
    if (!this.#fdb.setBefore(low, keyHigh, isLocal ? KIND_LOCAL : KIND_STATIC, value)) {
      this.#options.logger.error({ event: 'fdb.full', network: open.network.name, mac }, 'the FDB is full');
    }
  }

  #localConflict(open: OpenNetwork, mac: string, source: string): void {
    this.#macConflicts++;
    const { name } = open.network;
    const text = `MAC ${mac} of network "${name}" is attached here and on ${source}: this host delivers it here`;
    this.#options.logger.warn({ event: 'fdb.local-conflict', network: name, mac, source }, text);
  }

  moveUnderlay({ ip, otherIp }: VtepIps): void {
    const listen = { ...this.#listen, address: ip, otherAddress: otherIp };
    const before = ipsOf(this.#listen);
    const moved = ipsOf(listen).filter((own) => !before.includes(own));
    if (moved.length === 0) return;
    moveWorkerDescriptors(this.#workers, moved, socketOptions(this.#options, this.#offloads));
    this.#listen = listen;
    this.#vteps.moveSelf({ ip, otherIp });
    this.#floods.renew();
  }

  renewUnderlay(): void {
    this.#floods.renew();
  }

  #learnt(networkIndex: number, low: number, high16: number, vtepIndex: number): void {
    const open = this.#byIndex[networkIndex];
    if (open === undefined || !open.uses.has(vtepIndex)) return;
    const keyHigh = fdbKeyHigh(high16, networkIndex);
    const kind = fdbKind(this.#fdb.get(low, keyHigh));
    if (kind === KIND_LOCAL || kind === KIND_STATIC) return;
    const { name, learntMacsMax = 0 } = open.network;
    const learnt = this.#fdb.dynamicCountOf(networkIndex);
    if (kind !== KIND_DYNAMIC && !open.limit.admits(name, learnt, learntMacsMax)) return;
    if (!this.#fdb.set(low, keyHigh, KIND_DYNAMIC, vtepIndex, this.#epoch.clock())) {
      open.limit.refuse(name, 'the FDB is full (--fdb-entries)');
    }
  }

  #conflict(networkIndex: number, low: number, high16: number, vtepIndex: number): void {
    this.#options.logger.warn(
      {
        event: 'fdb.mac-conflict',
        network: this.#byIndex[networkIndex]?.network.name,
        mac: formatMacKey(high16, low),
        vtep: this.#vteps.get(vtepIndex)?.address,
      },
      'a VTEP sends frames with a MAC that is registered elsewhere',
    );
  }

  #age(ageingSeconds: number): void {
    this.#sweeper.removeIdle(this.#epoch.clock() - ageingSeconds);
  }

  fdb(vni?: number): FdbEntry[] {
    const networkOf = (index: number) => this.#byIndex[index]?.network;
    const vtepOf = (index: number) => this.#vteps.get(index);
    return listFdb({ fdb: this.#fdb, networkOf, vtepOf, clockSeconds: this.#epoch.clock() }, vni);
  }

  neighbours(vni?: number): NeighbourEntry[] {
    const networks = this.#byIndex.filter((open) => vni === undefined || open?.network.vni === vni);
    return this.#neighbours.list(networks, (index) => this.#vteps.get(index));
  }

  vteps(): VtepAddress[] {
    return [...this.#vteps.rows()].filter(([index]) => index !== SELF_VTEP).map(([, vtep]) => vtep);
  }

  status(): ForwardingStatus {
    const { totals, drops } = this.#counters.totals();
    const frames = {
      totals: { ...totals, mac_conflicts: this.#macConflicts },
      drops: { ...drops, [OVERFLOW.name]: overflowCounts(this.#workers) + this.#floods.overflows() },
      networks: [...this.#byVni.values()].map(({ index, network, limit }) => ({
        vni: network.vni,
        network: network.name,
        flood: this.#floods.status(index),
        counters: { ...this.#counters.network(index), macs_not_learnt: limit.refused },
      })),
      vteps: [...this.#vteps.rows()]
        .filter(([index]) => index !== SELF_VTEP)
        .map(([index, { address, port, otherAddress }]) => ({
          ...{ address, port, ...(otherAddress === undefined ? {} : { otherAddress }) },
          counters: this.#counters.vtep(index),
        })),
    };
    return {
      workers: this.#workers.map((_, id) => ({
        id,
        state: this.#supervisor.state(id),
        turns: this.#epoch.turns(id),
      })),
      offloads: noteRefusals(this.#offloads.status, frames),
      listen: this.#listen,
      ...frames,
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#clock);
    this.#learning.close();
    await this.#supervisor.stop();
    await Promise.all(this.#closing.values());
    await this.#sweeper.idle;
    for (const open of this.#byVni.values()) open.taps.close();
    this.#byVni.clear();
    await this.#floods.end();
    closeWorkerDescriptors(this.#workers);
    closeOffloads(this.#offloads);
  }
}

function rowOf(network: ForwardingNetwork, taps: TapQueues): NetworkRow {
  return { ...network, groupRules: network.allowedGroups !== undefined, tapFds: taps.fds };
}
