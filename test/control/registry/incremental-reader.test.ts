/**
 * The incremental reader against whole listings: random histories of a prefix, journalled and not, with readers that start
 * late, answers that are lost or old, and registries that are put back or counted anew. When all is quiet, what a reader has
 * is what there is.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { type IncrementalOptions, IncrementalReader } from '../../../src/control/registry/incremental-reader.js';
import { deleteJournalled, lockJournalled } from '../../../src/control/registry/journalled-writes.js';
import type { KeysOptions, Registry, RegistryEntry, RegistryKeys } from '../../../src/control/registry/registry.js';
import { journalKey } from '../../../src/control/registry/schema.js';
import { watchPrefix } from '../../../src/control/registry/watcher.js';
import { MemoryRegistry } from '../memory-registry.js';

const PREFIX = 'endpoints/web/';
const NAMES = 12;
const ALWAYS: IncrementalOptions = { isJournalled: () => true, entriesMin: 0, entriesPerGet: 0 };

type Step =
  | { readonly what: 'write' | 'delete' | 'die' | 'put' | 'remove' | 'sibling'; readonly name: number }
  | { readonly what: 'pause'; readonly ms: number }
  | { readonly what: 'snapshot' | 'restore' | 'wipe' | 'recount' | 'cut' | 'read' };
interface Fate {
  readonly what: 'answer' | 'lose' | 'repeat';
  readonly delayMs: number;
}

const step = (...silent: ('put' | 'remove')[]): fc.Arbitrary<Step> =>
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        what: fc.constantFrom('write' as const, 'write' as const, 'delete' as const, 'die' as const, ...silent),
        name: fc.nat(NAMES - 1),
      }),
    },
    { weight: 4, arbitrary: fc.record({ what: fc.constant('pause' as const), ms: fc.nat(70) }) },
    {
      weight: 1,
      arbitrary: fc.oneof(
        fc.record({ what: fc.constantFrom('snapshot', 'restore', 'wipe', 'recount', 'cut', 'read' as const) }),
        fc.record({ what: fc.constant('sibling' as const), name: fc.nat(3) }),
      ),
    },
  ) as fc.Arbitrary<Step>;

const fates = fc.array(
  fc.record({
    what: fc.oneof(
      { weight: 12, arbitrary: fc.constant('answer' as const) },
      { weight: 1, arbitrary: fc.constant('lose' as const) },
      { weight: 3, arbitrary: fc.constant('repeat' as const) },
    ),
    delayMs: fc.oneof(fc.constant(0), fc.nat(6)),
  }),
  { maxLength: 40, size: 'max' },
);

interface History {
  readonly steps: readonly Step[];
  readonly fates: readonly Fate[];
}

const history = (...silent: ('put' | 'remove')[]): fc.Arbitrary<History> =>
  fc.record({ steps: fc.array(step(...silent), { minLength: 1, maxLength: 40, size: 'max' }), fates });

/** The way of one reader: some answers get lost, and a bell may be an old one of a server that is behind. */
function unreliable(memory: MemoryRegistry, script: readonly Fate[]): Registry {
  let calls = 0;
  let last: RegistryKeys | undefined;
  const next = async <T>(answer: () => Promise<T>): Promise<T> => {
    const fate = script[calls++];
    const given = await answer();
    if (fate !== undefined && fate.delayMs > 0) await sleep(fate.delayMs);
    if (fate?.what === 'lose') throw new Error('lost');
    return given;
  };
  return new Proxy(memory, {
    get(target, name) {
      if (name === 'listKeys') {
        return async (prefix: string, options: KeysOptions) => {
          const isStale = (options.newerThan?.index ?? 0) > 0 && script[calls]?.what === 'repeat' && last !== undefined;
          const given = await next(() => (isStale ? Promise.resolve(last!) : target.listKeys(prefix, options)));
          last = given;
          return given;
        };
      }
      const member = target[name as keyof MemoryRegistry];
      if (typeof member !== 'function') return member;
      const call = member as (...args: unknown[]) => Promise<unknown>;
      return (...args: unknown[]) => next(() => call.apply(target, args));
    },
  });
}

class Run {
  readonly memory = new MemoryRegistry();
  readonly readers: IncrementalReader[] = [];
  readonly latest: { entries: readonly RegistryEntry[] }[] = [];
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>[] = [];
  readonly #sessions = new Map<number, string>();
  readonly #options: IncrementalOptions;
  readonly #isDoubted: boolean;
  #saved: ReturnType<MemoryRegistry['snapshot']> | undefined;
  #count = 0;

  constructor(options: IncrementalOptions, isDoubted = false) {
    this.memory.hasExactIndexes = true;
    this.#options = options;
    this.#isDoubted = isDoubted;
  }

