/**
 * Runs a burst from a TAP through the worker, and says what was wrong with what left. Test support.
 *
 * What has to hold, and is checked after each burst:
 * - a message is dropped once, under the cause that judge() says, or its frames leave, once each, in order for each sending
 *   socket, byte for byte behind a VXLAN header, a superframe as the frames that the reference cuts it into;
 * - they leave for the VTEP that the FDB names, or for each member of the network, and for nobody else;
 * - what is given to sendmmsg is what UDP_SEGMENT can carry;
 * - the counters keep the law of conservation (conservation.ts), and nothing waits behind the burst.
 */

import { BURST_FRAMES } from '../../src/dataplane/arena.js';
import { drainTap } from '../../src/dataplane/tap-rx.js';
import {
  ENCAP_BYTES,
  ENCAP_FRAMES,
  FLOOD_COPIES,
  FLOODED_FRAMES,
  VTEP_TX_DATAGRAMS,
} from '../../src/shared/counters.js';
import * as drops from '../../src/shared/drop-causes.js';
import { KIND_LOCAL } from '../../src/shared/fdb.js';
import * as io from '../../src/sys/batch-io.js';
import { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS } from '../../src/sys/errno.js';
import { addressOf } from '../../src/sys/memory.js';
import { flowHash } from '../../src/wire/flow-hash.js';
import { segmentReference } from '../dataplane/reference/segment.js';
import { outerEcn } from './ecn.js';
import { chance, type Entropy } from './entropy.js';
import type { TapBatch } from './tap-batch.js';
import { endsInIpHeader, macNumber, TX_FD, TX_SOCKETS, VTEPS, type World } from './world.js';

/** A burst of the smallest segments to each of three members. */
const ENTRIES_MAX = BURST_FRAMES * 8192 * 3;
const CAUSES = drops.DROP_CAUSES.length;
const VIRTIO_BYTES = 10;
const IP_TOS = 1;
const VXLAN_BYTES = 8;
const FRAME_BYTES_MAX = 65_499;
const DATAGRAM_BYTES_MAX = 65_507;
const SEGMENTS_MAX = 64;
/** What a superframe that the reference refuses may be counted as. */
const REFUSED_SUPERFRAME = [drops.DROP_TAP_GSO, drops.DROP_TAP_VIRTIO_HEADER];
const WHOLE = -1;

/** What must leave by one socket, in order. */
class Queue {
  readonly message = new Int32Array(ENTRIES_MAX);
  readonly segment = new Int32Array(ENTRIES_MAX);
  readonly vtep = new Uint8Array(ENTRIES_MAX);
  readonly tos = new Uint8Array(ENTRIES_MAX);
  head = 0;
  tail = 0;
  /** Datagrams of a refused message that are to come again, one by one. */
  again = 0;

  push(message: number, segment: number, vtep: number, tos: number): void {
    this.tos[this.tail] = tos;
    this.message[this.tail] = message;
    this.segment[this.tail] = segment;
    this.vtep[this.tail] = vtep;
    this.tail++;
  }
}

export class TapTrial {
  readonly #queues = Array.from({ length: TX_SOCKETS }, () => new Queue());
  /** Of each message: the frames of a superframe. */
  readonly #segments: Uint8Array[][] = Array.from({ length: BURST_FRAMES }, () => []);
  readonly #drops = new Int32Array(CAUSES);
  readonly #dropsBefore = new Float64Array(CAUSES);
  readonly #txBefore = new Float64Array(VTEPS);
  readonly #tx = new Int32Array(VTEPS);
  readonly #totals = new Float64Array(4);
  readonly #expectedTotals = new Float64Array(4);
  #refusedSuperframes = 0;
  #given = 0;
  #fault: string | undefined;
  #faults: Entropy | undefined;
  /** Of all bursts: frames from the TAP, a superframe as those that it is split into, or as one that is refused. */
  frames = 0;
  sent = 0;
  readonly #arena: Buffer;
  readonly #shadow: Buffer;
  readonly #vtepRows: number;

