/**
 * Every cause for which a frame or a datagram is dropped, with the counter's name and a text for people. docs/drops.md is
 * tested against this list. Ids are indexes into the counter rows; they may be appended to, not renumbered.
 *
 * Names follow the kernel's where it has one (include/net/dropreason-core.h, SKB_DROP_REASON_VXLAN_...).
 */

export interface DropCause {
  readonly id: number;
  /** The counter's name. */
  readonly name: string;
  /** Whether the frame came from a container (encap) or from the underlay (decap). */
  readonly direction: 'encap' | 'decap';
  readonly text: string;
}

export const DROP_TAP_RUNT = 0;
export const DROP_TAP_VIRTIO_HEADER = 1;
export const DROP_TAP_GSO = 2;
export const DROP_NO_REMOTE = 3;
export const DROP_LOCAL_DESTINATION = 4;
export const DROP_UNDERLAY_BUSY = 5;
export const DROP_UNDERLAY_ERROR = 6;
export const DROP_OVERSIZE = 7;
export const DROP_INVALID_HEADER = 8;
export const DROP_NO_VNI_FLAG = 9;
export const DROP_RESERVED_BITS = 10;
export const DROP_VNI_NOT_FOUND = 11;
export const DROP_SOURCE_SELF = 12;
export const DROP_VTEP_NOT_MEMBER = 13;
export const DROP_INNER_RUNT = 14;
export const DROP_MAC_INVALID_SOURCE = 15;
export const DROP_LOCAL_MAC = 16;
export const DROP_ENTRY_EXISTS = 17;
export const DROP_TAP_BUSY = 18;
export const DROP_TAP_ERROR = 19;
export const DROP_TRUNCATED = 20;
export const DROP_INNER_OVERSIZE = 21;
/** Counted by the kernel, not by a worker: the socket tells how many (forwarding-tables.ts). */
export const DROP_UNDERLAY_OVERFLOW = 22;
export const DROP_GATEWAY_SOURCE = 23;
export const DROP_SOURCE_MAC = 24;
export const DROP_SOURCE_ADDRESS = 25;
export const DROP_STORM_LIMIT = 26;
export const DROP_ECN = 27;
export const DROP_TOO_BIG = 28;
export const DROP_GROUP_POLICY = 29;
export const DROP_NO_MEMBER = 30;
/** These two are read from the interfaces' statistics (control/ports/link-drops.ts). */
export const DROP_TAP_QUEUE_FULL = 31;
export const DROP_PORT_REFUSED = 32;

