/**
 * struct mmsghdr, msghdr, iovec and cmsghdr as offsets: what sendmmsg and recvmmsg read and write. 64-bit layout.
 *
 *     mmsghdr (64 bytes)                                  iovec (16 bytes)     cmsghdr (16 bytes, then the data)
 *      0 msg_name *    8 msg_namelen   16 msg_iov *        0 iov_base *         0 cmsg_len, 64 bits
 *     24 msg_iovlen   32 msg_control * 40 msg_controllen   8 iov_len            8 cmsg_level   12 cmsg_type
 *     48 msg_flags    56 msg_len
 *
 * Source: <bits/socket.h>, <bits/types/struct_iovec.h>; the same on x86-64 and aarch64. UDP_SEGMENT and UDP_GRO:
 * include/uapi/linux/udp.h.
 */
import { writePointer } from './memory.js';

export const MMSGHDR_BYTES = 64;
export const MMSGHDR_WORDS = 16;
export const MSG_NAME_WORD = 0;
export const MSG_NAMELEN_WORD = 2;
export const MSG_IOV_WORD = 4;
export const MSG_IOVLEN_WORD = 6;
export const MSG_CONTROL_WORD = 8;
export const MSG_CONTROLLEN_WORD = 10;
export const MSG_FLAGS_WORD = 12;
export const MSG_LEN_WORD = 14;
export const IOVEC_BYTES = 16;
export const IOVEC_WORDS = 4;
export const IOV_BASE_WORD = 0;
export const IOV_LEN_WORD = 2;
export const CMSG_LEVEL_WORD = 2;
export const CMSG_TYPE_WORD = 3;
export const CMSG_DATA_WORD = 4;

export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;

export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;
const IPPROTO_IP = 0;
const IP_TOS = 1;
const IPPROTO_IPV6 = 41;
const IPV6_TCLASS = 67;
/** CMSG_LEN and CMSG_SPACE of a u16. */
const GSO_CMSG_LEN = 18;
export const GSO_CONTROL_BYTES = 24;
/** CMSG_LEN and CMSG_SPACE of an int. */
const TOS_CMSG_LEN = 20;
export const TOS_CONTROL_BYTES = 24;
const CMSG_HEADER_BYTES = 16;

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
    writePointer(words, header + MSG_IOV_WORD, base + iovecsOffset + i * IOVEC_BYTES);
    words[header + MSG_IOVLEN_WORD] = 1;
  }
}

/** The control message UDP_SEGMENT at a word index, but for the segment's size, the low half of CMSG_DATA_WORD. Cold. */
export function prepareGsoControl(words: Int32Array, word: number): void {
  words[word] = GSO_CMSG_LEN;
  words[word + CMSG_LEVEL_WORD] = SOL_UDP;
  words[word + CMSG_TYPE_WORD] = UDP_SEGMENT;
}

/** The control message IP_TOS or IPV6_TCLASS at a word index, but for the value, the int at CMSG_DATA_WORD. */
export function prepareTosControl(words: Int32Array, word: number, isIpv6: boolean): void {
  words[word] = TOS_CMSG_LEN;
  words[word + CMSG_LEVEL_WORD] = isIpv6 ? IPPROTO_IPV6 : IPPROTO_IP;
  words[word + CMSG_TYPE_WORD] = isIpv6 ? IPV6_TCLASS : IP_TOS;
}

/**
 * What the control messages of a received message say. It is taken word by word from one message to the next by cmsg_len,
 * in whatever order the kernel has put them, and stops at a length that can't be true.
 *
 * @param words the arena as int32, @param word where the control area begins, @param controlBytes msg_controllen
 * @returns UDP_GRO's segment size times 256, plus the TOS of IP_TOS or the class of IPV6_TCLASS; each 0 if it is not told
 */
export function readControl(words: Int32Array, word: number, controlBytes: number): number {
  const end = word + (controlBytes >> 2);
  let segmentBytes = 0;
  let tos = 0;
  let at = word;
  while (at + CMSG_DATA_WORD < end) {
    const cmsgBytes = words[at] as number;
    if (cmsgBytes <= CMSG_HEADER_BYTES || cmsgBytes > (end - at) << 2) break;
    const level = words[at + CMSG_LEVEL_WORD];
    const type = words[at + CMSG_TYPE_WORD];
    const data = words[at + CMSG_DATA_WORD] as number;
    if (level === SOL_UDP && type === UDP_GRO) segmentBytes = data & 0xffff;
    // A byte and an int; of either, in a machine of little-endian order, the lowest byte.
    else if (level === IPPROTO_IP && type === IP_TOS) tos = data & 0xff;
    else if (level === IPPROTO_IPV6 && type === IPV6_TCLASS) tos = data & 0xff;
    at += ((cmsgBytes + 7) >> 3) << 1;
  }
  return (segmentBytes << 8) | tos;
}
