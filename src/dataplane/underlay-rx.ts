/**
 * Step 1 of decapsulation: datagrams from the underlay socket into slots, one recvmmsg a burst. @hot
 */
import {
  IOV_BASE_WORD,
  IOV_LEN_WORD,
  IOVEC_WORDS,
  MMSGHDR_WORDS,
  MSG_DONTWAIT,
  MSG_FLAGS_WORD,
  MSG_LEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  MSG_TRUNC,
} from '../sys/batch-io.js';
import { recvmmsg } from '../sys/libc.js';
import { writePointer } from '../sys/memory.js';
import { BATCH_MESSAGES, SLOT_BYTES, SLOT_VXLAN_OFFSET, SOCKADDR_SLOT_BYTES } from './arena.js';
import type { WorkerContext } from './context.js';
import { decapsulate } from './decap.js';

const DATAGRAM_BYTES_MAX = SLOT_BYTES - SLOT_VXLAN_OFFSET;

/** Points every message at its slot and its source address. Cold: once at start. */
export function prepareReceive(context: WorkerContext): void {
  const arena = context.arena;
  for (let i = 0; i < BATCH_MESSAGES; i++) {
    const header = (arena.rxHeaders >> 2) + i * MMSGHDR_WORDS;
    const iovec = (arena.rxIovecs >> 2) + i * IOVEC_WORDS;
    writePointer(arena.words, header + MSG_NAME_WORD, arena.base + arena.rxSockaddrs + i * SOCKADDR_SLOT_BYTES);
    arena.words[header + MSG_NAMELEN_WORD] = SOCKADDR_SLOT_BYTES;
    writePointer(arena.words, iovec + IOV_BASE_WORD, arena.base + arena.rxSlots + i * SLOT_BYTES + SLOT_VXLAN_OFFSET);
    arena.words[iovec + IOV_LEN_WORD] = DATAGRAM_BYTES_MAX;
  }
}

/** @returns datagrams received; BATCH_MESSAGES means that there may be more */
export function drainUnderlay(context: WorkerContext): number {
  const arena = context.arena;
  const words = arena.words;
  const count = recvmmsg(context.underlayFd, arena.base + arena.rxHeaders, BATCH_MESSAGES, MSG_DONTWAIT, 0);
  // An error is EAGAIN, EINTR, or a pending ICMP error that this call has cleared: in each case the next turn reads on.
  if (count <= 0) return 0;
  for (let i = 0; i < count; i++) {
    const header = (arena.rxHeaders >> 2) + i * MMSGHDR_WORDS;
    const sourceWord = words[((arena.rxSockaddrs + i * SOCKADDR_SLOT_BYTES) >> 2) + 1] as number;
    const truncated = ((words[header + MSG_FLAGS_WORD] as number) & MSG_TRUNC) !== 0;
    const datagram = arena.rxSlots + i * SLOT_BYTES + SLOT_VXLAN_OFFSET;
    decapsulate(context, datagram, words[header + MSG_LEN_WORD] as number, sourceWord, truncated);
    words[header + MSG_NAMELEN_WORD] = SOCKADDR_SLOT_BYTES;
    words[header + MSG_FLAGS_WORD] = 0;
  }
  return count;
}
