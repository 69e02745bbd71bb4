/**
 * The journal of a prefix: what it says of a mark, and that many writers of one journal all succeed.
 */
import { describe, expect, it } from 'vitest';
import { changesOf, cutJournal, markOf, newsSince, withChange } from '../../../src/control/registry/journal.js';
import { deleteJournalled, lockJournalled } from '../../../src/control/registry/journalled-writes.js';
import type { RegistryEntry } from '../../../src/control/registry/registry.js';
import { journalKey } from '../../../src/control/registry/schema.js';
import { MemoryRegistry } from '../memory-registry.js';

const PREFIX = 'endpoints/web/';
const at = (modifyIndex: number, value: string): RegistryEntry => ({
  ...{ key: journalKey(PREFIX), value, createIndex: 1, modifyIndex },
});
/** Names by the indexes of their changes. */
function written(...changes: [number, string][]): RegistryEntry {
  let entry: RegistryEntry | undefined;
  for (const [index, name] of changes) entry = at(index, withChange(entry, name));
  return entry!;
}

describe('the journal', () => {
  it('names what has changed since a mark, and explains its indexes', () => {
    const first = written([5, 'a'], [9, 'b']);
    const later = at(20, withChange(at(14, withChange(first, 'c')), 'a'));
    const news = newsSince(later, markOf(first)!)!;
    expect([...news.names].sort()).toEqual(['a', 'c']);
    expect([5, 9, 14, 20].every(news.explains)).toBe(true);
    expect([0, 1, 10, 21].some(news.explains)).toBe(false);
    expect(newsSince(first, markOf(first)!)!.names.size).toBe(0);
  });

  it.each<[string, RegistryEntry | undefined]>([
    ['it is missing', undefined],
    ['it is cut', at(20, cutJournal('c'))],
    ['it was begun anew', written([20, 'c'])],
    ['another life of the registry has the same index', written([5, 'a'], [9, 'b'], [20, 'c'])],
    ['it cannot be read', at(20, 'odd')],
    ['it is of a later version', at(20, '{"v":2,"changes":[]}')],
  ])('says nothing when %s', (_why, entry) => {
    expect(newsSince(entry, markOf(written([5, 'a'], [9, 'b']))!)).toBeUndefined();
  });

  it('forgets what is old', () => {
    const first = written([5, 'a']);
    let entry = first;
    for (let index = 6; index < 37; index++) entry = at(index, withChange(entry, 'b'));
    expect(newsSince(entry, markOf(first)!)).toBeDefined();
    entry = at(37, withChange(entry, 'b'));
    expect(newsSince(entry, markOf(first)!)).toBeUndefined();
    expect(changesOf(entry)).toHaveLength(32);
  });

  it('can not be carried on from a value that cannot be read', () => {
    expect(changesOf(at(9, withChange(at(5, 'odd'), 'a'))).map(({ index }) => index)).toEqual([9]);
  });
});

describe('journalled writes', () => {
  const lock = async (registry: MemoryRegistry, name: string, value: string) => ({
    ...{ key: PREFIX + name, value, session: await registry.createSession(name) },
  });

  it('write the journal in the same transaction', async () => {
    const registry = new MemoryRegistry();
    const one = await lock(registry, 'a', 'x');
    expect(await lockJournalled(registry, PREFIX, one)).toBe(true);
    const { modifyIndex } = (await registry.get(one.key))!;
    const journal = await registry.get(journalKey(PREFIX));
    expect(changesOf(journal)).toMatchObject([{ name: 'a', index: modifyIndex }]);
    expect(await deleteJournalled(registry, PREFIX, one.key)).toBe(true);
    expect(await registry.get(one.key)).toBeUndefined();
    const after = await registry.get(journalKey(PREFIX));
    expect(newsSince(after, markOf(journal)!)!.names).toEqual(new Set(['a']));
  });

  it('leave a key alone that is as it shall be, and one that is gone', async () => {
    const registry = new MemoryRegistry();
    const one = await lock(registry, 'a', 'x');
    await lockJournalled(registry, PREFIX, one);
    const before = await registry.list('');
    expect(await lockJournalled(registry, PREFIX, one)).toBe(true);
    expect(await deleteJournalled(registry, PREFIX, `${PREFIX}none`)).toBe(true);
    expect((await registry.list('')).entries).toEqual(before.entries);
  });

  it('change nothing when a check fails or another session holds the key', async () => {
    const registry = new MemoryRegistry();
    await lockJournalled(registry, PREFIX, await lock(registry, 'a', 'x'));
    const before = await registry.list('');
    const other = await lock(registry, 'a', 'y');
    const check = { verb: 'check-index', key: 'networks/web', casIndex: 7 } as const;
    expect(await lockJournalled(registry, PREFIX, other)).toBe(false);
    expect(await lockJournalled(registry, PREFIX, { ...other, key: `${PREFIX}b` }, [check])).toBe(false);
    expect(await deleteJournalled(registry, PREFIX, `${PREFIX}a`, [check])).toBe(false);
    expect((await registry.list('')).entries).toEqual(before.entries);
  });
});
