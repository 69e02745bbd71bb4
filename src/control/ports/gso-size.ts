/**
 * How large a container's kernel may make its TCP superframes, so that one becomes one message on the underlay.
 *
 * Encapsulated, a superframe of 64 KiB has grown past what a UDP message holds: its last three segments would need a
 * message, a trip through both kernels and a receive buffer of their own. One whose segments just fit costs a good part
 * less for each byte.
 *
 *     segments = 65,507 / (VXLAN 8 + Ethernet 14 + MTU)     what UDP_SEGMENT takes in one message
 *     the kernel makes floor((gso_max_size - 321) / MSS)    net/core/sock.c, sk_setup_caps: MAX_TCP_HEADER + 1
 *     MSS = MTU - 52 with timestamps over IPv4              the largest that is usual; over IPv6 20 less
 */

const MESSAGE_BYTES_MAX = 65_507;
const OVERLAY_HEADER_BYTES = 8 + 14;
const KERNEL_RESERVE_BYTES = 320 + 1;
const IPV4_TCP_HEADER_BYTES = 52;
/** Less than a segment's headers: never one segment more. */
const SLACK_BYTES = 64;
const SEGMENTS_MAX = 64;
/** The kernel's own default, GSO_LEGACY_MAX_SIZE. */
const GSO_BYTES_MAX = 65_536;

/** @param mtuBytes of the container's interface. @returns for `ip link set ... gso_max_size` */
export function gsoMaxBytesFor(mtuBytes: number): number {
  const segments = Math.min(SEGMENTS_MAX, Math.floor(MESSAGE_BYTES_MAX / (OVERLAY_HEADER_BYTES + mtuBytes)));
  if (segments <= 1) return GSO_BYTES_MAX;
  const payloadBytes = segments * (mtuBytes - IPV4_TCP_HEADER_BYTES);
  return Math.min(GSO_BYTES_MAX, payloadBytes + KERNEL_RESERVE_BYTES + SLACK_BYTES);
}
