/** Emit then read gives the same; emit writes every byte and no other; checks and walks stay in the frame. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as arp from '../../src/wire/arp.js';
import * as byteOrder from '../../src/wire/byte-order.js';
import * as ethernet from '../../src/wire/ethernet.js';
import * as icmp from '../../src/wire/icmp.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import { macKeyHigh, macKeyLow, writeMacKey } from '../../src/wire/mac-key.js';
import * as tcp from '../../src/wire/tcp.js';
import * as udp from '../../src/wire/udp.js';
import * as virtio from '../../src/wire/virtio-net-hdr.js';
import * as vlan from '../../src/wire/vlan.js';
import * as vxlan from '../../src/wire/vxlan.js';
import { guarded } from './guarded.js';

type Reader = (bytes: Uint8Array, offset: number) => number;
/** A field: its reader, and the value that it was emitted with. */
type Expected = readonly (readonly [Reader, number])[];

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const i32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const OFFSET = 5;

/**
 * Emits into memory of 0xa5 and into memory of 0x5a. A byte that emit leaves alone differs between the two; a byte
 * written outside of the header throws.
 */
function assertEmits(
  headerBytes: number,
  emit: (bytes: Uint8Array, offset: number) => void,
  expected: Expected,
): Uint8Array {
  const one = new Uint8Array(headerBytes + 2 * OFFSET).fill(0xa5);
  const other = new Uint8Array(headerBytes + 2 * OFFSET).fill(0x5a);
  emit(guarded(one, OFFSET, headerBytes), OFFSET);
  emit(guarded(other, OFFSET, headerBytes), OFFSET);
  const header = one.slice(OFFSET, OFFSET + headerBytes);
  expect(header).toEqual(other.slice(OFFSET, OFFSET + headerBytes));
  for (const [read, value] of expected) expect([read.name, read(one, OFFSET)]).toEqual([read.name, value]);
  return header;
}

