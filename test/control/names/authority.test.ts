/** What a network's server answers itself, refuses and forwards, question by question. */
import type { RecordType } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { type Authority, answerQuery } from '../../../src/control/names/authority.js';
import { buildReply, parseQuery } from '../../../src/control/names/message.js';
import { NameTable } from '../../../src/control/names/name-table.js';
import { parseResolvConf } from '../../../src/control/names/resolvers.js';
import { parseCidr } from '../../../src/wire/ip-address.js';
import { type Decoded, dataOf, opt, question, read } from './dns-client.js';

const table = new NameTable();
table.setNode('blue', 'a', [
  { name: 'web', addresses: ['10.0.2.7/24', 'fd00:2::7/64'] },
  { name: 'v4', addresses: ['10.0.2.8/24'] },
  { name: 'wide', addresses: ['172.16.17.18/20'] },
]);
table.setNode('red', 'a', [{ name: 'secret', addresses: ['10.0.3.2/24'] }]);
const authority: Authority = {
  ...{ network: 'blue', table, forward: true, ttlSeconds: 5 },
  subnets: ['10.0.2.0/24', '172.16.16.0/20', '192.0.2.64/26', 'fd00:2::/64'].map(parseCidr),
};
const INSIDE = { inside: true, own: false };
const HOST = { inside: true, own: true };
const OUTSIDE = { inside: false, own: false };

/** The name of fd00:2::N. */
const ip6 = (last: string): string => `${last}${'.0'.repeat(23)}.2.0.0.0.0.0.d.f.ip6.arpa`;

type Asked = { type?: RecordType; client?: typeof INSIDE; forward?: boolean };
function raw(bytes: Buffer, { client = INSIDE, forward = true }: Asked = {}): Decoded | 'forward' {
  const parsed = parseQuery(bytes);
  if (parsed.kind !== 'query') throw new Error(parsed.kind);
  const reply = answerQuery({ ...authority, forward }, parsed.query, client);
  return reply === 'forward' ? reply : read(buildReply(parsed.query, reply, 512));
}
const ask = (name: string, asked: Asked = {}) => raw(question(name, asked.type), asked);

function told(
  name: string,
  asked: Asked = {},
): { rcode: string; data: string[]; soa: string | undefined; aa: boolean } {
  const answer = ask(name, asked);
  if (answer === 'forward') throw new Error(`${name} is forwarded`);
  const soa = answer.authorities?.[0];
  return { rcode: answer.rcode, data: dataOf(answer), soa: soa?.name, aa: answer.flag_aa };
}

describe("the network's names", () => {
  it.each(['web', 'WEB', 'web.blue', 'web.blue.vtep'])('%s has its addresses', (name) => {
    const a = ask(name);
    expect(a).toMatchObject({
      rcode: 'NOERROR',
      flag_aa: true,
      flag_ra: true,
      answers: [{ ttl: 5, data: '10.0.2.7' }],
    });
    expect(told(name, { type: 'AAAA' }).data).toEqual(['fd00:2::7']);
  });

  it.each<[string, RecordType, string]>([
    ['v4', 'AAAA', 'v4'],
    ['v4.blue.vtep', 'AAAA', 'vtep'],
    ['web', 'MX', 'web'],
    ['web.blue', 'TXT', 'web.blue'],
  ])('%s has no %s: no error, nothing, and SOA says for how long', (name, type, soa) => {
    expect(told(name, { type })).toEqual({ rcode: 'NOERROR', data: [], soa, aa: true });
    const answer = ask(name, { type });
    if (answer === 'forward') throw new Error(answer);
    expect(answer.authorities).toMatchObject([{ ttl: 5, data: { mname: 'ns.vtep', minimum: 5 } }]);
  });

  it('ANY gets one record that says that not all are given', () => {
    expect(ask('web', { type: 'ANY' as RecordType })).toMatchObject({ answers: [{ type: 'HINFO' }] });
  });

  it("another network's are not there", () => {
    expect(told('secret.red.vtep')).toEqual({ rcode: 'NXDOMAIN', data: [], soa: 'vtep', aa: true });
    expect(ask('secret')).toBe('forward');
    expect(told('2.3.0.10.in-addr.arpa', { type: 'PTR', forward: false }).rcode).toBe('REFUSED');
  });
});

describe('the domain', () => {
  it.each(['no.blue.vtep', 'no.vtep', 'web.vtep', 'a.web.blue.vtep'])('%s does not exist', (name) => {
    for (const type of ['A', 'AAAA', 'TXT'] as const) {
      expect(told(name, { type })).toEqual({ rcode: 'NXDOMAIN', data: [], soa: 'vtep', aa: true });
    }
  });

  it.each(['vtep', 'blue.vtep'])('%s exists without addresses', (name) => {
    expect(told(name)).toEqual({ rcode: 'NOERROR', data: [], soa: 'vtep', aa: true });
  });

  it('has SOA', () => {
    expect(ask('vtep', { type: 'SOA' })).toMatchObject({ answers: [{ type: 'SOA', name: 'vtep' }] });
  });
});