  watch(script: readonly Fate[] = []): void {
    const registry = unreliable(this.memory, script);
    const reader = new IncrementalReader(registry, PREFIX, this.#options);
    const state: { entries: readonly RegistryEntry[] } = { entries: [] };
    this.readers.push(reader);
    this.latest.push(state);
    this.#ended.push(
      watchPrefix(registry, PREFIX, {
        signal: this.#stop.signal,
        reader,
        onChange: ({ entries }) => {
          state.entries = entries;
        },
        onError: () => undefined,
      }),
    );
  }

  async take(step: Step): Promise<void> {
    const { memory } = this;
    switch (step.what) {
      case 'write': {
        const session = await this.#sessionOf(step.name);
        const lock = { key: `${PREFIX}${step.name}`, value: `v${this.#count++}`, session };
        await lockJournalled(memory, PREFIX, lock);
        return;
      }
      case 'delete':
        await deleteJournalled(memory, PREFIX, `${PREFIX}${step.name}`);
        return;
      case 'put':
        return memory.put(`${PREFIX}${step.name}`, `by hand ${this.#count++}`);
      case 'remove':
        return memory.delete(`${PREFIX}${step.name}`);
      case 'die': {
        const session = this.#sessions.get(step.name);
        if (session === undefined || !memory.sessions.has(session)) return;
        memory.expire(session);
        if (this.#isDoubted) setTimeout(() => this.doubt(`${step.name}`), 30);
        return;
      }
      case 'sibling':
        return memory.put(`endpoints/web-${step.name}/x`, `${this.#count++}`);
      case 'pause':
        await sleep(step.ms);
        return;
      case 'cut':
        return memory.delete(journalKey(PREFIX));
      case 'read':
        this.watch();
        return;
      case 'snapshot':
        this.#saved = memory.snapshot();
        return;
      case 'restore':
        this.#saved?.('goes on');
        return;
      case 'wipe':
        memory.wipe();
        return;
      case 'recount':
        this.#saved?.('goes back');
    }
  }

  doubt(name: string): void {
    for (const reader of this.readers) reader.doubt([name]);
  }

  async #sessionOf(name: number): Promise<string> {
    const known = this.#sessions.get(name);
    if (known !== undefined && this.memory.sessions.has(known)) return known;
    const session = await this.memory.createSession(`${name}`);
    this.#sessions.set(name, session);
    return session;
  }

  /** Each reader shows what there is, within some seconds in which nothing is written. */
  async converge(): Promise<void> {
    await vi.waitFor(
      async () => {
        const { entries } = await this.memory.list(PREFIX);
        for (const state of this.latest) expect(state.entries).toEqual(entries);
      },
      { timeout: 30_000, interval: 20 },
    );
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#ended);
  }
}

async function runHistory({ steps, fates }: History, options: IncrementalOptions, isDoubted = false): Promise<void> {
  const run = new Run(options, isDoubted);
  try {
    for (let name = 0; name < NAMES; name += 2) await run.take({ what: 'write', name });
    run.watch(fates);
    run.watch();
    await sleep(5);
    for (const step of steps) await run.take(step);
    // A life that has come to the very index that a reader waits at is found at its next change, as with any blocking query.
    if (steps.some(({ what }) => what === 'recount' || what === 'restore')) await run.take({ what: 'write', name: 0 });
    await run.converge();
  } finally {
    await run.end();
  }
}

/** Histories take their time side by side. */
const many = (one: fc.Arbitrary<History>) => fc.array(one, { minLength: 1, maxLength: 40, size: 'max' });
const RUNS = { numRuns: 3, endOnFailure: true };
const NEVER_MS = { min: 1e9, max: 1e9 };

describe('IncrementalReader', () => {
  it('has what there is, of keys that go by themselves, by comparing the names', async () => {
    const options = { ...ALWAYS, namesAfterMs: { min: 1, max: 30 }, wholeAfterMs: NEVER_MS };
    const all = (histories: History[]) => Promise.all(histories.map((one) => runHistory(one, options)));
    await fc.assert(
      fc.asyncProperty(many(history()), async (histories) => {
        await all(histories);
      }),
      RUNS,
    );
  }, 120_000);

  it('has what there is, of keys that go by themselves, by doubts of who has heard of it', async () => {
    const options = { ...ALWAYS, wholeAfterMs: NEVER_MS };
    await fc.assert(
      fc.asyncProperty(many(history()), async (histories) => {
        await Promise.all(histories.map((one) => runHistory(one, options, true)));
      }),
      RUNS,
    );
  }, 120_000);

  it('has what there is, of writers without a journal, by reading all in the end', async () => {
    const options = { ...ALWAYS, wholeAfterMs: { min: 1, max: 60 } };
    await fc.assert(
      fc.asyncProperty(many(history('put', 'remove')), async (histories) => {
        await Promise.all(histories.map((one) => runHistory(one, options)));
      }),
      RUNS,
    );
  }, 120_000);
});
