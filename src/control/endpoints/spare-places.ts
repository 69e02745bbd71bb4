/** Where spare addresses lie in a subnet, and whether there is room for them. Pure. */
import { isIPv6 } from 'node:net';
import { formatIp, parseIp } from '../../wire/ip-address.js';
import { bareAddress } from '../state/local-state.js';

/** Small or well-filled subnets keep their addresses for endpoints. */
const SUBNET_ADDRESSES_MIN = 64n;
const PLACES_MAX = 256;

/** Of an address or a subnet, with prefix length or without. */
export function familyOf(text: string): 4 | 6 {
  return isIPv6(bareAddress(text)) ? 6 : 4;
}

/** @param used how many of its addresses are claimed. */
export function sparesFit(subnet: string, used: number): boolean {
  const size = subnetSize(subnet);
  return size >= SUBNET_ADDRESSES_MIN && BigInt(used) * 2n < size;
}

/** The subnet's last addresses with prefix length, highest first, without broadcast and gateway. */
export function* topAddresses(subnet: string, gateway: string): Generator<string> {
  const size = subnetSize(subnet);
  const base = toNumber(bareAddress(subnet));
  const bytes = familyOf(subnet) === 4 ? 4 : 16;
  const prefixLength = subnet.slice(subnet.indexOf('/') + 1);
  for (let back = 2n; back < size && back < PLACES_MAX; back++) {
    const address = toText(base + size - back, bytes);
    if (address !== gateway) yield `${address}/${prefixLength}`;
  }
}

function subnetSize(subnet: string): bigint {
  const bits = familyOf(subnet) === 4 ? 32 : 128;
  return 1n << BigInt(bits - Number(subnet.slice(subnet.indexOf('/') + 1)));
}

function toNumber(address: string): bigint {
  return parseIp(address).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function toText(number: bigint, byteCount: number): string {
  const bytes = new Uint8Array(byteCount);
  for (let at = byteCount - 1, rest = number; at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 0xffn);
  return formatIp(bytes);
}