  constructor(
    readonly world: World,
    readonly batch: TapBatch,
  ) {
    this.#arena = Buffer.from(world.context.arena.memory.buffer as unknown as ArrayBuffer);
    this.#shadow = Buffer.from(batch.bytes.buffer);
    this.#vtepRows = addressOf(world.context.vteps.words);
  }

  /** @param faults what decides which datagrams the underlay refuses; undefined: none. @returns what is wrong */
  run(faults: Entropy | undefined): string | undefined {
    this.#fault = undefined;
    this.#faults = faults;
    this.#begin();
    const { context } = this.world;
    context.tapBurst = BURST_FRAMES;
    const { index } = this.batch.network;
    // A burst ends where the TAP area does; what is left comes with the next one.
    while (this.#given < this.batch.count && this.#fault === undefined) drainTap(context, index);
    const wrong = this.#fault ?? this.#settle();
    if (faults !== undefined) this.world.permitAll();
    return wrong;
  }

  // --- the kernel -----------------------------------------------------------------------------------------------------

  read(_fd: number, address: number, bytesMax: number): number {
    if (this.#given === this.batch.count) return -EAGAIN;
    if (this.#faults !== undefined && chance(this.#faults, 2)) return -EINTR;
    const message = this.#given++;
    const from = this.batch.place(message);
    const bytes = Math.min(this.batch.messageBytes[message] as number, bytesMax);
    const { arena } = this.world.context;
    this.#shadow.copy(this.#arena, address - arena.base, from, from + bytes);
    this.frames += this.#expect(message, from, bytes);
    return bytes;
  }

  sendmmsg(fd: number, headers: number, count: number): number {
    const { arena } = this.world.context;
    const queue = this.#queues[fd - TX_FD] as Queue;
    const header = (headers - arena.base) >> 2;
    const refusal = this.#refusal();
    if (refusal < 0) return this.#refuse(queue, header, count, refusal);
    const accepted = refusal === 1 ? 1 + ((this.#faults as Entropy).next() % count) : count;
    for (let i = 0; i < accepted; i++) {
      const datagrams = this.#take(queue, header + i * io.MMSGHDR_WORDS, true);
      queue.again = Math.max(0, queue.again - datagrams);
    }
    return accepted;
  }

  /** @returns minus an errno; 0: all is taken; 1: a part of it */
  #refusal(): number {
    const faults = this.#faults;
    if (faults === undefined || !chance(faults, 25)) return 0;
    const errnos = [-EAGAIN, -ENOBUFS, -EINTR, -EIO, -EINVAL, -EMSGSIZE, 1, 1];
    return errnos[faults.next() % errnos.length] as number;
  }

  #refuse(queue: Queue, header: number, count: number, refusal: number): number {
    if (refusal === -EINTR) return refusal;
    if (refusal === -EAGAIN || refusal === -ENOBUFS) {
      // All of the batch is lost; of a message that goes again one by one, what is left of it.
      let lost = 0;
      if (queue.again > 0) {
        lost = queue.again;
        queue.head += lost;
      } else {
        for (let i = 0; i < count; i++) lost += this.#take(queue, header + i * io.MMSGHDR_WORDS, false);
      }
      queue.again = 0;
      this.#expectDrop(drops.DROP_UNDERLAY_BUSY, lost);
      return refusal;
    }
    this.#readControl(header);
    if (this.#isRun) {
      const head = queue.head;
      queue.again = this.#take(queue, header, false);
      queue.head = head;
      return refusal;
    }
    const lost = this.#take(queue, header, false);
    queue.again = Math.max(0, queue.again - lost);
    this.#expectDrop(drops.DROP_UNDERLAY_ERROR, lost);
    return refusal;
  }

  /** Compares a message with what must leave. @returns its datagrams */
  #take(queue: Queue, header: number, isSent: boolean): number {
    const { arena } = this.world.context;
    const { words } = arena;
    const row = (words[header + io.MSG_NAME_WORD] as number) - ((this.#vtepRows % 2 ** 32) | 0);
    const vtep = ((row | 0) - 64) / 64;
    const iovecs = words[header + io.MSG_IOVLEN_WORD] as number;
    let iovec = this.#offset(header + io.MSG_IOV_WORD) >> 2;
    const told = this.#readControl(header);
    const isRun = this.#isRun;
    const segmentBytes = isRun ? told >>> 8 : DATAGRAM_BYTES_MAX;
    const end = iovec + iovecs * io.IOVEC_WORDS;
    let datagrams = 0;
    let total = 0;
    while (iovec < end) {
      if (queue.head === queue.tail) return this.#wrong('more datagrams than are due', 1);
      const entry = queue.head++;
      if (queue.vtep[entry] !== vtep) return this.#wrong(`a datagram to VTEP ${vtep}, not ${queue.vtep[entry]}`, 1);
      if (queue.tos[entry] !== (told & 0xff))
        return this.#wrong(`outer TOS ${told & 0xff}, not ${queue.tos[entry]}`, 1);
      let bytes = 0;
      const due = this.#dueBytes(queue, entry);
      while (iovec < end && bytes < due) {
        const at = this.#offset(iovec + io.IOV_BASE_WORD);
        const length = words[iovec + io.IOV_LEN_WORD] as number;
        if (!this.#isDue(queue, entry, bytes, at, length)) return this.#wrong('other bytes than are due', 1);
        bytes += length;
        iovec += io.IOVEC_WORDS;
      }
      if (bytes !== due) return this.#wrong(`${bytes} bytes of a datagram of ${due}`, 1);
      if (bytes > segmentBytes || (bytes < segmentBytes && isRun && iovec < end)) {
        return this.#wrong(`a datagram of ${bytes} bytes in a run of ${segmentBytes}`, 1);
      }
      datagrams++;
      total += bytes;
    }
    if (total > DATAGRAM_BYTES_MAX || datagrams > SEGMENTS_MAX) {
      return this.#wrong(`a message of ${datagrams} datagrams, ${total} bytes`, datagrams);
    }
    if (isRun !== datagrams > 1) return this.#wrong('a run of one', 1);
    if (isSent && vtep >= 0 && vtep < VTEPS) this.#tx[vtep] = (this.#tx[vtep] as number) + datagrams;
    return datagrams;
  }

  #isRun = false;

  /** @returns the segment size times 256, plus the TOS */
  #readControl(header: number): number {
    const { words } = this.world.context.arena;
    let at = this.#offset(header + io.MSG_CONTROL_WORD) >> 2;
    const end = at + ((words[header + io.MSG_CONTROLLEN_WORD] as number) >> 2);
    let segmentBytes = 0;
    let tos = 0;
    this.#isRun = false;
    for (; at < end; at += (((words[at] as number) + 7) >> 3) << 1) {
      const data = words[at + io.CMSG_DATA_WORD] as number;
      if (words[at + io.CMSG_LEVEL_WORD] === io.SOL_UDP && words[at + io.CMSG_TYPE_WORD] === io.UDP_SEGMENT) {
        segmentBytes = data & 0xffff;
        this.#isRun = true;
      } else if (words[at + io.CMSG_LEVEL_WORD] === 0 && words[at + io.CMSG_TYPE_WORD] === IP_TOS) tos = data;
      else {
        this.#wrong('a control message of another kind', 0);
        break;
      }
    }
    return (segmentBytes << 8) | tos;
  }

  #wrong(what: string, datagrams: number): number {
    this.#fault ??= what;
    return datagrams;
  }

  #dueBytes(queue: Queue, entry: number): number {
    const message = queue.message[entry] as number;
    const segment = queue.segment[entry] as number;
    if (segment !== WHOLE) return VXLAN_BYTES + (this.#segments[message]?.[segment]?.length ?? 0);
    return VXLAN_BYTES + (this.batch.messageBytes[message] as number) - VIRTIO_BYTES;
  }

  /** Whether `length` bytes of the arena are those from `skip` on of the datagram that is due. */
  #isDue(queue: Queue, entry: number, skip: number, at: number, length: number): boolean {
    const message = queue.message[entry] as number;
    const segment = queue.segment[entry] as number;
    let arenaAt = at;
    let from = skip;
    const end = skip + length;
    if (end > this.#dueBytes(queue, entry)) return false;
    if (from < VXLAN_BYTES) {
      const { view } = this.world.context.arena;
      if (length < VXLAN_BYTES || view.getUint32(at) !== 0x0800_0000) return false;
      if (view.getUint32(at + 4) !== this.batch.network.vni * 256) return false;
      arenaAt += VXLAN_BYTES;
      from = VXLAN_BYTES;
    }
    if (segment === WHOLE) {
      const frame = this.batch.place(message) + VIRTIO_BYTES - VXLAN_BYTES;
      return this.#arena.compare(this.#shadow, frame + from, frame + end, arenaAt, arenaAt + end - from) === 0;
    }
    const due = this.#segments[message]?.[segment] as Uint8Array;
    return this.#arena.compare(due, from - VXLAN_BYTES, end - VXLAN_BYTES, arenaAt, arenaAt + end - from) === 0;
  }

  // --- what must come of the burst ------------------------------------------------------------------------------------

  #begin(): void {
    const { world } = this;
    const { index } = this.batch.network;
    for (const queue of this.#queues) {
      queue.head = 0;
      queue.tail = 0;
      queue.again = 0;
    }
    this.#given = 0;
    this.#refusedSuperframes = 0;
    this.#drops.fill(0);
    this.#tx.fill(0);
    this.#expectedTotals.fill(0);
    for (let cause = 0; cause < CAUSES; cause++) this.#dropsBefore[cause] = world.drop(index, cause);
    for (let vtep = 0; vtep < VTEPS; vtep++) this.#txBefore[vtep] = world.vtepCounter(vtep, VTEP_TX_DATAGRAMS);
    TOTALS.forEach((counter, i) => {
      this.#totals[i] = world.counter(index, counter);
    });
  }

  /** @returns how many frames the message is */
  #expect(message: number, start: number, messageBytes: number): number {
    const { bytes, network } = this.batch;
    const frame = start + VIRTIO_BYTES;
    const frameBytes = messageBytes - VIRTIO_BYTES;
    if (frameBytes < 14 || endsInIpHeader(bytes, frame, frameBytes)) return this.#expectDrop(drops.DROP_TAP_RUNT, 1);
    if (macNumber(bytes, frame + 6) === 0x0276_7400_0000 + network.vni) {
      return this.#expectDrop(drops.DROP_GATEWAY_SOURCE, 1);
    }
    let count = 1;
    let frameTotal = frameBytes;
    const isSuperframe = bytes[start + 1] !== 0;
    if (isSuperframe) {
      const segments = this.#cut(start, messageBytes);
      if (segments === undefined) {
        this.#refusedSuperframes++;
        return 1;
      }
      this.#segments[message] = segments;
      count = segments.length;
      frameTotal = segments.reduce((sum, { length }) => sum + length, 0);
    } else {
      if (frameBytes > FRAME_BYTES_MAX) return this.#expectDrop(drops.DROP_OVERSIZE, 1);
      if (((bytes[start] as number) & 1) === 1 && !complete(bytes, start, frameBytes)) {
        return this.#expectDrop(drops.DROP_TAP_VIRTIO_HEADER, 1);
      }
    }
    // Of the frame with its checksum completed: the virtio header may say that it lies in the addresses.
    const socket = flowHash(bytes, frame, frameBytes) & (TX_SOCKETS - 1);
    this.#expectTotal(0, count);
    this.#expectTotal(1, frameTotal);
    const to = macNumber(bytes, frame);
    const isGroup = ((bytes[frame] as number) & 1) === 1;
    const known = isGroup ? undefined : (this.world.model[network.index] as Map<number, number>).get(to);
    if (known !== undefined) {
      if (Math.floor(known / 0x1_0000) === KIND_LOCAL) this.#expectDrop(drops.DROP_LOCAL_DESTINATION, count);
      else this.#queue(socket, message, count, isSuperframe, known % 0x1_0000);
      return count;
    }
    for (const member of network.members) this.#queue(socket, message, count, isSuperframe, member);
    this.#expectTotal(2, count);
    this.#expectTotal(3, count * network.members.length);
    return count;
  }

  #queue(socket: number, message: number, count: number, isSuperframe: boolean, vtep: number): void {
    const queue = this.#queues[socket] as Queue;
    const frame = this.batch.place(message) + VIRTIO_BYTES;
    const tos = outerEcn(this.batch.bytes, frame, (this.batch.messageBytes[message] as number) - VIRTIO_BYTES);
    if (!isSuperframe) queue.push(message, WHOLE, vtep, tos);
    else for (let segment = 0; segment < count; segment++) queue.push(message, segment, vtep, tos);
  }

