/** Which gateways a host can have: table tests. */
import { describe, expect, it } from 'vitest';
import { linkLocalAddress, planAddresses } from '../../../src/control/gateway/address-plan.js';
import { gatewaysOf } from '../../../src/control/gateway/gateways-of.js';

const BLUE = { name: 'blue', vni: 256, internal: false, subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }] };
const BOTH = {
  ...{ name: 'both', vni: 256, internal: false },
  subnets: [
    { cidr: '10.0.0.0/24', gateway: '10.0.0.1' },
    { cidr: 'fd00::/64', gateway: 'fd00::1' },
    { cidr: 'fd01::/64' },
  ],
};
const BARE = [{ ifname: 'vtep-b256', addr_info: [] }];
const nameOf = (bridge: string) => (bridge === 'vtep-b257' ? 'green' : undefined);

describe('gatewaysOf', () => {
  it('tells family and length', () => {
    expect(gatewaysOf(BLUE)).toEqual([{ family: 4, address: '10.0.0.1', subnet: '10.0.0.0/24', prefixLength: 24 }]);
  });
  it('takes each subnet of a list that has one', () => {
    expect(gatewaysOf(BOTH).map(({ family, address, prefixLength }) => [family, address, prefixLength])).toEqual([
      [4, '10.0.0.1', 24],
      [6, 'fd00::1', 64],
    ]);
  });
});

describe('planAddresses', () => {
  it('adds what is missing, IPv6 without duplicate detection and with a link-local address', () => {
    expect(planAddresses(BOTH, BARE, [], nameOf).steps).toEqual([
      'address add 10.0.0.1/24 broadcast + dev vtep-b256',
      'address add fd00::1/64 nodad dev vtep-b256',
      'address add fe80::76:74ff:fe00:100/64 nodad dev vtep-b256',
    ]);
    expect(linkLocalAddress(0xffffff)).toBe('fe80::76:74ff:feff:ffff');
  });

  it('does nothing where all is there, or the bridge is not', () => {
    const there = [{ ifname: 'vtep-b256', addr_info: [{ local: '10.0.0.1', prefixlen: 24 }] }];
    // A route that came later takes nothing away.
    const plan = planAddresses(BLUE, there, [{ dst: '10.0.0.0/8', dev: 'tun0' }], nameOf);
    expect(plan).toMatchObject({ steps: [], problems: [], gateways: [{ address: '10.0.0.1' }] });
    expect(planAddresses(BLUE, [], [], nameOf)).toMatchObject({ steps: [], gateways: [{ address: '10.0.0.1' }] });
  });

  it.each([
    [{ dst: '10.0.0.0/24', dev: 'vtep-b257' }, /network "green"/],
    [{ dst: '10.0.0.0/24', dev: 'eth0' }, /route 10\.0\.0\.0\/24 \(eth0\)/],
    [{ dst: '10.0.0.0/8', dev: 'tun0' }, /route 10\.0\.0\.0\/8/],
    [{ dst: '10.0.0.128/25', dev: 'eth0' }, /route 10\.0\.0\.128\/25/],
    [{ dst: '10.0.0.77', dev: 'eth0' }, /route 10\.0\.0\.77/],
    [{ dst: '10.0.0.0/8' }, /route 10\.0\.0\.0\/8;/],
  ])('leaves the gateway out beside the route %j', (route, message) => {
    const plan = planAddresses(BLUE, BARE, [route], nameOf);
    expect(plan).toMatchObject({ steps: [], gateways: [], problems: [expect.stringMatching(message)] });
  });

  it.each([
    { dst: 'default', dev: 'eth0' },
    { dst: '0.0.0.0/0', dev: 'eth0' },
    { dst: '10.0.1.0/24', dev: 'eth0' },
    { dst: '10.0.0.0/24', dev: 'vtep-b256' },
    { dst: 'fd00::/64', dev: 'eth0' },
  ])('minds no route %j', (route) => {
    expect(planAddresses(BLUE, BARE, [route], nameOf).problems).toEqual([]);
  });

  it('of two families leaves out only the one that is in the way', () => {
    const plan = planAddresses(BOTH, BARE, [{ dst: 'fd00::/16', dev: 'eth0' }], nameOf);
    expect(plan.gateways.map(({ address }) => address)).toEqual(['10.0.0.1']);
    expect(plan.problems).toHaveLength(1);
  });
});
