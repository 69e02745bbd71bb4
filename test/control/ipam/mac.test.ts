/** MACs: random ones that are never a gateway's, and the gateway's of each VNI. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attachSchema } from '../../../src/control/api/schema.js';
import { gatewayMac, isGatewayMac, randomMac } from '../../../src/control/ipam/mac.js';

describe('gatewayMac', () => {
  it.each([
    [1, '02:76:74:00:00:01'],
    [256, '02:76:74:00:01:00'],
    [0x123456, '02:76:74:12:34:56'],
    [16_777_215, '02:76:74:ff:ff:ff'],
  ])('of VNI %i is %s', (vni, mac) => expect(gatewayMac(vni)).toBe(mac));

  it('is another for each VNI, and known as a gateway', () => {
    const vni = fc.integer({ min: 1, max: 16_777_215 });
    fc.assert(
      fc.property(vni, vni, (a, b) => {
        expect(isGatewayMac(gatewayMac(a))).toBe(true);
        expect(gatewayMac(a) === gatewayMac(b)).toBe(a === b);
      }),
    );
  });
});

describe('an endpoint', () => {
  it('gets a random MAC that is unicast, local and no gateway', () => {
    for (let i = 0; i < 1000; i++) {
      const mac = randomMac();
      expect(mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
      expect(isGatewayMac(mac)).toBe(false);
    }
  });

  it.each(['02:76:74:00:01:00', '02:76:74:FF:FF:FF'])('may not ask for %s', (mac) => {
    const result = attachSchema.safeParse({ network: 'blue', netns: 'c', mac });
    expect(result.error?.issues[0]?.message).toMatch(/02:76:74.*gateway/);
  });

  it('may ask for one beside it', () => {
    expect(attachSchema.safeParse({ network: 'blue', netns: 'c', mac: '02:76:75:00:01:00' }).success).toBe(true);
  });
});
