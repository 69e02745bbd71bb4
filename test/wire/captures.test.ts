/** The headers' modules against captures of others and tshark's reading of them. */
import { describe, expect, it } from 'vitest';
import { readUint16, writeUint16 } from '../../src/wire/byte-order.js';
import { completeChecksum, pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { flowHash } from '../../src/wire/flow-hash.js';
import { emitVxlan, VXLAN_OK, VXLAN_RESERVED_BITS } from '../../src/wire/vxlan.js';
import { dissect } from './dissect.js';
import { readVectors } from './vectors.js';

const vectors = readVectors();
const named = vectors.map((vector) => ({ ...vector, toString: () => `${vector.capture} frame ${vector.frameNumber}` }));

/**
 * tshark's verdict on each checksum with all validation on (`-o ip.check_checksum:TRUE` and so on for udp, tcp):
 * 1 good, 0 bad, 3 not made. The superframes' are "bad": they were captured before the hardware completed them.
 */
const CHECKSUMS: Record<string, Record<string, string>> = {
  'tcpdump-gso-ipv4-vxlan-ipv4': { ip: '1,1', udp: '0', tcp: '0' },
  'tcpdump-gso-ipv4-vxlan-ipv6': { ip: '1', udp: '0', tcp: '0' },
  'tcpdump-gso-ipv6-vxlan-ipv4': { ip: '1', udp: '0', tcp: '0' },
  'zeek-vxlan': { ip: '1,1', udp: '3', icmp: '1' },
  'zeek-vxlan-encapsulated-http': { ip: '1,1', udp: '1', tcp: '1' },
  'zeek-vxlan-encapsulated-igmp-v2': { ip: '1,1', udp: '0', igmp: '1' },
  'zeek-vxlan-inner-tcp-bad-checksum': { ip: '1,1', udp: '1', tcp: '0' },
  'zeek-vxlan-triple-v2': { ip: '1,1,1,1', udp: '1,1,1,1' },
};

function checksumStatus(frame: Uint8Array): Record<string, string> {
  const lists: Record<string, string[]> = {};
  for (const reading of dissect(frame).checksums) {
    lists[reading.layer] ??= [];
    lists[reading.layer]!.push(reading.status);
  }
  return Object.fromEntries(Object.entries(lists).map(([layer, list]) => [layer, list.join(',')]));
}

function find(capture: string): Uint8Array {
  const vector = vectors.find((candidate) => candidate.capture === capture);
  if (vector === undefined) throw new Error(`../shared/vectors has no ${capture}.pcap`);
  return vector.frame;
}

it('reads every capture', () => {
  expect(vectors.length).toBeGreaterThanOrEqual(29);
  expect(new Set(vectors.map((vector) => vector.capture))).toEqual(new Set(Object.keys(CHECKSUMS)));
});

describe.each(named)('%s', ({ capture, frame, decode }) => {
  const { fields, vxlanVerdicts, innerFrameOffsets } = dissect(frame);

  it.each(Object.keys(fields))('%s is what tshark reads', (column) => {
    expect(fields[column]).toBe(decode[column]);
  });

  it('has the VXLAN verdict of its flags', () => {
    const expected = decode['vxlan.flags']!.split(',').map((flags) =>
      flags === '0x0800' ? VXLAN_OK : VXLAN_RESERVED_BITS,
    );
    expect(vxlanVerdicts).toEqual(expected);
  });

  it('has the checksums that tshark finds', () => {
    const isArp = decode['frame.protocols']!.endsWith(':arp');
    expect(checksumStatus(frame)).toEqual(isArp ? { ip: '1', udp: '3' } : CHECKSUMS[capture]);
  });

  it('emits the same VXLAN header where it has no extension', () => {
    for (const [i, innerOffset] of innerFrameOffsets.entries()) {
      if (vxlanVerdicts[i] !== VXLAN_OK) continue;
      const header = new Uint8Array(8).fill(0xa5);
      emitVxlan(header, 0, Number(decode['vxlan.vni']!.split(',')[i]));
      expect(header).toEqual(frame.subarray(innerOffset - 8, innerOffset));
    }
  });

  it('gets every sound checksum again from its pseudo-header sum', () => {
    const { checksums } = dissect(frame);
    for (const { layer, status, csumStart, csumOffset, end } of checksums) {
      if (status !== '1') continue;
      const copy = Uint8Array.from(frame);
      // The inverse of completion: what the field has to hold before it. Summing the rest alone shows it.
      writeUint16(copy, csumStart + csumOffset, 0);
      const pseudoSum = layer === 'tcp' || layer === 'udp' ? pseudoSumBefore(frame, csumStart, end, layer) : 0;
      writeUint16(copy, csumStart + csumOffset, pseudoSum);
      expect(completeChecksum(copy, 0, end, csumStart, csumOffset)).toBe(true);
      expect(copy).toEqual(frame);
    }
  });

  it('hashes alike at any place in the buffer', () => {
    const offset = innerFrameOffsets.at(-1)!;
    const moved = new Uint8Array(frame.length + 3);
    moved.set(frame.subarray(offset), 3);
    expect(flowHash(moved, 3, frame.length - offset)).toBe(flowHash(frame, offset, frame.length - offset));
  });
});

/** Captured IPv4 headers here are 20 bytes and have no options before TCP and UDP. */
function pseudoSumBefore(frame: Uint8Array, upperOffset: number, end: number, layer: 'tcp' | 'udp'): number {
  return pseudoHeaderSumIpv4(frame, upperOffset - 20, layer === 'tcp' ? 6 : 17, end - upperOffset);
}

describe('checksums that were left to the hardware', () => {
  it.each([
    { capture: 'tcpdump-gso-ipv4-vxlan-ipv4', layer: 'tcp', expected: 0x6674 },
    { capture: 'tcpdump-gso-ipv4-vxlan-ipv4', layer: 'udp', expected: 0xcd08 },
  ])('$capture $layer becomes what tshark says it should be', ({ capture, layer, expected }) => {
    const frame = find(capture);
    const reading = dissect(frame).checksums.find((candidate) => candidate.layer === layer)!;
    const partial = Uint8Array.from(frame);
    const pseudoSum = pseudoSumBefore(frame, reading.csumStart, reading.end, layer as 'tcp' | 'udp');
    writeUint16(partial, reading.csumStart + reading.csumOffset, pseudoSum);
    expect(completeChecksum(partial, 0, frame.length, reading.csumStart, reading.csumOffset)).toBe(true);
    expect(readUint16(partial, reading.csumStart + reading.csumOffset)).toBe(expected);
  });

  it('the kernel’s own partial sum of the IGMP captures’ outer UDP is the pseudo-header sum', () => {
    for (const { frame } of vectors.filter((vector) => vector.capture === 'zeek-vxlan-encapsulated-igmp-v2')) {
      expect(readUint16(frame, 40)).toBe(pseudoHeaderSumIpv4(frame, 14, 17, frame.length - 34));
      const copy = Uint8Array.from(frame);
      expect(completeChecksum(copy, 0, copy.length, 34, 6)).toBe(true);
      expect(checksumStatus(copy)).toMatchObject({ ip: '1,1', udp: '1', igmp: '1' });
    }
  });

  it('both layers of each superframe become sound, inner first', () => {
    for (const { capture, frame } of vectors.filter((vector) => vector.capture.startsWith('tcpdump-gso-'))) {
      const copy = Uint8Array.from(frame);
      const readings = dissect(frame).checksums.filter(({ layer }) => layer !== 'ip');
      for (const { layer, csumStart, csumOffset, end } of readings.reverse()) {
        const protocol = layer === 'tcp' ? 6 : 17;
        const isIpv6 = copy[csumStart - 40]! >>> 4 === 6 && readUint16(copy, csumStart - 42) === 0x86dd;
        const pseudoSum = isIpv6
          ? pseudoHeaderSumIpv6(copy, csumStart - 40, protocol, end - csumStart)
          : pseudoHeaderSumIpv4(copy, csumStart - 20, protocol, end - csumStart);
        writeUint16(copy, csumStart + csumOffset, pseudoSum);
        expect(completeChecksum(copy, 0, copy.length, csumStart, csumOffset)).toBe(true);
      }
      expect(checksumStatus(copy), capture).toMatchObject({ udp: '1', tcp: '1' });
    }
  });

  it('a wrong inner checksum is found wrong, and made right', () => {
    const copy = Uint8Array.from(find('zeek-vxlan-inner-tcp-bad-checksum'));
    const tcp = dissect(copy).checksums.find(({ layer }) => layer === 'tcp')!;
    expect(tcp.status).toBe('0');
    writeUint16(copy, tcp.csumStart + 16, pseudoSumBefore(copy, tcp.csumStart, tcp.end, 'tcp'));
    completeChecksum(copy, 0, tcp.end, tcp.csumStart, 16);
    expect(checksumStatus(copy).tcp).toBe('1');
  });
});

it('both directions of one captured flow have one hash, and another flow another', () => {
  const hashOf = ({ frame }: { frame: Uint8Array }) => {
    const offset = dissect(frame).innerFrameOffsets.at(-1)!;
    return flowHash(frame, offset, frame.length - offset);
  };
  const http = new Set(vectors.filter(({ capture }) => capture === 'zeek-vxlan-encapsulated-http').map(hashOf));
  expect(http.size).toBe(1);
  const igmp = vectors.filter(({ capture }) => capture === 'zeek-vxlan-encapsulated-igmp-v2').map(hashOf);
  expect(new Set(igmp).size).toBe(2);
  expect(igmp[0]).toBe(igmp[2]);
});
