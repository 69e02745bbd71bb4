/**
 * The watch loop against a registry that is scripted: backwards indexes, failures, answers that come too soon.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VtepError } from '../../../src/control/errors.js';
import type { ListOptions, Registry, RegistryEntry, RegistryListing } from '../../../src/control/registry/registry.js';
import { backOffMs, spacingMs, type WatchOptions, watchPrefix } from '../../../src/control/registry/watcher.js';

type Answer = RegistryListing | Error;
const listing = (index: number, ...keys: string[]): RegistryListing => ({
  index,
  entries: keys.map((text) => {
    const [key = '', modifyIndex = '1'] = text.split('@');
    return { key, value: '', createIndex: 1, modifyIndex: Number(modifyIndex) };
  }),
});
const down = new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', 'down');

let stop: AbortController;

beforeEach(() => {
  stop = new AbortController();
});

afterEach(() => {
  stop.abort();
});

/** What the leader says when it is asked to confirm. */
interface Leader {
  readonly list?: () => RegistryListing | Promise<RegistryListing>;
  readonly get?: (key: string) => RegistryEntry | undefined;
}

/** Real time runs the loop; these tests are short enough for it. */
function scripted(answer: (index: number, call: number) => Answer | Promise<Answer>, leader: Leader = {}) {
  const asked: { index: number; atMs: number }[] = [];
  const confirmed: string[] = [];
  const registry = {
    url: 'http://192.0.2.1:8500',
    async list(_prefix: string, { isConsistent }: ListOptions) {
      confirmed.push(isConsistent === true ? 'consistent' : 'default');
      if (leader.list === undefined) throw down;
      return leader.list();
    },
    async get(key: string) {
      confirmed.push(key);
      return leader.get?.(key);
    },
    async watch(_prefix: string, index: number, _waitSeconds: number, signal: AbortSignal) {
      asked.push({ index, atMs: Number(process.hrtime.bigint() / 1_000_000n) });
      const given = await answer(index, asked.length - 1);
      signal.throwIfAborted();
      if (given instanceof Error) throw given;
      return given;
    },
  } as unknown as Registry;
  return { asked, confirmed, registry };
}

const block = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });

function run(registry: Registry, more: Partial<WatchOptions> = {}) {
  const changes: number[] = [];
  const listings: RegistryListing[] = [];
  const errors: unknown[] = [];
  const answers = vi.fn();
  const ended = watchPrefix(registry, 'nodes/', {
    onChange: (given) => {
      changes.push(given.index);
      listings.push(given);
    },
    onError: (error) => errors.push(error),
    onAnswer: answers,
    signal: stop.signal,
    ...more,
  });
  return { changes, listings, errors, answers, ended };
}

const realSleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('watchPrefix', () => {
  it('starts at 0 and goes on from each index', async () => {
    const { asked, registry } = scripted((_index, call) => [listing(5), listing(9)][call] ?? block(stop.signal));
    const { changes } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(3));
    expect(asked.map(({ index }) => index)).toEqual([0, 5, 9]);
    expect(changes).toEqual([5, 9]);
  });

  it('takes an index that goes backwards only as the leader confirms it, and goes on from there', async () => {
    const script = [listing(50, 'a', 'b'), listing(3, 'a'), listing(9, 'a', 'c')];
    const { asked, confirmed, registry } = scripted((_index, call) => script[call] ?? block(stop.signal), {
      list: () => listing(4, 'a'),
    });
    const { changes } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(4));
    expect(asked.map(({ index }) => index)).toEqual([0, 50, 4, 9]);
    expect(confirmed).toEqual(['consistent']);
    expect(changes).toEqual([50, 4, 9]);
  });

  it('keeps what it has while a server that is behind shows older states', async () => {
    const behind = [listing(30, 'a'), listing(31, 'a'), listing(40)];
    const { asked, registry } = scripted(
      (_index, call) => [listing(50, 'a', 'b'), ...behind, listing(51, 'a', 'b', 'c')][call] ?? block(stop.signal),
      { list: () => listing(50, 'a', 'b'), get: (key) => listing(1, key).entries[0] },
    );
    const { changes, errors } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(6));
    expect(changes).toEqual([50, 51]);
    expect(errors).toEqual([]);
  });

  it('has other content at the same index confirmed', async () => {
    const script = [listing(50, 'a', 'b'), listing(50, 'a'), listing(50, 'a@50', 'b')];
    const { asked, confirmed, registry } = scripted((_index, call) => script[call] ?? block(stop.signal), {
      list: () => (confirmed.length === 1 ? listing(50, 'a', 'b') : listing(50, 'a@50', 'b')),
    });
    const { listings } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(4));
    expect(confirmed).toEqual(['consistent', 'consistent']);
    expect(listings).toEqual([listing(50, 'a', 'b'), listing(50, 'a@50', 'b')]);
  });

  it('believes that all is gone when the leader and a key of it say so', async () => {
    const script = [listing(50, 'a', 'b'), listing(60), listing(61)];
    const { asked, confirmed, registry } = scripted((_index, call) => script[call] ?? block(stop.signal), {
      list: () => listing(60),
    });
    const { changes, errors } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(4));
    expect(confirmed).toEqual(['consistent', 'a']);
    expect(changes).toEqual([50, 60, 61]);
    expect(errors).toEqual([]);
  });

  it.each<[string, Leader, string]>([
    ['the leader can not be asked', {}, 'VTEP_ERR_REGISTRY_UNREACHABLE'],
    [
      'a key of it is there',
      { list: () => listing(60), get: (key) => listing(1, key).entries[0] },
      'VTEP_ERR_REGISTRY',
    ],
    [
      'a key of it is refused',
      {
        list: () => listing(60),
        get: () => {
          throw new VtepError('VTEP_ERR_REGISTRY', 'refused');
        },
      },
      'VTEP_ERR_REGISTRY',
    ],
  ])('does not believe that all is gone when %s, also not after the failure', async (_title, leader, code) => {
    const { asked, registry } = scripted((_index, call) => (call === 0 ? listing(50, 'a', 'b') : listing(60)), leader);
    const { changes, errors } = run(registry);
    await vi.waitFor(() => expect(asked.length).toBeGreaterThan(2), 5000);
    expect(changes).toEqual([50]);
    expect(errors[0]).toMatchObject({ code });
    expect(asked.slice(0, 3).map(({ index }) => index)).toEqual([0, 50, 0]);
  });

  it('hands what it has to the next query', async () => {
    const known: unknown[] = [];
    const first = listing(5, 'a');
    const registry = {
      url: '',
      async watch(_prefix: string, index: number, _wait: number, _signal: AbortSignal, entries: unknown) {
        known.push(entries);
        return index === 0 ? first : block(stop.signal);
      },
    } as unknown as Registry;
    run(registry);
    await vi.waitFor(() => expect(known).toHaveLength(2));
    expect(known).toEqual([undefined, first.entries]);
    expect(known[1]).toBe(first.entries);
  });

  it('is silent when the wait ends without news', async () => {
    const { asked, registry } = scripted(async (_index, call) => {
      if (call >= 3) return block(stop.signal);
      if (call > 0) await realSleep(60);
      return listing(7);
    });
    const { changes, answers } = run(registry, { waitSeconds: 0.05 });
    await vi.waitFor(() => expect(asked).toHaveLength(4));
    expect(changes).toEqual([7]);
    expect(answers).toHaveBeenCalledTimes(3);
  });

  it('reports failures, backs off, and asks anew from 0', async () => {
    const script: Answer[] = [listing(7), down, down, down, listing(7), listing(8)];
    const { asked, registry } = scripted((_index, call) => script[call] ?? block(stop.signal));
    const { changes, errors } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(7), 3000);
    expect(errors).toEqual([down, down, down]);
    expect(changes).toEqual([7, 8]);
    expect(asked.map(({ index }) => index)).toEqual([0, 7, 0, 0, 0, 7, 8]);
    const gapsMs = asked.slice(2, 5).map(({ atMs }, i) => atMs - asked[i + 1]!.atMs);
    for (const gapMs of gapsMs) expect(gapMs).toBeGreaterThanOrEqual(95);
  });

  it('spreads hosts that lost the registry together over the whole of a back-off that grows, to 5 s', () => {
    for (const [failures, mostMs] of [400, 800, 1600, 3200, 5000, 5000].entries()) {
      const waits = Array.from({ length: 1000 }, () => backOffMs(failures));
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(100);
      expect(Math.max(...waits)).toBeLessThanOrEqual(mostMs);
      const tenths = Array.from({ length: 10 }, () => 0);
      for (const ms of waits) tenths[Math.min(9, Math.floor(((ms - 100) / (mostMs - 100)) * 10))]! += 1;
      // 100 are to be expected in each; further off than this one time in many millions.
      for (const count of tenths) expect(Math.abs(count - 100)).toBeLessThan(65);
    }
  });

  it.each([
    ['fails at once', () => down],
    ['answers the same index at once', () => listing(7)],
    ['answers index 0', () => listing(0)],
  ])('does not spin on a registry that %s', async (_name, answer) => {
    const { asked, registry } = scripted(answer);
    run(registry);
    await realSleep(1500);
    expect(asked.length).toBeGreaterThan(2);
    expect(asked.length).toBeLessThan(10);
  });

  it('keeps its distance when the index never stands still', async () => {
    const { asked, registry } = scripted((_index, call) => listing(call + 1));
    const { changes } = run(registry);
    await realSleep(500);
    expect(asked.length).toBeLessThanOrEqual(11);
    expect(changes.length).toBeGreaterThan(4);
  });

  it.each([
    [0, 50],
    [100, 50],
    [400, 200],
    [1000, 500],
    [100_000, 500],
  ])('lets changes of %d entries share a reading for %d ms', (count, ms) => {
    expect(spacingMs(count)).toBe(ms);
  });

  it('asks for long readings less often once changes come in a stream', async () => {
    const entries = Array.from({ length: 600 }, (_, i) => ({
      ...{ key: `nodes/${i}`, value: '{}', createIndex: 1, modifyIndex: 1 },
    }));
    const { asked, registry } = scripted((_index, call) => ({ index: call + 1, entries }));
    run(registry);
    await vi.waitFor(() => expect(asked.length).toBeGreaterThanOrEqual(8), 5000);
    const gapsMs = asked.slice(1).map(({ atMs }, i) => atMs - asked[i]!.atMs);
    for (const gapMs of gapsMs.slice(4, 7)) expect(gapMs).toBeGreaterThanOrEqual(295);
    // The first changes are not held up.
    expect(asked[4]!.atMs - asked[0]!.atMs).toBeLessThan(4 * 295);
  });

  it('goes on when the listener throws, and says so', async () => {
    const { asked, registry } = scripted((_index, call) => [listing(1), listing(2)][call] ?? block(stop.signal));
    const { errors } = run(registry, {
      onChange: () => {
        throw new TypeError('odd');
      },
    });
    await vi.waitFor(() => expect(asked).toHaveLength(3));
    expect(errors).toHaveLength(2);
    expect(errors[0]).toMatchObject({ code: 'VTEP_ERR_INTERNAL', message: expect.stringContaining('odd') });
  });

  it('ends with its signal: while it asks, while it backs off, and before it begins', async () => {
    const asking = run(scripted(() => block(stop.signal)).registry);
    const backingOff = run(scripted(() => down).registry);
    await realSleep(20);
    stop.abort();
    await Promise.all([asking.ended, backingOff.ended]);
    expect(asking.errors).toEqual([]);
    const { asked, registry } = scripted(() => listing(1));
    await run(registry).ended;
    expect(asked).toEqual([]);
  });
});
