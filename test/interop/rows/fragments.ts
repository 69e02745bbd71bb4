/** Fragments inside the tunnel, and of the tunnel's own datagrams. */
import { BASE_SPEC } from '../../dataplane/reference/frame-spec.js';
import { checksumOf, get16, join, with16 } from '../../dataplane/reference/octets.js';
import { packet } from '../packets.js';
import type { Case, Group, Scene } from '../table.js';

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;

/** An IPv4 frame cut for `mtu`. Each fragment gets the mark at its payload's end, so that all are found. */
export function inFragments(frame: Uint8Array, mtu: number, mark: Uint8Array): Uint8Array[] {
  const step = Math.floor((mtu - IPV4_BYTES) / 8) * 8;
  const payload = frame.subarray(ETHERNET_BYTES + IPV4_BYTES);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += step) {
    const isLast = at + step >= payload.length;
    const piece = join(payload.subarray(at, at + step));
    piece.set(mark, isLast ? 0 : piece.length - mark.length);
    let header = with16(frame.slice(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES), 2, IPV4_BYTES + piece.length);
    header = with16(header, 6, (isLast ? 0 : 0x2000) + at / 8);
    header = with16(with16(header, 10, 0), 10, checksumOf(with16(header, 10, 0)));
    pieces.push(join(frame.subarray(0, ETHERNET_BYTES), header, piece));
  }
  return pieces;
}
