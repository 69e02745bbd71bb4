/** DNS questions of Docker's containers: which are led to the gateway, as a table, and in namespaces (root) as they leave. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NameRedirects, nameClients } from '../../../src/control/gateway/name-redirects.js';
import { GatewaySite, HOST, WORLD } from './gateway-site.js';

const V4 = { family: 4, address: '10.0.0.1', subnet: '10.0.0.0/24', prefixLength: 24 } as const;
const V6 = { family: 6, address: 'fd00:1::1', subnet: 'fd00:1::/64', prefixLength: 64 } as const;
const NETWORK = { name: 'blue', vni: 256 };

describe('nameClients', () => {
  const endpoints = [
    { owner: 'docker:e1', addresses: ['10.0.0.2/24', 'fd00:1::2/64'] },
    { owner: 'cni:c1/eth0', addresses: ['10.0.0.3/24'] },
    { addresses: ['10.0.0.4/24'] },
    { owner: 'docker:e2', addresses: ['10.0.0.5/24'] },
  ];

  it("are the addresses of Docker's endpoints, unless the network was made with -o vtep.dns=off", () => {
    expect(nameClients({ options: {} }, endpoints)).toEqual(['10.0.0.2', 'fd00:1::2', '10.0.0.5']);
    expect(nameClients({ options: { 'vtep.dns': 'on' } }, endpoints)).toHaveLength(3);
    expect(nameClients({ options: { 'vtep.dns': 'off' } }, endpoints)).toEqual([]);
    expect(nameClients(undefined, endpoints)).toEqual([]);
  });
});

describe('NameRedirects', () => {
  it('lead a client to the server of its family that listens, and say whether that has changed', () => {
    const redirects = new NameRedirects();
    const now = () => redirects.of(NETWORK, [V4, V6]).map(({ client, server }) => `${client} ${server}`);
    expect(redirects.setClients('blue', ['10.0.0.2', 'fd00:1::2'])).toBe(true);
    expect(redirects.setClients('blue', ['10.0.0.2', 'fd00:1::2'])).toBe(false);
    expect([now(), redirects.isEmpty]).toEqual([[], true]);
    expect(redirects.setServer('10.0.0.1', true)).toBe(true);
    expect(redirects.setServer('10.0.0.1', true)).toBe(false);
    expect(redirects.setServer('192.0.2.1', false)).toBe(false);
    expect([now(), redirects.isEmpty]).toEqual([['10.0.0.2 10.0.0.1'], false]);
    expect(redirects.setServer('fd00:1::1', true)).toBe(true);
    expect(now()).toEqual(['10.0.0.2 10.0.0.1', 'fd00:1::2 fd00:1::1']);
    expect(redirects.of(NETWORK, [])).toEqual([]);
    expect(redirects.of({ name: 'green', vni: 257 }, [V4])).toEqual([]);
    expect(redirects.setServer('10.0.0.1', false)).toBe(true);
    expect(now()).toEqual(['fd00:1::2 fd00:1::1']);
    expect(redirects.setClients('blue', [])).toBe(true);
    expect([now(), redirects.isEmpty]).toEqual([[], true]);
  });
});

describe('in namespaces', () => {
  const BLUE = {
    ...{ ...NETWORK, internal: false },
    subnets: [V4, V6].map(({ address, subnet }) => ({ cidr: subnet, gateway: address })),
  };
  let site: GatewaySite;
  beforeEach(async () => {
    site = await GatewaySite.make();
  });
  afterEach(() => site.cleanup());

  it('questions for any server come to the gateway, of the containers that are named and of no others', async () => {
    await site.open(BLUE);
    const docker = await site.attach(BLUE, ['10.0.0.2/24', 'fd00:1::2/64']);
    const other = await site.attach(BLUE, ['10.0.0.3/24', 'fd00:1::3/64']);
    // Whoever answers tells whom he sees: here the container itself, out there the host.
    for (const family of [4, 6] as const) {
      await site.serve(site.host, 53, family);
      await site.serve(site.world, 53, family);
      await site.serve(site.world, 8053, family);
    }
    const seenFrom = async (container: string) => [
      await site.sourceSeen(container, WORLD[4], 53),
      await site.sourceSeen(container, WORLD[6], 53),
    ];
    const OUTSIDE = [HOST[4], HOST[6]];
    await vi.waitFor(async () => expect(await seenFrom(docker)).toEqual(OUTSIDE), 15_000);

    for (const address of [V4.address, V6.address]) site.gateway.setNameServer(address, true);
    site.gateway.setNameClients('blue', ['10.0.0.2', 'fd00:1::2']);
    await site.gateway.check();
    expect(await seenFrom(docker)).toEqual(['10.0.0.2', 'fd00:1::2']);
    expect(await site.sourceSeen(docker, V4.address, 53)).toBe('10.0.0.2');
    expect(await seenFrom(other)).toEqual(OUTSIDE);
    expect(await site.sourceSeen(docker, WORLD[4], 8053)).toBe(HOST[4]);
    // From container to container nothing is led astray, whoever asks.
    await site.serve(other, 53);
    expect(await site.sourceSeen(docker, '10.0.0.3', 53)).toBe('10.0.0.2');
    // UDP as well: there is one rule for both.
    expect(await site.rules()).toMatch(/meta l4proto \{ tcp, udp \} th dport 53 dnat ip to/);

    // It goes with the server, with the endpoint, and with this process.
    site.gateway.setNameServer(V6.address, false);
    await site.gateway.check();
    expect(await seenFrom(docker)).toEqual(['10.0.0.2', HOST[6]]);
    site.gateway.setNameClients('blue', []);
    await site.gateway.check();
    expect(await seenFrom(docker)).toEqual(OUTSIDE);
    site.gateway.setNameClients('blue', ['10.0.0.2']);
    await site.gateway.check();
    expect(await site.sourceSeen(docker, WORLD[4], 53)).toBe('10.0.0.2');
    await site.gateway.close();
    expect(await seenFrom(docker)).toEqual(OUTSIDE);
  });

  it('an internal network leads nowhere, but what gets to its gateway is answered there', async () => {
    const inside = { ...BLUE, internal: true };
    await site.open(inside);
    const docker = await site.attach(inside, ['10.0.0.2/24']);
    await site.serve(site.host, 53);
    site.gateway.setNameServer(V4.address, true);
    site.gateway.setNameClients('blue', ['10.0.0.2']);
    await site.gateway.check();
    expect(await site.sourceSeen(docker, WORLD[4], 53)).toBeUndefined();
    expect(await site.sourceSeen(docker, V4.address, 53)).toBe('10.0.0.2');
  });
});
