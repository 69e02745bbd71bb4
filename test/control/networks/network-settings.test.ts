/** A network's settings: defaults, and what is refused with which words. */
import { describe, expect, it } from 'vitest';
import { createNetworkSchema } from '../../../src/control/api/schema.js';
import { isMulticastGroup, settingsOf } from '../../../src/control/networks/network-settings.js';

describe('settingsOf', () => {
  it('gives what is left out its default, and keeps the rest', () => {
    expect(settingsOf({})).toEqual({
      flood: 'replicate',
      snooping: true,
      learning: true,
      learntMacsMax: 0,
      arpSuppression: true,
      portSecurity: true,
      stormLimit: 0,
      groupPolicy: false,
      reservedBits: 'strict',
    });
    expect(settingsOf({ flood: 'multicast', group: '239.1.2.3', learning: false, stormLimit: 7 })).toMatchObject({
      ...{ flood: 'multicast', group: '239.1.2.3', learning: false, stormLimit: 7 },
    });
  });

  it('takes of a larger object only the settings', () => {
    const network = { name: 'blue', learning: false };
    expect(settingsOf(network)).not.toHaveProperty('name');
  });
});

it.each([
  ['239.1.2.3', true],
  ['224.0.1.1', true],
  ['ff05::1:3', true],
  ['ff0e::1', true],
  ['224.0.0.5', false],
  ['10.0.0.1', false],
  ['240.0.0.1', false],
  ['ff02::1', false],
  ['ff01::1', false],
  ['fd00::1', false],
  ['', false],
])('the group %j: %j', (text, is) => {
  expect(isMulticastGroup(text)).toBe(is);
});

it.each([
  [{ flood: 'all' }, 'must be one of auto, multicast, replicate'],
  [{ group: '10.0.0.1' }, 'must be a multicast address, such as 239.1.2.3 or ff05::1:3'],
  [{ arpSuppression: 'yes' }, 'must be on or off (true or false in the API)'],
  [{ stormLimit: -1 }, 'must be a whole number from 0 to 10000000'],
  [{ learntMacsMax: 1.5 }, 'must be a whole number from 0 to 4000000'],
  [{ reservedBits: 'some' }, 'must be one of strict, tolerant'],
])('refuses %j', (settings, message) => {
  const result = createNetworkSchema.safeParse({ name: 'blue', ...settings });
  expect(result.error?.issues[0]?.message).toBe(message);
});
