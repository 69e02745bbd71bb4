/** The ECN of frames that are cut off: nothing beyond them is read or written. test/dataplane/ecn.test.ts has all others. */
import { describe, expect, it } from 'vitest';
import { applyOuterEcn, ECN_CE, ECN_CHANGED, ECN_KEPT, readInnerTos } from '../../src/wire/ecn.js';
import { BASE_SPEC, emitFrame, payloadOf } from '../dataplane/reference/frame-spec.js';

const PAYLOAD = payloadOf(30, 1);

describe.each([
  ['IPv4', emitFrame({ ...BASE_SPEC, payload: PAYLOAD, tos: 0xba }), 34],
  ['IPv6', emitFrame({ ...BASE_SPEC, payload: PAYLOAD, tos: 0xba, family: 6 }), 54],
  ['IPv4 behind a tag', emitFrame({ ...BASE_SPEC, payload: PAYLOAD, tos: 0xba, vlanIds: [4] }), 38],
] as const)('%s', (_name, frame, wholeBytes) => {
  it('counts from the last byte of its header on', () => {
    for (let length = 0; length <= frame.length; length++) {
      const bytes = Uint8Array.from(frame);
      const isWhole = length >= wholeBytes;
      expect(readInnerTos(bytes, 0, length)).toBe(isWhole ? 0xba : 0);
      expect(applyOuterEcn(bytes, 0, length, ECN_CE)).toBe(isWhole ? ECN_CHANGED : ECN_KEPT);
      if (!isWhole) expect(bytes).toEqual(frame);
    }
  });
});
