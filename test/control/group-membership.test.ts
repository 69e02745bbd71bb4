/**
 * Which VTEPs get which group, against a model that looks at all that has happened each time: nobody who may want a frame is
 * left out, and who is known not to want it is.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GroupMembership, LEAVE_MS } from '../../src/control/group-membership.js';
import { SELF_VTEP } from '../../src/shared/layout.js';

const INTERVAL_MS = 10_000;
const RESPONSE_MS = 2000;
const SETTLED_MS = RESPONSE_MS + 2000;
const KEPT_MS = 2 * INTERVAL_MS + RESPONSE_MS;
/** Of a VTEP that has not said how often it asks. */
const KEPT_BY_DEFAULT_MS = 260_000;
const GROUP = [0x5e050505, 0x0100] as const;

function made() {
  const rows = new Map<string, number[]>();
  const membership = new GroupMembership(
    (low, high, members) => {
      if (members === undefined) rows.delete(`${high} ${low}`);
      else rows.set(`${high} ${low}`, [...members].sort());
    },
    INTERVAL_MS,
    RESPONSE_MS,
  );
  const row = (low: number = GROUP[0]) => rows.get(`${GROUP[1]} ${low}`);
  return { membership, rows, row };
}

/** Two hosts that have asked twice, at 0 and 1 s, and are believed at 6 s. */
function settled() {
  const site = made();
  for (const host of [1, 2]) {
    site.membership.addVtep(host, false, 0);
    for (const at of [0, 1000]) site.membership.queried(host, INTERVAL_MS, RESPONSE_MS, at);
  }
  return site;
}

describe('a row', () => {
  it('is there for groups that somebody has reported, with the hosts that have', () => {
    const { membership, row, rows } = settled();
    membership.joined(...GROUP, 1, false, 6000);
    membership.age(6000);
    expect(row()).toEqual([1]);
    membership.joined(...GROUP, SELF_VTEP, false, 6000);
    membership.joined(GROUP[0] + 1, GROUP[1], SELF_VTEP, false, 6000);
    expect([row(), row(GROUP[0] + 1)]).toEqual([[1], []]);
    expect(rows.size).toBe(2);
  });

  it('has every host that has not asked twice, is overdue, or has a router; and every peer', () => {
    const { membership, row } = settled();
    membership.joined(...GROUP, 1, false, 6000);
    membership.age(6000);
    membership.addVtep(3, false, 6000);
    membership.addVtep(4, true, 6000);
    expect(row()).toEqual([1, 3, 4]);
    membership.queried(3, INTERVAL_MS, RESPONSE_MS, 6000);
    membership.queried(4, INTERVAL_MS, RESPONSE_MS, 6000);
    membership.queried(3, INTERVAL_MS, RESPONSE_MS, 7000);
    membership.queried(4, INTERVAL_MS, RESPONSE_MS, 7000);
    membership.age(7000 + SETTLED_MS - 1);
    expect(row()).toEqual([1, 3, 4]);
    membership.age(7000 + SETTLED_MS);
    expect(row()).toEqual([1, 4]);
    membership.router(2, 12_000);
    expect(row()).toEqual([1, 2, 4]);
    membership.joined(...GROUP, 1, false, 22_000);
    membership.age(7000 + KEPT_MS);
    expect(row()).toEqual([1, 2, 3, 4]);
  });

  it('goes with its last member, three seconds after a leave that nobody has taken back', () => {
    const { membership, row } = settled();
    membership.joined(...GROUP, 1, false, 6000);
    membership.joined(...GROUP, 2, false, 6000);
    membership.left(...GROUP, 1, 7000);
    membership.left(...GROUP, 2, 7000);
    membership.joined(...GROUP, 2, false, 8000);
    membership.age(7000 + LEAVE_MS - 1);
    expect(row()).toEqual([1, 2]);
    membership.age(7000 + LEAVE_MS);
    expect(row()).toEqual([2]);
    membership.removeVtep(2, 11_000);
    membership.age(11_000);
    expect(row()).toBeUndefined();
  });

  it('is not there where others may keep silent, nor when reports may have been lost', () => {
    const { membership, row } = settled();
    membership.joined(...GROUP, 1, false, 6000);
    membership.age(6000);
    membership.joined(...GROUP, 2, true, 6000);
    expect(row()).toBeUndefined();
    membership.joined(...GROUP, 1, false, 20_000);
    membership.queried(1, INTERVAL_MS, RESPONSE_MS, 20_000);
    membership.queried(2, INTERVAL_MS, RESPONSE_MS, 20_000);
    membership.age(6000 + KEPT_MS);
    expect(row()).toEqual([1]);
    membership.distrust(29_000);
    expect(row()).toEqual([1, 2]);
  });
});

