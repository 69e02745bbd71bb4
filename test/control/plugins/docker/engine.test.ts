/** Names and mirrors against a small dockerd: what is done for each event, and what becomes of it when dockerd goes and comes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VtepError } from '../../../../src/control/errors.js';
import { NetworkStore, parseAll } from '../../../../src/control/networks/network-store.js';
import { aliasesOf } from '../../../../src/control/plugins/docker/endpoint-names.js';
import { DockerEngine } from '../../../../src/control/plugins/docker/engine.js';
import { EngineApi, EngineApiError } from '../../../../src/control/plugins/docker/engine-api.js';
import { provisionalName } from '../../../../src/control/plugins/docker/mirror-plan.js';
import { ownerOf } from '../../../../src/control/plugins/docker/network-driver.js';
import { MemoryRegistry } from '../../memory-registry.js';
import { FakeEngine } from './fake-engine.js';

const WAIT = { timeout: 15_000, interval: 5 };
let directory: string;
let dockerd: FakeEngine;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vtde-'));
  dockerd = new FakeEngine(join(directory, 'docker.sock'));
  await dockerd.start();
});
afterEach(async () => {
  await dockerd.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe('EngineApi', () => {
  const api = (timeoutMs?: number) => new EngineApi({ socketPath: dockerd.socketPath, timeoutMs });

  it('reads networks and containers, also where Docker writes null, and knows what is not there', async () => {
    const { Id } = dockerd.add({ Name: 'web', Options: null, Labels: null });
    dockerd.containers.set('c1', { [Id]: null });
    expect(await api().networks()).toEqual([{ Id, Name: 'web', Driver: 'vtep', Options: {}, Labels: {} }]);
    expect(await api().network(Id)).toMatchObject({ Name: 'web', Containers: {} });
    expect(await api().network('none')).toBeUndefined();
    expect((await api().container('c1'))?.NetworkSettings.Networks).toEqual({ n0: { NetworkID: Id, Aliases: [] } });
    expect(await api().container('none')).toBeUndefined();
    await api().removeNetwork('none');
    await api().removeNetwork(Id);
    expect(dockerd.names()).toEqual([]);
  });

  it.each<[string, { status: number; body: string } | 'silent', RegExp, number | undefined]>([
    [
      'a refusal in words',
      { status: 403, body: '{"message":"has active\\nendpoints"}' },
      /^has active endpoints$/,
      403,
    ],
    ['a refusal in other words', { status: 500, body: 'boom' }, /^boom$/, 500],
    ['a refusal without words', { status: 502, body: '' }, /answers 502 to \/networks/, 502],
    ['an answer that is no JSON', { status: 200, body: '<html>' }, /makes no sense/, undefined],
    ['an answer of another form', { status: 200, body: '[{"Id":7}]' }, /makes no sense: 0\.Id/, undefined],
    ['silence', 'silent', /does not answer/, undefined],
  ])('%s is an error in one line', async (_, fault, words, status) => {
    dockerd.fault = () => fault;
    const error = await api(50)
      .networks()
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(EngineApiError);
    expect(error).toMatchObject({ message: expect.stringMatching(words), status });
  });

  it('a socket that is not there, or nobody listens on, does not answer', async () => {
    await dockerd.stop();
    await expect(api().networks()).rejects.toThrow(/does not answer \(ENOENT\)/);
    writeFileSync(dockerd.socketPath, '');
    await expect(api().networks()).rejects.toThrow(/does not answer \((ENOTSOCK|ECONNREFUSED)\)/);
    rmSync(dockerd.socketPath);
  });

  it('a dockerd that dies in the middle of an answer is an error', async () => {
    await dockerd.stop();
    const half = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{';
    const broken = createServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end(half),
    );
    await new Promise<void>((resolve) => broken.listen(dockerd.socketPath, resolve));
    await expect(api().networks()).rejects.toThrow(/broke off/);
    await new Promise((resolve) => broken.close(resolve));
  });
});

it('aliases are those that somebody gave and DNS can carry', () => {
  const id = 'abcdef0123456789';
  expect(aliasesOf(['web', id.slice(0, 12), 'a b', 'web', '', 'db.main'], id)).toEqual(['db.main', 'web']);
});

/** A host with the engine's part and no more: a registry, and endpoints that Docker made. */
class Site {
  readonly registry = new MemoryRegistry();
  readonly store = new NetworkStore(this.registry, async () => []);
  readonly named = new Map<string, { name?: string | undefined; aliases?: readonly string[] | undefined }>();
  readonly here = new Set<string>();
  /** As the driver's bindings: the registry's ids by Docker's. */
  readonly bound = new Map<string, string>();
  /** Seen to be removed. */
  readonly removed = new Set<string>();
  readonly log: string[] = [];
  readonly engine: DockerEngine;

