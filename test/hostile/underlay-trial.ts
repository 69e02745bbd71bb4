/**
 * Runs a batch from the underlay through the worker, and says what was wrong with what came of it. Test support.
 *
 * What has to hold, and is checked after each batch:
 * - a datagram is delivered once, or dropped once under the cause that judge() says; in order, to its network's TAP only;
 * - what is delivered is the inner frame, byte for byte, or several of one flow as one superframe that the kernel behind
 *   the TAP takes apart into just those (superframe-check.ts, for a sample of them);
 * - the counters say so, of networks, causes and VTEPs: nothing is counted twice or not at all;
 * - nothing waits behind the batch.
 */
import { drainUnderlay } from '../../src/dataplane/underlay-rx.js';
import { DECAP_FRAMES, VTEP_RX_BYTES, VTEP_RX_DATAGRAMS } from '../../src/shared/counters.js';
import * as drops from '../../src/shared/drop-causes.js';
import { KIND_LOCAL, KIND_STATIC } from '../../src/shared/fdb.js';
import * as io from '../../src/sys/batch-io.js';
import { EAGAIN, EINTR, EINVAL, EIO, ENOBUFS } from '../../src/sys/errno.js';
import { findPartialChecksum } from '../../src/wire/partial-checksum.js';
import { carryMark } from './ecn.js';
import { chance, type Entropy } from './entropy.js';
import { faultOfPlain, faultOfSuperframe } from './superframe-check.js';
import type { UnderlayBatch } from './underlay-batch.js';
import {
  endsInIpHeader,
  macNumber,
  NETWORKS,
  type Network,
  ROWS,
  TAP_FD,
  UNDERLAY_FD,
  VTEPS,
  type World,
} from './world.js';

const ENTRIES_MAX = 60_000;
const CAUSES = drops.DROP_CAUSES.length;
const VIRTIO_BYTES = 10;
const IP_TOS = 1;
/** The whole reference for one delivery in so many. */
const SAMPLE = 32;
const ACCEPTED = -1;

/** Ethernet and at most two tags, as far as the frame goes. */
function linkBytes(bytes: Uint8Array, frame: number, frameBytes: number): number {
  let link = 14;
  while (link < 22 && link + 4 <= frameBytes) {
    const type = (bytes[frame + link - 2] as number) * 256 + (bytes[frame + link - 1] as number);
    if (type !== 0x8100 && type !== 0x88a8) break;
    link += 4;
  }
  return link;
}

export class UnderlayTrial {
  /** Where judge() leaves its network. */
  #row = 0;
  // What must be delivered, in order: where the frame lies in the batch's buffer, and what it is.
  readonly #at = new Int32Array(ENTRIES_MAX);
  readonly #bytes = new Int32Array(ENTRIES_MAX);
  readonly #network = new Int32Array(ENTRIES_MAX);
  readonly #segment = new Int32Array(ENTRIES_MAX);
  #head = 0;
  #tail = 0;
  readonly #drops = new Int32Array(ROWS * CAUSES);
  readonly #delivered = new Int32Array(ROWS);
  readonly #rxDatagrams = new Int32Array(VTEPS);
  readonly #rxBytes = new Int32Array(VTEPS);
  #fault: string | undefined;
  #faults: Entropy | undefined;
  #deliveries = 0;
  /** Of all batches. */
  datagrams = 0;
  delivered = 0;
  coalesced = 0;
  readonly #arena: Buffer;
  readonly #shadow: Buffer;

  constructor(
    readonly world: World,
    readonly batch: UnderlayBatch,
    /** Whether every delivery is compared with the whole reference. */
    readonly isThorough: boolean,
  ) {
    this.#arena = Buffer.from(world.context.arena.memory.buffer as unknown as ArrayBuffer);
    this.#shadow = Buffer.from(batch.bytes.buffer);
  }