export const DROP_CAUSES: readonly DropCause[] = [
  cause(
    DROP_TAP_RUNT,
    'tap_runt',
    'encap',
    'The frame from the TAP is shorter than an Ethernet header, or than the IP header that it announces.',
  ),
  cause(
    DROP_TAP_VIRTIO_HEADER,
    'tap_virtio_header',
    'encap',
    'The virtio header does not agree with the frame: its checksum, or the kind or lengths of a superframe.',
  ),
  cause(
    DROP_TAP_GSO,
    'tap_gso',
    'encap',
    'The superframe is neither TCP nor UDP, its headers or segments are too long to be split, or these are too many.',
  ),
  cause(DROP_NO_REMOTE, 'no_remote', 'encap', 'The destination is not known and no other VTEP holds the network.'),
  cause(
    DROP_LOCAL_DESTINATION,
    'local_destination',
    'encap',
    'The destination is a container of this host: the bridge has delivered the frame itself.',
  ),
  cause(DROP_UNDERLAY_BUSY, 'underlay_busy', 'encap', 'The underlay socket or device is full (EAGAIN, ENOBUFS).'),
  cause(
    DROP_UNDERLAY_ERROR,
    'underlay_error',
    'encap',
    'The kernel refused the datagram: no route, a firewall rule, or too long for the underlay.',
  ),
  cause(DROP_OVERSIZE, 'oversize', 'encap', 'The frame with its VXLAN header does not fit into a UDP datagram.'),
  cause(DROP_INVALID_HEADER, 'invalid_hdr', 'decap', 'The datagram is shorter than a VXLAN header.'),
  cause(DROP_NO_VNI_FLAG, 'no_vni_flag', 'decap', 'The I flag (0x08) of the VXLAN header is not set.'),
  cause(DROP_RESERVED_BITS, 'reserved_bits', 'decap', 'A reserved bit or a flag of an extension that is off is set.'),
  cause(DROP_VNI_NOT_FOUND, 'vni_not_found', 'decap', 'No network with this VNI has a container on this host.'),
  cause(DROP_SOURCE_SELF, 'source_self', 'decap', "The datagram's source is this VTEP's own address."),
  cause(DROP_VTEP_NOT_MEMBER, 'vtep_not_member', 'decap', 'The sender is not registered as a VTEP of this network.'),
  cause(
    DROP_INNER_RUNT,
    'inner_runt',
    'decap',
    'The inner frame is shorter than an Ethernet header, or than the IP header that it announces.',
  ),
  cause(DROP_MAC_INVALID_SOURCE, 'mac_invalid_source', 'decap', 'The inner source MAC is multicast or zero.'),
  cause(
    DROP_LOCAL_MAC,
    'local_mac',
    'decap',
    'The inner source MAC is that of a container of this host, or the gateway.',
  ),
  cause(
    DROP_ENTRY_EXISTS,
    'entry_exists',
    'decap',
    'The inner source MAC is registered behind another VTEP than the sender.',
  ),
  cause(DROP_TAP_BUSY, 'tap_busy', 'decap', 'The TAP takes no more frames for now (EAGAIN, ENOBUFS).'),
  cause(DROP_TAP_ERROR, 'tap_error', 'decap', 'The TAP refused the frame: its interface is down or gone.'),
  cause(DROP_TRUNCATED, 'truncated', 'decap', 'The datagram is longer than the receive buffer.'),
  cause(DROP_INNER_OVERSIZE, 'inner_oversize', 'decap', "The inner frame is longer than the network's MTU allows."),
  cause(
    DROP_UNDERLAY_OVERFLOW,
    'underlay_overflow',
    'decap',
    'The underlay socket was full: the workers could not keep up. The kernel counts messages, not datagrams; and wrong UDP checksums here too.',
  ),
  cause(
    DROP_GATEWAY_SOURCE,
    'gateway_source',
    'encap',
    "The frame comes from the network's gateway: each host has its own, so it stays on its host.",
  ),
  cause(
    DROP_SOURCE_MAC,
    'source_mac',
    'encap',
    'The source MAC is not that of the container behind the port (port security). Counted by the kernel, at the port.',
  ),
  cause(
    DROP_SOURCE_ADDRESS,
    'source_address',
    'encap',
    "The source address, of IP, ARP or ND, is not the container's own (port security). Counted by the kernel, at the port.",
  ),
  cause(
    DROP_STORM_LIMIT,
    'storm_limit',
    'encap',
    "The source MAC has flooded as many frames in this second as the network's storm limit allows.",
  ),
  cause(
    DROP_ECN,
    'ecn',
    'decap',
    'The underlay has marked congestion (CE) on a datagram whose inner packet does not take part in ECN (RFC 6040).',
  ),
  cause(
    DROP_TOO_BIG,
    'too_big',
    'encap',
    'The packet does not fit into the path to its VTEP; its sender has been told by ICMP, where ICMP may be sent.',
  ),
  cause(
    DROP_GROUP_POLICY,
    'group_policy',
    'decap',
    "The network's policy does not let the sender's group reach this one (VXLAN-GBP).",
  ),
  cause(
    DROP_NO_MEMBER,
    'no_member',
    'encap',
    'Multicast for a group that no other VTEP has a member of (IGMP and MLD snooping).',
  ),
  cause(
    DROP_TAP_QUEUE_FULL,
    'tap_queue_full',
    'encap',
    "The TAP's queue was full: the workers could not keep up, or no vtepd ran. Counted by the kernel, at the TAP.",
  ),
  cause(
    DROP_PORT_REFUSED,
    'port_refused',
    'decap',
    "The container's interface did not take the frame: it is down, or its MTU is smaller. Counted by the kernel, at the port.",
  ),
];

function cause(id: number, name: string, direction: 'encap' | 'decap', text: string): DropCause {
  return { id, name, direction, text };
}