  constructor(scope: 'local' | 'global' = 'local') {
    const write = (line: string) => this.log.push(line);
    this.engine = new DockerEngine({
      ...{ socketPath: dockerd.socketPath, driver: 'vtep', scope, networks: this.store },
      logger: pino({ level: 'warn' }, { write }),
      endpoints: {
        ownedBy: (owner) => {
          const found = [...this.here].find((id) => ownerOf(id) === owner);
          return found === undefined ? undefined : ({ id: found } as never);
        },
        describe: async (id, naming) => {
          this.named.set(id, { ...this.named.get(id), ...naming });
        },
      },
      state: {
        pluginRecords: <T>(prefix: string) => {
          expect(prefix).toBe('docker/network/');
          return new Map([...this.bound].map(([networkId, id]) => [networkId, { networkId, id, name: '' } as T]));
        },
        removedFrom: (id) => (this.removed.has(id) ? 'registry' : undefined),
      },
      pauseMs: { first: 10, most: 50 },
      retryMs: { first: 20, most: 50 },
      settleMs: 300,
    });
    sites.add(this);
  }

  /** As the reconciler does for each change. */
  async read(): Promise<void> {
    this.engine.setRegistry(parseAll((await this.registry.list('networks/')).entries));
  }
}

const sites = new Set<Site>();
afterEach(async () => {
  for (const site of sites) await site.engine.close();
  sites.clear();
});

describe('mirrors', () => {
  it('follow the registry: made, removed, made anew', async () => {
    const site = new Site();
    await site.store.create({ name: 'web', ipv6: true });
    site.engine.start();
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['web']), WAIT);
    await site.store.remove('web');
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual([]), WAIT);
    await site.store.create({ name: 'web' });
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['web']), WAIT);
    const [first] = [...dockerd.networks.values()];
    await site.store.remove('web');
    await site.store.create({ name: 'web' });
    await site.read();
    await vi.waitFor(() => {
      expect(dockerd.names()).toEqual(['web']);
      expect(dockerd.networks.has(first!.Id)).toBe(false);
    }, WAIT);
    expect(site.engine.status()).toEqual({ connected: true, problems: [] });
  });

  it('one that somebody removes from Docker alone comes back; one that goes with its network does not', async () => {
    const site = new Site();
    await site.store.create({ name: 'web' });
    await site.store.create({ name: 'db' });
    site.engine.start();
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['db', 'web']), WAIT);
    dockerd.onRemove = ({ Name }) => {
      // As the driver does, before the registry's reading has come.
      if (Name === 'db')
        for (const key of site.registry.under('')) if (key.includes('db')) site.registry.keys.delete(key);
    };
    for (const { Id } of [...dockerd.networks.values()]) dockerd.remove(Id);
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['web']), WAIT);
    // Whatever follows, it is not made while the reading is old.
    const before = dockerd.requests.length;
    dockerd.add({ Name: 'other', Driver: 'bridge' });
    await vi.waitFor(() => expect(dockerd.requests.slice(before)).toContain('GET /networks'), WAIT);
    await site.read();
    expect(dockerd.names()).toEqual(['other', 'web']);
    expect(dockerd.requests.filter((request) => request.startsWith('POST'))).toHaveLength(3);
  });

  it('outlive a dockerd that is away: all is looked at when it is back', async () => {
    const site = new Site();
    await dockerd.stop();
    site.engine.start();
    await site.store.create({ name: 'web' });
    await site.read();
    await vi.waitFor(() => expect(site.engine.status().error).toMatch(/ENOENT/), WAIT);
    await dockerd.start();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['web']), WAIT);
    await dockerd.stop();
    await vi.waitFor(() => expect(site.engine.status().connected).toBe(false), WAIT);
    await site.store.remove('web');
    await site.store.create({ name: 'db' });
    await site.read();
    await dockerd.start();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['db']), WAIT);
    expect(site.engine.status()).toEqual({ connected: true, problems: [] });
  });

  it('with containers on it stay, told once, and go when they can; what Docker refuses is tried again', async () => {
    const site = new Site();
    await site.store.create({ name: 'web' });
    site.engine.start();
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['web']), WAIT);
    const [web] = [...dockerd.networks.values()];
    web!.Containers.c1 = { Name: 'c', EndpointID: 'e1' };
    await site.store.remove('web');
    await site.read();
    await vi.waitFor(
      () => expect(dockerd.requests.filter((one) => one.startsWith('DELETE')).length).toBeGreaterThan(2),
      WAIT,
    );
    expect(site.engine.status().problems).toEqual([expect.stringMatching(/"web" is gone.*has active endpoints/)]);
    expect(site.log).toHaveLength(1);
    web!.Containers = {};
    await vi.waitFor(() => expect(dockerd.names()).toEqual([]), WAIT);
    await vi.waitFor(() => expect(site.engine.status().problems).toEqual([]), WAIT);
  });

  it("leave another driver's network of the same name alone", async () => {
    const site = new Site();
    const foreign = dockerd.add({ Name: 'web', Driver: 'bridge' });
    await site.store.create({ name: 'web' });
    await site.store.create({ name: 'db' });
    site.engine.start();
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['db', 'web']), WAIT);
    const told = [expect.stringContaining('driver bridge')];
    await vi.waitFor(() => expect(site.engine.status().problems).toEqual(told), WAIT);
    dockerd.remove(foreign.Id);
    await vi.waitFor(
      () => expect([...dockerd.networks.values()].map(({ Driver }) => Driver)).toEqual(['vtep', 'vtep']),
      WAIT,
    );
    await vi.waitFor(() => expect(site.engine.status().problems).toEqual([]), WAIT);
  });

  it('are not made where Docker shares networks itself', async () => {
    const site = new Site('global');
    await site.store.create({ name: 'web' });
    site.engine.start();
    await site.read();
    await vi.waitFor(() => expect(dockerd.requests.length).toBeGreaterThan(0), WAIT);
    await site.read();
    await site.engine.close();
    expect(dockerd.names()).toEqual([]);
  });
});

