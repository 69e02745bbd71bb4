/**
 * When a network's floods go by its multicast group: rounds of probes in simulated time, with hosts that come, go and are
 * reached by the group or not. What is held against: a host is never out of reach of floods for longer than is promised.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ANSWER_MS,
  FloodChoice,
  FORGIVE_MS,
  MISSES_MAX,
  RETRY_MS_MAX,
  STEADY_MS,
  STREAK_MAX,
  STREAK_MIN,
} from '../../src/control/flood-choice.js';

const HOSTS_MIN = 3;
/** A host was reached at a round's begin, and is not from then on. */
const SILENCE_MS_MAX = STEADY_MS + MISSES_MAX * ANSWER_MS;

class Site {
  nowMs = 0;
  probes = 0;
  readonly choice = new FloodChoice(HOSTS_MIN, (index) => `host ${index}`);
  /** Whether the group reaches it. */
  readonly hosts = new Map<number, boolean>();
  readonly peers = new Set<number>();
  /** When it was last reached by a probe. */
  readonly reachedMs = new Map<number, number>();

  add(index: number, isReached = true): void {
    this.hosts.set(index, isReached);
    this.choice.addHost(index, this.nowMs);
  }

  remove(index: number): void {
    this.hosts.delete(index);
    this.choice.remove(index, false, this.nowMs);
  }

  /** As the prober does, each time that something is due. */
  run(ms: number, onTick = () => {}): void {
    const endMs = this.nowMs + ms;
    while (this.choice.dueMs() <= endMs) {
      this.nowMs = Math.max(this.nowMs, this.choice.dueMs());
      if (this.choice.tick(this.nowMs)) {
        this.probes++;
        this.choice.begin(this.nowMs);
        for (const [index, isReached] of this.hosts) {
          if (!isReached) continue;
          this.reachedMs.set(index, this.nowMs);
          this.choice.answered(index);
        }
      }
      onTick();
    }
    this.nowMs = endMs;
  }
}

function site(hosts: number): Site {
  const made = new Site();
  for (let i = 1; i <= hosts; i++) made.add(i);
  return made;
}

describe('the choice', () => {
  it('begins with copies, and is multicast once all have answered three rounds', () => {
    const { choice } = site(0);
    expect(choice.decision()).toEqual({ via: 'replicate', reason: '0 other hosts, multicast pays from 3 on' });
    const s = site(3);
    s.run(STREAK_MIN * ANSWER_MS - 1);
    expect(s.choice.isMulticast).toBe(false);
    s.run(1);
    expect(s.choice.decision()).toEqual({ via: 'multicast', reason: 'the group reaches all 3 other hosts' });
  });

  it('asks nobody below the least number of hosts, nor where a peer is', () => {
    const two = site(2);
    two.run(100_000);
    expect([two.probes, two.choice.dueMs()]).toEqual([0, Number.POSITIVE_INFINITY]);
    const s = site(3);
    s.choice.addPeer(9);
    s.run(100_000);
    expect(s.probes).toBe(0);
    expect(s.choice.decision().reason).toBe('peer host 9 runs no vtepd, which could say that the group reaches it');
    s.choice.remove(9, true, s.nowMs);
    s.run(STREAK_MIN * ANSWER_MS);
    expect(s.choice.isMulticast).toBe(true);
    s.choice.addPeer(9);
    expect(s.choice.isMulticast).toBe(false);
  });

  it('sends copies from the moment that a new host is there, until it has answered', () => {
    const s = site(3);
    s.run(10_000);
    expect(s.choice.isMulticast).toBe(true);
    s.add(4);
    expect(s.choice.isMulticast).toBe(false);
    s.run(STREAK_MIN * ANSWER_MS);
    expect(s.choice.isMulticast).toBe(true);
    s.add(5, false);
    s.run(100_000);
    expect(s.choice.decision()).toEqual({ via: 'replicate', reason: 'the group does not reach host 5' });
  });

  it('one host fewer than it takes to begin is enough to go on', () => {
    const s = site(3);
    s.run(10_000);
    s.remove(1);
    expect(s.choice.isMulticast).toBe(true);
    s.run(60_000);
    expect(s.choice.isMulticast).toBe(true);
    s.remove(2);
    expect(s.choice.isMulticast).toBe(false);
    s.add(2);
    s.run(60_000);
    expect(s.choice.isMulticast).toBe(false);
  });

  it('bears two lost rounds, and falls back at the third, in time', () => {
    const s = site(3);
    s.run(STREAK_MIN * ANSWER_MS);
    s.run(STEADY_MS - ANSWER_MS);
    s.hosts.set(2, false);
    // The round that has just begun was answered; two are lost.
    s.run(STEADY_MS + 2 * ANSWER_MS - 1);
    s.hosts.set(2, true);
    s.run(60_000);
    expect(s.choice.isMulticast).toBe(true);
    s.hosts.set(2, false);
    s.run(SILENCE_MS_MAX);
    expect(s.choice.decision()).toEqual({ via: 'replicate', reason: 'the group does not reach host 2 any more' });
  });

  it('asks for a longer streak after each fall-back, up to a limit, until multicast has held for ten minutes', () => {
    const s = site(3);
    const waited: number[] = [];
    for (let i = 0; i < 8; i++) {
      const startMs = s.nowMs;
      while (!s.choice.isMulticast) s.run(ANSWER_MS);
      waited.push(Math.round((s.nowMs - startMs) / ANSWER_MS));
      s.hosts.set(1, false);
      while (s.choice.isMulticast) s.run(ANSWER_MS);
      s.hosts.set(1, true);
    }
    expect(waited.toSorted((a, b) => a - b)).toEqual(waited);
    expect(waited[0]).toBe(STREAK_MIN);
    expect(waited.at(-1)).toBeGreaterThanOrEqual(STREAK_MAX);
    expect(waited.at(-1)).toBeLessThanOrEqual(STREAK_MAX + 4);
    while (!s.choice.isMulticast) s.run(ANSWER_MS);
    s.run(FORGIVE_MS + STEADY_MS);
    s.hosts.set(1, false);
    while (s.choice.isMulticast) s.run(ANSWER_MS);
    s.hosts.set(1, true);
    s.run((2 * STREAK_MIN + 4) * ANSWER_MS);
    expect(s.choice.isMulticast).toBe(true);
  });

  it('asks a group that reaches nobody once a minute', () => {
    const s = new Site();
    for (let i = 1; i <= 3; i++) s.add(i, false);
    s.run(600_000);
    s.probes = 0;
    s.run(10 * (RETRY_MS_MAX + ANSWER_MS));
    expect(s.probes).toBe(10);
  });

  it('is proved anew when the underlay has moved', () => {
    const s = site(3);
    s.run(10_000);
    s.choice.startAgain(s.nowMs);
    expect(s.choice.isMulticast).toBe(false);
    s.run(STREAK_MIN * ANSWER_MS);
    expect(s.choice.isMulticast).toBe(true);
  });
});

