/**
 * Groups of VXLAN-GBP in the FDB: the group of a container on this host, and which groups of a network may talk. @hot
 *
 * A local entry names no VTEP, so its 16 bits hold the container's group (0: none). A pair that may talk is an entry of
 * kind KIND_RULE whose key no frame can have as a MAC: it has the multicast bit.
 *
 *     key   fd:67, sender's group (2 bytes), receiver's group (2 bytes)
 */
import { FDB_MISS, type Fdb, fdbKeyHigh, fdbKind, fdbVtep, KIND_LOCAL } from './fdb.js';

const RULE_MAC_HIGH16 = 0xfd67;

export function ruleKeyLow(from: number, to: number): number {
  return (from << 16) | to;
}

export function ruleKeyHigh(networkIndex: number): number {
  return fdbKeyHigh(RULE_MAC_HIGH16, networkIndex);
}

/** @returns the group of a container of this host, 0 for one without and for all other MACs */
export function groupOf(fdb: Fdb, networkIndex: number, macLow: number, macHigh16: number): number {
  const value = fdb.lookup(macLow, fdbKeyHigh(macHigh16, networkIndex));
  return value !== FDB_MISS && fdbKind(value) === KIND_LOCAL ? fdbVtep(value) : 0;
}

export function mayTalk(fdb: Fdb, networkIndex: number, from: number, to: number): boolean {
  return fdb.lookup(ruleKeyLow(from, to), ruleKeyHigh(networkIndex)) !== FDB_MISS;
}
