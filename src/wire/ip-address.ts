/**
 * IPv4 and IPv6 addresses and CIDR blocks: text to bytes and back. Cold: configuration, IPAM, messages, the API.
 *
 * Parsing is strict, since these texts come from people and end in routes: an IPv4 byte has no leading zero (is 010
 * eight or ten?), an IPv6 address has no zone, a CIDR block has no host bits. Formatting is canonical (RFC 5952), so that
 * two texts are equal exactly if the addresses are.
 */

export const IPV4_ADDRESS_BYTES = 4;
export const IPV6_ADDRESS_BYTES = 16;

export type IpFamily = 4 | 6;

/** A checked block: `network` has no bit set beyond `prefixLength`. */
export interface Cidr {
  readonly family: IpFamily;
  /** 4 or 16 bytes. */
  readonly network: Uint8Array;
  readonly prefixLength: number;
  /** Canonical, such as "10.0.2.0/24". */
  readonly text: string;
}

/** The addresses of a block that hosts can have, as text, both ends included. */
export interface HostRange {
  readonly first: string;
  readonly last: string;
  readonly count: bigint;
}

const IPV4_BYTE = /^(0|[1-9][0-9]{0,2})$/;
const IPV6_GROUP = /^[0-9a-f]{1,4}$/i;
const IPV6_GROUPS = 8;
const PREFIX_LENGTH = /^(0|[1-9][0-9]{0,2})$/;

/** @returns 4 bytes. @throws Error naming the text and what is wrong */
export function parseIPv4(text: string): Uint8Array {
  const address = ipv4Bytes(text);
  if (address === undefined) {
    throw new Error(`IPv4 address "${text}" is not four numbers of 0 to 255 such as 192.0.2.1 (no leading zeros)`);
  }
  return address;
}

