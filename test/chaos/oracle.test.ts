/**
 * The oracle sees each thing that can differ: a world that is as the model says has no differences, and every single
 * change to it has one. What an answer that was lost leaves open is settled by what is there.
 */
import { describe, expect, it } from 'vitest';
import { gatewayMac } from '../../src/control/ipam/mac.js';
import { readPings } from './beacon.js';
import { type AttachmentModel, Model } from './model.js';
import { type Observation, parseRegistry } from './observation.js';
import { compare, settle } from './oracle.js';

const HOSTS = [
  { host: 1, node: 'h1', address: '192.0.2.11' },
  { host: 2, node: 'h2', address: '192.0.2.12' },
];
const NETWORK = {
  ...{ name: 'n1', id: 'net', vni: 256, pooled: true },
  ...{ subnet: '10.0.0.0/24', subnet6: 'fd76:0:0:1::/64' },
} as const;

function attachment(container: string, host: number, last: number): AttachmentModel {
  const id = `${host}${last}`.padEnd(32, 'f');
  const mac = `02:00:00:00:00:0${last}`;
  return {
    ...{ container, network: 'n1', host, id, mac, interface: 'eth0' },
    ...{ ip: `10.0.0.${last}`, ip6: `fd76:0:0:1::${last}` },
  };
}

const ATTACHMENTS = [attachment('c1', 1, 2), attachment('c2', 2, 3)];

function modelOf(attachments: readonly AttachmentModel[]): Model {
  const model = new Model();
  model.networks.set('n1', NETWORK);
  for (const each of attachments) model.attached(each);
  return model;
}

// biome-ignore lint/suspicious/noExplicitAny: the tests change it at will
function observationOf(attachments: readonly AttachmentModel[]): any {
  const at = (host: number) => attachments.filter((each) => each.host === host);
  const subnets = [{ cidr: NETWORK.subnet }, { cidr: NETWORK.subnet6 }];
  const cidrs = ({ ip, ip6 }: AttachmentModel) => [`${ip}/24`, `${ip6}/64`];
  return {
    registry: {
      nodes: new Map(HOSTS.map(({ node, address }) => [node, { vtep: { ip: address, port: 4789 } }])),
      networks: new Map([['n1', { id: 'net', vni: 256, subnets, state: 'active' }]]),
      vnis: new Map([['256', 'n1']]),
      subnets: new Map([
        [NETWORK.subnet, 'n1'],
        [NETWORK.subnet6, 'n1'],
      ]),
      addresses: new Map(
        attachments.flatMap(({ ip, ip6, host, id }) =>
          [ip, ip6].map((one) => [`n1/${one}`, { node: `h${host}`, endpointId: id }] as const),
        ),
      ),
      endpoints: new Map(
        HOSTS.map(({ host, node }) => [
          `n1/${node}`,
          at(host).map((each) => ({
            ...{ id: each.id, name: each.container, mac: each.mac },
            addresses: cidrs(each),
          })),
        ]),
      ),
      peers: [],
      malformed: [],
      sessions: ['vtepd h1', 'vtepd h2'],
    },
    hosts: new Map(
      HOSTS.map(({ host }) => [
        host,
        {
          status: {
            registry: { connected: true },
            counts: { nodes: 2, networks: 1, localNetworks: 1, localEndpoints: at(host).length },
            workers: [{ state: 'running' }],
          },
          networks: [{ name: 'n1', vni: 256 }],
          endpoints: attachments.map((each) => ({
            ...{ id: each.id, name: each.container, network: 'n1', node: `h${each.host}`, mac: each.mac },
            addresses: cidrs(each),
            ...(each.host === host ? { local: { state: 'published', containerInterface: 'eth0' } } : {}),
          })),
          fdb: [
            { network: 'n1', mac: gatewayMac(256), kind: 'local' },
            ...attachments.map((each) => ({
              ...{ network: 'n1', mac: each.mac, kind: each.host === host ? 'local' : 'static' },
              ...(each.host === host ? {} : { vtep: { address: HOSTS[each.host - 1]!.address, port: 4789 } }),
            })),
          ],
          links: new Map([
            ['vtep-b256', { master: '', up: true }],
            ['vtep-t256', { master: 'vtep-b256', up: true }],
            ...at(host).map(({ id }) => [`vtep-p${id.slice(0, 8)}`, { master: 'vtep-b256', up: true }] as const),
          ]),
          bridgeAddresses: new Map([['vtep-b256', ['10.0.0.1', 'fd76:0:0:1::1', 'fe80::1']]]),
          hasRules: true,
        },
      ]),
    ),
    containers: new Map(
      attachments.map(({ container, mac, ip, ip6 }) => [container, { interfaces: [`${mac} ${ip} ${ip6}`] }]),
    ),
  };
}

