/**
 * A datagram that the kernel has refused for its size (EMSGSIZE): on sockets that set DF, what is larger than the path. @hot
 *
 *     the path's MTU is asked of the kernel ─▶ the frame does fit: some other error
 *                                           └▶ it does not: dropped, and its sender told by ICMP, so that it sends less
 *
 * The kernel keeps what a router has said about a path for ten minutes, so nothing is kept here. Answers are limited, since
 * each costs a few system calls: whoever goes on sending what does not fit hears of it again in the next second.
 */
import { TOO_BIG_ANSWERED, VTEP_TX_ERRORS } from '../shared/counters.js';
import { DROP_TOO_BIG } from '../shared/drop-causes.js';
import { VTEP_SOCKADDR_IN6_BYTES } from '../shared/vtep-table.js';
import { IOV_LEN_WORD } from '../sys/batch-io.js';
import { pathMtu } from '../sys/path-mtu.js';
import { IPV4_HEADER_BYTES_MIN } from '../wire/ipv4.js';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.js';
import { emitTooBig, NOT_ANSWERED } from '../wire/too-big.js';
import { UDP_HEADER_BYTES } from '../wire/udp.js';
import { VIRTIO_NET_HDR_BYTES } from '../wire/virtio-net-hdr.js';
import { VXLAN_HEADER_BYTES } from '../wire/vxlan.js';
import type { WorkerContext } from './context.js';
import { writeAnswer } from './tap-answer.js';

const ANSWERS_PER_SECOND_MAX = 256;

/**
 * @param iovec word of the datagram's first iovec, which holds the frame's headers behind the VXLAN header
 * @returns false if it is not for the path's MTU that the kernel has refused it; then nothing is counted
 */
export function refuseTooBig(context: WorkerContext, message: number, iovec: number, datagramBytes: number): boolean {
  const networkIndex = context.txNetworks[message] as number;
  const vtep = context.txVteps[message] as number;
  if (context.tooBigSeconds !== context.nowSeconds) {
    context.tooBigSeconds = context.nowSeconds;
    context.tooBigCount = 0;
  }
  const mayAnswer = context.tooBigCount < ANSWERS_PER_SECOND_MAX;
  if (mayAnswer) {
    context.tooBigCount++;
    const sockaddrBytes = context.vteps.sockaddrBytes(vtep);
    const isIpv6 = sockaddrBytes === VTEP_SOCKADDR_IN6_BYTES;
    const outerBytes = (isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES_MIN) + UDP_HEADER_BYTES;
    const room = pathMtu(context.vtepAddress(vtep), sockaddrBytes, isIpv6) - outerBytes - VXLAN_HEADER_BYTES;
    context.isTooBigForPath = room > 0 && datagramBytes - VXLAN_HEADER_BYTES > room;
    if (!context.isTooBigForPath) return false;
    const arena = context.arena;
    const frame = (((arena.words[iovec] as number) - arena.baseLow) | 0) + VXLAN_HEADER_BYTES;
    const held = (arena.words[iovec + IOV_LEN_WORD] as number) - VXLAN_HEADER_BYTES;
    const answerBytes = emitTooBig(arena.bytes, frame, held, room, arena.answer + VIRTIO_NET_HDR_BYTES);
    if (answerBytes !== NOT_ANSWERED && writeAnswer(context, networkIndex, answerBytes)) {
      context.counters.add(networkIndex, TOO_BIG_ANSWERED, 1);
    }
  } else if (!context.isTooBigForPath) {
    // Not asked any more in this second: what it was the last time, it is.
    return false;
  }
  context.counters.drop(networkIndex, DROP_TOO_BIG);
  context.counters.addVtep(vtep, VTEP_TX_ERRORS, 1);
  return true;
}
