/**
 * vtepd against the kernel's VXLAN, case by case: what is sent, and what is seen of it on the wire, at the far side and in
 * the counters. All is played in one lab before the first judgement, so that one look of tshark decodes the wire for all.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from './lab.js';
import { ECN } from './rows/ecn.js';
import { BROKEN_PACKETS, ETHERTYPES } from './rows/ethertypes.js';
import { FRAGMENTS } from './rows/fragments.js';
import { IPV6_KERNEL_HEADERS, IPV6_UNDERLAY } from './rows/ipv6-underlay.js';
import { DEVICES, LEARNING } from './rows/learning.js';
import { MULTICAST } from './rows/multicast.js';
import { OFFLOADS } from './rows/offloads.js';
import { CHECKSUMS, KERNEL_HEADERS, OUTER_HEADER } from './rows/outer-header.js';
import { OUTER_SETTINGS } from './rows/outer-settings.js';
import { REFUSALS } from './rows/refusals.js';
import { GROUPED, GUARDED, TOLERANT } from './rows/settings.js';
import { SIZES } from './rows/sizes.js';
import { type Case, type Evidence, type Group, playGroup, type Scenario, Wire, type WireClaim } from './table.js';

const GROUPS: readonly Group[] = [
  SIZES,
  FRAGMENTS,
  REFUSALS,
  OUTER_HEADER,
  CHECKSUMS,
  ...KERNEL_HEADERS,
  ETHERTYPES,
  BROKEN_PACKETS,
  LEARNING,
  ...DEVICES,
  ...OFFLOADS,
  IPV6_UNDERLAY,
  ...IPV6_KERNEL_HEADERS,
  ...MULTICAST,
  ECN,
  TOLERANT,
  GUARDED,
  GROUPED,
  OUTER_SETTINGS,
];

/** All cases in one hook: some twenty seconds, more on a machine that does something else. */
const PLAY_MS = 300_000;

let lab: Lab;
let wire: Wire;
const played = new Map<string, Map<string, Evidence>>();

beforeAll(async () => {
  lab = await Lab.open();
  for (const group of GROUPS) played.set(group.name, await playGroup(lab, group));
  await lab.endCapture();
  wire = await Wire.decode(lab.capture);
}, PLAY_MS);
afterAll(async () => {
  await lab?.close();
});

function judge(group: Group, entry: Case | Scenario): void {
  const evidence = played.get(group.name)?.get(entry.name) as Evidence;
  if (evidence.error !== undefined) throw evidence.error;
  if (!('play' in entry)) {
    expect(evidence.arrived).toEqual(evidence.expected);
    // What the gateway's own bridge says of its memberships meanwhile is no row's doing.
    const { gateway_source: _, ...drops } = evidence.drops;
    expect(drops).toEqual(entry.drops ?? {});
  }
  const { datagrams } = entry;
  entry.rows?.(wire.with(evidence.mark), wire, lab);
  if (entry.wire !== undefined || datagrams !== undefined) {
    judgeWire(evidence, entry.wire ?? {}, datagrams ?? ('play' in entry ? 1 : evidence.expected.length));
  }
}

function judgeWire(evidence: Evidence, claim: WireClaim, datagrams: number): void {
  const seen = wire.with(evidence.mark);
  expect(seen.length, 'datagrams on the wire').toBe(datagrams);
  for (const row of seen) {
    for (const [field, value] of Object.entries(claim)) {
      const values = row[field];
      if (Array.isArray(value)) expect(values, field).toEqual(value);
      else if (value instanceof RegExp) expect(values?.[0] ?? '', field).toMatch(value);
      else expect(values?.[0] ?? '', field).toBe(value);
    }
  }
}

for (const group of GROUPS) {
  describe(group.name, () => {
    for (const entry of group.cases) it(entry.name, () => judge(group, entry));
  });
}

it('has no two cases of one name', () => {
  for (const { cases, name } of GROUPS) expect(played.get(name)?.size, name).toBe(cases.length);
});
