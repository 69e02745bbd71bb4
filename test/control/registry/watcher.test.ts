/**
 * The watch loop against a registry that is scripted: backwards indexes, failures, answers that come too soon.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VtepError } from '../../../src/control/errors.js';
import type { Registry, RegistryListing } from '../../../src/control/registry/registry.js';
import { spacingMs, type WatchOptions, watchPrefix } from '../../../src/control/registry/watcher.js';

type Answer = RegistryListing | Error;
const listing = (index: number): RegistryListing => ({ index, entries: [] });
const down = new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', 'down');

let stop: AbortController;

beforeEach(() => {
  stop = new AbortController();
});

afterEach(() => {
  stop.abort();
});

/** Real time runs the loop; these tests are short enough for it. */
function scripted(answer: (index: number, call: number) => Answer | Promise<Answer>) {
  const asked: { index: number; atMs: number }[] = [];
  const registry = {
    url: 'http://192.0.2.1:8500',
    async watch(_prefix: string, index: number, _waitSeconds: number, signal: AbortSignal) {
      asked.push({ index, atMs: Number(process.hrtime.bigint() / 1_000_000n) });
      const given = await answer(index, asked.length - 1);
      signal.throwIfAborted();
      if (given instanceof Error) throw given;
      return given;
    },
  } as unknown as Registry;
  return { asked, registry };
}

const block = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });

function run(registry: Registry, more: Partial<WatchOptions> = {}) {
  const changes: number[] = [];
  const errors: unknown[] = [];
  const answers = vi.fn();
  const ended = watchPrefix(registry, 'nodes/', {
    onChange: ({ index }) => changes.push(index),
    onError: (error) => errors.push(error),
    onAnswer: answers,
    signal: stop.signal,
    ...more,
  });
  return { changes, errors, answers, ended };
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

  it('takes an index that goes backwards as news and starts again at 0', async () => {
    const script = [listing(50), listing(3), listing(3), listing(4)];
    const { asked, registry } = scripted((_index, call) => script[call] ?? block(stop.signal));
    const { changes } = run(registry);
    await vi.waitFor(() => expect(asked).toHaveLength(5));
    expect(asked.map(({ index }) => index)).toEqual([0, 50, 0, 3, 4]);
    expect(changes).toEqual([50, 3, 4]);
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
    expect(gapsMs[0]).toBeGreaterThanOrEqual(95);
    expect(gapsMs[1]).toBeGreaterThanOrEqual(95);
    expect(gapsMs[2]).toBeGreaterThanOrEqual(190);
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
