/**
 * A worker's packet memory: one WebAssembly.Memory of fixed size, so that its address never moves and WebAssembly code
 * can later work on the same bytes. Made once; everything below is an offset into it.
 *
 * A slot, for frames of either direction (the VXLAN header takes the virtio header's place, so nothing is copied):
 *
 *     slot + 0         56            58           66
 *     | headroom ...   | virtio 10 ------------- | Ethernet frame ...
 *     |                      | VXLAN 8 --------- |
 *
 * The frame begins at 2 mod 4, so the inner IP header is 4-byte aligned.
 *
 *     slots for frames from the TAP: 64 x 66,048 = 4.0 MiB | slots for datagrams: the same
 *     per sending socket: 64 mmsghdr (64) + 64 iovec (16) + 64 VTEP indexes and lengths; receiving: the same + 64 sockaddr (32)
 */
import { IOVEC_BYTES, layoutMessages, MMSGHDR_BYTES } from '../sys/batch-io.js';
import { addressOf } from '../sys/memory.js';
import { EPOLL_EVENT_WORDS } from '../sys/poll.js';

/** Frames of one burst: what one turn takes from one TAP or from the socket before it looks at the others. */
export const BURST_FRAMES = 64;
/** Datagrams that wait for one sendmmsg. */
export const BATCH_MESSAGES = 64;
/** epoll events taken at once. */
export const EVENTS_PER_WAIT = 64;
/** Room for the largest UDP datagram (65,507) behind the headroom, rounded up to a cache line. */
export const SLOT_BYTES = 66_048;
export const SLOT_VIRTIO_OFFSET = 56;
export const SLOT_VXLAN_OFFSET = 58;
export const SLOT_FRAME_OFFSET = 66;
/** Largest frame that fits with its VXLAN header into one UDP datagram over IPv4: 65,535 - 20 - 8 - 8. */
export const FRAME_BYTES_MAX = 65_499;
export const SOCKADDR_SLOT_BYTES = 32;

const PAGE_BYTES = 65_536;

export class Arena {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Machine address of byte 0. */
  readonly base: number;
  readonly tapSlots: number;
  readonly rxSlots: number;
  readonly rxHeaders: number;
  readonly rxIovecs: number;
  readonly rxSockaddrs: number;
  /** Offset of the first sending socket's mmsghdrs; a socket's area is txStride long. */
  readonly txHeaders: number;
  readonly txIovecs: number;
  readonly epollEvents: number;

  constructor(txSocketCount: number) {
    let offset = 0;
    const take = (bytes: number) => {
      const at = offset;
      offset += (bytes + 63) & ~63;
      return at;
    };
    this.tapSlots = take(BURST_FRAMES * SLOT_BYTES);
    this.rxSlots = take(BATCH_MESSAGES * SLOT_BYTES);
    this.rxHeaders = take(BATCH_MESSAGES * MMSGHDR_BYTES);
    this.rxIovecs = take(BATCH_MESSAGES * IOVEC_BYTES);
    this.rxSockaddrs = take(BATCH_MESSAGES * SOCKADDR_SLOT_BYTES);
    this.txHeaders = take(txSocketCount * BATCH_MESSAGES * MMSGHDR_BYTES);
    this.txIovecs = take(txSocketCount * BATCH_MESSAGES * IOVEC_BYTES);
    this.epollEvents = take(EVENTS_PER_WAIT * EPOLL_EVENT_WORDS * 4);
    const pages = Math.ceil(offset / PAGE_BYTES);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.base = addressOf(this.bytes);
    layoutMessages(this.words, this.base, this.txHeaders, this.txIovecs, txSocketCount * BATCH_MESSAGES);
    layoutMessages(this.words, this.base, this.rxHeaders, this.rxIovecs, BATCH_MESSAGES);
  }
}
