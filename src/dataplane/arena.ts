/**
 * A worker's packet memory: one WebAssembly.Memory of fixed size, so that its address never moves and the SIMD checksum
 * works on the same bytes. Made once; everything below is an offset into it.
 *
 *     TAP area        what one burst reads from a TAP: frames one behind the other, each at the next 256-byte step, so
 *                     that small ones stay together in the first-level cache, and a superframe takes what it needs
 *     header blocks   the headers of each segment that a superframe is split into; its payload stays where it was read
 *     rx slots        one for each message of a recvmmsg: up to 64 KiB of datagrams that the kernel has coalesced
 *     messages        mmsghdr, iovec, control and address areas of both directions
 *
 * A frame from the TAP, and its VXLAN header in the place of the virtio header, so that a plain frame is sent as it lies:
 *
 *     step + 0         56            58           66
 *     | headroom ...   | virtio 10 ------------- | Ethernet frame ...
 *     |                      | VXLAN 8 --------- |
 *
 * The frame begins at 2 mod 4, so the inner IP header is 4-byte aligned. A header block has the same shape, from its
 * byte 0 on: | 2 unused | VXLAN 8 | Ethernet, IP, TCP or UDP header |.
 */
import {
  GSO_CONTROL_BYTES,
  IOVEC_BYTES,
  layoutMessages,
  MMSGHDR_BYTES,
  MSG_CONTROL_WORD,
  prepareGsoControl,
  TOS_CONTROL_BYTES,
} from '../sys/batch-io.js';
import { addressOf, writePointer } from '../sys/memory.js';
import { EPOLL_EVENT_WORDS } from '../sys/poll.js';
import { sum } from '../wire/checksum.js';
import { type DifferFunction, makePlainDiffer, makeSimdDiffer } from '../wire/masked-compare.js';
import { makeSimdSum, type SumFunction } from '../wire/simd-checksum.js';
import { HEADER_MASKS_BYTES, writeHeaderMasks } from './header-masks.js';

/** Frames of one burst: what one turn takes from one TAP before it looks at the others. */
export const BURST_FRAMES = 64;
/** Superframes of one burst: they are what fills the TAP area. 8 x 64 KiB stay in a second-level cache of 1 MiB. */
export const BURST_SUPERFRAMES = 8;
/** epoll events taken at once. */
export const EVENTS_PER_WAIT = 64;
/** Room for the largest frame or datagram behind its headroom, rounded up to a cache line. */
export const SLOT_BYTES = 66_048;
export const SLOT_VIRTIO_OFFSET = 56;
export const SLOT_VXLAN_OFFSET = 58;
export const SLOT_FRAME_OFFSET = 66;
export const TAP_STEP_SHIFT = 8;
export const TAP_STEP_BYTES = 1 << TAP_STEP_SHIFT;
export const TAP_AREA_BYTES = BURST_SUPERFRAMES * SLOT_BYTES;
/**
 * Largest payload of one UDP datagram over IPv4, and of one message with UDP_SEGMENT: 65,535 - 20 - 8. Over IPv6, whose
 * length does not count its header, it would be 20 more; one limit serves both.
 */
export const DATAGRAM_BYTES_MAX = 65_507;
/** Largest frame that fits with its VXLAN header into one UDP datagram. */
export const FRAME_BYTES_MAX = DATAGRAM_BYTES_MAX - 8;

/** Messages that wait for one sendmmsg of a socket. */
export const TX_MESSAGES_MAX = 64;
/** Segments of one message: the kernel's UDP_MAX_SEGMENTS before Linux 6.9. */
export const SEGMENTS_MAX = 64;
/** iovecs of a socket's waiting messages; a message needs at most two a segment. */
export const TX_IOVECS_MAX = 1024;
export const MESSAGE_IOVECS_MAX = SEGMENTS_MAX * 2;
/** The control messages of a message, of which one, both or none count: IP_TOS or IPV6_TCLASS, then UDP_SEGMENT. */
export const TX_CONTROL_BYTES = TOS_CONTROL_BYTES + GSO_CONTROL_BYTES;