const host = fc.integer({ min: 1, max: 4 });
const low = fc.constantFrom(GROUP[0], GROUP[0] + 1);
const step = fc.oneof(
  fc.record({ do: fc.constant('add' as const), host, isPeer: fc.boolean() }),
  fc.record({ do: fc.constant('remove' as const), host }),
  fc.record({ do: fc.constant('queried' as const), host }),
  fc.record({ do: fc.constant('joined' as const), host: fc.integer({ min: 0, max: 4 }), low, isAlone: fc.boolean() }),
  fc.record({ do: fc.constant('left' as const), host: fc.integer({ min: 0, max: 4 }), low }),
  fc.record({ do: fc.constant('distrust' as const) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 15_000 }) }),
);

it('whatever comes: the row is what the whole history says', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { membership, row } = made();
      /** Of each host that is there: whether a peer, and when it has asked since it came or was distrusted. */
      const hosts = new Map<number, { isPeer: boolean; asked: number[]; keptMs: number }>();
      hosts.set(SELF_VTEP, { isPeer: false, asked: [], keptMs: KEPT_MS });
      const until = new Map<string, number>();
      const aloneUntil = new Map<number, number>();
      let nowMs = 0;
      for (const one of steps) {
        if (one.do === 'wait') nowMs += one.ms;
        else if (one.do === 'add') {
          hosts.set(one.host, { isPeer: one.isPeer, asked: [], keptMs: KEPT_BY_DEFAULT_MS });
          membership.addVtep(one.host, one.isPeer, nowMs);
        } else if (one.do === 'remove') {
          hosts.delete(one.host);
          for (const key of until.keys()) if (key.startsWith(`${one.host} `)) until.delete(key);
          membership.removeVtep(one.host, nowMs);
        } else if (one.do === 'queried') {
          const there = hosts.get(one.host);
          there?.asked.push(nowMs);
          if (there !== undefined) there.keptMs = KEPT_MS;
          membership.queried(one.host, INTERVAL_MS, RESPONSE_MS, nowMs);
        } else if (one.do === 'joined') {
          const there = hosts.get(one.host);
          if (there !== undefined) {
            until.set(`${one.host} ${one.low}`, nowMs + there.keptMs);
            if (one.isAlone) aloneUntil.set(one.low, nowMs + there.keptMs);
          }
          membership.joined(one.low, GROUP[1], one.host, one.isAlone, nowMs);
        } else if (one.do === 'left') {
          const key = `${one.host} ${one.low}`;
          const untilMs = until.get(key);
          if (untilMs !== undefined) until.set(key, Math.min(untilMs, nowMs + LEAVE_MS));
          membership.left(one.low, GROUP[1], one.host, nowMs);
        } else {
          for (const there of hosts.values()) there.asked = [];
          membership.distrust(nowMs);
        }
        membership.age(nowMs);
        for (const [key, untilMs] of until) if (untilMs <= nowMs) until.delete(key);
        for (const group of [GROUP[0], GROUP[0] + 1]) {
          const members = [...until.keys()]
            .filter((key) => key.endsWith(` ${group}`))
            .map((key) => Number(key.split(' ')[0]));
          // Without a member the group is forgotten, and with it who may be silent.
          if (members.length === 0) aloneUntil.delete(group);
          const isFlooded = members.length === 0 || nowMs < (aloneUntil.get(group) ?? 0);
          const everything = [...hosts].filter(([index, { isPeer, asked }]) => {
            if (index === SELF_VTEP) return false;
            const second = asked[1];
            const last = asked.at(-1) ?? 0;
            return isPeer || second === undefined || nowMs < second + SETTLED_MS || nowMs >= last + KEPT_MS;
          });
          const wanted = new Set([...everything.map(([index]) => index), ...members.filter((m) => m !== SELF_VTEP)]);
          expect(row(group)).toEqual(isFlooded ? undefined : [...wanted].sort());
        }
      }
    }),
  );
});
