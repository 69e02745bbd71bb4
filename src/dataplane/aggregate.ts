/**
 * The superframe that is being coalesced: one for each worker, in arrival order. @hot
 *
 *     head     the first segment, where it was received: | room for virtio 10 | Ethernet, IP, TCP or UDP | payload 0 |
 *     further  only their payloads, an iovec each; their headers said the same as the head's
 *
 * It borrows the receive slots: it is written to the TAP before the next recvmmsg. Nothing is changed in the head before
 * it is written, so a head that stays alone goes out as it came.
 */

/** What may be coalesced: by IP version and protocol. */
export const COALESCE_NONE = 0;
export const COALESCE_TCP4 = 1;
export const COALESCE_TCP6 = 2;
export const COALESCE_UDP4 = 3;
export const COALESCE_UDP6 = 4;

export class Aggregate {
  /** Segments; 0: there is none. */
  count = 0;
  kind = COALESCE_NONE;
  networkIndex = 0;
  /** Of the head's Ethernet header. */
  frameOffset = 0;
  upperOffset = 0;
  /** Ethernet to TCP or UDP header. */
  headerBytes = 0;
  /** Which bits of a further segment's headers must be the head's (header-masks.ts), and over how many bytes. */
  maskOffset = 0;
  maskBytes = 0;
  /** Payload of the head; no further segment has more. */
  segmentBytes = 0;
  /** Payload of all. */
  payloadBytes = 0;
  /** TCP: the sequence number that goes on. IPv4: the last identification. */
  nextSequence = 0;
  lastId = 0;
  /** The head's checksums have been verified, which is done when a second segment fits. */
  isVerified = false;
  /** Of the head, once verified: sums that are the same for every segment. */
  ipBase = 0;
  pseudoBase = 0;
  /** TCP: the last segment has PSH. */
  hasPush = false;

  // The head's fields as they came, to be put back when the kernel refuses the superframe.
  savedIpLength = 0;
  savedIpChecksum = 0;
  savedUpperWord = 0;
  savedUpperChecksum = 0;
}