const index = fc.integer({ min: 1, max: 6 });
const step = fc.oneof(
  fc.record({ do: fc.constant('add' as const), index, isReached: fc.boolean() }),
  fc.record({ do: fc.constant('remove' as const), index }),
  fc.record({ do: fc.constant('reach' as const), index, isReached: fc.boolean() }),
  fc.record({ do: fc.constant('peer' as const), index, isThere: fc.boolean() }),
  fc.record({ do: fc.constant('again' as const) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 20_000 }) }),
);

it('whatever comes: nobody is out of reach for longer than promised, and multicast comes where it works', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const s = new Site();
      const check = () => {
        if (!s.choice.isMulticast) return;
        expect(s.peers.size).toBe(0);
        expect(s.hosts.size).toBeGreaterThanOrEqual(HOSTS_MIN - 1);
        for (const host of s.hosts.keys()) {
          expect(s.nowMs - (s.reachedMs.get(host) ?? Number.NEGATIVE_INFINITY)).toBeLessThanOrEqual(SILENCE_MS_MAX);
        }
      };
      for (const one of steps) {
        if (one.do === 'add' && !s.hosts.has(one.index)) s.add(one.index, one.isReached);
        else if (one.do === 'remove' && s.hosts.has(one.index)) s.remove(one.index);
        else if (one.do === 'reach' && s.hosts.has(one.index)) s.hosts.set(one.index, one.isReached);
        else if (one.do === 'again') s.choice.startAgain(s.nowMs);
        else if (one.do === 'wait') s.run(one.ms, check);
        else if (one.do === 'peer' && one.isThere) {
          s.peers.add(one.index + 100);
          s.choice.addPeer(one.index + 100);
        } else if (one.do === 'peer') {
          s.peers.delete(one.index + 100);
          s.choice.remove(one.index + 100, true, s.nowMs);
        }
        check();
      }
      for (const peer of s.peers) s.choice.remove(peer, true, s.nowMs);
      s.peers.clear();
      for (let i = 1; i <= HOSTS_MIN; i++) if (!s.hosts.has(i)) s.add(i);
      for (const host of s.hosts.keys()) s.hosts.set(host, true);
      s.run(RETRY_MS_MAX + (STREAK_MAX + 2) * ANSWER_MS, check);
      expect(s.choice.isMulticast).toBe(true);
    }),
  );
});
