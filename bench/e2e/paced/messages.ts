/**
 * A batch of 64-byte datagrams as sendmmsg and recvmmsg take it: message headers, one iovec and one payload each, one
 * socket address for all. Laid out once; nothing is allocated while it is used.
 */
import { IOV_BASE_WORD, IOV_LEN_WORD, IOVEC_BYTES, layoutMessages, MMSGHDR_BYTES } from '../../../src/sys/batch-io.js';
import { addressOf, pin, writePointer } from '../../../src/sys/memory.js';

export const DATAGRAM_BYTES = 64;

export interface Messages {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** The machine address of the first message header. */
  readonly headersAddress: number;
  /** The machine address of room for a struct sockaddr_in, `sockaddrOffset` in the bytes. */
  readonly sockaddrAddress: number;
  readonly sockaddrOffset: number;
}

export function makeMessages(count: number): Messages {
  const iovecsOffset = count * MMSGHDR_BYTES;
  const payloadsOffset = iovecsOffset + count * IOVEC_BYTES;
  const sockaddrOffset = payloadsOffset + count * DATAGRAM_BYTES;
  const bytes = pin(new Uint8Array(sockaddrOffset + 16));
  const words = new Int32Array(bytes.buffer);
  const base = addressOf(bytes);
  layoutMessages(words, base, 0, iovecsOffset, count);
  for (let i = 0; i < count; i++) {
    const iovec = (iovecsOffset + i * IOVEC_BYTES) >> 2;
    writePointer(words, iovec + IOV_BASE_WORD, base + payloadsOffset + i * DATAGRAM_BYTES);
    words[iovec + IOV_LEN_WORD] = DATAGRAM_BYTES;
  }
  return { words, bytes, headersAddress: base, sockaddrAddress: base + sockaddrOffset, sockaddrOffset };
}

/** The four bytes of a dotted address. */
export function addressBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split('.'), Number);
}
