/**
 * The ECN bits of a packet in a frame, and what a tunnel does to them (RFC 6040), by tables. Test support.
 */

const NOT_ECT = 0;
const LOST = -1;
/** By inner, then by outer bits: 0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. */
const DECAPSULATED: readonly (readonly number[])[] = [
  [NOT_ECT, NOT_ECT, NOT_ECT, LOST],
  [1, 1, 1, 3],
  [2, 1, 2, 3],
  [3, 3, 3, 3],
];

/** @returns where IPv4 or IPv6 begins behind at most two tags, its header whole; -1 if it does not */
function ipAt(bytes: Uint8Array, frame: number, length: number): number {
  const type = (at: number) => (bytes[frame + at] as number) * 256 + (bytes[frame + at + 1] as number);
  let at = 14;
  while (at < 22 && (type(at - 2) === 0x8100 || type(at - 2) === 0x88a8)) {
    at += 4;
    if (at > length) return -1;
  }
  const version = (bytes[frame + at] as number) >> 4;
  if (type(at - 2) === 0x0800 && at + 20 <= length && version === 4) return frame + at;
  return type(at - 2) === 0x86dd && at + 40 <= length && version === 6 ? frame + at : -1;
}

/** @returns the bits that the datagram of the frame gets */
export function outerEcn(bytes: Uint8Array, frame: number, length: number): number {
  const ip = ipAt(bytes, frame, length);
  if (ip < 0) return NOT_ECT;
  const inner = ecnAt(bytes, ip);
  return inner === 3 ? 2 : inner;
}

function ecnAt(bytes: Uint8Array, ip: number): number {
  return (bytes[ip] as number) >> 4 === 4 ? (bytes[ip + 1] as number) % 4 : ((bytes[ip + 1] as number) >> 4) % 4;
}

/** Changes the frame as its datagram's mark demands. @returns false if it is to be dropped */
export function carryMark(bytes: Uint8Array, frame: number, length: number, outer: number): boolean {
  const ip = ipAt(bytes, frame, length);
  if (ip < 0) return true;
  const inner = ecnAt(bytes, ip);
  const after = DECAPSULATED[inner]?.[outer % 4] as number;
  if (after === LOST) return false;
  if (after === inner) return true;
  if ((bytes[ip] as number) >> 4 === 6) {
    bytes[ip + 1] = ((bytes[ip + 1] as number) & ~0x30) | (after << 4);
    return true;
  }
  bytes[ip + 1] = ((bytes[ip + 1] as number) & ~3) | after;
  // RFC 1624: the word has grown by so much, so the checksum shrinks by it, in one's complement.
  const stored = (bytes[ip + 10] as number) * 256 + (bytes[ip + 11] as number);
  let sum = 0xffff - stored + 0xffff + (after - inner);
  while (sum > 0xffff) sum = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000);
  bytes[ip + 10] = (0xffff - sum) >> 8;
  bytes[ip + 11] = (0xffff - sum) & 0xff;
  return true;
}
