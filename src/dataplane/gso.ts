/**
 * Step 3a of encapsulation: a superframe becomes VXLAN datagrams by scatter-gather. @hot
 *
 *     superframe     | Ethernet, IP, TCP | payload 0    | payload 1    | payload 2 |
 *     message        [ VXLAN + headers 0 ][ payload 0 ][ VXLAN + headers 1 ][ payload 1 ] ...     UDP_SEGMENT
 *
 * 1. Sums that are the same for every segment are made once: the IPv4 header without length, identification and
 *    checksum; the pseudo-header and TCP header without length, sequence number, flags and checksum. The pseudo-header's
 *    is in the checksum field: behind a routing header it is over an address that the IPv6 header does not have.
 * 2. Each segment gets a copy of the headers in a block of its own, and of the payload only the sum is taken.
 * 3. Up to 64 segments and 65,507 bytes are one message; where UDP_SEGMENT is off or refused, one.
 *
 * What differs between the segments, by notes of the kernel's tcp_offload.c, udp_offload.c and af_inet.c: IPv4
 * identification + i; TCP sequence + i * size, FIN and PSH on the last only, CWR on the first only; lengths; checksums.
 */
import { IOV_LEN_WORD, IOVEC_WORDS } from '../sys/batch-io.js';
import { finish, sum } from '../wire/checksum.js';
import { IPV4_CHECKSUM_OFFSET } from '../wire/ipv4.js';
import { TCP_CHECKSUM_OFFSET, TCP_CWR, TCP_FIN, TCP_PSH } from '../wire/tcp.js';
import { UDP_CHECKSUM_OFFSET } from '../wire/udp.js';
import { VXLAN_HEADER_BYTES } from '../wire/vxlan.js';
import {
  DATAGRAM_BYTES_MAX,
  HEADER_BLOCK_BYTES,
  HEADER_BLOCK_FRAME_OFFSET,
  HEADER_BLOCK_VXLAN_OFFSET,
  HEADER_BLOCKS_MAX,
  SEGMENTS_MAX,
  TX_IOVECS_MAX,
} from './arena.js';
import type { WorkerContext } from './context.js';
import { closeMessage, flushUnderlay, openMessage, socketFor } from './underlay-tx.js';

const IPV4_LENGTH_OFFSET = 2;
const IPV4_ID_OFFSET = 4;
const IPV6_LENGTH_OFFSET = 4;
const IPV6_FIXED_BYTES = 40;
const TCP_SEQUENCE_OFFSET = 4;
const TCP_FLAGS_WORD_OFFSET = 12;
const UDP_LENGTH_OFFSET = 4;
/** FIN and PSH belong to the data's end, CWR to its begin. */
const NOT_LAST_MASK = ~(TCP_FIN | TCP_PSH);
const NOT_FIRST_MASK = ~TCP_CWR;

/**
 * Queues the segments of the frame that checkSuperframe() has just accepted, for one VTEP. The frame's bytes are borrowed
 * until the next flush and are not changed, so a flood can split it again for the next VTEP.
 *
 * @param place of the socket in the pool of the VTEP's family
 */
