/** What has to be searched for: layer 3 behind VLAN tags, the upper layer behind IPv6 extensions, ND options. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findNdLinkLayerOffset, isNeighbourMessage } from '../../src/wire/icmp.js';
import {
  IPV6_WALK_FAILED,
  ipv6UpperOffset,
  ipv6UpperProtocol,
  isIpv6UpperFragment,
  walkIpv6,
} from '../../src/wire/ipv6.js';
import { findLayer3Offset, readLayer3Ethertype, vlanTagCount, vlanTagOffset } from '../../src/wire/vlan.js';
import { guarded } from './guarded.js';

const MACS = new Array<number>(12).fill(2);

describe('layer 3 behind VLAN tags', () => {
  it.each([
    { name: 'no tag', types: [0x08, 0x00], tags: 0, ethertype: 0x0800 },
    { name: 'one tag', types: [0x81, 0x00, 0, 5, 0x86, 0xdd], tags: 1, ethertype: 0x86dd },
    { name: 'service tag', types: [0x88, 0xa8, 0, 5, 0x08, 0x06], tags: 1, ethertype: 0x0806 },
    { name: 'two tags', types: [0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00], tags: 2, ethertype: 0x0800 },
    { name: 'three tags', types: [0x81, 0, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 7, 8, 0], tags: 2, ethertype: 0x8100 },
  ])('$name', ({ types, tags, ethertype }) => {
    const frame = Uint8Array.from([0xee, 0xee, ...MACS, ...types, 0x45]);
    const found = findLayer3Offset(frame, 2, frame.length - 2);
    expect(found).toBe(2 + 14 + 4 * tags);
    expect(readLayer3Ethertype(frame, found)).toBe(ethertype);
    expect(vlanTagCount(2, found)).toBe(tags);
    expect(vlanTagOffset(2, tags)).toBe(found - 2);
    for (let length = 0; length < 14 + 4 * tags; length++) {
      expect(findLayer3Offset(guarded(frame, 2, length), 2, length)).toBe(-1);
    }
  });
});

describe('walkIpv6', () => {
  const packet = (next: number, ...headers: number[]): Uint8Array => {
    const bytes = new Uint8Array(40 + headers.length);
    bytes[0] = 0x60;
    bytes[6] = next;
    bytes.set(headers, 40);
    return bytes;
  };
  const eight = (next: number, second = 0, third = 0, fourth = 0): number[] => [
    next,
    second,
    third,
    fourth,
    0,
    0,
    0,
    0,
  ];
  const upper = (bytes: Uint8Array) => {
    const walk = walkIpv6(bytes, 0, bytes.length);
    return walk === IPV6_WALK_FAILED
      ? 'failed'
      : { protocol: ipv6UpperProtocol(walk), offset: ipv6UpperOffset(walk), fragment: isIpv6UpperFragment(walk) };
  };

  it.each([
    { name: 'none', bytes: packet(6), protocol: 6, offset: 40, fragment: false },
    { name: 'hop-by-hop', bytes: packet(0, ...eight(17)), protocol: 17, offset: 48, fragment: false },
    {
      name: 'routing of 24 bytes',
      bytes: packet(43, ...eight(58, 2), ...eight(0), ...eight(0)),
      protocol: 58,
      offset: 64,
      fragment: false,
    },
    {
      name: 'authentication, in 4-byte words',
      bytes: packet(51, ...eight(6, 4), ...eight(0), ...eight(0)),
      protocol: 6,
      offset: 64,
      fragment: false,
    },
    { name: 'ESP is an end', bytes: packet(50, ...eight(6)), protocol: 50, offset: 40, fragment: false },
    { name: 'nothing next', bytes: packet(60, ...eight(59)), protocol: 59, offset: 48, fragment: false },
    { name: 'first fragment', bytes: packet(44, ...eight(17, 0, 0, 1)), protocol: 44, offset: 40, fragment: true },
    {
      name: 'later fragment',
      bytes: packet(0, ...eight(44), ...eight(17, 0, 0, 8)),
      protocol: 44,
      offset: 48,
      fragment: true,
    },
    { name: 'atomic fragment', bytes: packet(44, ...eight(17, 0, 0, 6)), protocol: 17, offset: 48, fragment: false },
    {
      name: '8 headers',
      bytes: packet(60, ...new Array(7).fill(eight(60)).flat(), ...eight(6)),
      protocol: 6,
      offset: 104,
      fragment: false,
    },
  ])('$name', ({ bytes, protocol, offset, fragment }) => {
    expect(upper(bytes)).toEqual({ protocol, offset, fragment });
  });

  it.each([
    { name: '9 headers', bytes: packet(60, ...new Array(8).fill(eight(60)).flat(), ...eight(6)) },
    { name: 'a chain that ends in the middle', bytes: packet(0, 17, 0, 0, 0) },
    { name: 'a length beyond the packet', bytes: packet(0, ...eight(17, 1)) },
  ])('fails at $name', ({ bytes }) => expect(upper(bytes)).toBe('failed'));

  it('never leaves the packet', () => {
    const links = fc.array(fc.constantFrom(0, 1, 2, 6, 17, 43, 44, 51, 60, 135, 255), {
      minLength: 40,
      maxLength: 120,
    });
    fc.assert(
      fc.property(links, fc.nat(80), (list, extra) => {
        const bytes = Uint8Array.from(list);
        const length = Math.min(bytes.length, 40 + extra);
        const walk = walkIpv6(guarded(bytes, 0, length), 0, length);
        if (walk !== IPV6_WALK_FAILED) expect(ipv6UpperOffset(walk)).toBeLessThanOrEqual(length);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('neighbour discovery', () => {
  const option = (type: number, units = 1): number[] => [
    type,
    units,
    2,
    0,
    0,
    0,
    0,
    7,
    ...new Array<number>((units - 1) * 8).fill(0),
  ];
  const message = (...options: number[]): Uint8Array =>
    Uint8Array.from([135, 0, ...new Array<number>(22).fill(0), ...options]);
  const find = (bytes: Uint8Array, type: number) => findNdLinkLayerOffset(guarded(bytes), 0, bytes.length, type);

  it('tells messages with a target from others', () => {
    expect(isNeighbourMessage(message(), 0, 24)).toBe(true);
    expect(isNeighbourMessage(message(), 0, 23)).toBe(false);
    for (const [index, value] of [
      [0, 134],
      [1, 1],
    ] as const) {
      const bytes = message();
      bytes[index] = value;
      expect(isNeighbourMessage(bytes, 0, 24)).toBe(false);
    }
  });

  it('finds the link-layer address', () => {
    expect(find(message(...option(1)), 1)).toBe(26);
    expect(find(message(...option(14, 2), ...option(1)), 1)).toBe(42);
    expect(find(message(...option(2)), 1)).toBe(-1);
    expect(find(message(), 1)).toBe(-1);
  });

  it('gives up at broken options', () => {
    expect(find(message(5, 0, 0, 0, 0, 0, 0, 0, ...option(1)), 1)).toBe(-1);
    expect(find(message(1, 2, 0, 0, 0, 0, 0, 0), 1)).toBe(-1);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (options) => {
        const found = find(message(...options), 1);
        expect(found === -1 || found + 6 <= 24 + options.length).toBe(true);
      }),
    );
  });
});
