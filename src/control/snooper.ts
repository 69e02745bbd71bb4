/**
 * IGMP and MLD snooping of this host's networks: what workers hear becomes rows of the flood list, and this host asks its
 * own containers for their memberships. Main thread.
 *
 *     workers' event rings ─▶ GroupMembership (a network) ─▶ rows: FDB entry of the group's MAC ─▶ bits of VTEPs
 *     query ─▶ TAP ─▶ bridge ─▶ containers of this host ─▶ reports ─▶ to all VTEPs of the network, each of which hears them
 *       └───▶ word to each VTEP: "asked, answers within ..." (wire/group-probe.ts)
 *
 * So each host is the querier for its own containers and for nobody else's: there is nothing to elect, and no query crosses
 * the tunnel. It asks when the network comes, when a VTEP comes, when a container leaves a group, and every 125 s.
 * A row is an index of the networks' table that no network has: its bits in the flood list are free.
 */
import type { Logger } from 'pino';
import {
  EVENT_GROUP_QUERIED,
  EVENT_MEMBER_JOINED,
  EVENT_MEMBER_JOINED_ALONE,
  EVENT_MEMBER_LEFT,
  EVENT_ROUTER,
} from '../shared/event-ring.js';
import { fdbKeyHigh, KIND_GROUP } from '../shared/fdb.js';
import { SELF_VTEP } from '../shared/layout.js';
import type { FdbWriter } from '../shared/writers/fdb-writer.js';
import type { NetworkWriter } from '../shared/writers/network-writer.js';
import { emitGroupProbe, GROUP_PROBE_BYTES, GROUP_QUERIED } from '../wire/group-probe.js';
import { igmpQuery, mldQuery } from '../wire/membership-query.js';
import { isPeerSource } from './forwarding-source.js';
import { GroupMembership } from './group-membership.js';

/** Groups of all networks that have rows; further ones are flooded. */
const ROWS_MAX = 1024;
const STARTUP_QUERIES = 2;
const SECOND_MS = 1000;
const RESPONSE_MS_MAX = 10_000;
const LEAVE_RESPONSE_MS = 1000;

export interface SnooperOptions {
  readonly fdb: FdbWriter;
  readonly networks: NetworkWriter;
  /** How often containers are asked. */
  readonly queryIntervalSeconds: number;
  readonly send: (vtepIndex: number, datagram: Uint8Array) => void;
  /** Frames that are lost for want of room in an event ring, of one network, so far. */
  readonly eventsLost: (networkIndex: number) => number;
  readonly settle: () => Promise<void>;
  readonly logger: Logger;
}

interface Snooped {
  readonly index: number;
  readonly vni: number;
  readonly toContainers: (frame: Uint8Array) => void;
  readonly membership: GroupMembership;
  /** By source (Forwarding.setRemote). */
  readonly sources: Map<string, number>;
  /** By MAC. */
  readonly rows: Map<string, { readonly row: number; members: ReadonlySet<number> }>;
  nextQueryMs: number;
  startupQueries: number;
  leaveQueries: number;
  eventsLost: number;
}

export class Snooper {
  readonly #options: SnooperOptions;
  readonly #networks = new Map<number, Snooped>();
  readonly #intervalMs: number;
  readonly #responseMs: number;
  #rowCount = 0;

  constructor(options: SnooperOptions) {
    this.#options = options;
    this.#intervalMs = options.queryIntervalSeconds * SECOND_MS;
    this.#responseMs = Math.min(RESPONSE_MS_MAX, Math.floor(this.#intervalMs / 4));
  }

  /** @param toContainers writes a frame to the network's TAP as it is now */
  open(index: number, vni: number, toContainers: (frame: Uint8Array) => void): void {
    if (this.#networks.has(index)) return;
    const rows: Snooped['rows'] = new Map();
    const onRow = (low: number, high: number, members: ReadonlySet<number> | undefined) => {
      this.#writeRow(index, rows, low, high, members);
    };
    const membership = new GroupMembership(onRow, this.#intervalMs, this.#responseMs);
    this.#networks.set(index, {
      ...{ index, vni, toContainers, membership, sources: new Map(), rows },
      ...{ nextQueryMs: now() + SECOND_MS, startupQueries: STARTUP_QUERIES, leaveQueries: 0 },
      eventsLost: this.#options.eventsLost(index),
    });
  }

  close(index: number): void {
    this.#networks.get(index)?.membership.close();
    this.#networks.delete(index);
  }

  setMember(index: number, source: string, vtepIndex: number): void {
    const snooped = this.#networks.get(index);
    if (snooped === undefined || snooped.sources.get(source) === vtepIndex) return;
    this.removeMember(index, source);
    snooped.sources.set(source, vtepIndex);
    this.#enter(snooped, vtepIndex);
    // The newcomer has heard no report yet.
    snooped.startupQueries = STARTUP_QUERIES;
    snooped.nextQueryMs = Math.min(snooped.nextQueryMs, now() + SECOND_MS);
  }

