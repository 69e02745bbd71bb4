/** Groups of a network's containers, and the rules of who may talk, as the FDB has them (shared/group-rules.ts). Main thread. */
import { fdbKeyHigh, fdbKind, fdbVtep, KIND_LOCAL, KIND_RULE } from '../shared/fdb.js';
import { ruleKeyHigh, ruleKeyLow } from '../shared/group-rules.js';
import type { FdbWriter } from '../shared/writers/fdb-writer.js';
import { macHigh16, macLow32 } from '../wire/mac.js';
import type { MacClaim } from './mac-claims.js';

/** By MAC, of those that have one. */
export type Groups = ReadonlyMap<string, number>;

export function groupsOf(claims: readonly MacClaim[]): Groups {
  return new Map(claims.flatMap(({ mac, group }) => (group === undefined ? [] : [[mac, group] as const])));
}

/** Of MACs that were local already: the others get theirs with their entry. */
export function writeGroups(fdb: FdbWriter, networkIndex: number, claims: readonly MacClaim[], groups: Groups): void {
  for (const { mac } of claims) {
    const low = macLow32(mac);
    const keyHigh = fdbKeyHigh(macHigh16(mac), networkIndex);
    const group = groups.get(mac) ?? 0;
    const value = fdb.get(low, keyHigh);
    if (fdbKind(value) === KIND_LOCAL && fdbVtep(value) !== group) fdb.set(low, keyHigh, KIND_LOCAL, group, 0);
  }
}

/** @param pairs FROM:TO. They go with the network's other entries. */
export function writeRules(fdb: FdbWriter, networkIndex: number, pairs: readonly string[]): void {
  for (const pair of pairs) {
    const [from = 0, to = 0] = pair.split(':').map(Number);
    fdb.setBefore(ruleKeyLow(from, to), ruleKeyHigh(networkIndex), KIND_RULE, 0);
  }
}
