/** Control messages as recvmsg leaves them: told in any order, and never read past their end. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readControl } from '../../src/sys/batch-io.js';

const [IPPROTO_IP, IP_TTL, IP_TOS, SOL_UDP, UDP_GRO] = [0, 2, 1, 17, 104];
const [IPPROTO_IPV6, IPV6_TCLASS] = [41, 67];

interface Told {
  level: number;
  type: number;
  data: number[];
  /** @default the true one */
  length?: number;
}

const int = (value: number) => [...new Uint8Array(Int32Array.of(value).buffer)];
const tos = (value: number): Told => ({ level: IPPROTO_IP, type: IP_TOS, data: [value] });
const gro = (bytes: number): Told => ({ level: SOL_UDP, type: UDP_GRO, data: int(bytes) });
const tclass = (value: number): Told => ({ level: IPPROTO_IPV6, type: IPV6_TCLASS, data: int(value) });
const ttl = (value: number): Told => ({ level: IPPROTO_IP, type: IP_TTL, data: int(value) });

/** Laid out as put_cmsg() does; what is not written holds 0xa5. @returns words and msg_controllen */
function layOut(messages: readonly Told[]): { words: Int32Array; bytes: number } {
  const bytes = new Uint8Array(256).fill(0xa5);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { level, type, data, length = 16 + data.length } of messages) {
    view.setBigUint64(at, BigInt(length), true);
    view.setInt32(at + 8, level, true);
    view.setInt32(at + 12, type, true);
    bytes.set(data, at + 16);
    at += 16 + ((data.length + 7) & ~7);
  }
  return { words: new Int32Array(bytes.buffer), bytes: at };
}

const read = (...messages: Told[]) => {
  const { words, bytes } = layOut(messages);
  const told = readControl(words, 0, bytes);
  return { segmentBytes: told >>> 8, tos: told & 0xff };
};

describe('readControl', () => {
  it.each<[string, Told[], { segmentBytes: number; tos: number }]>([
    ['nothing', [], { segmentBytes: 0, tos: 0 }],
    ['the size', [gro(1458)], { segmentBytes: 1458, tos: 0 }],
    ['the TOS, one byte', [tos(0xb9)], { segmentBytes: 0, tos: 0xb9 }],
    ['both', [gro(65_507), tos(3)], { segmentBytes: 65_507, tos: 3 }],
    ['the class of IPv6', [gro(1000), tclass(0xbb)], { segmentBytes: 1000, tos: 0xbb }],
    ['both, the other way round', [tos(3), gro(100)], { segmentBytes: 100, tos: 3 }],
    ['others between', [ttl(64), gro(100), ttl(1), tos(2)], { segmentBytes: 100, tos: 2 }],
    ['the same type of another level', [{ level: 41, type: IP_TOS, data: [3] }], { segmentBytes: 0, tos: 0 }],
    ['a length of 0', [{ ...gro(100), length: 0 }, tos(3)], { segmentBytes: 0, tos: 0 }],
    ['a length without data', [{ ...gro(100), length: 16 }, tos(3)], { segmentBytes: 0, tos: 0 }],
    ['a length past the end', [gro(100), { ...tos(3), length: 4000 }], { segmentBytes: 100, tos: 0 }],
    ['a negative length', [{ ...tos(3), length: 0xfffffff0 }], { segmentBytes: 0, tos: 0 }],
  ])('reads %s', (_name, messages, expected) => {
    expect(read(...messages)).toEqual(expected);
  });

  it('ends, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.int32Array({ minLength: 16, maxLength: 16 }), fc.integer({ min: 0, max: 64 }), (words, bytes) => {
        const told = readControl(words, 0, bytes);
        expect(told).toBeGreaterThanOrEqual(0);
        expect(told).toBeLessThan(2 ** 24);
      }),
    );
  });
});
