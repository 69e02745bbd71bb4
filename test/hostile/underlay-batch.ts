/**
 * A batch of messages as a recvmmsg brings it from a hostile underlay: single datagrams, trains of a flow, trains of
 * anything, garbage, nothing, giants; with segment sizes and VXLAN headers that lie now and then. Test support.
 *
 * All is written into one buffer that lives as long as the program: nothing is made for a datagram.
 */
import { RX_MESSAGES } from '../../src/dataplane/arena.js';
import { below, chance, type Entropy } from './entropy.js';
import { mutate, SURPLUS_BYTES } from './mutations.js';
import type { Pool, PoolFrame } from './pool.js';
import { MACS, NETWORKS, type Network, STRANGER } from './world.js';

/** What a message may have at most: a UDP datagram over IPv4. */
export const MESSAGE_BYTES_MAX = 65_507;
/** The longest frame of a pool, and what a bent one may get, lie beyond the end until they are cut. */
const PLACE_BYTES = MESSAGE_BYTES_MAX + 40_000;
const UNKNOWN_SOURCE = 77;
const SOURCES = Uint8Array.of(1, 1, 1, 1, 1, 2, 2, 2, 3, 40, 0, STRANGER, UNKNOWN_SOURCE, 39);
const MIXED_SIZES = Uint16Array.of(8, 21, 22, 30, 60, 64, 72, 100, 1458, 3000);
const LYING_SIZES = Int32Array.of(0, 22, 100, 1458, 65_507, 0x7fff_ffff, -1, 65_535, 9, 8, 7, 1);

/** Mostly one that the sender is a member of. */
function networkOf(entropy: Entropy, vtep: number): Network {
  const first = below(entropy, NETWORKS.length);
  if (chance(entropy, 15)) return NETWORKS[first] as Network;
  for (let i = 0; i < NETWORKS.length; i++) {
    const network = NETWORKS[(first + i) % NETWORKS.length] as Network;
    if (network.members.includes(vtep)) return network;
  }
  return NETWORKS[first] as Network;
}

export class UnderlayBatch {
  readonly bytes = new Uint8Array(RX_MESSAGES * PLACE_BYTES);
  count = 0;
  readonly messageBytes = new Int32Array(RX_MESSAGES);
  /** What UDP_GRO's control message says; 0: there is none. */
  readonly segmentBytes = new Int32Array(RX_MESSAGES);
  /** Of 192.0.2.<vtep + 1>. */
  readonly vteps = new Int32Array(RX_MESSAGES);
  /** Of the outer IP header. */
  readonly tos = new Uint8Array(RX_MESSAGES);
  readonly isTruncated = new Uint8Array(RX_MESSAGES);
  readonly #view = new DataView(this.bytes.buffer);
  #at = 0;

  /** Of the message's first byte in `bytes`. */
  place(message: number): number {
    return message * PLACE_BYTES;
  }