  /**
   * @param faults what decides which writes the TAP refuses; undefined: none
   * @returns what is wrong, or undefined
   */
  run(faults: Entropy | undefined): string | undefined {
    this.#fault = undefined;
    this.#faults = faults;
    drainUnderlay(this.world.context, UNDERLAY_FD);
    this.#faults = undefined;
    const wrong = this.#fault ?? this.#settle();
    if (faults !== undefined) this.world.permitAll();
    return wrong;
  }

  // --- the kernel -----------------------------------------------------------------------------------------------------

  recvmmsg(): number {
    const { arena } = this.world.context;
    const { batch } = this;
    for (let i = 0; i < batch.count; i++) {
      const header = (arena.rxHeaders + i * io.MMSGHDR_BYTES) >> 2;
      const iovec = this.#offset(header + io.MSG_IOV_WORD) >> 2;
      const to = this.#offset(iovec + io.IOV_BASE_WORD);
      const from = batch.place(i);
      const bytes = batch.messageBytes[i] as number;
      this.#shadow.copy(this.#arena, to, from, from + bytes);
      arena.words[header + io.MSG_LEN_WORD] = bytes;
      const name = this.#offset(header + io.MSG_NAME_WORD);
      arena.view.setUint32(name + 4, 0xc000_0200 + (batch.vteps[i] as number) + 1);
      const control = this.#offset(header + io.MSG_CONTROL_WORD) >> 2;
      const segment = batch.segmentBytes[i] as number;
      // In the kernel's order: the TOS, where the socket asks for it, then the segment size.
      arena.words[control] = 17;
      arena.words[control + io.CMSG_LEVEL_WORD] = 0;
      arena.words[control + io.CMSG_TYPE_WORD] = IP_TOS;
      arena.words[control + io.CMSG_DATA_WORD] = batch.tos[i] as number;
      const next = control + io.TOS_CONTROL_BYTES / 4;
      arena.words[next] = 20;
      arena.words[next + io.CMSG_LEVEL_WORD] = io.SOL_UDP;
      arena.words[next + io.CMSG_TYPE_WORD] = io.UDP_GRO;
      arena.words[next + io.CMSG_DATA_WORD] = segment;
      arena.words[header + io.MSG_CONTROLLEN_WORD] = segment === 0 ? 24 : 48;
      arena.words[header + io.MSG_FLAGS_WORD] = batch.isTruncated[i] === 1 ? io.MSG_TRUNC : 0;
    }
    // A mark of congestion changes the frame: what is expected is made from the bytes that were given.
    this.#expect();
    return batch.count;
  }

  /** A write into a TAP. */
  writev(fd: number, iovecs: number, count: number): number {
    const refusal = this.#refusal(count);
    if (refusal === -EINTR || (refusal === -EINVAL && count > 1)) return refusal;
    const network = fd - TAP_FD;
    const wrong = this.#receive(network, (iovecs - this.world.context.arena.base) >> 2, count);
    if (wrong !== undefined) {
      this.#fault ??= `${wrong}, written to the TAP of network ${network}`;
      return 0;
    }
    if (refusal === 0) {
      this.#delivered[network] = (this.#delivered[network] as number) + count;
      if (count > 1) this.coalesced += count;
      return 0;
    }
    const isFull = refusal === -EAGAIN || refusal === -ENOBUFS;
    this.#expectDrop(network, isFull ? drops.DROP_TAP_BUSY : drops.DROP_TAP_ERROR, count);
    return refusal;
  }

