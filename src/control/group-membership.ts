/**
 * Which VTEPs of one network get the frames of which multicast group (IGMP and MLD snooping, RFC 4541). Pure: the caller
 * tells the time, brings what workers have heard, and writes the rows.
 *
 *     a row          the VTEPs with a member, and those that get everything
 *     no row         nobody has reported the group, or not all members need have: it is flooded
 *
 * In doubt a VTEP gets everything: a peer, which asks its containers for nothing; a host that has not yet said twice that it
 * has asked its own, or is overdue to say so; one with a multicast router behind it. What a host's containers report is kept
 * for twice its query interval and the time that answers may take (RFC 3376 section 8.4), after a leave for three seconds,
 * within which its host has asked again. Where hosts that hear a report keep silent (IGMPv1, IGMPv2, MLDv1), the group is
 * flooded: others may want it.
 */
import { SELF_VTEP } from '../shared/layout.js';

const ROBUSTNESS = 2;
const QUERIES_TRUSTED = 2;
/** On top of the time that answers may take: the way. */
const MARGIN_MS = 2000;
export const LEAVE_MS = 3000;
/** Of a VTEP that has not said (RFC 3376 section 8). */
const QUERY_INTERVAL_MS = 125_000;
const RESPONSE_MS = 10_000;

interface Vtep {
  /** Sources that name it, by whether they are peers. */
  isPeer: boolean;
  queries: number;
  trustedAtMs: number;
  overdueAtMs: number;
  intervalMs: number;
  responseMs: number;
  routerUntilMs: number;
}

interface Group {
  readonly low: number;
  readonly high: number;
  /** When the membership ends. */
  readonly members: Map<number, number>;
  /** Until then silent members are possible. */
  aloneUntilMs: number;
  row: ReadonlySet<number> | undefined;
}

/** @param members undefined: the group has no row, it is flooded */
export type OnRow = (low: number, high: number, members: ReadonlySet<number> | undefined) => void;

export class GroupMembership {
  readonly #onRow: OnRow;
  readonly #vteps = new Map<number, Vtep>();
  readonly #groups = new Map<string, Group>();
  /** The VTEPs that get everything, as the rows have them. */
  #everything: ReadonlySet<number> = new Set();

  /** @param intervalMs, responseMs how this host asks its own containers */
  constructor(onRow: OnRow, intervalMs: number, responseMs: number) {
    this.#onRow = onRow;
    this.#vteps.set(SELF_VTEP, { ...newVtep(false), intervalMs, responseMs });
  }

  addVtep(vtepIndex: number, isPeer: boolean, nowMs: number): void {
    this.#vteps.set(vtepIndex, newVtep(isPeer));
    this.#refresh(nowMs);
  }

  removeVtep(vtepIndex: number, nowMs: number): void {
    this.#vteps.delete(vtepIndex);
    for (const group of this.#groups.values()) group.members.delete(vtepIndex);
    this.#refresh(nowMs);
  }

  /** The VTEP has asked its containers, and will again. */
  queried(vtepIndex: number, intervalMs: number, responseMs: number, nowMs: number): void {
    const vtep = this.#vteps.get(vtepIndex);
    if (vtep === undefined || intervalMs <= 0 || responseMs <= 0) return;
    vtep.queries++;
    if (vtep.queries === QUERIES_TRUSTED) vtep.trustedAtMs = nowMs + responseMs + MARGIN_MS;
    Object.assign(vtep, { intervalMs, responseMs, overdueAtMs: nowMs + ROBUSTNESS * intervalMs + responseMs });
    this.#refresh(nowMs);
  }

  /** @param isAlone others that want the group may have kept silent */
  joined(low: number, high: number, vtepIndex: number, isAlone: boolean, nowMs: number): void {
    const vtep = this.#vteps.get(vtepIndex);
    if (vtep === undefined) return;
    const key = `${high} ${low}`;
    const group = this.#groups.get(key) ?? { low, high, members: new Map(), aloneUntilMs: 0, row: undefined };
    this.#groups.set(key, group);
    const untilMs = nowMs + ROBUSTNESS * vtep.intervalMs + vtep.responseMs;
    group.members.set(vtepIndex, untilMs);
    if (isAlone) group.aloneUntilMs = untilMs;
    this.#write(group, nowMs);
  }

  left(low: number, high: number, vtepIndex: number, nowMs: number): void {
    const group = this.#groups.get(`${high} ${low}`);
    const untilMs = group?.members.get(vtepIndex);
    if (group === undefined || untilMs === undefined) return;
    group.members.set(vtepIndex, Math.min(untilMs, nowMs + LEAVE_MS));
  }

  router(vtepIndex: number, nowMs: number): void {
    const vtep = this.#vteps.get(vtepIndex);
    if (vtep === undefined) return;
    vtep.routerUntilMs = nowMs + ROBUSTNESS * QUERY_INTERVAL_MS + RESPONSE_MS;
    this.#refresh(nowMs);
  }

  /** Reports may have been lost: every host has to say anew that it has asked. */
  distrust(nowMs: number): void {
    for (const vtep of this.#vteps.values()) vtep.queries = 0;
    this.#refresh(nowMs);
  }

  /** Call it every second or so. */
  age(nowMs: number): void {
    for (const [key, group] of this.#groups) {
      for (const [vtepIndex, untilMs] of group.members) if (untilMs <= nowMs) group.members.delete(vtepIndex);
      if (group.members.size === 0) this.#groups.delete(key);
      this.#write(group, nowMs);
    }
    this.#refresh(nowMs);
  }

  close(): void {
    for (const group of this.#groups.values())
      if (group.row !== undefined) this.#onRow(group.low, group.high, undefined);
    this.#groups.clear();
  }

  #getsEverything({ isPeer, queries, trustedAtMs, overdueAtMs, routerUntilMs }: Vtep, nowMs: number): boolean {
    return isPeer || queries < QUERIES_TRUSTED || nowMs < trustedAtMs || nowMs >= overdueAtMs || nowMs < routerUntilMs;
  }

  #refresh(nowMs: number): void {
    const everything = new Set<number>();
    for (const [index, vtep] of this.#vteps) {
      if (index !== SELF_VTEP && this.#getsEverything(vtep, nowMs)) everything.add(index);
    }
    if (areEqual(everything, this.#everything)) return;
    this.#everything = everything;
    for (const group of this.#groups.values()) this.#write(group, nowMs);
  }

  #write(group: Group, nowMs: number): void {
    const row = group.members.size === 0 || nowMs < group.aloneUntilMs ? undefined : new Set(this.#everything);
    if (row !== undefined) for (const index of group.members.keys()) if (index !== SELF_VTEP) row.add(index);
    if (row === group.row || (row !== undefined && group.row !== undefined && areEqual(row, group.row))) return;
    group.row = row;
    this.#onRow(group.low, group.high, row);
  }
}

function newVtep(isPeer: boolean): Vtep {
  const times = { trustedAtMs: 0, overdueAtMs: 0, routerUntilMs: 0 };
  return { isPeer, queries: 0, ...times, intervalMs: QUERY_INTERVAL_MS, responseMs: RESPONSE_MS };
}

function areEqual(a: ReadonlySet<number>, b: ReadonlySet<number>): boolean {
  if (a.size !== b.size) return false;
  for (const index of a) if (!b.has(index)) return false;
  return true;
}