  removeMember(index: number, source: string): void {
    const snooped = this.#networks.get(index);
    const vtepIndex = snooped?.sources.get(source);
    if (snooped === undefined || vtepIndex === undefined) return;
    snooped.sources.delete(source);
    if ([...snooped.sources.values()].includes(vtepIndex)) this.#enter(snooped, vtepIndex);
    else snooped.membership.removeVtep(vtepIndex, now());
  }

  /** A worker's event. */
  heard(type: number, index: number, word2: number, word3: number, vtepIndex: number): void {
    const snooped = this.#networks.get(index);
    if (snooped === undefined) return;
    const { membership } = snooped;
    const nowMs = now();
    if (type === EVENT_GROUP_QUERIED) membership.queried(vtepIndex, word2 * SECOND_MS, word3, nowMs);
    else if (type === EVENT_MEMBER_JOINED) membership.joined(word2, word3, vtepIndex, false, nowMs);
    else if (type === EVENT_MEMBER_JOINED_ALONE) membership.joined(word2, word3, vtepIndex, true, nowMs);
    else if (type === EVENT_ROUTER) membership.router(vtepIndex, nowMs);
    else if (type === EVENT_MEMBER_LEFT) {
      membership.left(word2, word3, vtepIndex, nowMs);
      if (vtepIndex === SELF_VTEP) snooped.leaveQueries = STARTUP_QUERIES;
    }
  }

  /** Every second. */
  tick(): void {
    const nowMs = now();
    for (const snooped of this.#networks.values()) {
      const lost = this.#options.eventsLost(snooped.index);
      if (lost !== snooped.eventsLost) snooped.membership.distrust(nowMs);
      snooped.eventsLost = lost;
      snooped.membership.age(nowMs);
      if (nowMs >= snooped.nextQueryMs) this.#query(snooped, nowMs);
      else if (snooped.leaveQueries > 0) {
        snooped.leaveQueries--;
        this.#ask(snooped, LEAVE_RESPONSE_MS);
      }
    }
  }

  /** One of several sources may be a peer: then it is not known whether it asks. */
  #enter({ sources, membership }: Snooped, vtepIndex: number): void {
    const names = [...sources].filter(([, named]) => named === vtepIndex).map(([source]) => source);
    membership.addVtep(vtepIndex, names.some(isPeerSource), now());
  }

  #query(snooped: Snooped, nowMs: number): void {
    snooped.startupQueries = Math.max(0, snooped.startupQueries - 1);
    snooped.nextQueryMs = nowMs + (snooped.startupQueries > 0 ? this.#intervalMs / 4 : this.#intervalMs);
    this.#ask(snooped, this.#responseMs);
    const word = new Uint8Array(GROUP_PROBE_BYTES);
    emitGroupProbe(word, 0, GROUP_QUERIED, snooped.vni, this.#options.queryIntervalSeconds, this.#responseMs);
    const hosts = [...snooped.sources].filter(([source]) => !isPeerSource(source)).map(([, vtepIndex]) => vtepIndex);
    for (const vtepIndex of new Set(hosts)) this.#options.send(vtepIndex, word);
  }

  #ask({ toContainers }: Snooped, responseMs: number): void {
    toContainers(igmpQuery(responseMs, this.#options.queryIntervalSeconds));
    toContainers(mldQuery(responseMs, this.#options.queryIntervalSeconds));
  }

  #writeRow(
    index: number,
    rows: Snooped['rows'],
    low: number,
    high: number,
    members: ReadonlySet<number> | undefined,
  ): void {
    const { fdb, networks, settle } = this.#options;
    const key = `${high} ${low}`;
    const known = rows.get(key);
    if (members === undefined) {
      if (known === undefined) return;
      rows.delete(key);
      fdb.remove(low, fdbKeyHigh(high, index));
      void settle().then(() => {
        networks.release(known.row);
        this.#rowCount--;
      });
      return;
    }
    if (known !== undefined) {
      for (const vtep of members) if (!known.members.has(vtep)) networks.addMember(known.row, vtep);
      for (const vtep of known.members) if (!members.has(vtep)) networks.removeMember(known.row, vtep);
      known.members = members;
      return;
    }
    const row = this.#rowCount < ROWS_MAX ? networks.reserve() : 0;
    if (row === 0) return;
    for (const vtep of members) networks.addMember(row, vtep);
    if (!fdb.set(low, fdbKeyHigh(high, index), KIND_GROUP, row, 0)) {
      networks.release(row);
      return;
    }
    this.#rowCount++;
    rows.set(key, { row, members });
  }
}

function now(): number {
  return performance.now();
}
