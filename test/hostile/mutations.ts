/**
 * Bends a frame in place: cuts it, lets a field lie, flips bits, tells another sender. Called for each datagram of a long
 * run, so nothing is made here. Test support.
 */
import { below, type Entropy } from './entropy.js';
import type { PoolFrame } from './pool.js';

/** Fields of IPv4 and IPv6 from layer 3 on: version and length, total length, next header, flags, protocol, checksum. */
const LAYER3_FIELDS = Uint8Array.of(0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 40, 41, 42, 43);
/** Of the layer above: ports, types, lengths, data offset, flags, counts. */
const UPPER_FIELDS = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 16, 17, 24, 25);
const VALUES = Uint8Array.of(0, 1, 0xff, 0x45, 0x4f, 0x44, 0x60, 0x6f, 0x80, 0x7f, 5, 6, 17, 44, 43, 58, 0x40, 0x20, 8);
const MUTATIONS = 8;

/**
 * @param bytes the frame begins at `start`; there is room for SURPLUS_BYTES more behind its `length` bytes
 * @param macs six bytes each, one behind the other
 * @returns the frame's new length
 */
export function mutate(
  entropy: Entropy,
  bytes: Uint8Array,
  start: number,
  length: number,
  { layer3, upper }: PoolFrame,
  macs: Uint8Array,
): number {
  switch (below(entropy, MUTATIONS)) {
    case 0: {
      // Cut anywhere: every length comes up.
      return below(entropy, length + 1);
    }
    case 1: {
      set(
        bytes,
        start,
        length,
        layer3 + (LAYER3_FIELDS[below(entropy, LAYER3_FIELDS.length)] as number),
        value(entropy),
      );
      return length;
    }
    case 2: {
      set(bytes, start, length, upper + (UPPER_FIELDS[below(entropy, UPPER_FIELDS.length)] as number), value(entropy));
      return length;
    }
    case 3: {
      // One more or one less, where a length is most likely.
      const at = start + layer3 + 3;
      if (layer3 + 3 < length) bytes[at] = (bytes[at] as number) + (entropy.next() % 2 === 0 ? 1 : 255);
      return length;
    }
    case 4: {
      if (length === 0) return 0;
      const bit = below(entropy, length * 8);
      const at = start + (bit >> 3);
      bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
      return length;
    }
    case 5: {
      const mac = below(entropy, macs.length / 6) * 6;
      for (let i = 0; i < 6 && 6 + i < length; i++) bytes[start + 6 + i] = macs[mac + i] as number;
      return length;
    }
    case 6: {
      // A source that nobody has seen.
      const low = entropy.next();
      if (length >= 12) {
        bytes[start + 6] = 2 | ((entropy.next() & 0x3f) << 2);
        for (let i = 0; i < 4; i++) bytes[start + 8 + i] = low >>> (i * 8);
      }
      return length;
    }
    default: {
      // A trailer of bytes that are there already.
      return length + below(entropy, SURPLUS_BYTES);
    }
  }
}

export const SURPLUS_BYTES = 48;

function value(entropy: Entropy): number {
  return VALUES[below(entropy, VALUES.length)] as number;
}

function set(bytes: Uint8Array, start: number, length: number, at: number, to: number): void {
  if (at < length) bytes[start + at] = to;
}
