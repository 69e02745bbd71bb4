/**
 * struct mmsghdr, msghdr and iovec as offsets: what sendmmsg and recvmmsg read and write. 64-bit layout.
 *
 *     mmsghdr (64 bytes)                                  iovec (16 bytes)
 *      0 msg_name *    8 msg_namelen   16 msg_iov *        0 iov_base *
 *     24 msg_iovlen   32 msg_control * 40 msg_controllen   8 iov_len
 *     48 msg_flags    56 msg_len
 *
 * Source: <bits/socket.h>, <bits/types/struct_iovec.h>; the same on x86-64 and aarch64.
 */
import { writePointer } from './memory.js';

export const MMSGHDR_BYTES = 64;
export const MMSGHDR_WORDS = 16;
export const MSG_NAME_WORD = 0;
export const MSG_NAMELEN_WORD = 2;
export const MSG_FLAGS_WORD = 12;
export const MSG_LEN_WORD = 14;
export const IOVEC_BYTES = 16;
export const IOVEC_WORDS = 4;
export const IOV_BASE_WORD = 0;
export const IOV_LEN_WORD = 2;

export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;

/**
 * Writes `count` message headers, each with one iovec of its own, into zeroed memory. Cold: once at start.
 *
 * @param words the arena as int32
 * @param base the arena's machine address
 * @param headersOffset bytes from the arena's start; likewise `iovecsOffset`
 */
export function layoutMessages(
  words: Int32Array,
  base: number,
  headersOffset: number,
  iovecsOffset: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    const header = (headersOffset + i * MMSGHDR_BYTES) >> 2;
    writePointer(words, header + 4, base + iovecsOffset + i * IOVEC_BYTES);
    words[header + 6] = 1;
  }
}
