/**
 * What every registry must do on the wire, which the Registry interface does not show: headers, status codes, flags,
 * lock indexes, raw values. Part of the compliance suite.
 */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Subject } from './compliance.js';
import { type RawHttp, rawHttp, soon, stillOpen } from './raw-http.js';

export function httpCompliance(subject: () => Subject): void {
  let http: RawHttp;
  let at: string;

  beforeAll(() => {
    http = rawHttp(subject().url);
    at = `http/${randomUUID()}`;
  });

  describe('over HTTP', () => {
    it('answers 404 with an index above 0 for what is missing', async () => {
      for (const query of ['', '?recurse', '?keys', '?raw']) {
        const answer = await http('GET', `kv/${at}/none${query}`);
        expect(answer.status).toBe(404);
        expect(answer.index).toBeGreaterThan(0);
        expect(answer.text).toBe('');
      }
    });

    it('shows an entry as Consul does', async () => {
      await http('PUT', `kv/${at}/shape?flags=42`, 'value');
      const { json, index } = await http('GET', `kv/${at}/shape`);
      const { CreateIndex } = json[0];
      expect(json).toEqual([
        { Key: `${at}/shape`, Value: 'dmFsdWU=', Flags: 42, LockIndex: 0, CreateIndex, ModifyIndex: CreateIndex },
      ]);
      expect(index).toBe(CreateIndex);
      await http('PUT', `kv/${at}/shape`);
      expect((await http('GET', `kv/${at}/shape`)).json).toMatchObject([{ Value: null, Flags: 0, CreateIndex }]);
    });

    it('keeps bytes that are no text', async () => {
      const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
      await http('PUT', `kv/${at}/bytes`, bytes);
      const { json } = await http('GET', `kv/${at}/bytes`);
      expect(Buffer.from(json[0].Value, 'base64')).toEqual(Buffer.from(bytes));
      const raw = await fetch(`${subject().url}/v1/kv/${at}/bytes?raw`);
      expect(Buffer.from(await raw.arrayBuffer())).toEqual(Buffer.from(bytes));
    });

    it('gives every write a larger index, and a prefix the largest under it', async () => {
      let last = 0;
      for (let i = 0; i < 10; i += 1) {
        await http('PUT', `kv/${at}/up/${i % 3}`, `${i}`);
        const { index = 0 } = await http('GET', `kv/${at}/up/?recurse`);
        expect(index).toBeGreaterThan(last);
        last = index;
      }
      await http('PUT', `kv/${at}/elsewhere`, 'x');
      expect((await http('GET', `kv/${at}/up/?recurse`)).index).toBe(last);
      await http('DELETE', `kv/${at}/up/1`);
      const { index = 0 } = await http('GET', `kv/${at}/up/?recurse`);
      expect(index).toBeGreaterThan(last);
      await http('DELETE', `kv/${at}/up/?recurse`);
      const gone = await http('GET', `kv/${at}/up/?recurse`);
      expect(gone.status).toBe(404);
      expect(gone.index).toBeGreaterThan(index);
    });

    it('lists keys, also by folder', async () => {
      for (const key of ['a/1', 'a/2', 'b', 'c/d/e']) await http('PUT', `kv/${at}/dir/${key}`, 'x');
      const keys = async (query: string) => {
        const { json } = await http('GET', `kv/${at}/dir/?keys${query}`);
        return json.map((key: string) => key.slice(`${at}/dir/`.length));
      };
      expect(await keys('')).toEqual(['a/1', 'a/2', 'b', 'c/d/e']);
      expect(await keys('&separator=/')).toEqual(['a/', 'b', 'c/']);
    });

    it('blocks on a single key: for its write, not for its neighbour', async () => {
      await http('PUT', `kv/${at}/one`, 'x');
      const { index } = await http('GET', `kv/${at}/one`);
      const news = http('GET', `kv/${at}/one?index=${index}&wait=5s`);
      await http('PUT', `kv/${at}/one/more`, 'x');
      expect(await stillOpen(news, 200)).toBe(true);
      await http('DELETE', `kv/${at}/one`);
      expect((await soon(news)).status).toBe(404);
    });

    it('goes on after a client that left while it blocked', async () => {
      await http('PUT', `kv/${at}/left`, 'x');
      const { index } = await http('GET', `kv/${at}/left`);
      const controller = new AbortController();
      const left = http('GET', `kv/${at}/left?index=${index}&wait=60s`, undefined, controller.signal);
      const outcome = expect(left).rejects.toThrow();
      await stillOpen(left, 100);
      controller.abort();
      await outcome;
      expect((await http('PUT', `kv/${at}/left`, 'y')).json).toBe(true);
    });

    it('counts acquisitions in LockIndex and releases for the holder only', async () => {
      const session = async () => (await http('PUT', 'session/create', '{"TTL":"30s","LockDelay":"0s"}')).json.ID;
      const [first, second] = [await session(), await session()];
      const key = `kv/${at}/lock`;
      expect((await http('PUT', `${key}?acquire=${first}`, '1')).json).toBe(true);
      expect((await http('GET', key)).json).toMatchObject([{ LockIndex: 1, Session: first }]);
      expect((await http('PUT', `${key}?release=${second}`, '2')).json).toBe(false);
      expect((await http('PUT', `${key}?release=${first}`, '3')).json).toBe(true);
      expect((await http('GET', key)).json[0]).not.toHaveProperty('Session');
      expect((await http('PUT', `${key}?acquire=${second}`, '4')).json).toBe(true);
      expect((await http('GET', key)).json).toMatchObject([{ LockIndex: 2, Session: second, Value: 'NA==' }]);
      // Made without a Behavior, the session releases its keys when it ends.
      await http('PUT', `session/destroy/${second}`);
      const [entry] = (await http('GET', key)).json;
      expect(entry).toMatchObject({ LockIndex: 2, Value: 'NA==' });
      expect(entry).not.toHaveProperty('Session');
      await http('PUT', `session/destroy/${first}`);
    });

    it('keeps a key from being acquired for the LockDelay of the session that ended', async () => {
      const create = async (delay: string) =>
        (await http('PUT', 'session/create', JSON.stringify({ TTL: '30s', LockDelay: delay }))).json.ID;
      const [first, second] = [await create('2s'), await create('0s')];
      const acquire = async () => (await http('PUT', `kv/${at}/delay?acquire=${second}`, 'x')).json;
      await http('PUT', `kv/${at}/delay?acquire=${first}`, 'x');
      await http('PUT', `session/destroy/${first}`);
      expect(await acquire()).toBe(false);
      await stillOpen(new Promise(() => {}), 2100);
      expect(await acquire()).toBe(true);
      await http('PUT', `session/destroy/${second}`);
    });

    it('lists sessions, and answers an empty list for one that is none', async () => {
      const { ID } = (await http('PUT', 'session/create', '{"Name":"listed","TTL":"30s"}')).json;
      const listed = await http('GET', 'session/list');
      expect(listed.json).toContainEqual(expect.objectContaining({ ID, Name: 'listed', LockDelay: 15e9 }));
      expect(listed.index).toBeGreaterThan(0);
      await http('PUT', `session/destroy/${ID}`);
      const info = await http('GET', `session/info/${ID}`);
      expect([info.status, info.json]).toEqual([200, []]);
      expect((await http('PUT', `session/renew/${ID}`)).status).toBe(404);
      expect((await http('PUT', `session/destroy/${ID}`)).json).toBe(true);
    });

    it('answers transactions with results, and failures with every operation that failed', async () => {
      const kv = (Verb: string, key: string, more = {}) => ({ KV: { Verb, Key: `${at}/t/${key}`, ...more } });
      const good = await http(
        'PUT',
        'txn',
        JSON.stringify([
          kv('set', 'a', { Value: 'YQ==', Flags: 3 }),
          kv('check-not-exists', 'none'),
          kv('get', 'a'),
          kv('get-tree', ''),
          kv('delete', 'none'),
        ]),
      );
      expect(good.status).toBe(200);
      expect(good.json.Results).toMatchObject([
        { KV: { Value: null } },
        { KV: { Value: 'YQ==', Flags: 3 } },
        { KV: { Value: 'YQ==' } },
      ]);
      const bad = await http(
        'PUT',
        'txn',
        JSON.stringify([
          kv('set', 'b', { Value: 'Yg==' }),
          kv('get', 'none'),
          kv('check-not-exists', 'a'),
          kv('odd', 'a'),
        ]),
      );
      expect(bad.status).toBe(409);
      expect(bad.json.Errors.map((e: { OpIndex: number }) => e.OpIndex)).toEqual([1, 2, 3]);
      expect((await http('GET', `kv/${at}/t/b`)).status).toBe(404);
    });

    it.each([
      ['PUT', 'kv/', 'x', 400],
      ['DELETE', 'kv/', undefined, 400],
      ['PUT', 'kv/x?cas=0&acquire=y', 'x', 400],
      ['PUT', 'kv/x?cas=abc', 'x', 500],
      ['PUT', 'kv/x?acquire=nope', 'x', 500],
      ['GET', 'kv/x?index=abc', undefined, 400],
      ['GET', 'kv/x?index=1&wait=abc', undefined, 400],
      ['PUT', 'session/create', '{', 400],
      ['PUT', 'session/create', '{"TTL":"5s"}', 500],
      ['PUT', 'session/create', '{"TTL":"x"}', 500],
      ['PUT', 'session/create', '{"Behavior":"odd"}', 500],
      ['PUT', 'txn', '{', 400],
      ['PUT', 'kv/x', 'x'.repeat(512 * 1024 + 1), 413],
      ['PUT', 'txn', JSON.stringify(Array(65).fill({ KV: { Verb: 'get', Key: 'x' } })), 413],
    ])('refuses %s %s (%#)', async (method, path, body, status) => {
      expect((await http(method, path, body)).status).toBe(status);
    });

    it('names a leader and itself', async () => {
      expect((await http('GET', 'status/leader')).json).toMatch(/^[\d.]+:\d+$/);
      expect((await http('GET', 'agent/self')).json.Config.NodeName).toEqual(expect.any(String));
    });
  });
}