describe('emit, then read', () => {
  it('byte order', () => {
    fc.assert(
      fc.property(u16, i32, (half, word) => {
        assertEmits(2, (b, o) => byteOrder.writeUint16(b, o, half), [[byteOrder.readUint16, half]]);
        assertEmits(2, (b, o) => byteOrder.writeUint16Le(b, o, half), [[byteOrder.readUint16Le, half]]);
        const bytes = assertEmits(4, (b, o) => byteOrder.writeUint32(b, o, word), [
          [byteOrder.readInt32, word],
          [byteOrder.readUint32, word >>> 0],
        ]);
        expect(new DataView(bytes.buffer).getInt32(0)).toBe(word);
      }),
    );
  });

  it('Ethernet and MAC keys', () => {
    fc.assert(
      fc.property(u16, i32, u16, i32, u16, (dh, dl, sh, sl, type) => {
        assertEmits(14, (b, o) => ethernet.emitEthernet(b, o, dh, dl, sh, sl, type), [
          [(b, o) => macKeyHigh(b, o), dh],
          [(b, o) => macKeyLow(b, o), dl],
          [(b, o) => macKeyHigh(b, o + 6), sh],
          [(b, o) => macKeyLow(b, o + 6), sl],
          [ethernet.readEthertype, type],
        ]);
        assertEmits(6, (b, o) => writeMacKey(b, o, sh, sl), [
          [macKeyHigh, sh],
          [macKeyLow, sl],
        ]);
      }),
    );
  });

  it('VLAN tag', () => {
    fc.assert(
      fc.property(u16, fc.nat(7), fc.nat(1), fc.nat(4095), (protocol, priority, dei, id) => {
        assertEmits(4, (b, o) => vlan.emitVlanTag(b, o, protocol, priority, dei, id), [
          [vlan.readVlanProtocol, protocol],
          [vlan.readVlanPriority, priority],
          [vlan.readVlanDropEligible, dei],
          [vlan.readVlanId, id],
        ]);
      }),
    );
  });

  it('ARP', () => {
    fc.assert(
      fc.property(u16, u16, i32, i32, u16, i32, i32, (op, sh, sl, sip, th, tl, tip) => {
        const bytes = assertEmits(28, (b, o) => arp.emitArp(b, o, op, sh, sl, sip, th, tl, tip), [
          [arp.readArpOperation, op],
          [(b, o) => macKeyHigh(b, o + arp.ARP_SENDER_MAC_OFFSET), sh],
          [(b, o) => macKeyLow(b, o + arp.ARP_SENDER_MAC_OFFSET), sl],
          [arp.readArpSenderIp, sip],
          [(b, o) => macKeyHigh(b, o + arp.ARP_TARGET_MAC_OFFSET), th],
          [(b, o) => macKeyLow(b, o + arp.ARP_TARGET_MAC_OFFSET), tl],
          [arp.readArpTargetIp, tip],
        ]);
        expect(arp.checkArp(bytes, 0, 28)).toBe(arp.ARP_OK);
        expect(arp.isArpProbeOrGratuitous(bytes, 0)).toBe(sip === 0 || sip === tip);
      }),
    );
  });

  it('IPv4, whose checksum is sound', () => {
    fc.assert(
      fc.property(u8, u16, u16, u16, u8, u8, i32, i32, (tos, total, id, flags, ttl, protocol, from, to) => {
        const bytes = assertEmits(20, (b, o) => ipv4.emitIpv4(b, o, tos, total, id, flags, ttl, protocol, from, to), [
          [ipv4.readIpv4HeaderBytes, 20],
          [ipv4.readIpv4Tos, tos],
          [ipv4.readIpv4TotalBytes, total],
          [ipv4.readIpv4Identification, id],
          [ipv4.readIpv4FlagsAndFragment, flags],
          [ipv4.readIpv4Ttl, ttl],
          [ipv4.readIpv4Protocol, protocol],
          [ipv4.readIpv4Source, from],
          [ipv4.readIpv4Destination, to],
        ]);
        expect(ipv4.isIpv4HeaderSound(bytes, 0)).toBe(true);
        expect(ipv4.isIpv4Fragment(bytes, 0)).toBe((flags & 0x3fff) !== 0);
        expect(ipv4.isIpv4DontFragment(bytes, 0)).toBe((flags & 0x4000) !== 0);
        const checksum = ipv4.readIpv4Checksum(bytes, 0);
        bytes[8]! ^= 1;
        expect(ipv4.isIpv4HeaderSound(bytes, 0)).toBe(false);
        bytes[8]! ^= 1;
        ipv4.writeIpv4Checksum(bytes, 0);
        expect(ipv4.readIpv4Checksum(bytes, 0)).toBe(checksum);
      }),
    );
  });

  it('IPv6', () => {
    const addresses = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(u8, fc.nat(0xfffff), u16, u8, u8, addresses, (tc, label, length, next, hops, pair) => {
        const bytes = assertEmits(40, (b, o) => ipv6.emitIpv6(b, o, tc, label, length, next, hops, pair, 0, 16), [
          [ipv6.readIpv6TrafficClass, tc],
          [ipv6.readIpv6FlowLabel, label],
          [ipv6.readIpv6PayloadBytes, length],
          [ipv6.readIpv6NextHeader, next],
          [ipv6.readIpv6HopLimit, hops],
        ]);
        expect(bytes[0]! >>> 4).toBe(6);
        expect(bytes.slice(8, 40)).toEqual(pair);
      }),
    );
  });

  it('UDP, TCP and ICMP', () => {
    fc.assert(
      fc.property(u16, u16, u16, u16, i32, i32, u8, u8, (a, b16, c, d, e, f, g, h) => {
        assertEmits(8, (b, o) => udp.emitUdp(b, o, a, b16, c, d), [
          [udp.readUdpSourcePort, a],
          [udp.readUdpDestinationPort, b16],
          [udp.readUdpBytes, c],
          [udp.readUdpChecksum, d],
        ]);
        assertEmits(20, (b, o) => tcp.emitTcp(b, o, a, b16, e, f, g, c, d), [
          [tcp.readTcpSourcePort, a],
          [tcp.readTcpDestinationPort, b16],
          [tcp.readTcpSequence, e],
          [tcp.readTcpAcknowledgement, f],
          [tcp.readTcpHeaderBytes, 20],
          [tcp.readTcpFlags, g],
          [tcp.readTcpWindow, c],
          [tcp.readTcpChecksum, d],
          [tcp.readTcpUrgent, 0],
        ]);
        assertEmits(8, (b, o) => icmp.emitIcmp(b, o, g, h, e), [
          [icmp.readIcmpType, g],
          [icmp.readIcmpCode, h],
          [icmp.readIcmpChecksum, 0],
          [icmp.readIcmpRest, e],
          [icmp.readIcmpIdentifier, e >>> 16],
          [icmp.readIcmpSequence, e & 0xffff],
        ]);
      }),
    );
  });

  it('VXLAN', () => {
    fc.assert(
      fc.property(fc.nat(vxlan.VXLAN_VNI_MAX), (vni) => {
        const bytes = assertEmits(8, (b, o) => vxlan.emitVxlan(b, o, vni), [
          [vxlan.readVni, vni],
          [vxlan.readVxlanFlags, 0x0800],
        ]);
        expect([...bytes]).toEqual([8, 0, 0, 0, vni >> 16, (vni >> 8) & 255, vni & 255, 0]);
        expect(vxlan.checkVxlan(bytes, 0, 8)).toBe(vxlan.VXLAN_OK);
      }),
    );
  });

  it('virtio_net_hdr, in the host’s own order', () => {
    fc.assert(
      fc.property(u8, u8, u16, u16, u16, u16, (flags, type, hdrLen, gsoSize, start, csum) => {
        const bytes = assertEmits(
          10,
          (b, o) => virtio.emitVirtioNetHdr(b, o, flags, type, hdrLen, gsoSize, start, csum),
          [
            [virtio.readVirtioFlags, flags],
            [virtio.readVirtioGsoType, type],
            [virtio.readVirtioHdrLen, hdrLen],
            [virtio.readVirtioGsoSize, gsoSize],
            [virtio.readVirtioCsumStart, start],
            [virtio.readVirtioCsumOffset, csum],
          ],
        );
        expect([...new Uint16Array(bytes.buffer)].slice(1)).toEqual([hdrLen, gsoSize, start, csum]);
      }),
    );
    expect(assertEmits(10, virtio.clearVirtioNetHdr, [])).toEqual(new Uint8Array(10));
  });
});

