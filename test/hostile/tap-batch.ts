/**
 * A burst of messages as a hostile container makes a TAP give them: frames of every kind, bent or not, superframes, and
 * virtio headers that lie about them. Test support. As with UnderlayBatch, nothing is made for a message.
 */
import { BURST_FRAMES } from '../../src/dataplane/arena.js';
import { below, chance, type Entropy } from './entropy.js';
import { mutate, SURPLUS_BYTES } from './mutations.js';
import type { Pool, PoolFrame } from './pool.js';
import { MACS, NETWORKS, type Network } from './world.js';

/** What one read of a TAP may bring: SLOT_BYTES without the room before the virtio header. */
export const READ_BYTES_MAX = 65_992;
const PLACE_BYTES = READ_BYTES_MAX + 40_000;
const VIRTIO_BYTES = 10;
const LYING_WORDS = Uint16Array.of(0, 1, 7, 8, 13, 14, 34, 54, 64, 1448, 9000, 65_499, 65_535);
const GSO_TYPES = Uint8Array.of(0, 1, 3, 4, 5, 0x81, 0x84, 2, 6, 0x80, 0xff);

export class TapBatch {
  readonly bytes = new Uint8Array(BURST_FRAMES * PLACE_BYTES);
  count = 0;
  /** Virtio header and frame. */
  readonly messageBytes = new Int32Array(BURST_FRAMES);
  network: Network = NETWORKS[0] as Network;

  /** Of the message's first byte in `bytes`. */
  place(message: number): number {
    return message * PLACE_BYTES;
  }

  draw(entropy: Entropy, pools: readonly Pool[], messagesMax = BURST_FRAMES): void {
    this.network = NETWORKS[below(entropy, NETWORKS.length)] as Network;
    const pool = pools[this.network.index - 1] as Pool;
    this.count = 1 + below(entropy, messagesMax);
    for (let message = 0; message < this.count; message++) {
      const start = this.place(message);
      const kind = below(entropy, 100);
      let length: number;
      if (kind < 88) length = this.#plain(entropy, pool, start);
      else if (kind < 94) length = this.#offloaded(entropy, pool, start);
      else if (kind < 98) length = this.#garbage(entropy, start);
      else length = this.#giant(entropy, start);
      if (chance(entropy, 3)) length = below(entropy, 30);
      this.messageBytes[message] = Math.min(length, READ_BYTES_MAX);
    }
  }

  #plain(entropy: Entropy, pool: Pool, start: number): number {
    const frame = pool.frames[below(entropy, pool.frames.length)] as PoolFrame;
    this.bytes.fill(0, start, start + VIRTIO_BYTES);
    const at = start + VIRTIO_BYTES;
    this.bytes.set(frame.bytes, at);
    let length = frame.bytes.length;
    this.bytes.fill(0xee, at + length, at + length + SURPLUS_BYTES);
    while (chance(entropy, 40)) length = mutate(entropy, this.bytes, at, length, frame, MACS);
    if (chance(entropy, 6)) this.#lie(entropy, start);
    return length + VIRTIO_BYTES;
  }

  /** A superframe or a packet with its checksum left to us; three of four with a virtio header that is true. */
  #offloaded(entropy: Entropy, pool: Pool, start: number): number {
    const message = pool.messages[below(entropy, pool.messages.length)] as PoolFrame;
    this.bytes.set(message.bytes, start);
    let length = message.bytes.length;
    this.bytes.fill(0xee, start + length, start + length + SURPLUS_BYTES);
    if (chance(entropy, 25)) this.#lie(entropy, start);
    if (chance(entropy, 25)) length = mutate(entropy, this.bytes, start, length, message, MACS);
    return length;
  }

  #lie(entropy: Entropy, start: number): void {
    const word = LYING_WORDS[below(entropy, LYING_WORDS.length)] as number;
    const field = below(entropy, 6);
    if (field === 0) this.bytes[start] = below(entropy, 4);
    else if (field === 1) this.bytes[start + 1] = GSO_TYPES[below(entropy, GSO_TYPES.length)] as number;
    else {
      this.bytes[start] = 1;
      this.bytes[start + (field - 1) * 2] = word & 0xff;
      this.bytes[start + (field - 1) * 2 + 1] = word >> 8;
    }
  }

  #garbage(entropy: Entropy, start: number): number {
    const length = below(entropy, 120);
    for (let i = 0; i < length; i++) this.bytes[start + i] = entropy.next();
    if (chance(entropy, 60)) this.bytes.fill(0, start, start + VIRTIO_BYTES);
    return length;
  }

  #giant(entropy: Entropy, start: number): number {
    this.bytes.fill(0, start, start + VIRTIO_BYTES);
    this.bytes.set(MACS.subarray(6, 12), start + VIRTIO_BYTES);
    this.bytes.fill(this.network.mark[0] as number, start + VIRTIO_BYTES + 6, start + READ_BYTES_MAX);
    return 65_499 + VIRTIO_BYTES + below(entropy, 3) - 1;
  }
}
