/** The frames of a warm-up, as a TAP hands them over: what containers send most. Cold. */
import {
  WARM_UP_IP_HERE,
  WARM_UP_IP_STRANGER,
  WARM_UP_IP_THERE,
  WARM_UP_MAC_HERE,
  WARM_UP_MAC_HIGH16,
  WARM_UP_MAC_THERE,
  WARM_UP_MTU_BYTES,
} from '../shared/warm-up.js';
import { ARP_BYTES, ARP_REQUEST, emitArp } from '../wire/arp.js';
import { pseudoHeaderSumIpv4, pseudoHeaderSumIpv6 } from '../wire/checksum.js';
import { ECN_ECT_0 } from '../wire/ecn.js';
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  emitEthernet,
} from '../wire/ethernet.js';
import {
  emitIpv4,
  IP_PROTOCOL_ICMP,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
  IPV4_DONT_FRAGMENT,
  IPV4_HEADER_BYTES_MIN,
} from '../wire/ipv4.js';
import { emitIpv6, IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { emitTcp, TCP_ACK, TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES_MIN, TCP_PSH } from '../wire/tcp.js';
import { emitUdp, UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from '../wire/udp.js';
import {
  emitVirtioNetHdr,
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
} from '../wire/virtio-net-hdr.js';

const SEGMENTS = 4;

export function warmUpMessages(): Uint8Array[] {
  const smallUdp = [0, 1, 2, 3].map((id) => ipMessage(ETHERTYPE_IPV4, IP_PROTOCOL_UDP, 64, id));
  return [
    ipMessage(ETHERTYPE_IPV4, IP_PROTOCOL_ICMP, 64, 0),
    ipMessage(ETHERTYPE_IPV4, IP_PROTOCOL_TCP, 0, 0),
    ...smallUdp,
    ipMessage(ETHERTYPE_IPV4, IP_PROTOCOL_TCP, SEGMENTS * segmentBytes(IPV4_HEADER_BYTES_MIN), 0),
    arpMessage(WARM_UP_IP_THERE),
    arpMessage(WARM_UP_IP_STRANGER),
    ipMessage(ETHERTYPE_IPV6, IP_PROTOCOL_TCP, SEGMENTS * segmentBytes(IPV6_HEADER_BYTES), 0),
  ];
}

function segmentBytes(ipHeaderBytes: number): number {
  return WARM_UP_MTU_BYTES - ipHeaderBytes - TCP_HEADER_BYTES_MIN;
}

function ipMessage(ethertype: number, protocol: number, payloadBytes: number, id: number): Uint8Array {
  const isIpv4 = ethertype === ETHERTYPE_IPV4;
  const ipHeaderBytes = isIpv4 ? IPV4_HEADER_BYTES_MIN : IPV6_HEADER_BYTES;
  const upperStart = ETHERNET_HEADER_BYTES + ipHeaderBytes;
  const upperHeaderBytes = protocol === IP_PROTOCOL_TCP ? TCP_HEADER_BYTES_MIN : UDP_HEADER_BYTES;
  const upperBytes = upperHeaderBytes + payloadBytes;
  const message = new Uint8Array(VIRTIO_NET_HDR_BYTES + upperStart + upperBytes).fill(0x5a);
  const frame = VIRTIO_NET_HDR_BYTES;
  const ip = frame + ETHERNET_HEADER_BYTES;
  const upper = frame + upperStart;
  emitEthernet(message, frame, WARM_UP_MAC_HIGH16, WARM_UP_MAC_THERE, WARM_UP_MAC_HIGH16, WARM_UP_MAC_HERE, ethertype);
  let pseudo: number;
  if (isIpv4) {
    const totalBytes = ipHeaderBytes + upperBytes;
    // 192.0.2.1 to 192.0.2.2 (RFC 5737). TCP takes part in ECN, as it may.
    const tos = protocol === IP_PROTOCOL_TCP && payloadBytes > 0 ? ECN_ECT_0 : 0;
    emitIpv4(message, ip, tos, totalBytes, id, IPV4_DONT_FRAGMENT, 64, protocol, WARM_UP_IP_HERE, WARM_UP_IP_THERE);
    pseudo = pseudoHeaderSumIpv4(message, ip, protocol, upperBytes);
  } else {
    // 2001:db8::1 to 2001:db8::2 (RFC 3849).
    const addresses = new Uint8Array(32);
    addresses.set([0x20, 0x01, 0x0d, 0xb8], 0);
    addresses.set([0x20, 0x01, 0x0d, 0xb8], 16);
    addresses[15] = 1;
    addresses[31] = 2;
    emitIpv6(message, ip, 0, 0, upperBytes, protocol, 64, addresses, 0, 16);
    pseudo = pseudoHeaderSumIpv6(message, ip, protocol, upperBytes);
  }
  if (protocol === IP_PROTOCOL_TCP) emitTcp(message, upper, 1, 2, 1, 1, TCP_ACK | TCP_PSH, 1024, pseudo);
  else emitUdp(message, upper, 1, 2, upperBytes, pseudo);
  if (protocol === IP_PROTOCOL_ICMP) {
    message.fill(0, 0, VIRTIO_NET_HDR_BYTES);
    return message;
  }
  const isSuperframe = payloadBytes > segmentBytes(ipHeaderBytes);
  const gsoOfTcp = isIpv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
  emitVirtioNetHdr(
    message,
    0,
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    isSuperframe ? gsoOfTcp : VIRTIO_NET_HDR_GSO_NONE,
    upperStart + upperHeaderBytes,
    isSuperframe ? segmentBytes(ipHeaderBytes) : 0,
    upperStart,
    protocol === IP_PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET,
  );
  return message;
}

function arpMessage(targetIp: number): Uint8Array {
  const message = new Uint8Array(VIRTIO_NET_HDR_BYTES + ETHERNET_HEADER_BYTES + ARP_BYTES);
  const everybody = 0xffff;
  emitEthernet(message, VIRTIO_NET_HDR_BYTES, everybody, -1, WARM_UP_MAC_HIGH16, WARM_UP_MAC_HERE, ETHERTYPE_ARP);
  const arp = VIRTIO_NET_HDR_BYTES + ETHERNET_HEADER_BYTES;
  emitArp(message, arp, ARP_REQUEST, WARM_UP_MAC_HIGH16, WARM_UP_MAC_HERE, WARM_UP_IP_HERE, 0, 0, targetIp);
  return message;
}
