/**
 * The client and the watcher behind a proxy that lies: under each fault a typed error or the right answer, never an answer
 * that could be known to be wrong; when the fault ends, the watch shows the truth.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { VtepError } from '../../../src/control/errors.js';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import type { Registry, RegistryEntry } from '../../../src/control/registry/registry.js';
import { watchPrefix } from '../../../src/control/registry/watcher.js';
import { type ConsulServer, startConsul } from './consul-server.js';
import {
  answer,
  type Fault,
  type FaultyProxy,
  type Passed,
  type SeenRequest,
  startFaultyProxy,
} from './faulty-proxy.js';

let consul: ConsulServer;
let direct: Registry;
let proxy: FaultyProxy;
let second: FaultyProxy;
let count = 0;
let prefix: string;

beforeAll(async () => {
  consul = await startConsul();
  [proxy, second] = [await startFaultyProxy(consul.url), await startFaultyProxy(consul.url)];
});

afterAll(async () => {
  await proxy?.close();
  await second?.close();
  await consul?.close();
});

beforeEach(async () => {
  for (const each of [proxy, second]) {
    each.fault = undefined;
    each.requests.length = 0;
    each.forwarded.length = 0;
  }
  count += 1;
  prefix = `faults/${count}/`;
  direct = createRegistryClient({ url: consul.url, prefix });
  for (const key of ['a', 'b', 'c']) await direct.put(key, key);
});

const client = (url: string | string[] = proxy.url, timeoutMs = 500) =>
  createRegistryClient({ url, prefix, timeoutMs });

const withHeader = (name: string, value: string | undefined) => (passed: Passed) => {
  const headers = { ...passed.headers };
  if (value === undefined) delete headers[name];
  else headers[name] = value;
  return { ...passed, headers };
};
/** The first entry alone, as an older state would show it. */
const truncated = (passed: Passed): Passed =>
  withHeader(
    'x-consul-index',
    '2',
  )({
    ...passed,
    body: Buffer.from(JSON.stringify((JSON.parse(passed.body.toString()) as unknown[]).slice(0, 1))),
  });
const JSON_TYPE = { 'content-type': 'application/json', 'x-consul-index': '999999' };

/** What no registry says and the client can know. */
const KNOWABLE: [string, Fault][] = [
  ['500', { instead: answer(500, 'boom') }],
  ['502 of a proxy', { instead: answer(502, '<h1>Bad Gateway</h1>', { 'content-type': 'text/html' }) }],
  ['no leader', { instead: answer(500, 'No cluster leader') }],
  ['a lost leader', { instead: answer(500, 'rpc error making call: EOF') }],
  ['too many requests', { instead: answer(429, 'slow down') }],
  ['a reset before the server', { reset: 'before' }],
  ['a reset after the server', { reset: 'after' }],
  ['an answer that is cut off', { reset: 'within' }],
  ['an answer that is late', { delayMs: 900 }],
  ['half of the JSON', { change: (p) => ({ ...p, body: p.body.subarray(0, p.body.length >> 1) }) }],
  ['an empty 200', { instead: answer(200, '', JSON_TYPE) }],
  ['an empty 200 without a type', { instead: answer(200, '', { 'x-consul-index': '999999' }) }],
  ['HTML', { instead: answer(200, '<html></html>', { 'content-type': 'text/html', 'x-consul-index': '999999' }) }],
  ['an empty list', { instead: answer(200, '[]', JSON_TYPE) }],
  ['null', { instead: answer(200, 'null', JSON_TYPE) }],
  ['a 404 page', { instead: answer(404, 'page not found', { 'x-consul-index': '999999' }) }],
  ['a 404 without an index', { instead: answer(404, '') }],
];

const READ_ONLY: [string, Fault][] = [
  ['an index that is missing', { change: withHeader('x-consul-index', undefined) }],
  ['index 0', { change: withHeader('x-consul-index', '0') }],
  ['an index that is no number', { change: withHeader('x-consul-index', 'x') }],
  ['a server without a leader', { change: withHeader('x-consul-knownleader', 'false') }],
  ['a server that is 6 s behind', { change: withHeader('x-consul-lastcontact', '6000') }],
  ['keys left out by ACLs', { change: withHeader('x-consul-results-filtered-by-acls', 'true') }],
];

async function typedError(promise: Promise<unknown>): Promise<void> {
  const error = await promise.then(
    (value) => `answered ${JSON.stringify(value)}`,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VtepError);
  expect((error as VtepError).code).toMatch(/^VTEP_ERR_REGISTRY(_UNREACHABLE)?$/);
  expect((error as VtepError).message).not.toMatch(/\n/);
}

