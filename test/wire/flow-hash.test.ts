/** One flow, one hash, whatever else is in its frames; many flows, many ports. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeUint16 } from '../../src/wire/byte-order.js';
import { emitEthernet } from '../../src/wire/ethernet.js';
import { flowHash } from '../../src/wire/flow-hash.js';
import { ipv4ToNumber } from '../../src/wire/ip-address.js';
import { emitIpv4 } from '../../src/wire/ipv4.js';
import { emitIpv6 } from '../../src/wire/ipv6.js';
import { guarded } from './guarded.js';

interface Flow {
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly protocol?: number;
  readonly fragment?: number;
  readonly tos?: number;
  readonly tags?: number;
  readonly payloadByte?: number;
  readonly macLow?: number;
}

function ethernetHeader(tags: number, ethertype: number, macLow: number, payloadBytes: number): Uint8Array {
  const frame = new Uint8Array(14 + 4 * tags + payloadBytes);
  emitEthernet(frame, 0, 0x0200, macLow, 0x0200, macLow + 1, tags > 0 ? 0x8100 : ethertype);
  for (let i = 0; i < tags; i++) {
    writeUint16(frame, 14 + 4 * i, 100 + i);
    writeUint16(frame, 16 + 4 * i, i === tags - 1 ? ethertype : 0x8100);
  }
  return frame;
}

function frameIpv4(flow: Flow): Uint8Array {
  const tags = flow.tags ?? 0;
  const frame = ethernetHeader(tags, 0x0800, flow.macLow ?? 1, 44);
  const ip = 14 + 4 * tags;
  emitIpv4(
    frame,
    ip,
    flow.tos ?? 0,
    44,
    flow.tos ?? 0,
    flow.fragment ?? 0,
    64,
    flow.protocol ?? 17,
    flow.source,
    flow.destination,
  );
  writeUint16(frame, ip + 20, flow.sourcePort);
  writeUint16(frame, ip + 22, flow.destinationPort);
  frame.fill(flow.payloadByte ?? 0, ip + 24);
  return frame;
}

function frameIpv6(flow: Flow): Uint8Array {
  const extension = flow.fragment === undefined ? 0 : 8;
  const frame = ethernetHeader(flow.tags ?? 0, 0x86dd, flow.macLow ?? 1, 60 + extension);
  const ip = 14 + 4 * (flow.tags ?? 0);
  const addresses = new Uint8Array(32);
  new DataView(addresses.buffer).setInt32(12, flow.source);
  new DataView(addresses.buffer).setInt32(28, flow.destination);
  const protocol = flow.protocol ?? 17;
  emitIpv6(frame, ip, flow.tos ?? 0, flow.tos ?? 0, 20 + extension, extension ? 44 : protocol, 64, addresses, 0, 16);
  if (extension) {
    frame[ip + 40] = protocol;
    writeUint16(frame, ip + 42, flow.fragment!);
  }
  writeUint16(frame, ip + 40 + extension, flow.sourcePort);
  writeUint16(frame, ip + 42 + extension, flow.destinationPort);
  frame.fill(flow.payloadByte ?? 0, ip + 44 + extension);
  return frame;
}

const hash = (frame: Uint8Array): number => flowHash(frame, 0, frame.length);
const flows = fc.record({
  source: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  destination: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  sourcePort: fc.nat(0xffff),
  destinationPort: fc.nat(0xffff),
  protocol: fc.constantFrom(6, 17, 33, 132, 136),
});
const BASE: Flow = { source: 0x0a000002, destination: 0x0a000003, sourcePort: 40000, destinationPort: 5201 };

describe.each([
  { family: 'IPv4', build: frameIpv4, moreFragments: 0x2000, laterFragment: 0x0010 },
  { family: 'IPv6', build: frameIpv6, moreFragments: 0x0001, laterFragment: 0x0010 },
])('$family', ({ build, moreFragments, laterFragment }) => {
  it('one flow has one hash: payload, TOS, identification, MACs and VLAN tags do not count', () => {
    fc.assert(
      fc.property(flows, fc.nat(255), fc.nat(255), fc.nat(2), fc.nat(9999), (flow, payloadByte, tos, tags, macLow) => {
        expect(hash(build({ ...flow, payloadByte, tos, tags, macLow }))).toBe(hash(build(flow)));
      }),
    );
  });

  it('is symmetric, a non-negative int31, and the same anywhere in the buffer', () => {
    fc.assert(
      fc.property(flows, fc.nat(9), (flow, offset) => {
        const frame = build(flow);
        const value = hash(frame);
        const back = {
          source: flow.destination,
          destination: flow.source,
          sourcePort: flow.destinationPort,
          destinationPort: flow.sourcePort,
        };
        expect(hash(build({ ...flow, ...back }))).toBe(value);
        expect(Number.isInteger(value) && value >= 0 && value <= 0x7fffffff).toBe(true);
        const moved = new Uint8Array(frame.length + 20).fill(0xa5);
        moved.set(frame, offset);
        expect(flowHash(moved, offset, frame.length)).toBe(value);
      }),
    );
  });

  it('every part of the flow counts', () => {
    const changes: Partial<Flow>[] = [
      { source: 9 },
      { destination: 9 },
      { sourcePort: 9 },
      { destinationPort: 9 },
      { protocol: 6 },
    ];
    const hashes = [BASE, ...changes.map((change) => ({ ...BASE, ...change }))].map((flow) => hash(build(flow)));
    expect(new Set(hashes).size).toBe(changes.length + 1);
  });

  it('fragments of one packet stay together, whatever their bytes look like', () => {
    const first = hash(build({ ...BASE, fragment: moreFragments }));
    const later = hash(build({ ...BASE, fragment: laterFragment, sourcePort: 1, destinationPort: 2, payloadByte: 3 }));
    expect(later).toBe(first);
  });

  it('without ports (ICMP and others) the first bytes do not count', () => {
    const one = hash(build({ ...BASE, protocol: 47 }));
    expect(hash(build({ ...BASE, protocol: 47, sourcePort: 1, destinationPort: 2 }))).toBe(one);
  });

  it('spreads: each bucket of 64 gets its share (chi-squared), for consecutive ports and for consecutive hosts', () => {
    const variants: ((i: number) => Flow)[] = [
      (i) => ({ ...BASE, sourcePort: 32768 + (i & 0x7fff) }),
      (i) => ({ ...BASE, source: ipv4ToNumber('10.0.0.0') + i }),
      (i) => ({ ...BASE, source: BASE.source + (i >> 7), destination: BASE.destination + 4096 + (i & 127) }),
    ];
    const flowCount = 16384;
    for (const variant of variants) {
      for (const shift of [0, 12, 25]) {
        const buckets = new Array<number>(64).fill(0);
        for (let i = 0; i < flowCount; i++) buckets[(hash(build(variant(i))) >>> shift) & 63]! += 1;
        const expected = flowCount / 64;
        const chiSquared = buckets.reduce((total, count) => total + (count - expected) ** 2 / expected, 0);
        // 63 degrees of freedom: 117 is passed by chance once in 30,000. The flows are fixed, so it can't flake.
        expect(chiSquared).toBeLessThan(117);
      }
    }
  });

  it('reads nothing beyond the frame, at every truncation', () => {
    for (const tags of [0, 1, 2]) {
      const frame = build({ ...BASE, tags });
      for (let length = 0; length <= frame.length; length++) {
        const value = flowHash(guarded(frame, 0, length), 0, length);
        expect(value).toBeGreaterThanOrEqual(0);
      }
    }
  });
});

describe('not IP', () => {
  const arp = (macLow: number): Uint8Array => ethernetHeader(0, 0x0806, macLow, 28);

  it('the MACs count, and nothing else', () => {
    expect(hash(arp(1))).not.toBe(hash(arp(5)));
    const frame = arp(1);
    frame.fill(9, 14);
    expect(hash(frame)).toBe(hash(arp(1)));
    const turned = Uint8Array.from([...frame.subarray(6, 12), ...frame.subarray(0, 6), ...frame.subarray(12)]);
    expect(hash(turned)).toBe(hash(frame));
  });

  it('IP that is none falls back to them', () => {
    const frame = frameIpv4(BASE);
    frame[14] = 0x95;
    expect(hash(frame)).toBe(hash(arp(1)));
    expect(flowHash(frameIpv4(BASE), 0, 33)).toBe(hash(arp(1)));
    expect(flowHash(frameIpv6(BASE), 0, 53)).toBe(hash(arp(1)));
  });

  it('is 0 without a whole Ethernet header', () => expect(flowHash(arp(1), 0, 13)).toBe(0));

  it('never reads out of bounds in random frames', () => {
    const types = fc.constantFrom(
      [8, 0],
      [0x86, 0xdd],
      [0x81, 0, 0, 1, 8, 0],
      [0x81, 0, 0, 1, 0x86, 0xdd],
      [0x88, 0xa8, 0, 1, 0x81, 0],
    );
    const start = fc.constantFrom(0x45, 0x4f, 0x46, 0x40, 0x60);
    fc.assert(
      fc.property(types, start, fc.uint8Array({ maxLength: 80 }), (type, first, rest) => {
        const frame = Uint8Array.from([...new Array<number>(12).fill(2), ...type, first, ...rest]);
        const buffer = new Uint8Array(frame.length + 64);
        buffer.set(frame, 7);
        expect(flowHash(guarded(buffer, 7, frame.length), 7, frame.length)).toBe(hash(frame));
      }),
      { numRuns: 1000 },
    );
  });
});
