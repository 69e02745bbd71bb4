/**
 * What a message to a TAP says, held against the frames that it was made from, by the reference of test/dataplane. Slow:
 * for a sample of a long run, and for each message of a short one. Test support.
 */
import { coalesceReference, renumberedReference } from '../dataplane/reference/coalesce.js';
import { areEqual } from '../dataplane/reference/octets.js';
import {
  areLengthsTrue,
  bytesOf,
  type Packet,
  takeApart,
  withChecksum,
  withPseudoSum,
} from '../dataplane/reference/packet.js';
import { expandReference } from '../dataplane/reference/segment.js';
import { GSO_NONE, GSO_UDP_L4, NEEDS_CSUM, readVirtioHeader } from '../dataplane/reference/virtio-header.js';

const VIRTIO_BYTES = 10;

/** The packet of a frame whose checksum its sender has left to others. */
function unfinished(frame: Uint8Array): Packet | undefined {
  const packet = takeApart(frame);
  if (packet === undefined || !areLengthsTrue(packet)) return undefined;
  return areEqual(bytesOf(withPseudoSum(packet)), frame) ? packet : undefined;
}

/**
 * A single frame, whose bytes have been found to be those that came.
 *
 * @param udpSegment of a UDP superframe that came whole; 0 for all others
 */
export function faultOfPlain(message: Uint8Array, mtuBytes: number, udpSegment: number): string | undefined {
  const header = readVirtioHeader(message);
  const frame = Uint8Array.from(message.subarray(VIRTIO_BYTES));
  const packet = unfinished(frame);
  if (header.flags === 0) {
    if (packet !== undefined) return 'an unfinished checksum is not marked';
    return header.gsoType === GSO_NONE && header.gsoSize === 0 ? undefined : 'a superframe without NEEDS_CSUM';
  }
  if (header.flags !== NEEDS_CSUM) return `virtio flags ${header.flags}`;
  if (packet === undefined)
    return `NEEDS_CSUM for a frame whose checksum is finished: ${Buffer.from(message.subarray(0, 120)).toString('hex')} of ${message.length}`;
  if (header.csumStart !== packet.link.length + packet.network.length) return `csum_start ${header.csumStart}`;
  const headerBytes = header.csumStart + packet.transport.length;
  if (header.hdrLen > frame.length) return 'hdr_len is beyond the frame';
  if (header.gsoType === GSO_NONE) {
    if (header.gsoSize !== 0) return 'a segment size without a kind';
    return frame.length > mtuBytes + packet.link.length ? 'a frame beyond the MTU' : undefined;
  }
  if (header.gsoType === GSO_UDP_L4)
    return header.gsoSize === udpSegment ? undefined : `UDP segments of ${header.gsoSize}`;
  if (headerBytes - packet.link.length + header.gsoSize > mtuBytes) return 'TCP segments beyond the MTU';
  return undefined;
}

/** Several frames in one message. */
export function faultOfSuperframe(message: Uint8Array, frames: readonly Uint8Array[]): string | undefined {
  if (coalesceReference(frames).length !== 1) return 'frames are coalesced that the reference keeps apart';
  let expanded: Uint8Array[];
  try {
    expanded = expandReference(message);
  } catch (error) {
    return `the superframe: ${(error as Error).message}`;
  }
  const expected = renumberedReference([...frames]).map(finished);
  if (expanded.length !== expected.length) return `${expanded.length} segments of ${expected.length} frames`;
  const wrong = expanded.findIndex((frame, i) => !areEqual(frame, expected[i] as Uint8Array));
  return wrong < 0 ? undefined : `segment ${wrong} comes out of the superframe with other bytes`;
}

/** The other zero of one's complement is a zero too. */
function finished(frame: Uint8Array): Uint8Array {
  const packet = unfinished(frame);
  return packet === undefined ? frame : bytesOf(withChecksum(packet));
}