describe('each request under a fault', () => {
  it.each([...KNOWABLE, ...READ_ONLY])('%s: readings fail', async (_name, fault) => {
    proxy.fault = () => fault;
    const registry = client();
    await typedError(registry.get('a'));
    await typedError(registry.list(''));
    await typedError(registry.watch('', 0, 0.1, new AbortController().signal));
    expect(proxy.requests).toHaveLength(3);
  });

  it.each(KNOWABLE)('%s: writes fail, and are sent once', async (_name, fault) => {
    const session = await direct.createSession('s', 30);
    proxy.fault = () => fault;
    const registry = client();
    await typedError(registry.put('w', 'x'));
    await typedError(registry.compareAndSet('w2', 'x', 0));
    await typedError(registry.compareAndDelete('w2', 1));
    await typedError(registry.transaction([{ verb: 'cas', key: 'w3', value: 'x', casIndex: 0 }]));
    await typedError(registry.createSession('t', 30));
    await typedError(registry.renewSession(session));
    await typedError(registry.destroySession(session));
    expect(proxy.requests).toHaveLength(7);
  });

  it.each([...KNOWABLE, ...READ_ONLY])('%s: with a second server every reading is right', async (_name, fault) => {
    proxy.fault = () => fault;
    const registry = client([proxy.url, second.url]);
    if (fault.change?.(answer(200, '[]')).headers['x-consul-results-filtered-by-acls']) {
      await typedError(registry.list(''));
      return;
    }
    expect((await registry.list('')).entries.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
    expect((await registry.get('b'))?.value).toBe('b');
    // It stays where it was answered.
    expect(proxy.requests).toHaveLength(1);
    expect(registry.url).toBe(second.url);
  });
});

describe('a write whose connection breaks, with a second server', () => {
  it('is made there when the first can not have seen it', async () => {
    const dead = await startFaultyProxy(consul.url);
    await dead.close();
    const registry = client([dead.url, second.url]);
    expect(await registry.compareAndSet('new', '1', 0)).toBe(true);
    expect(await registry.transaction([{ verb: 'cas', key: 'new2', value: '1', casIndex: 0 }])).toBe(true);
  });

  it.each<[string, (registry: Registry, index: number) => Promise<unknown>]>([
    ['compareAndSet', (registry) => registry.compareAndSet('new', '1', 0)],
    ['compareAndDelete', (registry, index) => registry.compareAndDelete('a', index)],
    ['a transaction with a condition', (r) => r.transaction([{ verb: 'cas', key: 'new', value: '1', casIndex: 0 }])],
    ['createSession', (registry) => registry.createSession('s', 30)],
  ])('%s: fails as retryable, is not sent again, and was made', async (_name, run) => {
    const { modifyIndex = 0 } = (await direct.get('a')) ?? {};
    proxy.fault = () => ({ reset: 'after' });
    const outcome = run(client([proxy.url, second.url]), modifyIndex);
    await expect(outcome).rejects.toMatchObject({ code: 'VTEP_ERR_REGISTRY_UNREACHABLE', retryable: true });
    await expect(outcome).rejects.toThrow(/whether the write was made is not known/);
    expect(proxy.forwarded).toHaveLength(1);
    expect(second.requests).toHaveLength(0);
  });

  it('is made again where twice is the same as once', async () => {
    const session = await direct.createSession('s', 30);
    proxy.fault = () => ({ reset: 'after' });
    const fresh = () => client([proxy.url, second.url]);
    await fresh().put('w', 'x');
    expect(await fresh().acquire('held', 'x', session)).toBe(true);
    expect(await fresh().transaction([{ verb: 'lock', key: 'held', value: 'y', session }])).toBe(true);
    expect(await fresh().renewSession(session)).toBe(true);
    await fresh().delete('w');
    await fresh().destroySession(session);
    expect(await direct.get('w')).toBeUndefined();
    expect(await direct.get('held')).toBeUndefined();
    expect(proxy.forwarded).toHaveLength(6);
  });

  it('names every server that was tried, and no token', async () => {
    const ports = [await startFaultyProxy(consul.url), await startFaultyProxy(consul.url)];
    for (const each of ports) await each.close();
    const urls = ports.map(({ url }) => url);
    const error = await createRegistryClient({ url: urls, token: 'hush-hush' })
      .get('a')
      .catch((e: unknown) => e as Error);
    expect((error as Error).message).toBe(
      `none of 2 registry servers serves: ${urls[0]} is not reachable (ECONNREFUSED); ${urls[1]} is not reachable ` +
        '(ECONNREFUSED): check --registry and that Consul runs there',
    );
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error)) + String((error as Error).cause)).not.toContain(
      'hush',
    );
  });
});