describe('networks that Docker made', () => {
  /** As CreateNetwork does: Docker knows the network after the callback. */
  async function make(site: Site, Name: string): Promise<string> {
    const Id = `${Buffer.from(Name).toString('hex').slice(0, 12).padEnd(12, '0')}${'0'.repeat(52)}`;
    await site.store.create({ name: provisionalName(Id) });
    site.engine.networkMade(Id);
    await site.read();
    dockerd.add({ Id, Name });
    return Id;
  }

  it('get their name, and are shown once', async () => {
    const site = new Site();
    site.engine.start();
    const id = await make(site, 'web');
    await site.engine.pendingName(id);
    expect(site.registry.under('networks/')).toEqual(['networks/web']);
    await site.read();
    expect(site.engine.pendingName(id)).toBeUndefined();
    expect(dockerd.names()).toEqual(['web']);
    expect(site.engine.status().problems).toEqual([]);
  });

  it('are refused while the name is another network, and get it when that is gone', async () => {
    const site = new Site();
    await site.store.create({ name: 'web' });
    site.engine.start();
    const id = await make(site, 'web');
    const words = expect.stringMatching(/the registry has another network "web"/);
    await expect(site.engine.pendingName(id)).rejects.toMatchObject({
      code: 'VTEP_ERR_NETWORK_EXISTS',
      message: words,
    });
    await expect(site.engine.pendingName(id)).rejects.toBeInstanceOf(VtepError);
    expect(site.engine.status().problems).toContainEqual(words);
    await site.store.remove('web');
    await site.read();
    await vi.waitFor(() => expect(site.registry.under('networks/')).toEqual(['networks/web']), WAIT);
    await vi.waitFor(() => expect(site.engine.pendingName(id)).toBeUndefined(), WAIT);
    await site.read();
    await vi.waitFor(() => expect(site.engine.status().problems).toEqual([]), WAIT);
  });

  it.each([
    [
      'web',
      async (site: Site, name: string) => site.registry.put(`addresses/${name}/10.0.0.2`, '{}'),
      /in use by 10\.0\.0\.2/,
    ],
    ['x'.repeat(64), async () => undefined, /1 to 63 letters/],
  ])('keep the provisional name for good where they must: %s', async (Name, before, words) => {
    const site = new Site();
    site.engine.start();
    const Id = `aaaaaaaaaaaa${'0'.repeat(52)}`;
    await site.store.create({ name: provisionalName(Id) });
    await before(site, provisionalName(Id));
    site.engine.networkMade(Id);
    dockerd.add({ Id, Name });
    await site.engine.pendingName(Id);
    expect(site.engine.pendingName(Id)).toBeUndefined();
    expect(site.engine.status().problems).toEqual([expect.stringMatching(words)]);
    for (let reading = 0; reading < 3; reading++) await site.read();
    expect(site.registry.under('networks/')).toEqual([`networks/${provisionalName(Id)}`]);
    expect(site.log).toHaveLength(1);
  });

  it('get their name at the next start, or when dockerd is back', async () => {
    const site = new Site();
    const Id = `bbbbbbbbbbbb${'0'.repeat(52)}`;
    await site.store.create({ name: provisionalName(Id) });
    await dockerd.stop();
    site.engine.start();
    await site.read();
    site.engine.networkMade(Id);
    await site.engine.pendingName(Id);
    dockerd.add({ Id, Name: 'web' });
    await dockerd.start();
    await vi.waitFor(() => expect(site.registry.under('networks/')).toEqual(['networks/web']), WAIT);
  });

  it('go when the registry says that they were removed, not when it lacks them; never from under containers', async () => {
    const site = new Site();
    const add = async (name: string) => {
      const { id } = await site.store.create({ name });
      const network = dockerd.add({ Name: name, Containers: { c1: { Name: 'c', EndpointID: 'e1' } } });
      site.bound.set(network.Id, id);
      return { network, id };
    };
    const web = await add('web');
    const lost = await add('lost');
    lost.network.Containers = {};
    dockerd.onRemove = ({ Id }) => site.bound.delete(Id);
    site.engine.start();
    await site.read();
    for (const name of ['web', 'lost']) await site.store.remove(name);
    site.removed.add(web.id);
    await site.read();
    const deletes = () => dockerd.requests.filter((one) => one.startsWith('DELETE'));
    await vi.waitFor(() => expect(deletes().length).toBeGreaterThan(2), WAIT);
    expect(site.engine.status().problems).toEqual([expect.stringMatching(/"web" is gone.*has active endpoints/)]);
    expect(site.log).toHaveLength(1);
    web.network.Containers = {};
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['lost']), WAIT);
    await vi.waitFor(() => expect(site.engine.status().problems).toEqual([]), WAIT);
    expect(new Set(deletes())).toEqual(new Set([`DELETE /networks/${web.network.Id}`]));
    // One that is made anew under that name is shown as any other.
    await site.store.create({ name: 'web' });
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['lost', 'web']), WAIT);
  });

  it('are shown elsewhere by the provisional name only if they keep it', async () => {
    const site = new Site();
    const name = provisionalName('cccccccccccc');
    await site.store.create({ name });
    await site.store.create({ name: 'web' });
    site.engine.start();
    await site.read();
    await vi.waitFor(() => expect(dockerd.names()).toEqual(['web']), WAIT);
    await vi.waitFor(() => expect(dockerd.names()).toEqual([name, 'web']), WAIT);
  });
});

