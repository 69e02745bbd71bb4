/**
 * Names below in-addr.arpa and ip6.arpa: which address or block they mean (RFC 1035 section 3.5, RFC 3596 section 2.5).
 * Pure.
 */
import { type Cidr, cidrContains } from '../../wire/ip-address.js';

export interface ReverseName {
  readonly family: 4 | 6;
  /** 4 or 16 bytes; those beyond `bits` are zero. */
  readonly address: Uint8Array;
  /** How many bits the labels give. */
  readonly bits: number;
  /** Whether every label was understood; if not, what is left lies below the block. */
  readonly exact: boolean;
}

/** @param labels in lower case, as they stand in the name. @returns undefined for a name elsewhere. */
export function parseReverseName(labels: readonly string[]): ReverseName | undefined {
  const zone = labels.slice(-2).join('.');
  const below = labels.slice(0, -2).reverse();
  if (zone === 'in-addr.arpa') return read(below, 4, 8, /^(0|[1-9][0-9]{0,2})$/, 10);
  if (zone === 'ip6.arpa') return read(below, 6, 4, /^[0-9a-f]$/, 16);
  return undefined;
}

/** The subnet that the whole of the name's block lies in. */
export function subnetOf(reverse: ReverseName, subnets: readonly Cidr[]): Cidr | undefined {
  return subnets.find((subnet) => reverse.bits >= subnet.prefixLength && cidrContains(subnet, reverse.address));
}

/** The name of the zone that a subnet's part around the name has: a label's boundary at or below the prefix. */
export function reverseZone(reverse: ReverseName, subnet: Cidr): string {
  const labelBits = reverse.family === 4 ? 8 : 4;
  const labelCount = Math.ceil(subnet.prefixLength / labelBits);
  const labels: string[] = [];
  for (let i = 0; i < Math.min(labelCount, reverse.bits / labelBits); i++) {
    const byte = reverse.address[(i * labelBits) >> 3]!;
    labels.push(reverse.family === 4 ? String(byte) : ((i & 1) === 0 ? byte >> 4 : byte & 0xf).toString(16));
  }
  return [...labels.reverse(), reverse.family === 4 ? 'in-addr.arpa' : 'ip6.arpa'].join('.');
}

function read(labels: readonly string[], family: 4 | 6, labelBits: 4 | 8, pattern: RegExp, radix: number): ReverseName {
  const address = new Uint8Array(family === 4 ? 4 : 16);
  const countMax = (address.length * 8) / labelBits;
  let count = 0;
  for (const label of labels.slice(0, countMax)) {
    const value = pattern.test(label) ? Number.parseInt(label, radix) : 256;
    if (value > 255) break;
    address[(count * labelBits) >> 3]! |= labelBits === 8 || (count & 1) === 1 ? value : value << 4;
    count++;
  }
  return { family, address, bits: count * labelBits, exact: count === labels.length };
}
