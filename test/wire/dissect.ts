/**
 * Takes a frame apart with the modules under test, as far as VXLAN nests, and writes down what tshark writes down.
 * Test support.
 */
import { readUint16 } from '../../src/wire/byte-order.js';
import { isChecksumSound, pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { checkEthernet, ETHERNET_DESTINATION_OFFSET, ETHERNET_SOURCE_OFFSET } from '../../src/wire/ethernet.js';
import { formatIPv4, formatIPv6 } from '../../src/wire/ip-address.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import { formatMac } from '../../src/wire/mac.js';
import { checkTcp } from '../../src/wire/tcp.js';
import * as udp from '../../src/wire/udp.js';
import { findLayer3Offset, readLayer3Ethertype } from '../../src/wire/vlan.js';
import * as vxlan from '../../src/wire/vxlan.js';

/** One checksum as it lies in the frame: '1' sound, '0' unsound, '3' not made (the codes of tshark's status fields). */
export interface ChecksumReading {
  readonly layer: 'ip' | 'udp' | 'tcp' | 'icmp' | 'igmp';
  readonly status: '0' | '1' | '3';
  /** Where completeChecksum would start and store, from the begin of the outermost frame. */
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly end: number;
}

export interface Dissection {
  readonly fields: Record<string, string>;
  readonly checksums: ChecksumReading[];
  readonly vxlanVerdicts: number[];
  readonly innerFrameOffsets: number[];
}

const COLUMNS =
  'ip.src ip.dst ipv6.src ipv6.dst udp.srcport udp.dstport vxlan.flags vxlan.vni vxlan.gbp eth.src eth.dst';

export function dissect(frame: Uint8Array): Dissection {
  const lists: Record<string, string[]> = {};
  for (const column of COLUMNS.split(' ')) lists[column] = [];
  const result = {
    checksums: [] as ChecksumReading[],
    vxlanVerdicts: [] as number[],
    innerFrameOffsets: [] as number[],
  };
  const status = (sound: boolean): '0' | '1' => (sound ? '1' : '0');
  let frameOffset = 0;
  while (frameOffset >= 0) {
    const frameBytes = frame.length - frameOffset;
    if (checkEthernet(frame, frameOffset, frameBytes) !== 0) throw new Error(`no Ethernet header at ${frameOffset}`);
    lists['eth.src']!.push(formatMac(frame, frameOffset + ETHERNET_SOURCE_OFFSET));
    lists['eth.dst']!.push(formatMac(frame, frameOffset + ETHERNET_DESTINATION_OFFSET));
    const ipOffset = findLayer3Offset(frame, frameOffset, frameBytes);
    const ethertype = readLayer3Ethertype(frame, ipOffset);
    frameOffset = -1;
    let protocol = 0;
    let upperOffset = 0;
    let upperEnd = 0;
    let pseudoSum = 0;
    if (ethertype === 0x0800) {
      const verdict = ipv4.checkIpv4(frame, ipOffset, frame.length - ipOffset);
      if (verdict !== ipv4.IPV4_OK) throw new Error(`IPv4 verdict ${verdict}`);
      lists['ip.src']!.push(formatIPv4(frame, ipOffset + ipv4.IPV4_SOURCE_OFFSET));
      lists['ip.dst']!.push(formatIPv4(frame, ipOffset + ipv4.IPV4_DESTINATION_OFFSET));
      protocol = ipv4.readIpv4Protocol(frame, ipOffset);
      upperOffset = ipOffset + ipv4.readIpv4HeaderBytes(frame, ipOffset);
      upperEnd = ipOffset + ipv4.readIpv4TotalBytes(frame, ipOffset);
      pseudoSum = pseudoHeaderSumIpv4(frame, ipOffset, protocol, upperEnd - upperOffset);
      const sound = ipv4.isIpv4HeaderSound(frame, ipOffset);
      result.checksums.push({
        layer: 'ip',
        status: status(sound),
        csumStart: ipOffset,
        csumOffset: 10,
        end: upperOffset,
      });
    } else if (ethertype === 0x86dd) {
      const verdict = ipv6.checkIpv6(frame, ipOffset, frame.length - ipOffset);
      if (verdict !== ipv6.IPV6_OK) throw new Error(`IPv6 verdict ${verdict}`);
      lists['ipv6.src']!.push(formatIPv6(frame, ipOffset + ipv6.IPV6_SOURCE_OFFSET));
      lists['ipv6.dst']!.push(formatIPv6(frame, ipOffset + ipv6.IPV6_DESTINATION_OFFSET));
      upperEnd = ipOffset + ipv6.IPV6_HEADER_BYTES + ipv6.readIpv6PayloadBytes(frame, ipOffset);
      const walk = ipv6.walkIpv6(frame, ipOffset, upperEnd - ipOffset);
      protocol = ipv6.ipv6UpperProtocol(walk);
      upperOffset = ipOffset + ipv6.ipv6UpperOffset(walk);
      pseudoSum = pseudoHeaderSumIpv6(frame, ipOffset, protocol, upperEnd - upperOffset);
    } else {
      break;
    }
    const upperBytes = upperEnd - upperOffset;
    const at = { csumStart: upperOffset, end: upperEnd };
    const sound = status(isChecksumSound(frame, upperOffset, upperBytes, pseudoSum));
    const soundAlone = status(isChecksumSound(frame, upperOffset, upperBytes, 0));
    if (protocol === ipv4.IP_PROTOCOL_TCP) {
      if (checkTcp(frame, upperOffset, upperBytes) !== 0) throw new Error('TCP header');
      result.checksums.push({ layer: 'tcp', status: sound, csumOffset: 16, ...at });
    } else if (protocol === ipv4.IP_PROTOCOL_ICMP) {
      result.checksums.push({ layer: 'icmp', status: soundAlone, csumOffset: 2, ...at });
    } else if (protocol === ipv4.IP_PROTOCOL_IGMP) {
      result.checksums.push({ layer: 'igmp', status: soundAlone, csumOffset: 2, ...at });
    } else if (protocol === ipv4.IP_PROTOCOL_UDP) {
      if (udp.checkUdp(frame, upperOffset, upperBytes) !== udp.UDP_OK) throw new Error('UDP header');
      const made = udp.readUdpChecksum(frame, upperOffset) !== 0;
      result.checksums.push({ layer: 'udp', status: made ? sound : '3', csumOffset: 6, ...at });
      lists['udp.srcport']!.push(String(udp.readUdpSourcePort(frame, upperOffset)));
      lists['udp.dstport']!.push(String(udp.readUdpDestinationPort(frame, upperOffset)));
      if (udp.readUdpDestinationPort(frame, upperOffset) === vxlan.VXLAN_PORT) {
        const offset = upperOffset + udp.UDP_HEADER_BYTES;
        result.vxlanVerdicts.push(vxlan.checkVxlan(frame, offset, upperEnd - offset));
        lists['vxlan.flags']!.push(`0x${vxlan.readVxlanFlags(frame, offset).toString(16).padStart(4, '0')}`);
        lists['vxlan.vni']!.push(String(vxlan.readVni(frame, offset)));
        lists['vxlan.gbp']!.push(String(readUint16(frame, offset + 2)));
        frameOffset = offset + vxlan.VXLAN_HEADER_BYTES;
        result.innerFrameOffsets.push(frameOffset);
      }
    }
  }
  const fields = Object.fromEntries(Object.entries(lists).map(([column, values]) => [column, values.join(',')]));
  return { fields, ...result };
}
