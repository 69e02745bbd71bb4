/** Which default routes a container gets: table test over a container's own routes. */
import { describe, expect, it } from 'vitest';
import { chooseDefaultGateways } from '../../../src/control/gateway/default-route.js';
import { gatewaysOf } from '../../../src/control/gateway/gateways-of.js';
import { Iproute } from '../../../src/control/ports/iproute.js';

const NETWORK = {
  ...{ name: 'blue', vni: 256, internal: false },
  subnets: [
    { cidr: '10.0.0.0/24', gateway: '10.0.0.1' },
    { cidr: '10.0.9.0/24', gateway: '10.0.9.1' },
    { cidr: 'fd00::/64', gateway: 'fd00::1' },
  ],
};
const SANDBOX = { label: 'netns:c', path: '/run/netns/c', identity: '1:1', defaultName: 'c' };
const BOTH = ['10.0.0.2/24', 'fd00::2/64'];

class RoutesOf extends Iproute {
  constructor(private readonly families: readonly number[]) {
    super();
  }
  override async defaultRoutesIn(_path: string, family: 4 | 6) {
    return this.families.includes(family) ? [{ dst: 'default' }] : [];
  }
}

const choose = (
  wanted: 'yes' | 'no' | 'auto' | undefined,
  addresses: string[],
  has: number[] = [],
  network = NETWORK,
) => chooseDefaultGateways(new RoutesOf(has), SANDBOX, { wanted, network, gateways: gatewaysOf(network), addresses });

describe('chooseDefaultGateways', () => {
  it.each([
    ['each family', undefined, BOTH, [], ['10.0.0.1', 'fd00::1']],
    ['a family that it has an address of', 'auto', ['10.0.0.2/24'], [], ['10.0.0.1']],
    ["the gateway of the address's subnet", 'auto', ['10.0.9.2/24'], [], ['10.0.9.1']],
    ['none where there is one', 'auto', BOTH, [4], ['fd00::1']],
    ['one in the place of another', 'yes', BOTH, [4, 6], ['10.0.0.1', 'fd00::1']],
    ['none if none is wanted', 'no', BOTH, [], []],
  ] as const)('chooses %s', async (_, wanted, addresses, has, expected) => {
    expect(await choose(wanted, [...addresses], [...has])).toEqual(expected);
  });

  it('of an internal network none, and refuses to be asked for one', async () => {
    const internal = { ...NETWORK, internal: true };
    expect(await choose('auto', BOTH, [], internal)).toEqual([]);
    await expect(choose('yes', BOTH, [], internal)).rejects.toThrow(/"blue" is internal/);
  });

  it('refuses to be asked for one where this host has no gateway', async () => {
    await expect(choose('yes', BOTH, [], { ...NETWORK, subnets: [] })).rejects.toThrow(/no gateway on this host/);
  });
});