/** @returns dotted decimal. @throws Error if the buffer ends before the address does */
export function formatIPv4(bytes: Uint8Array, offset = 0): string {
  assertHolds(bytes, offset, IPV4_ADDRESS_BYTES, 'IPv4');
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

/** @returns 16 bytes. @throws Error naming the text and what is wrong */
export function parseIPv6(text: string): Uint8Array {
  if (text.includes('%')) {
    throw new Error(`IPv6 address "${text}" has a zone ("%..."); give the address alone`);
  }
  const address = ipv6Bytes(text);
  if (address === undefined) {
    throw new Error(`IPv6 address "${text}" is not eight groups of hexadecimal digits such as 2001:db8::1`);
  }
  return address;
}

/**
 * RFC 5952: lower case, no leading zeros, "::" for the longest run of two or more zero groups, the first of equals.
 * An IPv4-mapped address (section 5) ends in dotted decimal.
 *
 * @throws Error if the buffer ends before the address does
 */
export function formatIPv6(bytes: Uint8Array, offset = 0): string {
  assertHolds(bytes, offset, IPV6_ADDRESS_BYTES, 'IPv6');
  const groups: number[] = [];
  for (let i = 0; i < IPV6_GROUPS; i++) groups.push((bytes[offset + 2 * i]! << 8) | bytes[offset + 2 * i + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${formatIPv4(bytes, offset + 12)}`;
  }
  const run = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (run.length < 2) return hex.join(':');
  return `${hex.slice(0, run.start).join(':')}::${hex.slice(run.start + run.length).join(':')}`;
}

/** @returns 4 or 16 bytes. @throws Error for a text that is neither */
export function parseIp(text: string): Uint8Array {
  return text.includes(':') ? parseIPv6(text) : parseIPv4(text);
}

/** @param address 4 or 16 bytes. @throws Error for another length */
export function formatIp(address: Uint8Array): string {
  if (address.length === IPV4_ADDRESS_BYTES) return formatIPv4(address);
  if (address.length === IPV6_ADDRESS_BYTES) return formatIPv6(address);
  throw new Error(`an IP address has 4 or 16 bytes, not ${address.length}`);
}

/** @returns 0 to 2^32 - 1. @throws Error as parseIPv4 */
export function ipv4ToNumber(text: string): number {
  const address = parseIPv4(text);
  return ((address[0]! << 24) | (address[1]! << 16) | (address[2]! << 8) | address[3]!) >>> 0;
}

/** @param value 0 to 2^32 - 1; an int32 of the hot path is taken as the same 32 bits. @throws RangeError beyond */
export function numberToIPv4(value: number): string {
  if (!Number.isInteger(value) || value < -0x80000000 || value > 0xffffffff) {
    throw new RangeError(`${value} is no IPv4 address: an integer of 0 to 4294967295 is`);
  }
  return `${value >>> 24}.${(value >>> 16) & 0xff}.${(value >>> 8) & 0xff}.${value & 0xff}`;
}

/** @param text ADDRESS/PREFIX, of either family. @throws Error naming the text and what is wrong with it */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  if (slash < 0) {
    throw new Error(`CIDR "${text}" has no prefix length: write it as ADDRESS/LENGTH, such as 10.0.2.0/24`);
  }
  const addressText = text.slice(0, slash);
  const prefixText = text.slice(slash + 1);
  const address = addressText.includes(':') ? ipv6Bytes(addressText) : ipv4Bytes(addressText);
  if (address === undefined) {
    throw new Error(`CIDR "${text}": "${addressText}" is not an IP address such as 10.0.2.0 or fd00:2::`);
  }
  const bitsMax = address.length * 8;
  if (!PREFIX_LENGTH.test(prefixText) || Number(prefixText) > bitsMax) {
    throw new Error(`CIDR "${text}": prefix length "${prefixText}" is not a number of 0 to ${bitsMax}`);
  }
  const prefixLength = Number(prefixText);
  const network = address.map((byte, i) => byte & maskByte(prefixLength, i));
  const canonical = `${formatIp(network)}/${prefixLength}`;
  if (network.some((byte, i) => byte !== address[i])) {
    throw new Error(
      `CIDR "${text}" has host bits set beyond its ${prefixLength}-bit prefix: the block is ${canonical}`,
    );
  }
  return { family: address.length === IPV4_ADDRESS_BYTES ? 4 : 6, network, prefixLength, text: canonical };
}

/** @param address 4 or 16 bytes; of the other family it is never inside. */
export function cidrContains(cidr: Cidr, address: Uint8Array): boolean {
  if (address.length !== cidr.network.length) return false;
  return cidr.network.every((byte, i) => byte === (address[i]! & maskByte(cidr.prefixLength, i)));
}

/** @returns whether an address is in both; blocks of different families never overlap. */
export function cidrOverlaps(a: Cidr, b: Cidr): boolean {
  return a.prefixLength <= b.prefixLength ? cidrContains(a, b.network) : cidrContains(b, a.network);
}

/**
 * IPv4: without the network and the broadcast address, but /31 has both ends (RFC 3021) and /32 its one.
 * IPv6: without the subnet-router anycast address (RFC 4291 section 2.6.1), the all-zeros one; /127 has both ends
 * (RFC 6164) and /128 its one.
 */
export function hostRange(cidr: Cidr): HostRange {
  const hostBits = cidr.network.length * 8 - cidr.prefixLength;
  const first = cidr.network.slice();
  const last = cidr.network.map((byte, i) => byte | (~maskByte(cidr.prefixLength, i) & 0xff));
  let count = 1n << BigInt(hostBits);
  if (hostBits >= 2) {
    // The lowest bit of the network is 0 and that of the last address 1: neither step carries.
    first[first.length - 1]! += 1;
    count -= 1n;
    if (cidr.family === 4) {
      last[last.length - 1]! -= 1;
      count -= 1n;
    }
  }
  return { first: formatIp(first), last: formatIp(last), count };
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== IPV4_ADDRESS_BYTES) return undefined;
  if (!parts.every((part) => IPV4_BYTE.test(part) && Number(part) <= 255)) return undefined;
  return Uint8Array.from(parts, Number);
}

function ipv6Bytes(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = ipv6Groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? ipv6Groups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const groupCount = head.length + tail.length;
  // "::" stands for one group at least (RFC 4291 section 2.2).
  if (halves.length === 2 ? groupCount >= IPV6_GROUPS : groupCount !== IPV6_GROUPS) return undefined;
  const groups = [...head, ...new Array<number>(IPV6_GROUPS - groupCount).fill(0), ...tail];
  return Uint8Array.from({ length: IPV6_ADDRESS_BYTES }, (_, i) =>
    i % 2 === 0 ? groups[i >> 1]! >> 8 : groups[i >> 1]! & 0xff,
  );
}

/** @param ipv4Allowed whether the last group may be dotted decimal: only at the address's end. */
function ipv6Groups(text: string, ipv4Allowed: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (IPV6_GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const ipv4 = ipv4Allowed && i === parts.length - 1 ? ipv4Bytes(part) : undefined;
    if (ipv4 === undefined) return undefined;
    groups.push((ipv4[0]! << 8) | ipv4[1]!, (ipv4[2]! << 8) | ipv4[3]!);
  }
  return groups;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let i = 0; i <= groups.length; i++) {
    if (groups[i] === 0) continue;
    if (i - start > best.length) best = { start, length: i - start };
    start = i + 1;
  }
  return best;
}

/** @returns byte `byteIndex` of the mask of `prefixLength` bits. */
function maskByte(prefixLength: number, byteIndex: number): number {
  const bits = Math.min(8, Math.max(0, prefixLength - byteIndex * 8));
  return (0xff << (8 - bits)) & 0xff;
}

function assertHolds(bytes: Uint8Array, offset: number, addressBytes: number, family: string): void {
  if (offset < 0 || offset + addressBytes > bytes.length) {
    throw new Error(`${family} address at offset ${offset} does not lie in a buffer of ${bytes.length} bytes`);
  }
}