export const HEADER_BLOCK_BYTES = 256;
export const HEADER_BLOCK_VXLAN_OFFSET = 2;
export const HEADER_BLOCK_FRAME_OFFSET = 10;
/** Segments that wait with headers of their own: a burst of superframes at an MSS of 536 bytes has 976. */
export const HEADER_BLOCKS_MAX = 1024;
/** Ethernet 14, two VLAN tags 8, IPv4 60 or IPv6 40 with extension headers, TCP 60. */
export const SUPERFRAME_HEADER_BYTES_MAX = HEADER_BLOCK_BYTES - HEADER_BLOCK_FRAME_OFFSET;

/** Messages of one recvmmsg. */
export const RX_MESSAGES = 16;
export const RX_SOCKADDR_BYTES = 32;
export const RX_CONTROL_BYTES = 64;
/** iovecs of one writev into a TAP: the head with its headers, and a payload for each further segment. */
export const TAP_IOVECS_MAX = SEGMENTS_MAX + 1;

/** A virtio header and the longest frame that a worker makes itself: a neighbour advertisement, 14 + 40 + 32. */
export const ANSWER_BYTES = 128;

const PAGE_BYTES = 65_536;
const WORD_RANGE = 2 ** 32;

export class Arena {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
  readonly memory: WebAssembly.Memory;
  /** Machine address of byte 0. */
  readonly base: number;
  /** Its halves. The arena lies within one range of 2^32 bytes, so a pointer's upper word is always `baseHigh`. */
  readonly baseLow: number;
  readonly baseHigh: number;
  readonly tapArea: number;
  readonly headerBlocks: number;
  readonly rxSlots: number;
  readonly rxHeaders: number;
  readonly rxIovecs: number;
  readonly rxSockaddrs: number;
  readonly rxControls: number;
  /** Of the first sending socket; a socket has TX_MESSAGES_MAX of each, and TX_IOVECS_MAX iovecs. */
  readonly txHeaders: number;
  readonly txControls: number;
  readonly txIovecs: number;
  /** One message more, for what is sent again datagram by datagram. */
  readonly retryHeader: number;
  readonly tapIovecs: number;
  /** Ten zero bytes and room: a virtio header that stands apart from its frame. */
  readonly plainVirtio: number;
  readonly epollEvents: number;
  readonly headerMasks: number;
  /** Of a virtio header, always empty, and a frame behind it (neighbour-suppress.ts). */
  readonly answer: number;
  readonly addresses: Addresses;
  /** Sum over the arena's bytes: SIMD, or the plain reference. */
  readonly sum: SumFunction;
  /** Compares bytes of the arena through a mask: likewise. */
  readonly differ: DifferFunction;

