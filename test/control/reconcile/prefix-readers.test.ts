/**
 * When readings go by the journals, and what is found that no journal tells: over the memory registry, with indexes as
 * Consul's.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { PrefixReaders } from '../../../src/control/reconcile/prefix-readers.js';
import { lockJournalled } from '../../../src/control/registry/journalled-writes.js';
import type { RegistryEntry } from '../../../src/control/registry/registry.js';
import {
  encodeValue,
  endpointsKey,
  endpointsPrefix,
  JOURNAL_FEATURE,
  NODES_PREFIX,
  nodeKey,
  nodeValueSchema,
} from '../../../src/control/registry/schema.js';
import { watchPrefix } from '../../../src/control/registry/watcher.js';
import { MemoryRegistry } from '../memory-registry.js';

const HOSTS = 40;
const WAIT = { timeout: 10_000, interval: 20 };
const name = (host: number) => `host-${host}`;

let registry: MemoryRegistry;
let readers: PrefixReaders;
let stop: AbortController;
let sessions: string[];
let shown: { nodes: readonly RegistryEntry[]; web: readonly RegistryEntry[] };
let ended: Promise<void>[];
let wholeReadings: number;

const enter = (host: number, features = [JOURNAL_FEATURE]) => {
  const vtep = { ip: '192.0.2.1', port: 4789 };
  const value = encodeValue(nodeValueSchema, { v: 1, vtep, apiVersion: 1, features, instanceId: name(host) });
  return lockJournalled(registry, NODES_PREFIX, { key: nodeKey(name(host)), value, session: sessions[host]! });
};
const publish = (host: number, value = 'x') =>
  lockJournalled(registry, endpointsPrefix('web'), {
    ...{ key: endpointsKey('web', name(host)), value, session: sessions[host]! },
  });
const publishedBy = (host: number) => shown.web.find(({ key }) => key === endpointsKey('web', name(host)))?.value;

beforeEach(async () => {
  registry = new MemoryRegistry();
  registry.hasExactIndexes = true;
  sessions = [];
  for (let host = 0; host < HOSTS; host++) {
    sessions.push(await registry.createSession(name(host)));
    await enter(host);
    await publish(host);
  }
  wholeReadings = 0;
  const watch = registry.watch.bind(registry);
  registry.watch = async (...asked) => {
    const listing = await watch(...asked);
    wholeReadings++;
    return listing;
  };
  readers = new PrefixReaders(registry);
  stop = new AbortController();
  shown = { nodes: [], web: [] };
  const options = { signal: stop.signal, onError: () => undefined };
  ended = [
    watchPrefix(registry, NODES_PREFIX, {
      ...{ ...options, reader: readers.forNodes() },
      onChange: ({ entries }) => {
        shown.nodes = entries;
        readers.noteNodes(entries);
      },
    }),
    watchPrefix(registry, endpointsPrefix('web'), {
      ...{ ...options, reader: readers.forNetwork('web') },
      onChange: ({ entries }) => {
        shown.web = entries;
        readers.noteEndpoints('web', entries);
      },
    }),
  ];
  await vi.waitFor(() => expect([shown.nodes.length, shown.web.length]).toEqual([HOSTS, HOSTS]), WAIT);
  // Both wait for news.
  await vi.waitFor(async () => {
    const before = wholeReadings;
    await publish(1, `${performance.now()}`);
    await vi.waitFor(() => expect(publishedBy(1)).toBe(registry.keys.get(endpointsKey('web', name(1)))?.value), WAIT);
    expect(wholeReadings).toBe(before);
  }, WAIT);
});

afterEach(async () => {
  readers.close();
  stop.abort();
  await Promise.all(ended);
});

it('reads nothing whole while all hosts keep journals: not for a change, nor for a host that comes or goes', async () => {
  const before = wholeReadings;
  await publish(7, 'changed');
  await vi.waitFor(() => expect(publishedBy(7)).toBe('changed'), WAIT);
  registry.expire(sessions[5]!);
  await vi.waitFor(() => expect([shown.nodes.length, shown.web.length]).toEqual([HOSTS - 1, HOSTS - 1]), WAIT);
  sessions[5] = await registry.createSession(name(5));
  await enter(5);
  await publish(5, 'again');
  await vi.waitFor(() => expect(publishedBy(5)).toBe('again'), WAIT);
  expect(shown.nodes).toHaveLength(HOSTS);
  expect(wholeReadings).toBe(before);
});

it('finds a death that journalled writes have hidden, by the names of nodes/ and by what then is doubted', async () => {
  registry.expire(sessions[5]!);
  const [node, endpoints] = [enter(6, [JOURNAL_FEATURE, 'other']), publish(6, 'changed')];
  await Promise.all([node, endpoints]);
  await vi.waitFor(() => expect([shown.nodes.length, shown.web.length]).toEqual([HOSTS - 1, HOSTS - 1]), WAIT);
  expect(publishedBy(6)).toBe('changed');
});

it('reads whole from when a host of an earlier version is seen, and what it had hidden until then', async () => {
  const key = endpointsKey('web', 'old');
  await Promise.all([registry.put(key, 'hidden'), publish(6, 'changed')]);
  const value = encodeValue(nodeValueSchema, {
    ...{ v: 1, vtep: { ip: '192.0.2.9', port: 4789 }, apiVersion: 1, features: [], instanceId: 'old' },
  });
  await registry.put(nodeKey('old'), value);
  await vi.waitFor(() => expect(shown.nodes).toHaveLength(HOSTS + 1), WAIT);
  await vi.waitFor(() => expect(shown.web).toHaveLength(HOSTS + 1), WAIT);
  const before = wholeReadings;
  await registry.put(key, 'changed');
  await publish(6, 'changed again');
  await vi.waitFor(() => expect(publishedBy(6)).toBe('changed again'), WAIT);
  expect(wholeReadings).toBeGreaterThan(before);
  // When it is gone, journals are gone by again.
  await registry.delete(nodeKey('old'));
  await vi.waitFor(() => expect(shown.nodes).toHaveLength(HOSTS), WAIT);
  await vi.waitFor(async () => {
    const whole = wholeReadings;
    await publish(8, `${performance.now()}`);
    await vi.waitFor(() => expect(publishedBy(8)).toBe(registry.keys.get(endpointsKey('web', name(8)))?.value), WAIT);
    expect(wholeReadings).toBe(whole);
  }, WAIT);
});
