/** Networks that come and go, and names by readings of the registry: held when the registry was away, gone at an orderly leave. */
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NameTable } from '../../../src/control/names/name-table.js';
import { NamesService } from '../../../src/control/names/names-service.js';
import { RemoteNames } from '../../../src/control/names/remote-names.js';
import type { RegistryEntry } from '../../../src/control/registry/registry.js';
import { askUdp, dataOf, freePort, question, read } from './dns-client.js';

const WAIT = { timeout: 20_000, interval: 20 };
const logger = pino({ level: 'silent' });

function entry(key: string, value: object, modifyIndex = 1): RegistryEntry {
  return { key, value: JSON.stringify({ v: 1, ...value }), createIndex: 1, modifyIndex };
}
const node = (name: string) => entry(`nodes/${name}`, {});
const endpoints = (name: string, containers: Record<string, string>, index = 1) =>
  entry(
    `endpoints/blue/${name}`,
    {
      endpoints: Object.entries(containers).map(([container, address]) => ({
        ...{ id: container, name: container, mac: '02:00:5e:10:00:01', addresses: [`${address}/24`] },
      })),
    },
    index,
  );

describe('RemoteNames', () => {
  afterEach(() => {
    vi.useRealTimers();
  });
  function start() {
    vi.useFakeTimers();
    const table = new NameTable();
    const remote = new RemoteNames({ node: 'me', table, logger, holdMs: 30_000, settleMs: 250 });
    return { table, remote, of: (name: string) => table.lookup('blue', name)?.ipv4 };
  }

  it('enters and changes what others have, skips its own, and keeps what it knew in the face of a bad value', () => {
    const { remote, of } = start();
    remote.setEndpoints('blue', [endpoints('b', { web: '10.0.0.2' }), endpoints('me', { mine: '10.0.0.9' })]);
    expect([of('web'), of('mine')]).toEqual([['10.0.0.2'], undefined]);
    remote.setEndpoints('blue', [endpoints('b', { db: '10.0.0.3' }, 2)]);
    expect([of('web'), of('db')]).toEqual([undefined, ['10.0.0.3']]);
    remote.setEndpoints('blue', [{ ...endpoints('b', {}, 3), value: 'junk' }]);
    expect(of('db')).toEqual(['10.0.0.3']);
  });

  it('an orderly leave counts after the settling time', () => {
    const { remote, of } = start();
    remote.setNodes([node('b')]);
    remote.setEndpoints('blue', [endpoints('b', { web: '10.0.0.2' })]);
    remote.setEndpoints('blue', []);
    expect(of('web')).toEqual(['10.0.0.2']);
    vi.advanceTimersByTime(250);
    expect(of('web')).toBeUndefined();
  });

  it('a node that is gone altogether is held, and stays if it is back in time', () => {
    const { remote, of } = start();
    remote.setNodes([]);
    remote.setEndpoints('blue', [endpoints('b', { web: '10.0.0.2' })]);
    remote.setEndpoints('blue', []);
    vi.advanceTimersByTime(30_000);
    expect(of('web')).toEqual(['10.0.0.2']);
    remote.setEndpoints('blue', [endpoints('b', { web: '10.0.0.2' })]);
    vi.advanceTimersByTime(60_000);
    expect(of('web')).toEqual(['10.0.0.2']);
    remote.setEndpoints('blue', []);
    vi.advanceTimersByTime(30_250);
    expect(of('web')).toBeUndefined();
  });

  it('a network that closes takes its timers along', () => {
    const { remote, table, of } = start();
    remote.setEndpoints('blue', [endpoints('b', { web: '10.0.0.2' })]);
    remote.setEndpoints('blue', []);
    remote.closeNetwork('blue');
    table.setNode('blue', 'b', [{ name: 'web', addresses: ['10.0.0.4/24'] }]);
    vi.advanceTimersByTime(60_000);
    expect(of('web')).toEqual(['10.0.0.4']);
  });
});

describe('NamesService', () => {
  const services: NamesService[] = [];
  afterEach(async () => {
    for (const service of services.splice(0)) await service.close();
  });
  async function start(): Promise<{ service: NamesService; at: { address: string; port: number } }> {
    const at = { address: '127.0.0.1', port: await freePort('127.0.0.1') };
    const service = new NamesService({ node: 'me', logger, upstream: [], port: at.port });
    services.push(service);
    return { service, at };
  }
  const blue = { name: 'blue', listenAddresses: ['127.0.0.1'], subnets: ['127.0.0.0/8'], forward: false };
  const states = (service: NamesService) => service.status().map(({ addresses }) => addresses[0]?.state);

  it('serves what is here and elsewhere while a network is open, and forgets it when it closes', async () => {
    const { service, at } = await start();
    service.takeEndpoints('blue', [endpoints('b', { web: '10.0.0.2' })]);
    service.networkOpened(blue);
    service.networkOpened(blue);
    service.setLocalEndpoints('blue', [{ name: 'web', addresses: ['10.0.0.3/24'] }]);
    service.setRemoteEndpoints('blue', 'c', [{ name: 'web', addresses: ['10.0.0.4/24'] }]);
    await vi.waitFor(() => expect(states(service)).toEqual(['listening']), WAIT);
    const asked = async () => dataOf(read(await askUdp(at, question('web'))));
    expect(await asked()).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4']);
    service.removeRemote('blue', 'c');
    service.setLocalEndpoints('blue', []);
    expect(await asked()).toEqual(['10.0.0.2']);
    expect(service.status()).toMatchObject([{ network: 'blue', names: 1, forward: false, counters: { queries: 2 } }]);
    await service.networkClosed('blue');
    expect(service.status()).toEqual([]);
    service.networkOpened(blue);
    await vi.waitFor(() => expect(states(service)).toEqual(['listening']), WAIT);
    expect(read(await askUdp(at, question('web'))).rcode).toBe('NXDOMAIN');
  });

  it('takes other subnets of a network that is open', async () => {
    const { service, at } = await start();
    service.networkOpened({ ...blue, subnets: ['10.9.0.0/24'] });
    await vi.waitFor(() => expect(states(service)).toEqual(['listening']), WAIT);
    expect(read(await askUdp(at, question('web'))).rcode).toBe('REFUSED');
    service.networkOpened(blue);
    await vi.waitFor(async () => {
      expect(states(service)).toEqual(['listening']);
      expect(read(await askUdp(at, question('web'), 500)).rcode).toBe('NXDOMAIN');
    }, WAIT);
  });

  it('an address that never comes stops nobody, and status tells', async () => {
    const { service } = await start();
    service.networkOpened({ ...blue, listenAddresses: ['192.0.2.1'] });
    await vi.waitFor(() => expect(service.status()[0]?.addresses[0]?.error).toContain('EADDRNOTAVAIL'), WAIT);
    await service.networkClosed('blue');
    expect(service.status()).toEqual([]);
  });
});