describe('a watch', () => {
  const LIES: [string, Fault][] = [
    ['an older state', { change: (p) => (p.status === 200 ? truncated(p) : p) }],
    ['nothing, with an index that went backwards', { instead: answer(404, '', { 'x-consul-index': '3' }) }],
    ['nothing, with an index that went on', { instead: answer(404, '', { 'x-consul-index': '999999' }) }],
  ];
  const onlyStale = (fault: Fault) => (request: SeenRequest) => (request.path.includes('stale') ? fault : undefined);

  const onlyListings = (fault: Fault) => (request: SeenRequest) =>
    request.path.includes('recurse') ? fault : undefined;
  const LASTING: [string, (request: SeenRequest) => Fault | undefined][] = [
    ...[...KNOWABLE, ...READ_ONLY].map(([name, fault]): (typeof LASTING)[number] => [name, () => fault]),
    ...LIES.slice(1).map(([name, fault]): (typeof LASTING)[number] => [`${name}`, onlyListings(fault)]),
    ...LIES.map(([name, fault]): (typeof LASTING)[number] => [`${name}, from one that is behind`, onlyStale(fault)]),
  ];

  /** These run side by side, each with a proxy and keys of its own. */
  async function own(name: string) {
    const own = `faults/${name.replace(/\W/g, '-')}/`;
    const truth = createRegistryClient({ url: consul.url, prefix: own });
    for (const key of ['a', 'b', 'c']) await truth.put(key, key);
    const liar = await startFaultyProxy(consul.url);
    return { truth, liar, registry: createRegistryClient({ url: liar.url, prefix: own, timeoutMs: 500 }) };
  }

  it.concurrent.each(LASTING)('keeps what it has under %s, and shows the truth after it', async (name, fault) => {
    const { truth, liar, registry } = await own(name);
    const stop = new AbortController();
    const listings: (readonly RegistryEntry[])[] = [];
    const ended = watchPrefix(registry, '', {
      onChange: ({ entries }) => listings.push(entries),
      onError: () => {},
      waitSeconds: 0.2,
      signal: stop.signal,
    });
    await vi.waitFor(() => expect(listings).toHaveLength(1), 10_000);
    liar.fault = fault;
    const before = liar.requests.length;
    await vi.waitFor(() => expect(liar.requests.length).toBeGreaterThan(before + 2), 15_000);
    expect(listings.every((entries) => entries.length === 3)).toBe(true);
    await truth.put('d', 'd');
    await truth.delete('a');
    liar.fault = undefined;
    const keys = () => listings.at(-1)?.map(({ key }) => key);
    await vi.waitFor(() => expect(keys()).toEqual(['b', 'c', 'd']), 15_000);
    expect(listings.every((entries) => entries.length > 2)).toBe(true);
    stop.abort();
    await ended;
    await liar.close();
  });

  it.concurrent.each([...KNOWABLE, ...LIES])('asks seldom under a fault that lasts: %s', async (name, fault) => {
    const { liar, registry } = await own(`seldom ${name}`);
    const stop = new AbortController();
    liar.fault = () => fault;
    const ended = watchPrefix(registry, '', {
      onChange: () => {},
      onError: () => {},
      waitSeconds: 5,
      signal: stop.signal,
    });
    await new Promise((resolve) => setTimeout(resolve, 700));
    stop.abort();
    await ended;
    await liar.close();
    // The least pause between two is 50 ms, and that only while there is news.
    expect(liar.requests.length).toBeLessThan(16);
  });

  it('gives entries that have not changed as the same objects', async () => {
    const stop = new AbortController();
    const listings: (readonly RegistryEntry[])[] = [];
    const onChange = ({ entries }: { entries: readonly RegistryEntry[] }) => listings.push(entries);
    const ended = watchPrefix(client(), '', { onChange, onError: () => {}, signal: stop.signal });
    await vi.waitFor(() => expect(listings).toHaveLength(1), 5000);
    await direct.put('b', 'other');
    await vi.waitFor(() => expect(listings).toHaveLength(2), 5000);
    const [before, after] = listings as [RegistryEntry[], RegistryEntry[]];
    expect(after.map((entry, i) => entry === before[i])).toEqual([true, false, true]);
    expect(after[1]?.value).toBe('other');
    stop.abort();
    await ended;
  });

  it('follows to the server that answers the others', async () => {
    const registry = client([proxy.url, second.url], 3000);
    const { index } = await registry.list('');
    const news = registry.watch('', index, 20, new AbortController().signal);
    await vi.waitFor(() => expect(proxy.requests).toHaveLength(2));
    // The first server goes on holding the query, but writes fail there.
    proxy.fault = (request) => (request.method === 'PUT' ? { instead: answer(500, 'No cluster leader') } : undefined);
    expect(await registry.compareAndSet('new', '1', 0)).toBe(true);
    expect((await news).entries).toHaveLength(4);
    expect(registry.url).toBe(second.url);
  });
});