describe('addresses', () => {
  it.each([
    ['7.2.0.10.in-addr.arpa', 'web.blue.vtep'],
    ['18.17.16.172.IN-ADDR.ARPA', 'wide.blue.vtep'],
    [ip6('7'), 'web.blue.vtep'],
  ])('%s is %s', (name, data) => {
    expect(told(name, { type: 'PTR' })).toEqual({ rcode: 'NOERROR', data: [data], soa: undefined, aa: true });
  });

  it.each([
    ['9.2.0.10.in-addr.arpa', '2.0.10.in-addr.arpa'],
    ['1.31.16.172.in-addr.arpa', '31.16.172.in-addr.arpa'],
    ['65.2.0.192.in-addr.arpa', '65.2.0.192.in-addr.arpa'],
    [ip6('8'), '0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa'],
    [`x.${ip6('7')}`, '0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa'],
    ['x.2.0.10.in-addr.arpa', '2.0.10.in-addr.arpa'],
    ['256.2.0.10.in-addr.arpa', '2.0.10.in-addr.arpa'],
    ['07.2.0.10.in-addr.arpa', '2.0.10.in-addr.arpa'],
    ['1.7.2.0.10.in-addr.arpa', '2.0.10.in-addr.arpa'],
  ])('%s does not exist in %s', (name, soa) => {
    expect(told(name, { type: 'PTR' })).toEqual({ rcode: 'NXDOMAIN', data: [], soa, aa: true });
  });

  it.each([
    ['2.0.10.in-addr.arpa', 'PTR'],
    ['7.2.0.10.in-addr.arpa', 'A'],
  ] as const)('%s has no %s', (name, type) => {
    expect(told(name, { type })).toMatchObject({ rcode: 'NOERROR', data: [], soa: '2.0.10.in-addr.arpa' });
  });

  it.each([
    '0.10.in-addr.arpa',
    '10.in-addr.arpa',
    'in-addr.arpa',
    'ip6.arpa',
    '1.3.0.10.in-addr.arpa',
    '1.32.16.172.in-addr.arpa',
    '1.2.0.192.in-addr.arpa',
    '2.0.192.in-addr.arpa',
    'f.ip6.arpa',
    '8.8.8.8.in-addr.arpa',
  ])('%s is for others', (name) => {
    expect(ask(name, { type: 'PTR' })).toBe('forward');
  });
});

describe('what is not of the network', () => {
  it.each(['example.com', 'printer', 'web.red', 'no.blue', 'xvtep', 'com', '.'])('%s is forwarded', (name) => {
    expect(ask(name)).toBe('forward');
    expect(ask(name, { type: 'HTTPS' as RecordType })).toBe('forward');
  });

  it('ANY is not', () => {
    expect(told('example.com', { type: 'ANY' as RecordType })).toMatchObject({ rcode: 'REFUSED' });
  });

  it('a network that does not forward refuses it, and knows that a single label does not exist', () => {
    const closed = { forward: false };
    expect(ask('example.com', closed)).toMatchObject({ rcode: 'REFUSED', flag_ra: false, flag_aa: false });
    expect(told('printer', closed)).toEqual({ rcode: 'NXDOMAIN', data: [], soa: '.', aa: true });
    expect(told('web', closed).data).toEqual(['10.0.2.7']);
  });

  it("the host itself gets names, and nothing that would be asked at the host's resolvers", () => {
    expect(told('web', { client: HOST }).data).toEqual(['10.0.2.7']);
    expect(told('example.com', { client: HOST }).rcode).toBe('REFUSED');
    expect(told('printer', { client: HOST }).rcode).toBe('REFUSED');
  });

  it('a client outside the subnets gets nothing at all', () => {
    for (const name of ['web', 'example.com', 'no.blue.vtep', '7.2.0.10.in-addr.arpa']) {
      expect(told(name, { client: OUTSIDE })).toEqual({ rcode: 'REFUSED', data: [], soa: undefined, aa: false });
    }
  });
});

describe('what is no question about a name', () => {
  it.each(['AXFR', 'IXFR', 'TSIG', 'TKEY'] as RecordType[])('%s is refused', (type) => {
    expect(told('vtep', { type }).rcode).toBe('REFUSED');
  });

  it.each(['CH', 'HS', 'ANY'] as const)('class %s is refused', (name) => {
    const bytes = question('web', 'A', { questions: [{ name: 'web', type: 'TXT', class: name }] });
    expect(raw(bytes)).toMatchObject({ rcode: 'REFUSED' });
  });

  it('EDNS of a version that does not exist: BADVERS', () => {
    expect(raw(question('web', 'A', { additionals: [opt(1232, 1)] }))).toMatchObject({
      answers: [],
      additionals: [{ extendedRcode: 1 }],
    });
  });
});

describe('resolv.conf', () => {
  it.each<[string, string[]]>([
    ['', ['127.0.0.1']],
    ['# nameserver 192.0.2.1\nsearch lan\n', ['127.0.0.1']],
    [
      'nameserver 192.0.2.1\n nameserver\t2001:db8::1 # second\nnameserver dns.example\nnameserver fe80::1%eth0',
      ['192.0.2.1', '2001:db8::1', 'fe80::1%eth0'],
    ],
    ['nameserver 127.0.0.53\noptions edns0', ['127.0.0.53']],
  ])('%j', (text, addresses) => {
    expect(parseResolvConf(text)).toEqual(addresses.map((address) => ({ address, port: 53 })));
  });
});
