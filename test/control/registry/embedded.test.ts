/**
 * The embedded registry where it is not Consul: its store over restarts, its tombstones, its listen address.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import { parseDuration } from '../../../src/control/registry/embedded/duration.js';
import { type EmbeddedRegistry, startEmbeddedRegistry } from '../../../src/control/registry/embedded/server.js';
import { rawHttp, soon, stillOpen } from './raw-http.js';

const NEVER = new AbortController().signal;
let stateDirectory: string;
let open: EmbeddedRegistry[];

beforeEach(async () => {
  stateDirectory = await mkdtemp(join(tmpdir(), 'vtep-registry-'));
  open = [];
});

afterEach(async () => {
  for (const server of open) await server.close();
  await rm(stateDirectory, { recursive: true, force: true });
});

async function start(listen = '127.0.0.1:0'): Promise<EmbeddedRegistry> {
  const server = await startEmbeddedRegistry({ listen, stateDirectory });
  open.push(server);
  return server;
}

async function stop(server: EmbeddedRegistry): Promise<void> {
  open.splice(open.indexOf(server), 1);
  await server.close();
}

describe('a restart', () => {
  it('keeps keys, sessions, holders and the index', async () => {
    const first = await start();
    const before = createRegistryClient({ url: first.url });
    const session = await before.createSession('node', 30);
    await before.acquire('nodes/a', 'x', session);
    await before.put('networks/a', 'y');
    await before.put('networks/b', 'y');
    await before.delete('networks/b');
    const all = await before.list('');
    const networks = await before.list('networks/');
    await stop(first);

    const second = await start();
    const after = createRegistryClient({ url: second.url });
    expect(await after.list('')).toEqual(all);
    expect(await after.list('networks/')).toEqual(networks);
    expect(await after.renewSession(session)).toBe(true);
    expect(await after.acquire('nodes/a', 'x2', session)).toBe(true);
    expect((await after.get('nodes/a'))?.modifyIndex).toBeGreaterThan(all.index);
    await after.destroySession(session);
    expect(await after.get('nodes/a')).toBeUndefined();
  });

  it('ends blocking queries instead of waiting for them', async () => {
    const server = await start();
    const registry = createRegistryClient({ url: server.url });
    await registry.put('a', 'x');
    const { index } = await registry.list('');
    const blocked = registry.watch('', index, 300, NEVER).catch((error: unknown) => error);
    expect(await stillOpen(blocked, 100)).toBe(true);
    const begunMs = performance.now();
    await stop(server);
    expect(performance.now() - begunMs).toBeLessThan(2000);
    await blocked;
  });
});

describe('the index of a prefix', () => {
  it('never goes backwards, also when its tombstones are dropped', async () => {
    const { url } = await start();
    const http = rawHttp(url);
    const registry = createRegistryClient({ url, prefix: '' });
    await registry.put('old/a', 'x');
    await registry.put('old/b', 'x');
    await registry.delete('old/b');
    const { index } = await registry.list('old/');
    for (let batch = 0; batch < 70; batch += 1) {
      const operations = Array.from({ length: 64 }, (_, i) => ({
        verb: 'set' as const,
        key: `bulk/${batch}/${i}`,
        value: '',
      }));
      expect(await registry.transaction(operations)).toBe(true);
    }
    await registry.deleteTree('bulk/');
    const later = await registry.list('old/');
    expect(later.index).toBeGreaterThanOrEqual(index);
    const news = registry.watch('old/', later.index, 5, NEVER);
    await registry.delete('old/a');
    expect((await soon(news)).entries).toEqual([]);
    expect((await http('GET', 'kv/bulk/?recurse')).index).toBeGreaterThan(index);
  });

  it('is that of every write when many write at once', async () => {
    const registry = createRegistryClient({ url: (await start()).url });
    await Promise.all(Array.from({ length: 200 }, (_, i) => registry.put(`many/${i}`, `${i}`)));
    const { entries, index } = await registry.list('many/');
    expect(new Set(entries.map((entry) => entry.modifyIndex)).size).toBe(200);
    expect(Math.max(...entries.map((entry) => entry.modifyIndex))).toBe(index);
  });
});

describe('the listen address', () => {
  it('that is taken is one clear line', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const refused = start(`127.0.0.1:${port}`);
    await expect(refused).rejects.toMatchObject({
      code: 'VTEP_ERR_PORT_IN_USE',
      message: `embedded registry cannot listen on 127.0.0.1:${port}: the port is taken; stop what listens there or give another port`,
    });
    await new Promise((resolve) => other.close(resolve));
    await start(`127.0.0.1:${port}`);
  });

  it.each(['', '8500', '127.0.0.1', '127.0.0.1:99999', '::1:8500', '192.0.2.1:0'])('%j is refused', async (listen) => {
    await expect(start(listen)).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
  });

  it('may be IPv6 or every address; the URL is one that this host can reach', async () => {
    for (const listen of ['[::1]:0', '0.0.0.0:0']) {
      const server = await start(listen);
      const registry = createRegistryClient({ url: server.url });
      await registry.put('a', listen);
      expect((await registry.get('a'))?.value).toBe(listen);
      await stop(server);
    }
  });
});

it('refuses a state directory that cannot be one', async () => {
  await writeFile(join(stateDirectory, 'registry'), 'a file');
  await expect(start()).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID', message: expect.stringContaining('EEXIST') });
});

it.each([
  ['0', 0],
  ['10s', 10e9],
  ['1m30s', 90e9],
  ['250ms', 250e6],
  ['1.5h', 5400e9],
  ['10', undefined],
  ['', undefined],
  ['10x', undefined],
  ['-1s', undefined],
])('reads the duration %j', (text, nanoseconds) => {
  expect(parseDuration(text)).toBe(nanoseconds);
});