  #refusal(iovecs: number): number {
    const faults = this.#faults;
    if (faults === undefined || !chance(faults, 20)) return 0;
    switch (faults.next() % 5) {
      case 0:
        return -EAGAIN;
      case 1:
        return -EINTR;
      case 2:
        return -ENOBUFS;
      case 3:
        return iovecs > 1 ? -EINVAL : -EIO;
      default:
        return -EIO;
    }
  }

  /** Takes `count` of the expected frames. @returns what is wrong with the write */
  #receive(network: number, iovec: number, count: number): string | undefined {
    const { words, view } = this.world.context.arena;
    const head = this.#head;
    if (head + count > this.#tail) {
      const bytes = (words[iovec + io.IOV_LEN_WORD] as number) - VIRTIO_BYTES;
      return `${head + count - this.#tail} of ${count} frames more than were sent, the first of ${bytes} bytes`;
    }
    this.#head += count;
    for (let i = head; i < head + count; i++) {
      if (this.#network[i] !== network) return `a frame of network ${this.#network[i]}`;
    }
    const message = this.#offset(iovec + io.IOV_BASE_WORD);
    const frame = message + VIRTIO_BYTES;
    const firstBytes = (words[iovec + io.IOV_LEN_WORD] as number) - VIRTIO_BYTES;
    const isSampled = this.isThorough || this.#deliveries++ % SAMPLE === 0;
    if (count === 1) {
      if (firstBytes !== this.#bytes[head]) return `${firstBytes} bytes of a frame of ${this.#bytes[head]}`;
      if (!this.#isSame(head, 0, frame, firstBytes)) return 'other bytes than were sent';
      const isPlain =
        view.getInt32(message) === 0 && view.getInt32(message + 4) === 0 && view.getInt16(message + 8) === 0;
      if (isPlain && !isSampled) return undefined;
      const mtuBytes = (NETWORKS[network - 1] as Network).mtuBytes;
      return faultOfPlain(this.#arena.subarray(message, frame + firstBytes), mtuBytes, this.#segment[head] as number);
    }
    const payloadBytes = view.getUint16(message + 4, true);
    const headerBytes = firstBytes - payloadBytes;
    for (let i = 0; i < count; i++) {
      const entry = head + i;
      const pieceBytes = i === 0 ? payloadBytes : (words[iovec + i * io.IOVEC_WORDS + io.IOV_LEN_WORD] as number);
      const piece = i === 0 ? frame + headerBytes : this.#offset(iovec + i * io.IOVEC_WORDS);
      if (pieceBytes + headerBytes !== this.#bytes[entry]) return `segment ${i} has ${pieceBytes} bytes of payload`;
      if (!this.#isSame(entry, headerBytes, piece, pieceBytes)) return `segment ${i} has another payload`;
      // MACs and type; addresses and ports.
      if (!this.#isSame(entry, 0, frame, 14)) return `segment ${i} has another Ethernet header`;
      const addresses = view.getUint8(frame + 14) >> 4 === 4 ? 26 : 22;
      if (!this.#isSame(entry, addresses, frame + addresses, addresses === 26 ? 12 : 36)) {
        return `segment ${i} is of another flow`;
      }
    }
    if (!isSampled) return undefined;
    const pieces: Uint8Array[] = [this.#arena.subarray(message, frame + firstBytes)];
    const frames: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const piece = iovec + i * io.IOVEC_WORDS;
      const at = this.#offset(piece);
      if (i > 0) pieces.push(this.#arena.subarray(at, at + (words[piece + io.IOV_LEN_WORD] as number)));
      const from = this.#at[head + i] as number;
      frames.push(Uint8Array.from(this.#shadow.subarray(from, from + (this.#bytes[head + i] as number))));
    }
    return faultOfSuperframe(Uint8Array.from(Buffer.concat(pieces)), frames);
  }

  // --- what must come of the batch ------------------------------------------------------------------------------------

  #expect(): void {
    const { batch } = this;
    this.#head = 0;
    this.#tail = 0;
    this.#drops.fill(0);
    this.#delivered.fill(0);
    this.#rxDatagrams.fill(0);
    this.#rxBytes.fill(0);
    for (const [row, model] of this.#before.entries()) model.set(this.#countersOf(row));
    for (let i = 0; i < batch.count; i++) {
      const start = batch.place(i);
      const end = start + (batch.messageBytes[i] as number);
      const segment = batch.segmentBytes[i] as number;
      const isWhole = this.#isWholeSuperframe(start, end, segment);
      const step = segment > 0 && !isWhole ? segment : end - start;
      const vtep = batch.vteps[i] as number;
      let at = start;
      let datagrams = 0;
      do {
        const bytes = Math.min(step, end - at);
        this.#expectDatagram(i, at, bytes, isWhole ? segment : 0);
        datagrams++;
        at += step;
      } while (at < end);
      this.datagrams += datagrams;
      if (vtep >= VTEPS) continue;
      this.#rxDatagrams[vtep] = (this.#rxDatagrams[vtep] as number) + datagrams;
      this.#rxBytes[vtep] = (this.#rxBytes[vtep] as number) + end - start;
    }
  }

  /** A UDP superframe whose sender's kernel has left it whole; confirmed by the reference when it is delivered. */
  #isWholeSuperframe(start: number, end: number, segment: number): boolean {
    const frameBytes = end - start - 8;
    if (segment <= 0 || frameBytes <= segment) return false;
    return (findPartialChecksum(this.batch.bytes, start + 8, frameBytes) & 0xff) === 6;
  }

  #expectDatagram(message: number, at: number, bytes: number, udpSegment: number): void {
    const { vteps, isTruncated, tos } = this.batch;
    const cause = this.#judge(at, bytes, vteps[message] as number, isTruncated[message] === 1);
    if (cause !== ACCEPTED) {
      this.#expectDrop(this.#row, cause, 1);
      return;
    }
    const frameBytes = bytes - 8;
    if (!carryMark(this.batch.bytes, at + 8, frameBytes, tos[message] as number)) {
      this.#expectDrop(this.#row, drops.DROP_ECN, 1);
      return;
    }
    if (udpSegment === 0 && !this.#fits(at + 8, frameBytes, (NETWORKS[this.#row - 1] as Network).mtuBytes)) {
      this.#expectDrop(this.#row, drops.DROP_INNER_OVERSIZE, 1);
      return;
    }
    this.#at[this.#tail] = at + 8;
    this.#bytes[this.#tail] = frameBytes;
    this.#network[this.#tail] = this.#row;
    this.#segment[this.#tail] = udpSegment;
    this.#tail++;
  }

  /** In the kernel's order. @returns ACCEPTED or the cause; the network's row is left in #row */
  #judge(at: number, bytes: number, vtep: number, isTruncated: boolean): number {
    const from = this.batch.bytes;
    this.#row = 0;
    if (bytes < 8) return drops.DROP_INVALID_HEADER;
    if (((from[at] as number) & 8) === 0) return drops.DROP_NO_VNI_FLAG;
    const vni = (from[at + 4] as number) * 65_536 + (from[at + 5] as number) * 256 + (from[at + 6] as number);
    for (const network of NETWORKS) if (network.vni === vni) this.#row = network.index;
    if (this.#row === 0) return drops.DROP_VNI_NOT_FOUND;
    if (from[at] !== 8 || from[at + 1] !== 0 || from[at + 2] !== 0 || from[at + 3] !== 0 || from[at + 7] !== 0) {
      return drops.DROP_RESERVED_BITS;
    }
    if (vtep === 0) return drops.DROP_SOURCE_SELF;
    if (vtep >= VTEPS || !this.world.isMember(this.#row, vtep)) return drops.DROP_VTEP_NOT_MEMBER;
    if (isTruncated) return drops.DROP_TRUNCATED;
    if (bytes < 22) return drops.DROP_INNER_RUNT;
    const source = macNumber(from, at + 14);
    if (((from[at + 14] as number) & 1) === 1 || source === 0) return drops.DROP_MAC_INVALID_SOURCE;
    const known = (this.world.model[this.#row] as Map<number, number>).get(source);
    const kind = Math.floor((known ?? 0) / 0x1_0000);
    if (kind === KIND_LOCAL) return drops.DROP_LOCAL_MAC;
    if (kind === KIND_STATIC && (known ?? 0) % 0x1_0000 !== vtep) return drops.DROP_ENTRY_EXISTS;
    return endsInIpHeader(from, at + 8, bytes - 8) ? drops.DROP_INNER_RUNT : ACCEPTED;
  }

  /** A frame beyond the MTU is a TCP superframe that has been left whole, or too long. */
  #fits(frame: number, frameBytes: number, mtuBytes: number): boolean {
    if (frameBytes <= mtuBytes + linkBytes(this.batch.bytes, frame, frameBytes)) return true;
    const partial = findPartialChecksum(this.batch.bytes, frame, frameBytes);
    if ((partial & 0xff) !== 16) return false;
    const start = partial >> 8;
    const headerBytes = start + ((this.batch.bytes[frame + start + 12] as number) >> 4) * 4;
    // Beyond the MTU in payload as well: headers alone make no superframe.
    return headerBytes < frameBytes && headerBytes < mtuBytes + 14;
  }

  #expectDrop(row: number, cause: number, count: number): void {
    const cell = row * CAUSES + cause;
    this.#drops[cell] = (this.#drops[cell] as number) + count;
  }

  // --- what has come of it --------------------------------------------------------------------------------------------

  readonly #before = Array.from({ length: ROWS }, () => new Float64Array(CAUSES + 1));
  readonly #after = new Float64Array(CAUSES + 1);
  readonly #vtepsBefore = new Float64Array(VTEPS * 2);

  #countersOf(row: number): Float64Array {
    for (let cause = 0; cause < CAUSES; cause++) this.#after[cause] = this.world.drop(row, cause);
    this.#after[CAUSES] = this.world.counter(row, DECAP_FRAMES);
    if (row === 0) {
      for (let vtep = 0; vtep < VTEPS; vtep++) {
        this.#vtepsBefore[vtep * 2] = this.world.vtepCounter(vtep, VTEP_RX_DATAGRAMS);
        this.#vtepsBefore[vtep * 2 + 1] = this.world.vtepCounter(vtep, VTEP_RX_BYTES);
      }
    }
    return this.#after;
  }

  #settle(): string | undefined {
    const { world } = this;
    if (this.#head !== this.#tail) return `${this.#tail - this.#head} frames were not delivered`;
    if (world.context.aggregate.count !== 0) return 'an aggregate is left open behind the batch';
    for (let row = 0; row < ROWS; row++) {
      const before = this.#before[row] as Float64Array;
      for (let cause = 0; cause < CAUSES; cause++) {
        const counted = world.drop(row, cause) - (before[cause] as number);
        const expected = this.#drops[row * CAUSES + cause] as number;
        if (counted === expected) continue;
        return `network ${row}: ${counted} dropped by ${drops.DROP_CAUSES[cause]?.name}, not ${expected}`;
      }
      const frames = world.counter(row, DECAP_FRAMES) - (before[CAUSES] as number);
      if (frames !== this.#delivered[row])
        return `network ${row}: ${frames} counted as delivered, not ${this.#delivered[row]}`;
      this.delivered += frames;
    }
    for (let vtep = 0; vtep < VTEPS; vtep++) {
      const datagrams = world.vtepCounter(vtep, VTEP_RX_DATAGRAMS) - (this.#vtepsBefore[vtep * 2] as number);
      const bytes = world.vtepCounter(vtep, VTEP_RX_BYTES) - (this.#vtepsBefore[vtep * 2 + 1] as number);
      if (datagrams !== this.#rxDatagrams[vtep] || bytes !== this.#rxBytes[vtep]) {
        return `VTEP ${vtep}: ${datagrams} datagrams of ${bytes} bytes counted, not ${this.#rxDatagrams[vtep]} of ${this.#rxBytes[vtep]}`;
      }
    }
    return undefined;
  }

  #isSame(entry: number, skip: number, arenaAt: number, bytes: number): boolean {
    const from = (this.#at[entry] as number) + skip;
    return this.#arena.compare(this.#shadow, from, from + bytes, arenaAt, arenaAt + bytes) === 0;
  }

  /** The arena offset of a pointer at a word index. */
  #offset(word: number): number {
    const { arena } = this.world.context;
    return ((arena.words[word] as number) - arena.baseLow) | 0;
  }
}
