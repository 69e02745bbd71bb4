/** Fragments inside the tunnel, and of the tunnel's own datagrams. */
import { checksumOf, join, with16 } from '../../dataplane/reference/octets.js';
import { packet } from '../packets.js';
import type { Case, Group, Scene } from '../table.js';

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;

/** An IPv4 frame cut for `mtu`. Each fragment has the mark in it, so that all are found. */
export function inFragments(frame: Uint8Array, mtu: number, mark: Uint8Array): Uint8Array[] {
  const step = Math.floor((mtu - IPV4_BYTES) / 8) * 8;
  const payload = frame.subarray(ETHERNET_BYTES + IPV4_BYTES);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += step) {
    const isLast = at + step >= payload.length;
    const piece = join(payload.subarray(at, at + step));
    piece.set(mark, isLast ? 0 : piece.length - mark.length);
    let header = with16(frame.slice(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES), 2, IPV4_BYTES + piece.length);
    header = with16(with16(header, 6, (isLast ? 0 : 0x2000) + at / 8), 10, 0);
    pieces.push(join(frame.subarray(0, ETHERNET_BYTES), with16(header, 10, checksumOf(header)), piece));
  }
  return pieces;
}

const three = (scene: Scene, ends = scene.toBox) =>
  inFragments(packet(ends, scene.mark, { bytes: 1200 }), 500, scene.mark);
const large = (scene: Scene) => packet(scene.toBox, scene.mark, { bytes: 1400 });

const outer = (name: string, arrange: (frames: Uint8Array[]) => Uint8Array[], fragmentBytes = 512): Case => ({
  name: `the tunnel's own datagram in fragments, ${name}`,
  from: 'wire',
  frames: (scene) => arrange(scene.tunnel(large(scene), { fragmentBytes, id: 300 + (scene.mark[3] as number) })),
  arrives: (_sent, scene) => [large(scene)],
});

export const FRAGMENTS: Group = {
  name: 'fragments',
  setUp: (lab) => lab.makeKernel('mixed'),
  cases: [
    { name: 'three of one packet, from the container', from: 'container', frames: (s) => three(s, s.toKernel) },
    { name: 'three of one packet, from the kernel', from: 'kernel', frames: (s) => three(s) },
    {
      name: 'the last one first, from the container',
      from: 'container',
      frames: (s) => three(s, s.toKernel).reverse(),
    },
    { name: 'the last one first, from the kernel', from: 'kernel', frames: (s) => three(s).reverse() },
    {
      name: 'a first fragment without the others is handed on',
      from: 'container',
      frames: (s) => three(s, s.toKernel).slice(0, 1),
    },
    outer('in order', (frames) => frames),
    outer('the last first', (frames) => frames.reverse()),
    outer('each of them twice', (frames) => [...frames.slice(0, -1), ...frames]),
    outer('of 8 bytes, the header alone in the first', (frames) => frames, 8),
    {
      name: "the tunnel's own datagram without its last fragment is none",
      from: 'wire',
      frames: (s) => s.tunnel(large(s), { fragmentBytes: 512, id: 299 }).slice(0, -1),
      arrives: 'nothing',
    },
  ],
};