export function splitSuperframe(
  context: WorkerContext,
  networkIndex: number,
  place: number,
  vtepIndex: number,
  frameOffset: number,
  frameBytes: number,
): void {
  const arena = context.arena;
  const socket = socketFor(context, place, vtepIndex);
  const superframe = context.superframe;
  const bytes = arena.bytes;
  const view = arena.view;
  const words = arena.words;
  const isTcp = superframe.isTcp;
  const isIpv4 = superframe.isIpv4;
  const ipOffset = superframe.ipOffset;
  const upperOffset = superframe.upperOffset;
  const headerBytes = superframe.headerBytes;
  const segmentBytes = superframe.segmentBytes;
  const upperHeaderBytes = frameOffset + headerBytes - upperOffset;

  let ipBase = 0;
  let firstId = 0;
  if (isIpv4) {
    firstId = view.getUint16(ipOffset + IPV4_ID_OFFSET);
    // What the three fields add is taken away again: adding the complement subtracts (RFC 1071).
    ipBase =
      sum(bytes, ipOffset, upperOffset - ipOffset, 0) +
      (0xffff - view.getUint16(ipOffset + IPV4_LENGTH_OFFSET)) +
      (0xffff - firstId) +
      (0xffff - view.getUint16(ipOffset + IPV4_CHECKSUM_OFFSET));
  }
  const checksumField = upperOffset + (isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
  let upperBase = view.getUint16(checksumField) + (2 * 0xffff - (frameOffset + frameBytes - upperOffset));
  let sequence = 0;
  let flagsWord = 0;
  if (isTcp) {
    sequence = view.getInt32(upperOffset + TCP_SEQUENCE_OFFSET);
    flagsWord = view.getUint16(upperOffset + TCP_FLAGS_WORD_OFFSET);
    upperBase +=
      sum(bytes, upperOffset, TCP_SEQUENCE_OFFSET, 0) +
      sum(bytes, upperOffset + 8, 4, 0) +
      view.getUint16(upperOffset + 14) +
      sum(bytes, upperOffset + 18, upperHeaderBytes - 18, 0);
  } else {
    // Both ports; the length is added as a part of the pseudo-header and once more as a field.
    upperBase += view.getUint16(upperOffset) + view.getUint16(upperOffset + 2);
  }

  const datagramBytes = VXLAN_HEADER_BYTES + headerBytes + segmentBytes;
  let perMessage = 1;
  if (datagramBytes <= (context.gsoBytesMax[vtepIndex] as number)) {
    perMessage = Math.min(SEGMENTS_MAX, (DATAGRAM_BYTES_MAX / datagramBytes) | 0);
  }
  const copyFrom = (frameOffset - HEADER_BLOCK_FRAME_OFFSET) >> 2;
  const copyWords = (HEADER_BLOCK_FRAME_OFFSET + headerBytes + 3) >> 2;
  const payloadEnd = frameOffset + frameBytes;
  let payload = frameOffset + headerBytes;
  let id = firstId;
  let isFirst = true;
  while (payload < payloadEnd) {
    if (context.headerBlockCount + perMessage > HEADER_BLOCKS_MAX) flushUnderlay(context);
    const message = openMessage(context, socket, vtepIndex, networkIndex, datagramBytes);
    const firstIovec = context.txFirstIovec[message] as number;
    let iovec = (arena.txIovecs >> 2) + (socket * TX_IOVECS_MAX + firstIovec) * IOVEC_WORDS;
    let segments = 0;
    let messageBytes = 0;
    while (payload < payloadEnd && segments < perMessage) {
      const payloadBytes = Math.min(segmentBytes, payloadEnd - payload);
      const isLast = payload + payloadBytes === payloadEnd;
      const block = arena.headerBlocks + context.headerBlockCount * HEADER_BLOCK_BYTES;
      context.headerBlockCount++;
      const copyTo = block >> 2;
      for (let i = 0; i < copyWords; i++) words[copyTo + i] = words[copyFrom + i] as number;
      const shift = block + HEADER_BLOCK_FRAME_OFFSET - frameOffset;
      const upper = upperOffset + shift;
      const upperBytes = upperHeaderBytes + payloadBytes;
      if (isIpv4) {
        const ip = ipOffset + shift;
        const totalBytes = upper - ip + upperBytes;
        view.setUint16(ip + IPV4_LENGTH_OFFSET, totalBytes);
        view.setUint16(ip + IPV4_ID_OFFSET, id);
        view.setUint16(ip + IPV4_CHECKSUM_OFFSET, finish(ipBase + totalBytes + id));
        id = (id + 1) & 0xffff;
      } else {
        view.setUint16(ipOffset + shift + IPV6_LENGTH_OFFSET, upperOffset - ipOffset - IPV6_FIXED_BYTES + upperBytes);
      }
      const payloadSum = context.sum(payload, payloadBytes);
      if (isTcp) {
        let flags = flagsWord;
        if (!isLast) flags &= NOT_LAST_MASK;
        if (!isFirst) flags &= NOT_FIRST_MASK;
        view.setInt32(upper + TCP_SEQUENCE_OFFSET, sequence);
        view.setUint16(upper + TCP_FLAGS_WORD_OFFSET, flags);
        view.setUint16(
          upper + TCP_CHECKSUM_OFFSET,
          finish(upperBase + upperBytes + (sequence >>> 16) + (sequence & 0xffff) + flags + payloadSum),
        );
        sequence = (sequence + payloadBytes) | 0;
      } else {
        view.setUint16(upper + UDP_LENGTH_OFFSET, upperBytes);
        const checksum = finish(upperBase + upperBytes + upperBytes + payloadSum);
        view.setUint16(upper + UDP_CHECKSUM_OFFSET, checksum === 0 ? 0xffff : checksum);
      }
      arena.writePointer(iovec, block + HEADER_BLOCK_VXLAN_OFFSET);
      words[iovec + IOV_LEN_WORD] = VXLAN_HEADER_BYTES + headerBytes;
      arena.writePointer(iovec + IOVEC_WORDS, payload);
      words[iovec + IOVEC_WORDS + IOV_LEN_WORD] = payloadBytes;
      iovec += IOVEC_WORDS * 2;
      messageBytes += VXLAN_HEADER_BYTES + headerBytes + payloadBytes;
      payload += payloadBytes;
      segments++;
      isFirst = false;
    }
    closeMessage(context, socket, message, segments, segments * 2, messageBytes);
  }
}

/** @returns the bytes of all the frames that the superframe is split into */
export function splitBytes(context: WorkerContext, frameBytes: number): number {
  return frameBytes + (context.superframe.segmentCount - 1) * context.superframe.headerBytes;
}
