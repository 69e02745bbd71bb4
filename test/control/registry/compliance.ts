/**
 * What every registry must do, as seen through the Registry interface. One suite; compliance.test.ts runs it against
 * the embedded registry, a Consul server, a follower in a cluster, and a server with ACLs and TLS. compliance-http.ts has what the interface does not show.
 */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import type { Registry } from '../../../src/control/registry/registry.js';
import type { TlsFiles } from '../../../src/control/registry/tls-files.js';
import { rawHttp, soon, stillOpen } from './raw-http.js';

export interface Subject {
  readonly url: string;
  /** What it asks for besides. */
  readonly access?: { readonly token: string; readonly tls: TlsFiles };
}

const NEVER = new AbortController().signal;

/** @param subject gives the running server; asked in hooks and tests only. */
export function registryCompliance(subject: () => Subject): void {
  let registry: Registry;
  let prefix: string;

  beforeAll(() => {
    prefix = `vtep/compliance/${randomUUID()}/`;
    registry = createRegistryClient({ url: subject().url, prefix, ...subject().access });
  });

  describe('keys', () => {
    it('answers undefined for a key that is not there, and an empty listing with an index', async () => {
      expect(await registry.get('none')).toBeUndefined();
      const listing = await registry.list('none/');
      expect(listing.entries).toEqual([]);
      expect(listing.index).toBeGreaterThan(0);
    });

    it('reads back what was put, under the key without the prefix', async () => {
      await registry.put('plain/a', 'one');
      const entry = await registry.get('plain/a');
      expect(entry).toMatchObject({ key: 'plain/a', value: 'one' });
      expect(entry?.createIndex).toBe(entry?.modifyIndex);
      await registry.put('plain/a', 'two');
      const later = await registry.get('plain/a');
      expect(later?.value).toBe('two');
      expect(later?.createIndex).toBe(entry?.createIndex);
      expect(later?.modifyIndex).toBeGreaterThan(entry?.modifyIndex ?? 0);
    });

    it('keeps the index of a key that is written with the same value', async () => {
      await registry.put('same', 'x');
      const before = await registry.get('same');
      await registry.put('same', 'x');
      expect(await registry.get('same')).toEqual(before);
    });

    it.each([
      ['empty', ''],
      ['unicode', 'Zürich 東京 🜁'],
      ['control characters', 'a\0b\r\n\t\u001f'],
      ['JSON', '{"v":1,"list":[1,2]}'],
    ])('keeps a value with %s', async (name, value) => {
      await registry.put(`values/${name.replace(' ', '-')}`, value);
      expect((await registry.get(`values/${name.replace(' ', '-')}`))?.value).toBe(value);
      expect((await registry.list('values/')).entries.map((e) => e.value)).toContain(value);
    });

    it.each(['a b', 'a%2Fb', 'q?x=1&y', 'h#f', 'p+q', '10.0.0.0_8', 'fd00::1', 'Zürich/東京', 'x\'"<>', 'end/'])(
      'keeps the key %s as it is',
      async (name) => {
        const key = `special/${name}`;
        await registry.put(key, name);
        expect(await registry.get(key)).toMatchObject({ key, value: name });
        expect((await registry.list(key)).entries).toMatchObject([{ key, value: name }]);
        await registry.delete(key);
        expect(await registry.get(key)).toBeUndefined();
      },
    );

    it.each(['', '/a', 'a//b', 'a/../b', './a', 'a\nb', 'x'.repeat(2000)])('refuses the key %j', async (key) => {
      await expect(registry.put(key, 'x')).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
      await expect(registry.get(key)).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
    });

    it('lists in the order of the keys, and only under the prefix', async () => {
      for (const key of ['order/b', 'order/a/2', 'order/é', 'order/a', 'orders', 'order/Z'])
        await registry.put(key, '');
      const keys = (await registry.list('order/')).entries.map((entry) => entry.key);
      expect(keys).toEqual(['order/Z', 'order/a', 'order/a/2', 'order/b', 'order/é']);
    });

    it('takes a value of 512 KiB and refuses one byte more with one clear line', async () => {
      const most = 'x'.repeat(512 * 1024);
      await registry.put('large', most);
      expect((await registry.get('large'))?.value).toHaveLength(most.length);
      await registry.delete('large');
      const refused = registry.put('large', `${most}x`);
      await expect(refused).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
      await expect(refused).rejects.toThrow(/^registry value of large has 524289 bytes: at most 524288 \(512 KiB\)/);
    });

    it('deletes a key, a tree, and what is not there', async () => {
      for (const key of ['tree/a', 'tree/b/c', 'treehouse']) await registry.put(key, 'x');
      await registry.delete('tree/a');
      await registry.delete('tree/a');
      expect((await registry.list('tree/')).entries.map((e) => e.key)).toEqual(['tree/b/c']);
      await registry.deleteTree('tree/');
      await registry.deleteTree('tree/');
      expect((await registry.list('tree')).entries.map((e) => e.key)).toEqual(['treehouse']);
    });
  });

  describe('compare and set', () => {
    it('with 0 writes only what does not exist', async () => {
      expect(await registry.compareAndSet('cas/zero', 'first', 0)).toBe(true);
      expect(await registry.compareAndSet('cas/zero', 'second', 0)).toBe(false);
      expect((await registry.get('cas/zero'))?.value).toBe('first');
    });

    it('loses against a write in between', async () => {
      await registry.put('cas/lost', 'one');
      const { modifyIndex = 0 } = (await registry.get('cas/lost')) ?? {};
      await registry.put('cas/lost', 'two');
      expect(await registry.compareAndSet('cas/lost', 'three', modifyIndex)).toBe(false);
      const now = (await registry.get('cas/lost'))?.modifyIndex ?? 0;
      expect(await registry.compareAndSet('cas/lost', 'three', now)).toBe(true);
    });

    it('never writes a missing key at an index', async () => {
      expect(await registry.compareAndSet('cas/missing', 'x', 7)).toBe(false);
      expect(await registry.get('cas/missing')).toBeUndefined();
    });

    it('gives a key to exactly one of many that claim it at once', async () => {
      const claims = Array.from({ length: 20 }, (_, i) => registry.compareAndSet('cas/race', `${i}`, 0));
      const won = (await Promise.all(claims)).flatMap((isWinner, i) => (isWinner ? [`${i}`] : []));
      expect(won).toHaveLength(1);
      expect((await registry.get('cas/race'))?.value).toBe(won[0]);
    });

    it('deletes only at the index, and a missing key counts as deleted', async () => {
      await registry.put('cad', 'x');
      const { modifyIndex = 0 } = (await registry.get('cad')) ?? {};
      expect(await registry.compareAndDelete('cad', modifyIndex - 1)).toBe(false);
      expect(await registry.compareAndDelete('cad', 0)).toBe(false);
      expect(await registry.get('cad')).toBeDefined();
      expect(await registry.compareAndDelete('cad', modifyIndex)).toBe(true);
      expect(await registry.get('cad')).toBeUndefined();
      expect(await registry.compareAndDelete('cad', modifyIndex)).toBe(true);
    });
  });

  describe('sessions', () => {
    it('lets one session hold a key and refuses a second', async () => {
      const first = await registry.createSession('first', 30);
      const second = await registry.createSession('second', 30);
      expect(await registry.acquire('held/a', 'one', first)).toBe(true);
      expect(await registry.acquire('held/a', 'two', second)).toBe(false);
      expect(await registry.get('held/a')).toMatchObject({ value: 'one', session: first });
      expect(await registry.acquire('held/a', 'three', first)).toBe(true);
      expect(await registry.get('held/a')).toMatchObject({ value: 'three', session: first });
      await registry.put('held/a', 'four');
      expect(await registry.get('held/a')).toMatchObject({ value: 'four', session: first });
      await registry.destroySession(first);
      await registry.destroySession(second);
    });

    it('deletes what an ended session held, at once and without a lock delay', async () => {
      const first = await registry.createSession('first', 30);
      await registry.put('ended/free', 'stays');
      await registry.acquire('ended/a', 'x', first);
      await registry.acquire('ended/b', 'x', first);
      await registry.destroySession(first);
      expect((await registry.list('ended/')).entries.map((e) => e.key)).toEqual(['ended/free']);
      const second = await registry.createSession('second', 30);
      expect(await registry.acquire('ended/a', 'y', second)).toBe(true);
      await registry.destroySession(second);
    });

    it('hangs on the TTL alone: no health check, no lock delay', async () => {
      const id = await registry.createSession('checks', 30);
      const { json } = await rawHttp(subject().url, subject().access)('GET', `session/info/${id}`);
      expect(json).toMatchObject([
        { ID: id, Name: 'checks', Behavior: 'delete', TTL: '30s', LockDelay: 0, NodeChecks: [] },
      ]);
      expect(json[0].ServiceChecks ?? []).toEqual([]);
      await registry.destroySession(id);
    });

    it('renews what lives and says when it is no more', async () => {
      const id = await registry.createSession('renew', 30);
      expect(await registry.renewSession(id)).toBe(true);
      await registry.destroySession(id);
      await registry.destroySession(id);
      expect(await registry.renewSession(id)).toBe(false);
    });

    it('refuses to acquire with a session that is no more', async () => {
      const id = await registry.createSession('dead', 30);
      await registry.destroySession(id);
      await expect(registry.acquire('held/dead', 'x', id)).rejects.toMatchObject({ code: 'VTEP_ERR_REGISTRY' });
      await expect(registry.acquire('held/dead', 'x', id)).rejects.toThrow(/knows no such session/);
      expect(await registry.get('held/dead')).toBeUndefined();
    });

    it.each([9, 86_401, 10.5])('refuses a TTL of %s s', async (ttlSeconds) => {
      await expect(registry.createSession('ttl', ttlSeconds)).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
    });
  });

  describe('watch', () => {
    it('answers at once from index 0, and blocks from there', async () => {
      await registry.put('watch/a', 'x');
      const now = await registry.watch('watch/', 0, 5, NEVER);
      expect(now.entries).toMatchObject([{ key: 'watch/a' }]);
      const news = registry.watch('watch/', now.index, 5, NEVER);
      expect(await stillOpen(news, 200)).toBe(true);
      await registry.put('watch/b', 'y');
      const listing = await soon(news);
      expect(listing.index).toBeGreaterThan(now.index);
      expect(listing.entries.map((e) => e.key)).toEqual(['watch/a', 'watch/b']);
    });

    it('wakes on a deletion, also of the last key', async () => {
      await registry.put('gone/a', 'x');
      const { index } = await registry.list('gone/');
      const news = registry.watch('gone/', index, 5, NEVER);
      expect(await stillOpen(news, 100)).toBe(true);
      await registry.delete('gone/a');
      const listing = await soon(news);
      expect(listing.entries).toEqual([]);
      expect(listing.index).toBeGreaterThan(index);
      const next = registry.watch('gone/', listing.index, 5, NEVER);
      await registry.put('gone/a', 'again');
      expect((await soon(next)).entries).toMatchObject([{ value: 'again' }]);
    });

    it('wakes when a session ends, a tree goes and a transaction writes', async () => {
      const session = await registry.createSession('watched', 30);
      await registry.acquire('wake/s', 'x', session);
      await registry.put('wake/t/1', 'x');
      let { index } = await registry.list('wake/');
      const steps = [
        () => registry.destroySession(session),
        () => registry.deleteTree('wake/t/'),
        () => registry.transaction([{ verb: 'set', key: 'wake/x', value: '1' }]),
      ];
      for (const step of steps) {
        const news = registry.watch('wake/', index, 5, NEVER);
        await step();
        const listing = await soon(news);
        expect(listing.index).toBeGreaterThan(index);
        index = listing.index;
      }
    });

    it('does not wake for another prefix, and answers the same index when the wait is over', async () => {
      await registry.put('quiet/a', 'x');
      const { index } = await registry.list('quiet/');
      const begunMs = performance.now();
      const news = registry.watch('quiet/', index, 1, NEVER);
      await registry.put('quieter', 'x');
      await registry.put('other/a', 'x');
      const listing = await news;
      expect(performance.now() - begunMs).toBeGreaterThan(950);
      expect(performance.now() - begunMs).toBeLessThan(2000);
      expect(listing.index).toBe(index);
      expect(listing.entries).toMatchObject([{ key: 'quiet/a' }]);
    });

    it('blocks on a prefix that holds nothing yet', async () => {
      const { index } = await registry.list('future/');
      const news = registry.watch('future/', index, 5, NEVER);
      expect(await stillOpen(news, 100)).toBe(true);
      await registry.put('future/a', 'x');
      expect((await soon(news)).entries).toMatchObject([{ key: 'future/a' }]);
    });

    it('ends with the reason of its signal, before and while it waits', async () => {
      const { index } = await registry.list('quiet/');
      const controller = new AbortController();
      const news = registry.watch('quiet/', index, 30, controller.signal);
      const outcome = expect(news).rejects.toThrow('enough');
      await stillOpen(news, 50);
      controller.abort(new Error('enough'));
      await outcome;
      await expect(registry.watch('quiet/', 0, 1, controller.signal)).rejects.toThrow('enough');
    });
  });

  describe('transactions', () => {
    it('do all or nothing', async () => {
      await registry.put('txn/old', 'old');
      const good = await registry.transaction([
        { verb: 'cas', key: 'txn/a', value: '1', casIndex: 0 },
        { verb: 'set', key: 'txn/b', value: 'ü' },
        { verb: 'delete', key: 'txn/old' },
      ]);
      expect(good).toBe(true);
      const before = await registry.list('txn/');
      expect(before.entries).toMatchObject([
        { key: 'txn/a', value: '1' },
        { key: 'txn/b', value: 'ü' },
      ]);
      expect(new Set(before.entries.map((e) => e.modifyIndex)).size).toBe(1);
      const bad = await registry.transaction([
        { verb: 'set', key: 'txn/c', value: '3' },
        { verb: 'delete', key: 'txn/b' },
        { verb: 'cas', key: 'txn/a', value: '2', casIndex: 0 },
      ]);
      expect(bad).toBe(false);
      expect(await registry.list('txn/')).toEqual(before);
    });

    it('check indexes, also that a key does not exist', async () => {
      await registry.put('check/a', 'x');
      const { modifyIndex = 0 } = (await registry.get('check/a')) ?? {};
      const guarded = (key: string, casIndex: number) =>
        registry.transaction([
          { verb: 'check-index', key, casIndex },
          { verb: 'set', key: 'check/out', value: `${key} ${casIndex}` },
        ]);
      expect(await guarded('check/a', modifyIndex)).toBe(true);
      expect(await guarded('check/a', modifyIndex + 1)).toBe(false);
      expect(await guarded('check/a', 0)).toBe(false);
      expect(await guarded('check/none', 0)).toBe(true);
      expect(await guarded('check/none', 5)).toBe(false);
      expect((await registry.get('check/out'))?.value).toBe('check/none 0');
    });

    it('lock keys and check who holds them', async () => {
      const mine = await registry.createSession('mine', 30);
      const other = await registry.createSession('other', 30);
      const lock = (session: string) =>
        registry.transaction([{ verb: 'lock', key: 'lock/a', value: session, session }]);
      expect(await lock(mine)).toBe(true);
      expect(await lock(other)).toBe(false);
      const check = (session: string) =>
        registry.transaction([
          { verb: 'check-session', key: 'lock/a', session },
          { verb: 'set', key: 'lock/b', value: session },
        ]);
      expect(await check(other)).toBe(false);
      expect(await check(mine)).toBe(true);
      await registry.destroySession(mine);
      expect(await lock(mine)).toBe(false);
      expect((await registry.list('lock/')).entries.map((e) => e.key)).toEqual(['lock/b']);
      await registry.destroySession(other);
    });

    it('delete by index and by tree', async () => {
      for (const key of ['del/a', 'del/t/1', 'del/t/2']) await registry.put(key, 'x');
      const { modifyIndex = 0 } = (await registry.get('del/a')) ?? {};
      const run = (casIndex: number) =>
        registry.transaction([
          { verb: 'delete-tree', key: 'del/t/' },
          { verb: 'delete-cas', key: 'del/a', casIndex },
        ]);
      expect(await run(modifyIndex + 1)).toBe(false);
      expect((await registry.list('del/')).entries).toHaveLength(3);
      expect(await run(modifyIndex)).toBe(true);
      expect((await registry.list('del/')).entries).toEqual([]);
    });

    it('take 64 operations, refuse 65, and count none as done', async () => {
      const sets = (count: number) =>
        Array.from({ length: count }, (_, i) => ({ verb: 'set' as const, key: `many/${i}`, value: `${i}` }));
      expect(await registry.transaction([])).toBe(true);
      expect(await registry.transaction(sets(64))).toBe(true);
      expect((await registry.list('many/')).entries).toHaveLength(64);
      await expect(registry.transaction(sets(65))).rejects.toThrow(/has 65 operations: at most 64/);
    });
  });
}
