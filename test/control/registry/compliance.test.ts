/**
 * One suite, two registries: the embedded one and a real Consul server.
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
import { registryCompliance } from './compliance.js';
import { httpCompliance } from './compliance-http.js';
import { startConsul } from './consul-server.js';
import { modelCompliance } from './model.js';

interface Running {
  readonly url: string;
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
async function startExpiry(url: string): Promise<Expiry> {
  const registry = createRegistryClient({ url, prefix: 'expiry/' });
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

const SUBJECTS = { 'embedded registry': startEmbedded, Consul: startConsul };
const running = new Map<string, Running>();
const expiries = new Map<string, Expiry>();

beforeAll(async () => {
  for (const [name, start] of Object.entries(SUBJECTS)) {
    const server = await start();
    running.set(name, server);
    expiries.set(name, await startExpiry(server.url));
  }
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