describe('checks', () => {
  const CHECKS = [
    { name: 'Ethernet', check: ethernet.checkEthernet, bytesMin: 14, short: ethernet.ETHERNET_SHORT },
    { name: 'ARP', check: arp.checkArp, bytesMin: 28, short: arp.ARP_SHORT },
    { name: 'IPv4', check: ipv4.checkIpv4, bytesMin: 20, short: ipv4.IPV4_SHORT },
    { name: 'IPv6', check: ipv6.checkIpv6, bytesMin: 40, short: ipv6.IPV6_SHORT },
    { name: 'UDP', check: udp.checkUdp, bytesMin: 8, short: udp.UDP_SHORT },
    { name: 'TCP', check: tcp.checkTcp, bytesMin: 20, short: tcp.TCP_SHORT },
    { name: 'ICMP', check: icmp.checkIcmp, bytesMin: 8, short: icmp.ICMP_SHORT },
    { name: 'VXLAN', check: vxlan.checkVxlan, bytesMin: 8, short: vxlan.VXLAN_SHORT },
    { name: 'virtio_net_hdr', check: virtio.checkVirtioNetHdr, bytesMin: 10, short: virtio.VIRTIO_NET_HDR_SHORT },
  ];

  it.each(CHECKS)('$name: short at every truncation, never out of bounds', ({ check, bytesMin, short }) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), fc.nat(3), (bytes, offset) => {
        for (let length = 0; length + offset <= bytes.length; length++) {
          const verdict = check(guarded(bytes, offset, length), offset, length);
          expect(verdict === short).toBe(length < bytesMin);
        }
      }),
      { numRuns: 20 },
    );
    const buffer = new Uint8Array(bytesMin);
    expect(check(buffer, 1, bytesMin)).toBe(short);
    expect(check(buffer, -1, bytesMin)).toBe(short);
  });

  const change = (bytes: Uint8Array, index: number, value: number): Uint8Array => {
    const changed = Uint8Array.from(bytes);
    changed[index] = value;
    return changed;
  };

  it('VXLAN verdicts', () => {
    const good = Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 0);
    expect(vxlan.checkVxlan(change(good, 0, 0), 0, 8)).toBe(vxlan.VXLAN_NO_VNI_FLAG);
    expect(vxlan.checkVxlan(change(good, 0, 0xf7), 0, 8)).toBe(vxlan.VXLAN_NO_VNI_FLAG);
    for (const index of [1, 2, 3, 7]) {
      for (let bit = 1; bit < 256; bit <<= 1) {
        expect(vxlan.checkVxlan(change(good, index, bit), 0, 8)).toBe(vxlan.VXLAN_RESERVED_BITS);
      }
    }
    for (let bit = 1; bit < 256; bit <<= 1) {
      expect(vxlan.checkVxlan(change(good, 0, 8 | bit), 0, 8)).toBe(
        bit === 8 ? vxlan.VXLAN_OK : vxlan.VXLAN_RESERVED_BITS,
      );
    }
  });

  it('ARP of other kinds is foreign', () => {
    const good = new Uint8Array(28);
    arp.emitArp(good, 0, arp.ARP_REQUEST, 0x0200, 1, 0x0a000002, 0, 0, 0x0a000003);
    for (const index of [0, 1, 2, 3, 4, 5]) {
      expect(arp.checkArp(change(good, index, 0x77), 0, 28)).toBe(arp.ARP_FOREIGN);
    }
  });

  it('IPv4 and IPv6 lengths and versions', () => {
    const four = new Uint8Array(40);
    ipv4.emitIpv4(four, 0, 0, 30, 0, 0, 64, 17, 1, 2);
    const check4 = (index: number, value: number, length = 40) => ipv4.checkIpv4(change(four, index, value), 0, length);
    expect(check4(3, 30)).toBe(ipv4.IPV4_OK);
    expect(check4(3, 30, 30)).toBe(ipv4.IPV4_OK);
    expect(check4(3, 30, 29)).toBe(ipv4.IPV4_BAD_TOTAL_LENGTH);
    expect(check4(3, 19)).toBe(ipv4.IPV4_BAD_TOTAL_LENGTH);
    expect(check4(0, 0x65)).toBe(ipv4.IPV4_BAD_VERSION);
    expect(check4(0, 0x44)).toBe(ipv4.IPV4_BAD_HEADER_LENGTH);
    expect(check4(0, 0x4b)).toBe(ipv4.IPV4_BAD_HEADER_LENGTH);
    const six = new Uint8Array(60);
    ipv6.emitIpv6(six, 0, 0, 0, 20, 17, 64, six, 8, 24);
    expect(ipv6.checkIpv6(six, 0, 60)).toBe(ipv6.IPV6_OK);
    expect(ipv6.checkIpv6(six, 0, 59)).toBe(ipv6.IPV6_BAD_PAYLOAD_LENGTH);
    expect(ipv6.checkIpv6(change(six, 0, 0x40), 0, 60)).toBe(ipv6.IPV6_BAD_VERSION);
  });

  it('UDP and TCP lengths', () => {
    const bytes = new Uint8Array(32);
    for (const [length, verdict] of [
      [8, udp.UDP_OK],
      [32, udp.UDP_OK],
      [7, udp.UDP_BAD_LENGTH],
      [0, udp.UDP_BAD_LENGTH],
      [33, udp.UDP_BAD_LENGTH],
    ] as const) {
      udp.emitUdp(bytes, 0, 1, 2, length, 0);
      expect(udp.checkUdp(bytes, 0, 32)).toBe(verdict);
    }
    for (const [words, verdict] of [
      [5, tcp.TCP_OK],
      [8, tcp.TCP_OK],
      [4, tcp.TCP_BAD_HEADER_LENGTH],
      [9, tcp.TCP_BAD_HEADER_LENGTH],
    ] as const) {
      expect(tcp.checkTcp(change(bytes, 12, words << 4), 0, 32)).toBe(verdict);
    }
  });

  it('virtio_net_hdr against the frame’s length', () => {
    const verdict = (flags: number, type: number, gsoSize: number, start: number, offset: number) => {
      const bytes = new Uint8Array(10 + 60);
      virtio.emitVirtioNetHdr(bytes, 0, flags, type, 65535, gsoSize, start, offset);
      return virtio.checkVirtioNetHdr(bytes, 0, bytes.length);
    };
    const { VIRTIO_NET_HDR_OK: OK, VIRTIO_NET_HDR_BAD_CSUM: BAD_CSUM, VIRTIO_NET_HDR_BAD_GSO: BAD_GSO } = virtio;
    expect(verdict(0, 0, 0, 65535, 65535)).toBe(OK);
    expect(verdict(1, 0, 0, 42, 16)).toBe(OK);
    expect(verdict(1, 0, 0, 43, 16)).toBe(BAD_CSUM);
    expect(verdict(1, 0, 0, 65535, 65535)).toBe(BAD_CSUM);
    for (const type of [1, 3, 4, 5, 0x81, 0x84]) {
      expect(verdict(1, type, 1448, 34, 16)).toBe(OK);
      expect(verdict(1, type, 0, 34, 16)).toBe(BAD_GSO);
    }
    for (const type of [2, 6, 0x7f]) expect(verdict(0, type, 1448, 0, 0)).toBe(BAD_GSO);
  });
});

describe('MAC kinds', () => {
  it.each([
    { mac: [2, 0, 0, 0, 0, 1], multicast: false, broadcast: false, zero: false, unicast: true },
    { mac: [1, 0, 0x5e, 0, 0, 1], multicast: true, broadcast: false, zero: false, unicast: false },
    { mac: [255, 255, 255, 255, 255, 255], multicast: true, broadcast: true, zero: false, unicast: false },
    { mac: [255, 255, 255, 255, 255, 254], multicast: true, broadcast: false, zero: false, unicast: false },
    { mac: [0, 0, 0, 0, 0, 0], multicast: false, broadcast: false, zero: true, unicast: false },
    { mac: [0, 0, 0x80, 0, 0, 0], multicast: false, broadcast: false, zero: false, unicast: true },
  ])('$mac', ({ mac, multicast, broadcast, zero, unicast }) => {
    const bytes = Uint8Array.from(mac);
    expect(ethernet.isMulticastMac(bytes, 0)).toBe(multicast);
    expect(ethernet.isBroadcastMac(bytes, 0)).toBe(broadcast);
    expect(ethernet.isZeroMac(bytes, 0)).toBe(zero);
    expect(ethernet.isUnicastMac(bytes, 0)).toBe(unicast);
  });
});
