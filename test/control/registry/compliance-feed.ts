/**
 * What the incremental reader relies on, of every registry: names, whole and folded, whose index is that of the prefix, and
 * journals that have the index of the change they tell of. Part of the compliance suite.
 */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import { changesOf } from '../../../src/control/registry/journal.js';
import { deleteJournalled, lockJournalled } from '../../../src/control/registry/journalled-writes.js';
import type { Registry } from '../../../src/control/registry/registry.js';
import { journalKey } from '../../../src/control/registry/schema.js';
import type { Subject } from './compliance.js';
import { soon } from './raw-http.js';

const NEVER = new AbortController().signal;

/** @param subject as registryCompliance */
export function feedCompliance(subject: () => Subject): void {
  let registry: Registry;

  beforeAll(() => {
    registry = createRegistryClient({ url: subject().url, prefix: `vtep/feed/${randomUUID()}/`, ...subject().access });
  });

  describe('names', () => {
    const folded = { separator: '/' };

    it('are those of the keys under a prefix, whole or folded', async () => {
      for (const key of ['names/web/b', 'names/web/a', 'names/web/é', 'names/web-db/a']) await registry.put(key, 'x');
      const { index } = await registry.list('names/web/');
      const keys = ['names/web/a', 'names/web/b', 'names/web/é'];
      expect(await registry.listKeys('names/web/')).toEqual({ index, keys });
      const web = await registry.listKeys('names/web', folded);
      expect(web.keys).toEqual(['names/web-db/', 'names/web/']);
      expect((await registry.listKeys('names/none/')).keys).toEqual([]);
    });

    it('fold to one that has the index of all, and rings for a write, a deletion and the end of a session', async () => {
      const session = await registry.createSession('bell', 30);
      const steps = [
        () => registry.put('bell/a', 'one'),
        () => registry.put('bell/a', 'two'),
        () => registry.acquire('bell/b', 'x', session),
        () => registry.transaction([{ verb: 'set', key: 'bell/c', value: '1' }]),
        () => registry.delete('bell/a'),
        () => registry.destroySession(session),
        () => registry.deleteTree('bell/c'),
      ];
      await registry.put('bell/z', 'x');
      let { index } = await registry.list('bell/');
      for (const step of steps) {
        const ring = registry.listKeys('bell', { ...folded, newerThan: { index, waitSeconds: 5 }, signal: NEVER });
        await step();
        const rung = await soon(ring);
        expect(rung.keys).toEqual(['bell/']);
        expect(rung.index).toBeGreaterThan(index);
        expect((await registry.list('bell/')).index).toBe(rung.index);
        index = rung.index;
      }
    });

    it('do not ring for another prefix, nor for a write that changes nothing', async () => {
      await registry.put('still/a', 'x');
      const { index } = await registry.list('still/');
      const news = registry.listKeys('still', { ...folded, newerThan: { index, waitSeconds: 1 }, signal: NEVER });
      await registry.put('other/still/a', 'y');
      await registry.put('still/a', 'x');
      expect((await news).index).toBe(index);
    });

    it('end with the reason of their signal', async () => {
      const { index } = await registry.list('names/');
      const controller = new AbortController();
      const options = { newerThan: { index, waitSeconds: 30 }, signal: controller.signal };
      const outcome = expect(registry.listKeys('names/', options)).rejects.toThrow('enough');
      controller.abort(new Error('enough'));
      await outcome;
    });
  });

  describe('a journal', () => {
    it('has the index of the change that it tells of, which is the index of the prefix', async () => {
      const session = await registry.createSession('journal', 30);
      const value = '{"v":1}';
      for (let change = 0; change < 3; change++) {
        const lock = { key: 'fed/a', value: `${value}${change}`, session };
        expect(await lockJournalled(registry, 'fed/', lock)).toBe(true);
        const [newest] = changesOf(await registry.get(journalKey('fed/')));
        expect(newest).toMatchObject({ name: 'a', index: (await registry.get('fed/a'))!.modifyIndex });
        expect((await registry.list('fed/')).index).toBe(newest!.index);
      }
      await registry.put('fed/b', 'x');
      expect(await deleteJournalled(registry, 'fed/', 'fed/a')).toBe(true);
      const journal = await registry.get(journalKey('fed/'));
      expect((await registry.listKeys('fed', { separator: '/' })).index).toBe(journal!.modifyIndex);
      await registry.destroySession(session);
    });

    it('shows the end of a session by an index that it does not explain', async () => {
      const [first, second] = [await registry.createSession('a', 30), await registry.createSession('b', 30)];
      await lockJournalled(registry, 'died/', { key: 'died/a', value: '{}', session: first });
      await lockJournalled(registry, 'died/', { key: 'died/b', value: '{}', session: second });
      await registry.destroySession(first);
      const journal = await registry.get(journalKey('died/'));
      const { index } = await registry.listKeys('died', { separator: '/' });
      expect(changesOf(journal).some((change) => change.index === index)).toBe(false);
      await registry.destroySession(second);
    });

    it('takes the changes of 50 hosts that come at once', async () => {
      const session = await registry.createSession('many', 30);
      const writes = Array.from({ length: 50 }, (_, i) => ({ key: `many/${i}`, value: '{}', session }));
      const done = await Promise.all(writes.map((lock) => lockJournalled(registry, 'many/', lock)));
      expect(done.every((isDone) => isDone)).toBe(true);
      expect((await registry.listKeys('many/')).keys).toHaveLength(50);
      await registry.destroySession(session);
    }, 30_000);
  });
}
