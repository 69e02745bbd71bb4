/** Which subnets are taken, which refused, and which comes next. */
import { describe, expect, it } from 'vitest';
import { checkSubnet, gatewayOf, nextFreeSubnet } from '../../../src/control/networks/subnet-pool.js';

describe('checkSubnet', () => {
  it.each(['10.0.2.0/24', '192.168.0.0/29', '10.0.0.0/8'])('takes %s', (text) => expect(checkSubnet(text)).toBe(text));

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
    ['fd00::/64', /IPv6/],
    ['nonsense', /"nonsense"/],
  ])('refuses %s', (text, message) => {
    expect(() => checkSubnet(text)).toThrow(
      expect.objectContaining({ code: 'VTEP_ERR_INVALID', message: expect.stringMatching(message) }),
    );
  });
});

it('the gateway is the first host address', () => expect(gatewayOf('172.20.16.0/20')).toBe('172.20.16.1'));

describe('nextFreeSubnet', () => {
  it.each([
    [[], '10.0.0.0/24'],
    [['10.0.0.0/24'], '10.0.1.0/24'],
    [['10.0.1.0/24', '10.0.0.77'], '10.0.2.0/24'],
    [['10.0.1.0/24'], '10.0.0.0/24'],
    [['10.0.0.0/16', '10.0.3.0/24', '10.1.0.128/25'], '10.1.1.0/24'],
    [['0.0.0.0/5', '192.168.0.0/16'], '10.0.0.0/24'],
  ])('beside %j comes %s', (blocked, free) => expect(nextFreeSubnet(blocked)).toBe(free));

  it('says so when all is taken', () => {
    expect(nextFreeSubnet(['10.0.0.0/9', '10.128.0.0/10', '10.192.0.0/11'])).toBe('10.224.0.0/24');
    expect(() => nextFreeSubnet(['10.0.0.0/8'])).toThrow(expect.objectContaining({ code: 'VTEP_ERR_POOL_EXHAUSTED' }));
  });
});
