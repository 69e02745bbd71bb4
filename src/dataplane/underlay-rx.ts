/**
 * Step 1 of decapsulation: messages from a socket of the underlay into slots, one recvmmsg a burst, and of each the VTEP
 * that it is from. @hot
 *
 * With UDP_GRO a message is a train of datagrams of one outer flow, all of the size that its control message tells, the
 * last one perhaps shorter; without it, one datagram. All of a message have one outer TOS: the kernel coalesces no others.
 */
import {
  IOV_BASE_WORD,
  IOV_LEN_WORD,
  IOVEC_WORDS,
  MMSGHDR_WORDS,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_DONTWAIT,
  MSG_FLAGS_WORD,
  MSG_LEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  MSG_TRUNC,
  readControl,
} from '../sys/batch-io.js';
import { recvmmsg } from '../sys/libc.js';
import { AF_INET6 } from '../sys/sockaddr.js';
import { RX_CONTROL_BYTES, RX_MESSAGES, RX_SOCKADDR_BYTES, SLOT_BYTES, SLOT_VXLAN_OFFSET } from './arena.js';
import type { WorkerContext } from './context.js';
import { decapsulateMessage } from './decap.js';
import { flushAggregate } from './tap-tx.js';

const MESSAGE_BYTES_MAX = SLOT_BYTES - SLOT_VXLAN_OFFSET;

/** Points every message at its slot, its source address and its control area. Cold: once at start. */
export function prepareReceive(context: WorkerContext): void {
  const arena = context.arena;
  for (let i = 0; i < RX_MESSAGES; i++) {
    const header = (arena.rxHeaders >> 2) + i * MMSGHDR_WORDS;
    const iovec = (arena.rxIovecs >> 2) + i * IOVEC_WORDS;
    arena.writePointer(header + MSG_NAME_WORD, arena.rxSockaddrs + i * RX_SOCKADDR_BYTES);
    arena.writePointer(header + MSG_CONTROL_WORD, arena.rxControls + i * RX_CONTROL_BYTES);
    arena.writePointer(iovec + IOV_BASE_WORD, arena.rxSlots + i * SLOT_BYTES + SLOT_VXLAN_OFFSET);
    arena.words[iovec + IOV_LEN_WORD] = MESSAGE_BYTES_MAX;
    makeReady(context, header);
  }
}

/** What the kernel overwrites with each message. */
function makeReady(context: WorkerContext, header: number): void {
  const words = context.arena.words;
  words[header + MSG_NAMELEN_WORD] = RX_SOCKADDR_BYTES;
  words[header + MSG_CONTROLLEN_WORD] = RX_CONTROL_BYTES;
  words[header + MSG_FLAGS_WORD] = 0;
}

/** @param fd a receiving socket of either family. @returns messages received; RX_MESSAGES means that there may be more */
export function drainUnderlay(context: WorkerContext, fd: number): number {
  const arena = context.arena;
  const words = arena.words;
  const count = recvmmsg(fd, arena.addresses.rxHeaders, RX_MESSAGES, MSG_DONTWAIT, 0);
  // An error is EAGAIN, EINTR, or a pending ICMP error that this call has cleared: in each case the next turn reads on.
  if (count <= 0) return 0;
  for (let i = 0; i < count; i++) {
    const header = (arena.rxHeaders >> 2) + i * MMSGHDR_WORDS;
    const vtep = sourceVtep(context, (arena.rxSockaddrs + i * RX_SOCKADDR_BYTES) >> 2);
    const isTruncated = ((words[header + MSG_FLAGS_WORD] as number) & MSG_TRUNC) !== 0;
    const messageBytes = words[header + MSG_LEN_WORD] as number;
    const control = (arena.rxControls + i * RX_CONTROL_BYTES) >> 2;
    const told = readControl(words, control, words[header + MSG_CONTROLLEN_WORD] as number);
    const segmentBytes = told >>> 8;
    context.rxTos = told & 0xff;
    const first = arena.rxSlots + i * SLOT_BYTES + SLOT_VXLAN_OFFSET;
    decapsulateMessage(context, first, messageBytes, segmentBytes, vtep, isTruncated);
    makeReady(context, header);
  }
  // What waits borrows the slots.
  flushAggregate(context);
  return count;
}

/** @param sockaddr word of a struct sockaddr_in (address in word 1) or sockaddr_in6 (words 2 to 5). @returns VTEP index or VTEP_MISS */
function sourceVtep(context: WorkerContext, sockaddr: number): number {
  const words = context.arena.words;
  if (((words[sockaddr] as number) & 0xffff) !== AF_INET6) {
    return context.vteps.indexOfSource(words[sockaddr + 1] as number);
  }
  return context.vteps.indexOfSource6(
    words[sockaddr + 2] as number,
    words[sockaddr + 3] as number,
    words[sockaddr + 4] as number,
    words[sockaddr + 5] as number,
  );
}