describe("containers' names", () => {
  it('come with the first look after Join; aliases when Docker tells them', async () => {
    const site = new Site();
    site.engine.start();
    const network = dockerd.add({ Name: 'web' });
    site.here.add('e1');
    site.engine.endpointJoined(network.Id, 'e1');
    network.Containers['ep-e1'] = { Name: 'one', EndpointID: 'e1' };
    network.Containers['ep-e9'] = { Name: 'elsewhere', EndpointID: 'e9' };
    await vi.waitFor(() => expect([...site.named]).toEqual([['e1', { name: 'one' }]]), WAIT);
    network.Containers = { c1: { Name: 'one', EndpointID: 'e1' } };
    dockerd.containers.set('c1', { other: ['no'], [network.Id]: ['db', 'c1'] });
    dockerd.tell('network', 'connect', network.Id, { container: 'c1', name: 'web', type: 'vtep' });
    await vi.waitFor(() => expect(site.named.get('e1')).toEqual({ name: 'one', aliases: ['db'] }), WAIT);
  });

  it('follow docker rename, and what was missed while dockerd was away', async () => {
    const site = new Site();
    site.engine.start();
    await site.read();
    const network = dockerd.add({ Name: 'web' });
    site.here.add('e1');
    network.Containers.c1 = { Name: 'one', EndpointID: 'e1' };
    site.engine.endpointJoined(network.Id, 'e1');
    await vi.waitFor(() => expect(site.named.get('e1')?.name).toBe('one'), WAIT);
    network.Containers.c1 = { Name: 'two', EndpointID: 'e1' };
    dockerd.tell('container', 'rename', 'c1', { name: 'two', oldName: '/one' });
    await vi.waitFor(() => expect(site.named.get('e1')?.name).toBe('two'), WAIT);
    await dockerd.stop();
    network.Containers.c1 = { Name: 'three', EndpointID: 'e1' };
    await dockerd.start();
    await vi.waitFor(() => expect(site.named.get('e1')?.name).toBe('three'), WAIT);
  });

  it('that vtep or DNS has no form for leave the endpoint as it is called', async () => {
    const site = new Site();
    site.engine.start();
    const network = dockerd.add({ Name: 'web' });
    site.here.add('e1').add('e2');
    network.Containers.c1 = { Name: 'x'.repeat(64), EndpointID: 'e1' };
    network.Containers.c2 = { Name: 'fine', EndpointID: 'e2' };
    site.engine.endpointJoined(network.Id, 'e2');
    await vi.waitFor(() => expect(site.named.get('e2')?.name).toBe('fine'), WAIT);
    expect(site.named.get('e1')?.name).toBeUndefined();
  });
});
