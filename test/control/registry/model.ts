/**
 * A registry as simple as can be, and random histories that run on it and on a real one: after every step both must
 * show the same keys, values and holders, and the real one's indexes must have moved just where the model says.
 * Part of the compliance suite.
 */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import type { Registry, RegistryListing, RegistryOperation } from '../../../src/control/registry/registry.js';
import type { Subject } from './compliance.js';

interface ModelEntry {
  value: string;
  session: string | undefined;
  lockIndex: number;
  /** As the real registry showed it; 'new' when this step has written the key. */
  modifyIndex: number | 'new';
  isCreated: boolean;
}

type CasKind = 'right' | 'zero' | 'stale';
type Step = {
  verb: RegistryOperation['verb'] | 'create-session' | 'destroy-session' | 'transaction';
  key: string;
  value: string;
  cas: CasKind;
  slot: number;
  steps: Step[];
};

class Model {
  constructor(
    public entries = new Map<string, ModelEntry>(),
    public sessions = new Set<string>(),
  ) {}

  copy(): Model {
    return new Model(new Map([...this.entries].map(([k, e]) => [k, { ...e }])), new Set(this.sessions));
  }

  write(key: string, content: Pick<ModelEntry, 'value' | 'session' | 'lockIndex'>): void {
    const old = this.entries.get(key);
    if (old?.value === content.value && old.session === content.session && old.lockIndex === content.lockIndex) return;
    this.entries.set(key, { ...content, modifyIndex: 'new', isCreated: old === undefined || old.isCreated });
  }

  /** @returns whether the step is done; a transaction with one that is not changes nothing. */
  apply(operation: RegistryOperation): boolean {
    const { verb, key } = operation;
    const entry = this.entries.get(key);
    switch (verb) {
      case 'cas':
      case 'set':
        if (verb === 'cas' && operation.casIndex !== (entry?.modifyIndex ?? 0)) return false;
        this.write(key, { value: operation.value, session: entry?.session, lockIndex: 0 });
        return true;
      case 'lock': {
        const { session, value } = operation;
        if (!this.sessions.has(session) || (entry?.session !== undefined && entry.session !== session)) return false;
        const lockIndex = (entry?.lockIndex ?? 0) + (entry?.session === session ? 0 : 1);
        this.write(key, { value, session, lockIndex });
        return true;
      }
      case 'check-index':
        return operation.casIndex === (entry?.modifyIndex ?? 0);
      case 'check-session':
        return entry !== undefined && entry.session === operation.session;
      case 'delete-cas':
        if (entry !== undefined && operation.casIndex !== entry.modifyIndex) return false;
        this.entries.delete(key);
        return true;
      case 'delete':
        this.entries.delete(key);
        return true;
      case 'delete-tree':
        for (const name of [...this.entries.keys()]) if (name.startsWith(key)) this.entries.delete(name);
        return true;
    }
  }
}

const key = fc.constantFrom('a', 'a/b', 'a/c', 'a/é x', 'b');
const base = {
  key,
  value: fc.constantFrom('', 'x', '{"v":1}', 'ü€'),
  cas: fc.constantFrom<CasKind>('right', 'right', 'zero', 'stale'),
  slot: fc.nat(1),
};
const operationVerb = fc.constantFrom<Step['verb']>(
  ...([
    'set',
    'cas',
    'cas',
    'lock',
    'lock',
    'check-index',
    'check-session',
    'delete',
    'delete-cas',
    'delete-tree',
  ] as const),
);
const simple: fc.Arbitrary<Step> = fc.record({ verb: operationVerb, ...base, steps: fc.constant([]) });
const transaction: fc.Arbitrary<Step> = fc.record({
  verb: fc.constant<Step['verb']>('transaction'),
  ...base,
  steps: fc.array(simple, { minLength: 1, maxLength: 5 }),
});
const session: fc.Arbitrary<Step> = fc.record({
  verb: fc.constantFrom<Step['verb'][]>('create-session', 'create-session', 'destroy-session'),
  ...base,
  steps: fc.constant([]),
});
const step = fc.oneof(
  { weight: 6, arbitrary: simple },
  { weight: 2, arbitrary: transaction },
  { weight: 2, arbitrary: session },
);