describe('the oracle', () => {
  it('finds nothing where all is as the model says', () => {
    expect(compare(modelOf(ATTACHMENTS), HOSTS, observationOf(ATTACHMENTS), 0)).toEqual([]);
  });

  // biome-ignore lint/suspicious/noExplicitAny: as above
  const changes: [string, (seen: any) => unknown][] = [
    ['a node that is missing', ({ registry }) => registry.nodes.delete('h2')],
    [
      'a node at another address',
      ({ registry }) => registry.nodes.set('h2', { vtep: { ip: '192.0.2.9', port: 4789 } }),
    ],
    ['a ghost node', ({ registry }) => registry.nodes.set('h9', { vtep: { ip: '192.0.2.9', port: 4789 } })],
    ['a second session', ({ registry }) => registry.sessions.push('vtepd h1')],
    ['no session', ({ registry }) => registry.sessions.pop()],
    ['a network that is missing', ({ registry }) => registry.networks.delete('n1')],
    ['a network that is stuck', ({ registry }) => Object.assign(registry.networks.get('n1'), { state: 'removing' })],
    ['a VNI without a network', ({ registry }) => registry.vnis.set('257', 'n2')],
    ['a VNI that is missing', ({ registry }) => registry.vnis.clear()],
    ['a subnet without a network', ({ registry }) => registry.subnets.set('10.0.1.0/24', 'n2')],
    ['a subnet without a claim', ({ registry }) => registry.subnets.clear()],
    [
      'an address that leaked',
      ({ registry }) => registry.addresses.set('n1/10.0.0.9', { node: 'h1', endpointId: 'x' }),
    ],
    ['an address that is missing', ({ registry }) => registry.addresses.delete('n1/10.0.0.2')],
    ['an address of another', ({ registry }) => registry.addresses.set('n1/10.0.0.2', { node: 'h2', endpointId: 'x' })],
    ['an endpoint that is not published', ({ registry }) => registry.endpoints.set('n1/h1', [])],
    [
      'an endpoint of the wrong node',
      ({ registry }) => registry.endpoints.get('n1/h2').push(...registry.endpoints.get('n1/h1')),
    ],
    ['an empty key', ({ registry }) => registry.endpoints.set('n1/h9', [])],
    ['a peer', ({ registry }) => registry.peers.push('n1/192.0.2.7')],
    ['a malformed value', ({ registry }) => registry.malformed.push('registry key x is malformed')],
    ['a network that a host does not list', ({ hosts }) => hosts.get(1).networks.pop()],
    ['an endpoint that a host does not list', ({ hosts }) => hosts.get(1).endpoints.pop()],
    ['an endpoint that waits', ({ hosts }) => Object.assign(hosts.get(1).endpoints[0].local, { state: 'waiting' })],
    ['an FDB entry that is missing', ({ hosts }) => hosts.get(1).fdb.pop()],
    ['an FDB entry of another VTEP', ({ hosts }) => Object.assign(hosts.get(1).fdb[2].vtep, { address: '192.0.2.9' })],
    [
      'an FDB entry of a ghost',
      ({ hosts }) => hosts.get(1).fdb.push({ network: 'n1', mac: '02:00:00:00:00:09', kind: 'static' }),
    ],
    ['a MAC that was only learnt', ({ hosts }) => Object.assign(hosts.get(1).fdb[2], { kind: 'dynamic' })],
    ['a gateway that is missing', ({ hosts }) => hosts.get(1).bridgeAddresses.set('vtep-b256', ['10.0.0.1'])],
    ['rules that are missing', ({ hosts }) => Object.assign(hosts.get(1), { hasRules: false })],
    ['an IPv6 address that is missing', ({ registry }) => registry.addresses.delete('n1/fd76:0:0:1::2')],
    ['a link that is missing', ({ hosts }) => hosts.get(1).links.delete('vtep-t256')],
    ['a link that is left', ({ hosts }) => hosts.get(1).links.set('vtep-p00000000', { master: '', up: false })],
    ['a link that is down', ({ hosts }) => Object.assign(hosts.get(1).links.get('vtep-t256'), { up: false })],
    [
      'a link that is out of its bridge',
      ({ hosts }) => Object.assign(hosts.get(1).links.get('vtep-t256'), { master: '' }),
    ],
    [
      'a registry that is not connected',
      ({ hosts }) => Object.assign(hosts.get(1).status.registry, { connected: false }),
    ],
    ['a worker that failed', ({ hosts }) => Object.assign(hosts.get(1).status.workers[0], { state: 'failed' })],
    [
      'an interface without its address',
      ({ containers }) => containers.set('c1', { interfaces: ['02:00:00:00:00:02'] }),
    ],
    ['an interface too many', ({ containers }) => containers.get('c1').interfaces.push('02:00:00:00:00:07 10.0.0.7')],
  ];
  it.each(changes)('finds %s', (_what, change) => {
    const seen = observationOf(ATTACHMENTS);
    change(seen);
    expect(compare(modelOf(ATTACHMENTS), HOSTS, seen, 0)).not.toEqual([]);
  });

  it('lets what was learnt by itself be', () => {
    const seen = observationOf(ATTACHMENTS);
    seen.hosts.get(1).fdb.push({ network: 'n1', mac: '02:00:00:00:00:09', kind: 'dynamic' });
    expect(compare(modelOf(ATTACHMENTS), HOSTS, seen, 0)).toEqual([]);
  });

  it('wants the spares that each host claims in advance, and no more', () => {
    const seen = observationOf(ATTACHMENTS);
    const spare = (node: string) => ({ node, endpointId: 'spare', spare: true });
    for (const [index, node] of ['h1', 'h2'].entries()) {
      seen.registry.addresses.set(`n1/10.0.0.${254 - index}`, spare(node));
      seen.registry.addresses.set(`n1/fd76:0:0:1::fff${index}`, spare(node));
    }
    expect(compare(modelOf(ATTACHMENTS), HOSTS, seen, 1)).toEqual([]);
    expect(compare(modelOf(ATTACHMENTS), HOSTS, seen, 2)).not.toEqual([]);
    expect(compare(modelOf(ATTACHMENTS), HOSTS, seen, 0)).not.toEqual([]);
    seen.registry.addresses.set('n1/10.0.0.250', spare('h9'));
    expect(compare(modelOf(ATTACHMENTS), HOSTS, seen, 1)).not.toEqual([]);
  });

  it('takes an attach whose answer was lost for done if its host has it, else for not done', () => {
    const [first, second] = ATTACHMENTS as [AttachmentModel, AttachmentModel];
    const model = modelOf([first]);
    model.unsettle({ container: 'c2', network: 'n1', host: 2 });
    const done: Observation = observationOf(ATTACHMENTS);
    expect([...settle(model, done).attachments.values()]).toEqual([first, second]);
    const undone: Observation = observationOf([first]);
    expect([...settle(model, undone).attachments.values()]).toEqual([first]);
    // Half of it is not settled by either.
    const half = observationOf(ATTACHMENTS);
    half.hosts.get(2).endpoints.pop();
    expect(compare(settle(model, half), HOSTS, half, 0)).not.toEqual([]);
  });
});

