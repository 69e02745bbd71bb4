/** Networks that come and go, and the names of their endpoints here and elsewhere. */
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NamesService } from '../../../src/control/names/names-service.js';
import { askUdp, dataOf, freePort, question, read } from './dns-client.js';

const WAIT = { timeout: 20_000, interval: 20 };
const logger = pino({ level: 'silent' });

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
    service.setRemoteEndpoints('blue', 'b', [{ name: 'web', addresses: ['10.0.0.2/24'] }]);
    service.networkOpened(blue);
    service.networkOpened(blue);
    service.setLocalEndpoints('blue', [{ name: 'web', addresses: ['10.0.0.3/24'] }]);
    service.setRemoteEndpoints('blue', 'c', [{ name: 'web', addresses: ['10.0.0.4/24'] }]);
    await vi.waitFor(() => expect(states(service)).toEqual(['listening']), WAIT);
    const asked = async () => dataOf(read(await askUdp(at, question('web'))));
    expect(await asked()).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4']);
    service.setRemoteEndpoints('blue', 'c', undefined);
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
