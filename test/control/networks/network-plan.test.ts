/** From what was asked for to subnets: who has which gateway, range and reservation, and what is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CreateNetwork } from '../../../src/control/api/schema.js';
import { addressText, contains, overlaps, parseSpan, without } from '../../../src/control/ipam/address-span.js';
import { askedSubnets, planSubnets } from '../../../src/control/networks/network-plan.js';

const plan = (input: Omit<CreateNetwork, 'name'>) => {
  const asked = { name: 'n', ...input };
  const { given, toChoose } = askedSubnets(asked);
  expect(toChoose).toEqual([]);
  return planSubnets(given, asked);
};

describe('askedSubnets', () => {
  it.each<[Omit<CreateNetwork, 'name'>, string[], number[]]>([
    [{}, [], [4]],
    [{ ipv6: true }, [], [4, 6]],
    [{ subnets: ['10.0.2.0/24'] }, ['10.0.2.0/24'], []],
    [{ subnets: ['10.0.2.0/24'], ipv6: true }, ['10.0.2.0/24'], [6]],
    [{ subnets: ['FD00:2:0::/64'], ipv6: true }, ['fd00:2::/64'], []],
  ])('%j: given %j, to choose %j', (input, given, toChoose) => {
    expect(askedSubnets({ name: 'n', ...input })).toEqual({ given, toChoose });
  });

  it('refuses subnets of one network that overlap', () => {
    const subnets = ['10.0.2.0/24', 'fd00::/64', '10.0.0.0/16'];
    expect(() => askedSubnets({ name: 'n', subnets })).toThrow(/10\.0\.2\.0\/24 and 10\.0\.0\.0\/16 overlap/);
  });
});

describe('planSubnets', () => {
  const subnets = ['10.0.2.0/24', 'fd00:2::/64'];

  it('gives each subnet its first address as gateway, unless told otherwise', () => {
    expect(plan({ subnets })).toEqual([
      { cidr: '10.0.2.0/24', gateway: '10.0.2.1' },
      { cidr: 'fd00:2::/64', gateway: 'fd00:2::1' },
    ]);
    expect(plan({ subnets, gateways: ['FD00:2::FE'] })[1]!.gateway).toBe('fd00:2::fe');
    expect(plan({ subnets, gateways: ['none'] })).toEqual(subnets.map((cidr) => ({ cidr })));
    expect(plan({ subnets, gateways: ['none', 'fd00:2::fe'] })).toEqual([
      { cidr: '10.0.2.0/24' },
      { cidr: 'fd00:2::/64', gateway: 'fd00:2::fe' },
    ]);
  });

  it('puts ranges and reservations where they lie', () => {
    const input = { subnets, ranges: ['10.0.2.128/25'], reserved: ['fd00:2::100-fd00:2::1ff', '10.0.2.200'] };
    expect(plan(input)).toEqual([
      { cidr: '10.0.2.0/24', gateway: '10.0.2.1', range: '10.0.2.128/25', reserved: ['10.0.2.200'] },
      { cidr: 'fd00:2::/64', gateway: 'fd00:2::1', reserved: ['fd00:2::100-fd00:2::1ff'] },
    ]);
  });

  it.each<[Omit<CreateNetwork, 'name'>, RegExp]>([
    [{ gateways: ['10.0.3.1'] }, /gateway 10\.0\.3\.1 lies in no subnet/],
    [{ gateways: ['10.0.2.0'] }, /no host's address.*10\.0\.2\.1 to 10\.0\.2\.254/],
    [{ gateways: ['10.0.2.1', '10.0.2.2'] }, /gateways 10\.0\.2\.1 and 10\.0\.2\.2/],
    [{ ranges: ['10.0.0.0/16'] }, /range 10\.0\.0\.0\/16 lies in no subnet/],
    [{ ranges: ['10.0.2.1/25'] }, /host bits/],
    [{ ranges: ['10.0.2.9-10.0.2.3'] }, /FIRST below LAST/],
    [{ ranges: ['10.0.2.8/29', '10.0.2.16/29'] }, /ranges/],
    [{ ranges: ['10.0.2.1'] }, /no address left/],
    [{ reserved: ['10.0.2.0/24'] }, /no address left/],
  ])('refuses %j', (input, message) => {
    expect(() => plan({ subnets, ...input })).toThrow(
      expect.objectContaining({ code: 'VTEP_ERR_INVALID', message: expect.stringMatching(message) }),
    );
  });
});

describe('spans', () => {
  const span = fc.tuple(fc.nat(40), fc.nat(40)).map(([a, b]) => ({
    family: 4 as const,
    first: BigInt(Math.min(a, b)),
    last: BigInt(Math.max(a, b)),
  }));

  it('what is left without holes is what no hole holds', () => {
    fc.assert(
      fc.property(span, fc.array(span, { maxLength: 6 }), (whole, holes) => {
        const expected: bigint[] = [];
        for (let n = whole.first; n <= whole.last; n++) {
          if (!holes.some(({ first, last }) => first <= n && n <= last)) expected.push(n);
        }
        const got: bigint[] = [];
        for (const { first, last } of without(whole, holes)) for (let n = first; n <= last; n++) got.push(n);
        expect(got).toEqual(expected);
      }),
    );
  });

  it('say what lies in what, and never mix families', () => {
    expect(contains(parseSpan('10.0.0.0/24'), parseSpan('10.0.0.3-10.0.0.255'))).toBe(true);
    expect(overlaps(parseSpan('10.0.0.0/24'), parseSpan('10.0.0.255-10.0.1.3'))).toBe(true);
    expect(overlaps(parseSpan('0.0.0.0/0'), parseSpan('::/0'))).toBe(false);
    expect(addressText(parseSpan('fd00::1:0').first, 6)).toBe('fd00::1:0');
    expect(() => parseSpan('10.0.0.1-fd00::1')).toThrow(/FIRST-LAST/);
  });
});
