/**
 * One suite, four registries: the embedded one, a Consul server, a cluster of three that is asked by way of a follower, and a
 * server with ACLs and TLS.
 *
 * The tests of a session's TTL take 10 to 20 s by their nature. Their sessions start with the servers and are looked at
 * last, so that the other tests run meanwhile.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import { startEmbeddedRegistry } from '../../../src/control/registry/embedded/server.js';
import type { RegistryListing } from '../../../src/control/registry/registry.js';
import { registryCompliance, type Subject } from './compliance.js';
import { feedCompliance } from './compliance-feed.js';
import { httpCompliance } from './compliance-http.js';
import { startConsulCluster } from './consul-cluster.js';
import { startConsul } from './consul-server.js';
import { startGuardedConsul } from './guarded-consul.js';
import { modelCompliance } from './model.js';

interface Running extends Subject {
  close(): Promise<void>;
}

interface Expiry {
  readonly gone: Promise<{ listing: RegistryListing; afterMs: number }>;
  readonly isRenewedAlive: () => Promise<boolean>;
  end(): void;
}

const TTL_SECONDS = 10;

async function startEmbedded(): Promise<Running> {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'vtep-registry-'));
  const server = await startEmbeddedRegistry({ listen: '127.0.0.1:0', stateDirectory });
  return {
    url: server.url,
    async close() {
      await server.close();
      await rm(stateDirectory, { recursive: true, force: true });
    },
  };
}

/** One session that nobody renews and one that is, each holding a key. */
async function startExpiry({ url, access }: Subject): Promise<Expiry> {
  const registry = createRegistryClient({ url, prefix: 'vtep/expiry/', ...access });
  const dying = await registry.createSession('dying', TTL_SECONDS);
  const renewed = await registry.createSession('renewed', TTL_SECONDS);
  await registry.acquire('dying/key', 'x', dying);
  await registry.acquire('renewed/key', 'x', renewed);
  const begunMs = performance.now();
  const stop = new AbortController();
  const { index } = await registry.list('dying/');
  const gone = registry
    .watch('dying/', index, 40, stop.signal)
    .then((listing) => ({ listing, afterMs: performance.now() - begunMs }));
  gone.catch(() => {});
  const renewals = setInterval(() => void registry.renewSession(renewed).catch(() => {}), 3000);
  return {
    gone,
    isRenewedAlive: async () => (await registry.get('renewed/key'))?.session === renewed,
    end() {
      clearInterval(renewals);
      stop.abort();
    },
  };
}

/** A follower: what it has not itself, it asks the leader for. */
async function startFollower(): Promise<Running> {
  const cluster = await startConsulCluster();
  try {
    await cluster.join();
    const leader = await cluster.leader();
    return { url: cluster.url(leader === 'c1' ? 'c2' : 'c1'), close: () => cluster.close() };
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

async function startGuarded(): Promise<Running> {
  const { url, token, tls, close } = await startGuardedConsul();
  return { url, access: { token, tls }, close };
}

const SUBJECTS: Record<string, () => Promise<Running>> = {
  'embedded registry': startEmbedded,
  Consul: startConsul,
  'a cluster by a follower': startFollower,
  'Consul with ACLs and TLS': startGuarded,
};
const running = new Map<string, Running>();
const expiries = new Map<string, Expiry>();

beforeAll(async () => {
  const starts = Object.entries(SUBJECTS).map(async ([name, start]) => {
    const server = await start();
    running.set(name, server);
    expiries.set(name, await startExpiry(server));
  });
  // All to their ends, so that none starts when the others are removed already.
  const failed = (await Promise.allSettled(starts)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
});

afterAll(async () => {
  for (const expiry of expiries.values()) expiry.end();
  for (const server of running.values()) await server.close();
});

describe.each(Object.keys(SUBJECTS))('%s', (name) => {
  const subject = () => {
    const server = running.get(name);
    if (server === undefined) throw new Error(`${name} does not run`);
    return server;
  };
  registryCompliance(subject);

  feedCompliance(subject);
  // What goes over the wire is the same with a token and in TLS.
  if (name === 'Consul with ACLs and TLS') return;
  httpCompliance(subject);
  modelCompliance(subject);
});

describe.each(Object.keys(SUBJECTS))('%s, at last', (name) => {
  it('deletes what a session held when its TTL has run out, not before, and leaves one that is renewed', async () => {
    const expiry = expiries.get(name)!;
    const { listing, afterMs } = await expiry.gone;
    expect(listing.entries).toEqual([]);
    expect(afterMs).toBeGreaterThanOrEqual(TTL_SECONDS * 1000);
    expect(afterMs).toBeLessThan(TTL_SECONDS * 2000 + 3000);
    expect(await expiry.isRenewedAlive()).toBe(true);
  });
});
