/**
 * Keys go to text and back; values are read leniently where a newer vtepd may write more, strictly elsewhere.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VtepError } from '../../../src/control/errors.js';
import { settingsOf } from '../../../src/control/networks/network-settings.js';
import * as schema from '../../../src/control/registry/schema.js';

const createdAt = '2026-01-02T03:04:05.000Z';
const node = {
  v: 1,
  vtep: { ip: '10.30.10.111', port: 4789 },
  apiVersion: 1,
  features: ['gso'],
  instanceId: 'i-1',
} as const;
const network = {
  v: 1,
  name: 'my_overlay',
  id: 'n-1',
  vni: 256,
  subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }],
  internal: true,
  mtuBytes: 0,
  ...settingsOf({ learning: false }),
  state: 'active',
  createdAt,
  options: {},
} as const;
const endpoints = {
  v: 1,
  endpoints: [{ id: 'e-1', name: 'master', mac: '02:42:0a:00:00:02', addresses: ['10.0.0.2/24'] }],
} as const;

/** Fields that values of before did not have. */
const DEFAULTED = new Set([
  ...[
    'internal',
    'learntMacsMax',
    'arpSuppression',
    'portSecurity',
    'stormLimit',
    'groupPolicy',
    'reservedBits',
    'snooping',
  ],
]);

const VALUES = [
  ['node', schema.parseNode, node],
  ['node of both families', schema.parseNode, { ...node, vtep: { ...node.vtep, otherIp: '2001:db8::111' } }],
  ['network', schema.parseNetwork, network],
  ['VNI', schema.parseVni, { v: 1, network: 'my_overlay' }],
  ['subnet', schema.parseSubnet, { v: 1, network: 'my_overlay' }],
  ['address', schema.parseAddress, { v: 1, node: 'cdh1', endpointId: 'e-1' }],
  ['endpoints', schema.parseEndpoints, endpoints],
  ['peer', schema.parsePeer, { v: 1, address: '10.30.10.113', port: 4789, createdAt }],
] as const;

const entry = (value: unknown, key = 'kind/x') => ({
  key,
  value: typeof value === 'string' ? value : JSON.stringify(value),
  createIndex: 1,
  modifyIndex: 1,
});

function malformed(parse: (typeof VALUES)[number][1], value: unknown): VtepError {
  const errors: VtepError[] = [];
  expect(parse(entry(value), (error) => errors.push(error))).toBeUndefined();
  expect(parse(entry(value))).toBeUndefined();
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatchObject({ code: 'VTEP_ERR_REGISTRY' });
  expect(errors[0]!.message).toMatch(/^registry key kind\/x is malformed: [^\n]+$/);
  return errors[0]!;
}

describe('values', () => {
  it.each(VALUES)('of a %s are read, with fields of a newer vtepd', (_name, parse, value) => {
    expect(parse(entry(value))).toEqual(value);
    expect(parse(entry({ ...value, colour: 'blue' }))).toEqual({ ...value, colour: 'blue' });
  });

  it.each(VALUES)('of a %s that are malformed are reported, not thrown', (_name, parse, value) => {
    for (const bad of ['', '{', 'null', '7', '[]', '{}']) malformed(parse, bad);
    for (const field of Object.keys(value).filter((key) => !DEFAULTED.has(key)))
      malformed(parse, { ...value, [field]: undefined });
    expect(malformed(parse, { ...value, v: 2 }).message).toContain('version 2, and this vtepd reads 1');
  });

  it.each([
    { vni: 0 },
    { vni: 16_777_216 },
    { vni: 1.5 },
    { subnets: [] },
    { subnets: ['10.0.0.0'] },
    { subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.256' }] },
    { subnets: [{ gateway: '10.0.0.1' }] },
    { internal: 'no' },
    { mtuBytes: 10 },
    { state: 'gone' },
    { flood: 'all' },
    { reservedBits: 'some' },
    { createdAt: 'yesterday' },
  ])('of a network are checked: %j', (change) => {
    expect(malformed(schema.parseNetwork, { ...network, ...change }).message).toContain(Object.keys(change)[0]);
  });

  it('keep unknown fields inside of lists, and name the field that is wrong', () => {
    const [first] = endpoints.endpoints;
    const richer = { v: 1, endpoints: [{ ...first, labels: { a: 'b' } }] };
    expect(schema.parseEndpoints(entry(richer))).toEqual(richer);
    const wrong = { v: 1, endpoints: [{ ...first, mac: '02:42' }] };
    expect(malformed(schema.parseEndpoints, wrong).message).toContain('endpoints.0.mac');
  });

  it('take IPv6', () => {
    const six = { ...network, subnets: [{ cidr: 'fd00:1::/64', gateway: 'fd00:1::1', colour: 'blue' }] };
    expect(schema.parseNetwork(entry(six))).toEqual(six);
  });

  it('take a network that does not say so for one with a way out', () => {
    const { internal: _, ...silent } = network;
    expect(schema.parseNetwork(entry(silent))?.internal).toBe(false);
  });

  it('are never thrown over, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        for (const [, parse] of VALUES) parse(entry(text));
      }),
    );
  });

  it('are checked before they are written', () => {
    expect(JSON.parse(schema.encodeValue(schema.nodeValueSchema, { ...node, features: [], extra: 1 }))).toEqual({
      ...node,
      features: [],
      extra: 1,
    });
    expect(() => schema.encodeValue(schema.vniValueSchema, { v: 1, network: '' })).toThrow(
      expect.objectContaining({ code: 'VTEP_ERR_INTERNAL' }),
    );
  });
});