/** The interface has these verbs of a transaction as methods of their own. */
function run(registry: Registry, operation: RegistryOperation): Promise<boolean> {
  const done = (promise: Promise<void>) => promise.then(() => true);
  switch (operation.verb) {
    case 'set':
      return done(registry.put(operation.key, operation.value));
    case 'cas':
      return registry.compareAndSet(operation.key, operation.value, operation.casIndex);
    case 'lock':
      return registry.acquire(operation.key, operation.value, operation.session);
    case 'delete':
      return done(registry.delete(operation.key));
    case 'delete-cas':
      return registry.compareAndDelete(operation.key, operation.casIndex);
    case 'delete-tree':
      return done(registry.deleteTree(operation.key));
    default:
      return registry.transaction([operation]);
  }
}

async function runHistory(registry: Registry, history: readonly Step[]): Promise<void> {
  let model = new Model();
  let before = await registry.list('');
  const slots: (string | undefined)[] = [];

  const toOperation = (s: Step): RegistryOperation | undefined => {
    const modifyIndex = model.entries.get(s.key)?.modifyIndex;
    const right = typeof modifyIndex === 'number' ? modifyIndex : 0;
    // Far off: the next index could be the one that an earlier step of the same transaction gives the key.
    const casIndex = { right, zero: 0, stale: right + 1_000_000 }[s.cas];
    const session = slots[s.slot];
    if ((s.verb === 'lock' || s.verb === 'check-session') && session === undefined) return undefined;
    return { verb: s.verb, key: s.key, value: s.value, casIndex, session } as unknown as RegistryOperation;
  };

  for (const s of history) {
    if (s.verb === 'create-session') {
      if (slots[s.slot] !== undefined) continue;
      const id = await registry.createSession('model', 60);
      slots[s.slot] = id;
      model.sessions.add(id);
    } else if (s.verb === 'destroy-session') {
      const id = slots[s.slot];
      if (id === undefined) continue;
      await registry.destroySession(id);
      slots[s.slot] = undefined;
      model.sessions.delete(id);
      for (const [name, entry] of [...model.entries]) if (entry.session === id) model.entries.delete(name);
    } else {
      const isTransaction = s.verb === 'transaction';
      const operations = (isTransaction ? s.steps : [s]).map(toOperation).filter((o) => o !== undefined);
      const [first] = operations;
      if (first === undefined) continue;
      const next = model.copy();
      const expected = operations.every((operation) => next.apply(operation));
      const done = isTransaction ? await registry.transaction(operations) : await run(registry, first);
      expect(done).toBe(expected);
      if (expected) model = next;
    }
    const after = await registry.list('');
    compare(model, before, after);
    before = after;
  }
  for (const id of slots) if (id !== undefined) await registry.destroySession(id);
}

/** Also takes the real indexes into the model, for the next step's compare-and-set. */
function compare(model: Model, before: RegistryListing, after: RegistryListing): void {
  const names = [...model.entries.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect(after.entries.map((entry) => entry.key)).toEqual(names);
  expect(after.index).toBeGreaterThanOrEqual(before.index);
  for (const entry of after.entries) {
    const expected = model.entries.get(entry.key)!;
    expect([entry.value, entry.session]).toEqual([expected.value, expected.session]);
    if (expected.modifyIndex === 'new') {
      expect(entry.modifyIndex).toBeGreaterThan(before.index);
      expect(entry.createIndex === entry.modifyIndex).toBe(expected.isCreated);
    } else {
      expect(entry.modifyIndex).toBe(expected.modifyIndex);
    }
    expected.modifyIndex = entry.modifyIndex;
    expected.isCreated = false;
  }
}

export function modelCompliance(subject: () => Subject): void {
  it('agrees with the model on random histories', async () => {
    const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (history) => {
      const registry = createRegistryClient({ url: subject().url, prefix: `model/${randomUUID()}/` });
      await runHistory(registry, history);
    });
    await fc.assert(property, { numRuns: 40, interruptAfterTimeLimit: 20_000, endOnFailure: true });
  });
}