describe('reading the registry', () => {
  const entry = (key: string, value: unknown) => ({
    ...{ Key: `vtep/v1/${key}`, CreateIndex: 1, ModifyIndex: 1 },
    Value: Buffer.from(JSON.stringify(value)).toString('base64'),
  });

  it('sorts keys by kind, and names what is of none or malformed', () => {
    const read = parseRegistry([
      entry('addresses/n1/10.0.0.2', { v: 1, node: 'h1', endpointId: 'e' }),
      entry('vnis/256', { v: 1, network: 'n1' }),
      entry('vnis/257', { v: 1 }),
      entry('strange/key', {}),
    ]);
    expect(read.addresses.get('n1/10.0.0.2')).toMatchObject({ node: 'h1' });
    expect([...read.vnis]).toEqual([['256', 'n1']]);
    expect(read.malformed).toHaveLength(2);
  });
});

describe('reading pings', () => {
  const reply = (sequence: number, more = '') =>
    `[1.0] 64 bytes from 10.0.0.3: icmp_seq=${sequence & 0xffff} ttl=64 time=0.3 ms${more}`;
  const text = (sequences: readonly number[], sent: number) =>
    [...sequences.map((sequence) => reply(sequence)), `${sent} packets transmitted, 0 received`].join('\n');
  const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

  it('names those that were lost, but for those still under way at the end', () => {
    const without = upTo(200).filter((sequence) => sequence !== 17 && sequence !== 190);
    expect(readPings(text(without, 200))).toEqual({ sent: 200, lost: [17], duplicates: 0 });
  });

  it('counts on where the sequence numbers go round', () => {
    const without = upTo(70_000).filter((sequence) => sequence !== 65_536 && sequence !== 65_540);
    expect(readPings(text(without, 70_000)).lost).toEqual([65_536, 65_540]);
  });

  it('counts answers that came twice', () => {
    expect(readPings(`${reply(1)}\n${reply(1, ' (DUP!)')}\n${text([2], 2)}`)).toMatchObject({ duplicates: 1 });
  });

  it('takes no answer at all for loss of all', () => {
    expect(readPings('100 packets transmitted, 0 received').lost).toHaveLength(50);
  });
});