  draw(entropy: Entropy, pools: readonly Pool[], messagesMax = RX_MESSAGES): void {
    this.count = 1 + below(entropy, messagesMax);
    for (let message = 0; message < this.count; message++) {
      const start = this.place(message);
      this.#at = start;
      this.vteps[message] = SOURCES[below(entropy, SOURCES.length)] as number;
      this.isTruncated[message] = chance(entropy, 1) ? 1 : 0;
      this.segmentBytes[message] = 0;
      this.tos[message] = chance(entropy, 20) ? below(entropy, 256) : 0;
      const network = networkOf(entropy, this.vteps[message] as number);
      const pool = pools[network.index - 1] as Pool;
      const kind = below(entropy, 100);
      if (kind < 40) this.#datagram(entropy, network, pool, 0);
      else if (kind < 70) this.segmentBytes[message] = this.#train(entropy, network, pool);
      else if (kind < 90) this.segmentBytes[message] = this.#mixed(entropy, network, pools);
      else if (kind < 96) this.#garbage(entropy, start);
      else if (kind < 98) this.#giant(entropy, network);
      const bytes = Math.min(this.#at - start, MESSAGE_BYTES_MAX);
      this.messageBytes[message] = bytes;
      // The smallest only for short messages: a datagram a byte is soon seen.
      const lies = LYING_SIZES.length - (bytes > 2000 ? 4 : 0);
      if (chance(entropy, 6)) this.segmentBytes[message] = LYING_SIZES[below(entropy, lies)] as number;
      if (bytes > 0 && chance(entropy, 6))
        this.#spoilHeader(entropy, start, bytes, this.segmentBytes[message] as number);
    }
  }

  /** One datagram with a frame of the pool, bent or not; filled or cut to `size` bytes if that is not 0. */
  #datagram(entropy: Entropy, network: Network, pool: Pool, size: number): void {
    const frame = pool.frames[below(entropy, pool.frames.length)] as PoolFrame;
    const start = this.#at;
    this.#header(entropy, network);
    this.bytes.set(frame.bytes, this.#at);
    let length = frame.bytes.length;
    this.bytes.fill(0xee, this.#at + length, this.#at + length + SURPLUS_BYTES);
    while (chance(entropy, 45)) length = mutate(entropy, this.bytes, this.#at, length, frame, MACS);
    length = Math.min(length, MESSAGE_BYTES_MAX - 8);
    this.#at += length;
    if (size === 0) return;
    if (this.#at - start < size) this.bytes.fill(0xee, this.#at, start + size);
    this.#at = start + size;
  }

  /** @returns the segment size */
  #train(entropy: Entropy, network: Network, pool: Pool): number {
    const frames = pool.trains[below(entropy, pool.trains.length)] as readonly PoolFrame[];
    const size = (frames[0] as PoolFrame).bytes.length + 8;
    const bent = chance(entropy, 40) ? below(entropy, frames.length) : -1;
    const start = this.#at;
    for (let i = 0; i < frames.length && this.#at - start + size <= MESSAGE_BYTES_MAX; i++) {
      const frame = frames[i] as PoolFrame;
      this.#header(entropy, network);
      this.bytes.set(frame.bytes, this.#at);
      // Its length must stay: it is the train's.
      if (i === bent) mutate(entropy, this.bytes, this.#at, frame.bytes.length, frame, MACS);
      this.#at += frame.bytes.length;
    }
    return size;
  }

  /** Datagrams that have nothing but their size in common. @returns it */
  #mixed(entropy: Entropy, network: Network, pools: readonly Pool[]): number {
    const size = MIXED_SIZES[below(entropy, MIXED_SIZES.length)] as number;
    const count = Math.min(2 + below(entropy, 40), Math.floor(MESSAGE_BYTES_MAX / size));
    for (let i = 0; i < count; i++) {
      const other = chance(entropy, 20) ? (NETWORKS[below(entropy, NETWORKS.length)] as Network) : network;
      this.#datagram(entropy, other, pools[other.index - 1] as Pool, size);
    }
    this.#at -= below(entropy, size);
    return size;
  }

  #garbage(entropy: Entropy, start: number): void {
    const length = below(entropy, entropy.next() % 8 === 0 ? 9000 : 80);
    for (let i = 0; i < length; i += 4) this.#view.setUint32(start + i, entropy.next());
    if (chance(entropy, 70)) this.#header(entropy, NETWORKS[0] as Network);
    this.#at = start + length;
  }

  #giant(entropy: Entropy, network: Network): void {
    const start = this.#at;
    this.#header(entropy, network);
    this.bytes.set(MACS.subarray(6, 18), this.#at);
    this.bytes.fill(network.mark[0] as number, this.#at + 12, start + MESSAGE_BYTES_MAX);
    this.#at = start + MESSAGE_BYTES_MAX - below(entropy, 3);
  }

  #header(entropy: Entropy, network: Network): void {
    const vni = chance(entropy, 4) ? entropy.next() & 0xff_ffff : network.vni;
    this.#view.setUint32(this.#at, 0x0800_0000);
    this.#view.setUint32(this.#at + 4, vni * 256);
    this.#at += 8;
  }

  /** One bit or byte of the VXLAN header of the first datagram, or of another one. */
  #spoilHeader(entropy: Entropy, start: number, messageBytes: number, segmentBytes: number): void {
    const datagrams = segmentBytes > 0 ? Math.ceil(messageBytes / segmentBytes) : 1;
    const at = start + below(entropy, datagrams) * Math.max(0, segmentBytes) + below(entropy, 8);
    if (at >= start + messageBytes) return;
    this.bytes[at] = chance(entropy, 50) ? below(entropy, 256) : (this.bytes[at] as number) ^ (1 << below(entropy, 8));
  }
}