  /** @returns undefined for a superframe that must be refused */
  #cut(start: number, messageBytes: number): Uint8Array[] | undefined {
    try {
      return segmentReference(Uint8Array.from(this.batch.bytes.subarray(start, start + messageBytes)));
    } catch {
      return undefined;
    }
  }

  #expectDrop(cause: number, count: number): number {
    this.#drops[cause] = (this.#drops[cause] as number) + count;
    return count;
  }

  #expectTotal(index: number, amount: number): void {
    this.#expectedTotals[index] = (this.#expectedTotals[index] as number) + amount;
  }

  // --- what has come of it --------------------------------------------------------------------------------------------

  #settle(): string | undefined {
    const { world } = this;
    const { index } = this.batch.network;
    for (const [socket, queue] of this.#queues.entries()) {
      if (queue.head !== queue.tail) return `socket ${socket}: ${queue.tail - queue.head} datagrams did not leave`;
      if (world.context.txCounts[socket] !== 0) return `socket ${socket}: something waits behind the burst`;
    }
    let refused = 0;
    for (let cause = 0; cause < CAUSES; cause++) {
      const counted = world.drop(index, cause) - (this.#dropsBefore[cause] as number);
      const surplus = counted - (this.#drops[cause] as number);
      if (REFUSED_SUPERFRAME.includes(cause)) refused += surplus;
      else if (surplus !== 0) {
        return `${counted} dropped by ${drops.DROP_CAUSES[cause]?.name}, not ${this.#drops[cause]}`;
      }
    }
    if (refused !== this.#refusedSuperframes) return `${refused} superframes refused, not ${this.#refusedSuperframes}`;
    for (const [i, counter] of TOTALS.entries()) {
      const counted = world.counter(index, counter) - (this.#totals[i] as number);
      if (counted !== this.#expectedTotals[i]) {
        return `${counted} counted as ${TOTAL_NAMES[i]}, not ${this.#expectedTotals[i]}`;
      }
    }
    for (let vtep = 0; vtep < VTEPS; vtep++) {
      const sent = world.vtepCounter(vtep, VTEP_TX_DATAGRAMS) - (this.#txBefore[vtep] as number);
      if (sent !== this.#tx[vtep]) return `VTEP ${vtep}: ${sent} datagrams counted as sent, not ${this.#tx[vtep]}`;
      this.sent += sent;
    }
    return undefined;
  }

  /** The arena offset of a pointer at a word index. */
  #offset(word: number): number {
    const { arena } = this.world.context;
    return ((arena.words[word] as number) - arena.baseLow) | 0;
  }
}

const TOTALS = [ENCAP_FRAMES, ENCAP_BYTES, FLOODED_FRAMES, FLOOD_COPIES] as const;
const TOTAL_NAMES = ['encap_frames', 'encap_bytes', 'flooded_frames', 'flood_copies'] as const;

/** Completes the checksum in place, as the worker does in the arena. @returns false if its field is not in the frame */
function complete(bytes: Uint8Array, start: number, frameBytes: number): boolean {
  const word = (at: number) => (bytes[at] as number) + (bytes[at + 1] as number) * 256;
  const from = word(start + 6);
  const field = word(start + 8);
  if (from + field + 2 > frameBytes) return false;
  const begin = start + VIRTIO_BYTES + from;
  const end = start + VIRTIO_BYTES + frameBytes;
  let sum = 0;
  for (let i = begin; i < end; i++) sum += (i - begin) % 2 === 0 ? (bytes[i] as number) * 256 : (bytes[i] as number);
  while (sum > 0xffff) sum = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000);
  const checksum = 0xffff - sum === 0 && field === 6 ? 0xffff : 0xffff - sum;
  bytes[begin + field] = checksum >> 8;
  bytes[begin + field + 1] = checksum & 0xff;
  return true;
}