describe('keys', () => {
  it('are those of the design', () => {
    expect(schema.nodeKey('cdh1')).toBe('nodes/cdh1');
    expect(schema.networkKey('my_overlay')).toBe('networks/my_overlay');
    expect(schema.vniKey(256)).toBe('vnis/256');
    expect(schema.subnetKey('10.0.2.0/24')).toBe('subnets/10.0.2.0_24');
    expect(schema.addressKey('my_overlay', '10.0.0.2')).toBe('addresses/my_overlay/10.0.0.2');
    expect(schema.endpointsKey('my_overlay', 'cdh1')).toBe('endpoints/my_overlay/cdh1');
    expect(schema.peerKey('my_overlay', '10.30.10.113')).toBe('peers/my_overlay/10.30.10.113');
  });

  it('are read back', () => {
    expect(schema.parseNodeKey('nodes/cdh1')).toBe('cdh1');
    expect(schema.parseNetworkKey('networks/n')).toBe('n');
    expect(schema.parseVniKey('vnis/256')).toBe(256);
    expect(schema.parseSubnetKey('subnets/fd00::_64')).toBe('fd00::/64');
    expect(schema.parseAddressKey('addresses/n/fd00::1')).toEqual({ network: 'n', address: 'fd00::1' });
    expect(schema.parseEndpointsKey('endpoints/n/cdh1')).toEqual({ network: 'n', node: 'cdh1' });
    expect(schema.parsePeerKey('peers/n/192.0.2.1')).toEqual({ network: 'n', address: '192.0.2.1' });
  });

  it.each(['nodes/', 'nodes/a/b', 'networks/a', 'xnodes/a', ''])('of another kind are told: %j', (key) => {
    expect(schema.parseNodeKey(key)).toBeUndefined();
    expect(schema.parseEndpointsKey(key)).toBeUndefined();
  });

  it.each(['vnis/0', 'vnis/x', 'vnis/16777216', 'vnis/1.5'])('of a VNI must be one: %s', (key) => {
    expect(schema.parseVniKey(key)).toBeUndefined();
  });

  it.each(['', 'a/b', '.', '..', 'a b', 'a\n', 'x'.repeat(256)])('are not made of the name %j', (bad) => {
    const invalid = expect.objectContaining({ code: 'VTEP_ERR_INVALID' });
    expect(() => schema.nodeKey(bad)).toThrow(invalid);
    expect(() => schema.networkKey(bad)).toThrow(invalid);
    expect(() => schema.addressKey('n', bad)).toThrow(invalid);
    expect(() => schema.endpointsKey(bad, 'n')).toThrow(invalid);
    expect(() => schema.peersPrefix(bad)).toThrow(invalid);
  });
});
