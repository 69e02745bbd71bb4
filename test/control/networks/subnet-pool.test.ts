/** Which subnets are taken, which refused, and which comes next. */
import { describe, expect, it } from 'vitest';
import { checkSubnet, gatewayOf } from '../../../src/control/networks/subnet-check.js';
import { DEFAULT_POOLS, nextFreeSubnet, parsePools, withDefaults } from '../../../src/control/networks/subnet-pool.js';

describe('checkSubnet', () => {
  it.each(['10.0.2.0/24', '192.168.0.0/29', '10.0.0.0/8', 'fd00:2::/64', '2001:db8::/48', 'fd00::/120'])(
    'takes %s',
    (text) => expect(checkSubnet(text)).toBe(text),
  );

  it.each([
    ['10.0.2.1/24', /host bits.*10\.0\.2\.0\/24/],
    ['10.0.2.0', /no prefix length/],
    ['10.0.2/24', /not an IP address/],
    ['10.0.2.0/33', /33/],
    ['10.0.2.0/30', /prefix length 30: give 8 to 29/],
    ['8.0.0.0/7', /prefix length 7/],
    ['224.0.0.0/8', /224 to 255/],
    ['127.0.0.0/8', /127/],
    ['0.0.0.0/8', /no addresses/],
    ['fd00::/47', /prefix length 47: give 48 to 120/],
    ['fd00::/121', /prefix length 121/],
    ['fe80::/64', /set apart/],
    ['ff02::/64', /set apart/],
    ['::/64', /set apart/],
    ['nonsense', /"nonsense"/],
  ])('refuses %s', (text, message) => {
    expect(() => checkSubnet(text)).toThrow(
      expect.objectContaining({ code: 'VTEP_ERR_INVALID', message: expect.stringMatching(message) }),
    );
  });
});

it('the gateway is the first host address', () => {
  expect(gatewayOf('172.20.16.0/20')).toBe('172.20.16.1');
  expect(gatewayOf('fd00:2::/64')).toBe('fd00:2::1');
});

describe('nextFreeSubnet', () => {
  it.each([
    [[], '10.0.0.0/24'],
    [['10.0.0.0/24'], '10.0.1.0/24'],
    [['10.0.1.0/24', '10.0.0.77'], '10.0.2.0/24'],
    [['10.0.1.0/24'], '10.0.0.0/24'],
    [['10.0.0.0/16', '10.0.3.0/24', '10.1.0.128/25'], '10.1.1.0/24'],
    [['0.0.0.0/5', '192.168.0.0/16'], '10.0.0.0/24'],
  ])('beside %j comes %s', (blocked, free) => expect(nextFreeSubnet(DEFAULT_POOLS, 4, blocked)).toBe(free));

  it('takes the families apart', () => {
    const blocked = ['10.0.0.0/24', 'fd76:7465:7000::/64', 'fd76:7465:7000:2::7', 'fd00::/16'];
    expect(nextFreeSubnet(DEFAULT_POOLS, 4, blocked)).toBe('10.0.1.0/24');
    expect(nextFreeSubnet(DEFAULT_POOLS, 6, blocked)).toBe('fd76:7465:7000:1::/64');
    expect(nextFreeSubnet(DEFAULT_POOLS, 6, [...blocked, 'fd76:7465:7000:1::/64'])).toBe('fd76:7465:7000:3::/64');
  });

  it('takes the next pool when one is used up', () => {
    const pools = withDefaults(parsePools('172.20.0.0/23/24, 192.168.0.0/16/20'));
    const blocked = ['172.20.0.0/24'];
    expect(nextFreeSubnet(pools, 4, blocked)).toBe('172.20.1.0/24');
    expect(nextFreeSubnet(pools, 4, [...blocked, '172.20.1.128/25'])).toBe('192.168.0.0/20');
    expect(nextFreeSubnet(pools, 6, [])).toBe('fd76:7465:7000::/64');
  });

  it.each(['10.0.0.0/8', '10.0.0.0', '10.0.0.0/24/8', '10.0.0.1/24/28', 'x/8/24', '10.0.0.0/8/30', 'fd00::/48/40', ''])(
    'refuses the pool %j',
    (text) => {
      expect(() => parsePools(text)).toThrow(expect.objectContaining({ code: 'VTEP_ERR_INVALID' }));
    },
  );

  it('says so when all is taken', () => {
    expect(nextFreeSubnet(DEFAULT_POOLS, 4, ['10.0.0.0/9', '10.128.0.0/10', '10.192.0.0/11'])).toBe('10.224.0.0/24');
    expect(() => nextFreeSubnet(DEFAULT_POOLS, 4, ['10.0.0.0/8'])).toThrow(
      expect.objectContaining({ code: 'VTEP_ERR_POOL_EXHAUSTED' }),
    );
  });
});
