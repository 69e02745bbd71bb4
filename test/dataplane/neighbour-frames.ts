/**
 * ARP and neighbour discovery, written out byte by byte after RFC 826 and RFC 4861 and without the code under test.
 * Addresses and MACs are text. Test support.
 */
import { isIPv4 } from 'node:net';

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const NO_MAC = '00:00:00:00:00:00';

export function macBytes(text: string): number[] {
  return text.split(':').map((byte) => Number.parseInt(byte, 16));
}

/** 4 or 16 bytes; of IPv6 with at most one "::". */
export function ipBytes(text: string): number[] {
  if (isIPv4(text)) return text.split('.').map(Number);
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => part.split(':').filter((group) => group !== '');
  const [before, after] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return [...before, ...zeros, ...after].flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

export interface ArpSpec {
  to?: string;
  from: string;
  operation?: number;
  sender: string;
  senderMac?: string;
  target: string;
  targetMac?: string;
}

export function arpFrame({
  to = BROADCAST,
  from,
  operation = 1,
  sender,
  senderMac = from,
  target,
  targetMac = NO_MAC,
}: ArpSpec): Uint8Array {
  return Uint8Array.of(
    ...[...macBytes(to), ...macBytes(from), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation],
    ...[...macBytes(senderMac), ...ipBytes(sender), ...macBytes(targetMac), ...ipBytes(target)],
  );
}

/** ff02::1:ff and the last three bytes. */
export function solicitedNode(target: string): { ip: string; mac: string } {
  const [x, y, z] = ipBytes(target).slice(13) as [number, number, number];
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return { ip: `ff02::1:ff${hex(x)}:${hex(y)}${hex(z)}`, mac: `33:33:ff:${[x, y, z].map(hex).join(':')}` };
}

export interface NeighbourMessageSpec {
  to?: string;
  from: string;
  source: string;
  destination?: string;
  hopLimit?: number;
  type?: number;
  code?: number;
  flags?: number;
  target: string;
  /** As they stand, behind the target. @default the source's link-layer address, where there is a source */
  options?: readonly number[];
  /** Added to the right checksum. */
  checksumError?: number;
}

export const sourceOption = (mac: string): number[] => [1, 1, ...macBytes(mac)];
export const targetOption = (mac: string): number[] => [2, 1, ...macBytes(mac)];

export function neighbourFrame(spec: NeighbourMessageSpec): Uint8Array {
  const { from, source, target, hopLimit = 255, type = 135, code = 0, flags = 0, checksumError = 0 } = spec;
  const group = solicitedNode(target);
  const { to = group.mac, destination = group.ip } = spec;
  const options = spec.options ?? (source === '::' ? [] : sourceOption(from));
  const message = [type, code, 0, 0, flags, 0, 0, 0, ...ipBytes(target), ...options];
  const addresses = [...ipBytes(source), ...ipBytes(destination)];
  const checksum =
    (onesComplement([...addresses, 0, 0, 0, message.length, 0, 0, 0, 58, ...message]) + checksumError) & 0xffff;
  message[2] = checksum >> 8;
  message[3] = checksum & 0xff;
  return Uint8Array.of(
    ...[...macBytes(to), ...macBytes(from), 0x86, 0xdd, 0x60, 0, 0, 0, 0, message.length, 58, hopLimit],
    ...[...addresses, ...message],
  );
}

function onesComplement(bytes: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** With an 802.1Q tag behind the MACs. */
export function tagged(frame: Uint8Array): Uint8Array {
  return Uint8Array.of(...frame.slice(0, 12), 0x81, 0, 0, 5, ...frame.slice(12));
}

/** Ethernet's least payload is 46 bytes; a TAP does not pad, others may. */
export function padded(frame: Uint8Array): Uint8Array {
  return Uint8Array.of(...frame, ...Array.from({ length: Math.max(0, 60 - frame.length) }, () => 0xa5));
}
