/** Probes of multicast groups: what is written is read, and nothing else is taken for one, a network's datagram least of all. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  emitGroupProbe,
  GROUP_ANSWER,
  GROUP_PROBE,
  GROUP_PROBE_BYTES,
  GROUP_QUERIED,
  groupProbeType,
  readNonceHigh,
  readNonceLow,
} from '../../src/wire/group-probe.js';
import { checkVxlan, emitVxlan, readVni, VXLAN_RESERVED_BITS } from '../../src/wire/vxlan.js';
import { guarded } from './guarded.js';

const OFFSET = 3;
const i32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const type = fc.constantFrom(GROUP_PROBE, GROUP_ANSWER, GROUP_QUERIED);
const vni = fc.integer({ min: 1, max: 0xffffff });

function emitted(...args: [type: number, vni: number, high: number, low: number]): Uint8Array {
  const bytes = new Uint8Array(GROUP_PROBE_BYTES + 2 * OFFSET).fill(0xa5);
  emitGroupProbe(guarded(bytes, OFFSET, GROUP_PROBE_BYTES), OFFSET, ...args);
  return bytes;
}

it('is read as it was written, and is no plain VXLAN', () => {
  fc.assert(
    fc.property(type, vni, i32, i32, (kind, number, high, low) => {
      const bytes = emitted(kind, number, high, low);
      expect(groupProbeType(bytes, OFFSET, GROUP_PROBE_BYTES)).toBe(kind);
      expect(readVni(bytes, OFFSET)).toBe(number);
      expect([readNonceHigh(bytes, OFFSET), readNonceLow(bytes, OFFSET)]).toEqual([high, low]);
      expect(checkVxlan(bytes, OFFSET, GROUP_PROBE_BYTES)).toBe(VXLAN_RESERVED_BITS);
    }),
  );
});

it('is nothing else: not with another bit of what is fixed, not shorter or longer, not what a container sends', () => {
  const fixed = [...Array(4).keys(), 7, 8, 9, 10, 11, 12, 13];
  fc.assert(
    fc.property(type, vni, fc.constantFrom(...fixed), fc.integer({ min: 1, max: 255 }), (kind, number, at, bits) => {
      const bytes = emitted(kind, number, 1, 2);
      bytes[OFFSET + at] = (bytes[OFFSET + at] as number) ^ bits;
      const isOtherKind =
        at === 12 && [GROUP_PROBE, GROUP_ANSWER, GROUP_QUERIED].includes(bytes[OFFSET + at] as number);
      fc.pre(!isOtherKind);
      expect(groupProbeType(bytes, OFFSET, GROUP_PROBE_BYTES)).toBe(0);
    }),
  );
  const bytes = emitted(GROUP_PROBE, 256, 1, 2);
  for (const length of [0, 8, 23, 25]) expect(groupProbeType(bytes, OFFSET, length)).toBe(0);
  expect(groupProbeType(bytes, OFFSET + 4, GROUP_PROBE_BYTES)).toBe(0);
  emitVxlan(bytes, OFFSET, 256);
  expect(groupProbeType(bytes, OFFSET, GROUP_PROBE_BYTES)).toBe(0);
});
