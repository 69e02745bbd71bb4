/**
 * Counters of one worker, which alone writes them; anyone may read. @hot
 *
 * Doubles: whole numbers are exact to 2^53, aligned 64-bit stores do not tear, and no BigInt is made.
 *
 *     networks: NETWORKS_MAX rows of 128: 48 traffic counters, then one a drop cause; row 0: frames of no known network
 *     VTEPs: VTEPS_MAX rows of 8
 */
import { NETWORKS_MAX, VTEPS_MAX } from './layout.js';

export const NETWORK_COUNTERS = 128;
export const DROP_COUNTERS_START = 48;
export const VTEP_COUNTERS = 8;
export const VTEP_COUNTERS_START = NETWORKS_MAX * NETWORK_COUNTERS;
export const COUNTER_BYTES = (VTEP_COUNTERS_START + VTEPS_MAX * VTEP_COUNTERS) * 8;

export const ENCAP_FRAMES = 0;
export const ENCAP_BYTES = 1;
export const DECAP_FRAMES = 2;
export const DECAP_BYTES = 3;
export const FLOODED_FRAMES = 4;
export const FLOOD_COPIES = 5;
export const CHECKSUMS_COMPLETED = 6;
export const EVENTS_LOST = 7;
/** Frames from the underlay whose checksum the sender's kernel had left unfinished. */
export const CHECKSUMS_PARTIAL = 8;
/** Datagrams that held a whole TCP superframe of the sender's kernel. */
export const SUPERFRAMES_IN = 9;

/** Superframes from the TAP that were split into datagrams. */
export const SUPERFRAMES_SPLIT = 10;
/** Superframes written to the TAP, and the segments that were coalesced into them. */
export const SUPERFRAMES_COALESCED = 11;
export const SEGMENTS_COALESCED = 12;
/** Superframes that the TAP refused (EINVAL): their segments went one by one. */
export const TAP_GSO_REFUSED = 13;
/** Segments whose checksum is wrong: delivered as they came, never coalesced. */
export const CHECKSUMS_WRONG = 14;
/** ARP requests that were answered here, or kept here, instead of flooded. */
export const ARP_SUPPRESSED = 15;
/** Neighbour solicitations, likewise. */
export const ND_SUPPRESSED = 16;
/** BUM frames that went to the underlay's multicast group: one copy each. */
export const MULTICAST_FRAMES = 17;
/** Copies that snooping has saved: VTEPs without a member of the group. */
export const FLOOD_COPIES_SAVED = 18;
/** Inner packets that got the underlay's congestion mark (RFC 6040). */
export const ECN_MARKED = 19;
/** ICMP messages to containers: fragmentation needed, packet too big. */
export const TOO_BIG_ANSWERED = 20;
/** Datagrams by which vtepds speak of multicast: no frame is in them. */
export const GROUP_MESSAGES = 21;

/** Names of the traffic counters, by index. */
export const TRAFFIC_COUNTERS = [
  'encap_frames',
  'encap_bytes',
  'decap_frames',
  'decap_bytes',
  'flooded_frames',
  'flood_copies',
  'checksums_completed',
  'events_lost',
  'checksums_partial',
  'superframes_in',
  'superframes_split',
  'superframes_coalesced',
  'segments_coalesced',
  'tap_gso_refused',
  'checksums_wrong',
  'arp_suppressed',
  'nd_suppressed',
  'multicast_frames',
  'flood_copies_saved',
  'ecn_marked',
  'too_big_answered',
  'group_messages',
] as const;

export const VTEP_TX_DATAGRAMS = 0;
export const VTEP_TX_BYTES = 1;
export const VTEP_RX_DATAGRAMS = 2;
export const VTEP_RX_BYTES = 3;
export const VTEP_TX_ERRORS = 4;
/** Messages with UDP_SEGMENT that the kernel refused (EIO, EINVAL, EMSGSIZE) and that were sent again datagram by datagram. */
export const VTEP_TX_GSO_REFUSED = 5;
/** Datagrams of it that were dropped, by whichever cause. */
export const VTEP_RX_DROPS = 6;
export const VTEP_COUNTER_NAMES = [
  'tx_datagrams',
  'tx_bytes',
  'rx_datagrams',
  'rx_bytes',
  'tx_errors',
  'tx_gso_refused',
  'rx_drops',
] as const;

export class Counters {
  readonly cells: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.cells = new Float64Array(buffer);
  }

  add(networkIndex: number, counter: number, amount: number): void {
    const cell = networkIndex * NETWORK_COUNTERS + counter;
    this.cells[cell] = (this.cells[cell] as number) + amount;
  }

  drop(networkIndex: number, cause: number): void {
    this.dropMany(networkIndex, cause, 1);
  }

  dropMany(networkIndex: number, cause: number, frames: number): void {
    const cell = networkIndex * NETWORK_COUNTERS + DROP_COUNTERS_START + cause;
    this.cells[cell] = (this.cells[cell] as number) + frames;
  }

  addVtep(vtepIndex: number, counter: number, amount: number): void {
    const cell = VTEP_COUNTERS_START + vtepIndex * VTEP_COUNTERS + counter;
    this.cells[cell] = (this.cells[cell] as number) + amount;
  }
}