  constructor(txSocketCount: number, simdChecksum: boolean) {
    let offset = 0;
    const take = (bytes: number) => {
      const at = offset;
      offset += (bytes + 63) & ~63;
      return at;
    };
    const txMessages = txSocketCount * TX_MESSAGES_MAX;
    this.tapArea = take(TAP_AREA_BYTES);
    this.headerBlocks = take(HEADER_BLOCKS_MAX * HEADER_BLOCK_BYTES);
    this.rxSlots = take(RX_MESSAGES * SLOT_BYTES);
    this.rxHeaders = take(RX_MESSAGES * MMSGHDR_BYTES);
    this.rxIovecs = take(RX_MESSAGES * IOVEC_BYTES);
    this.rxSockaddrs = take(RX_MESSAGES * RX_SOCKADDR_BYTES);
    this.rxControls = take(RX_MESSAGES * RX_CONTROL_BYTES);
    this.txHeaders = take(txMessages * MMSGHDR_BYTES);
    this.txControls = take(txMessages * TX_CONTROL_BYTES);
    this.txIovecs = take(txSocketCount * TX_IOVECS_MAX * IOVEC_BYTES);
    this.retryHeader = take(MMSGHDR_BYTES);
    this.tapIovecs = take(TAP_IOVECS_MAX * IOVEC_BYTES);
    this.plainVirtio = take(64);
    this.epollEvents = take(EVENTS_PER_WAIT * EPOLL_EVENT_WORDS * 4);
    this.headerMasks = take(HEADER_MASKS_BYTES);
    this.answer = take(ANSWER_BYTES);
    this.memory = allocate(Math.ceil(offset / PAGE_BYTES));
    this.bytes = new Uint8Array(this.memory.buffer);
    this.words = new Int32Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.base = addressOf(this.bytes);
    this.baseLow = (this.base % WORD_RANGE) | 0;
    this.baseHigh = Math.floor(this.base / WORD_RANGE);
    layoutMessages(this.words, this.base, this.rxHeaders, this.rxIovecs, RX_MESSAGES);
    for (let i = 0; i < txMessages; i++) {
      const control = this.txControls + i * TX_CONTROL_BYTES;
      prepareGsoControl(this.words, (control + TOS_CONTROL_BYTES) >> 2);
      const header = (this.txHeaders + i * MMSGHDR_BYTES) >> 2;
      writePointer(this.words, header + MSG_CONTROL_WORD, this.base + control);
    }
    this.addresses = new Addresses(this, txSocketCount);
    const bytes = this.bytes;
    this.sum = simdChecksum ? makeSimdSum(this.memory) : (offset, length) => sum(bytes, offset, length, 0);
    this.differ = simdChecksum ? makeSimdDiffer(this.memory) : makePlainDiffer(bytes);
    writeHeaderMasks(bytes, this.headerMasks);
  }

  /** Writes the machine address of `offset` as two words. */
  writePointer(wordIndex: number, offset: number): void {
    this.words[wordIndex] = (this.baseLow + offset) | 0;
    this.words[wordIndex + 1] = this.baseHigh;
  }
}

/**
 * Machine addresses that go to system calls, as numbers made once. An address is past 2^31, which V8 keeps on the heap:
 * computed for each call it would be garbage each time. These arrays hold references, not unboxed doubles (makeBoxed).
 */
class Addresses {
  /** Where a frame from the TAP is read to, for each step of the TAP area. */
  readonly tapSteps: readonly number[];
  /** First message of each sending socket. */
  readonly txHeaders: readonly number[];
  readonly single: readonly number[];

  constructor(arena: Arena, txSocketCount: number) {
    const tapStart = arena.base + arena.tapArea + SLOT_VIRTIO_OFFSET;
    this.tapSteps = makeBoxed(TAP_AREA_BYTES >> TAP_STEP_SHIFT, (i) => tapStart + i * TAP_STEP_BYTES);
    const txStart = arena.base + arena.txHeaders;
    this.txHeaders = makeBoxed(txSocketCount, (i) => txStart + i * TX_MESSAGES_MAX * MMSGHDR_BYTES);
    const singles = [arena.rxHeaders, arena.retryHeader, arena.tapIovecs, arena.epollEvents, arena.answer];
    this.single = makeBoxed(singles.length, (i) => arena.base + (singles[i] as number));
  }

  get rxHeaders(): number {
    return this.single[0] as number;
  }

  get retryHeader(): number {
    return this.single[1] as number;
  }

  get tapIovecs(): number {
    return this.single[2] as number;
  }

  get epollEvents(): number {
    return this.single[3] as number;
  }

  get answer(): number {
    return this.single[4] as number;
  }
}

/** An array that has held something else than a number keeps its numbers as references. */
function makeBoxed(count: number, value: (index: number) => number): readonly number[] {
  const boxed: unknown[] = Array.from({ length: count }, () => undefined);
  for (let i = 0; i < count; i++) boxed[i] = value(i);
  return boxed as number[];
}

/** A memory that does not cross a multiple of 2^32: the next one that V8 reserves lies elsewhere. */
function allocate(pages: number): WebAssembly.Memory {
  for (;;) {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const low = addressOf(new Uint8Array(memory.buffer)) % WORD_RANGE;
    if (low + pages * PAGE_BYTES <= WORD_RANGE) return memory;
  }
}
