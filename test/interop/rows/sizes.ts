/** Sizes at every edge: the overlay's MTU, jumbo frames, an overlay that is larger than its underlay, and the shortest. */

import type { FrameSpec } from '../../dataplane/reference/frame-spec.js';
import { ether, filled, packet, sized } from '../packets.js';
import type { NetworkName } from '../places.js';
import type { Case, Group, WireClaim } from '../table.js';
import { inFragments } from './fragments.js';

const FAMILIES = [4, 6] as const;

/** Both ways, both families. */
function both(
  network: NetworkName,
  what: string,
  bytes: number,
  spec: Partial<FrameSpec> = {},
  wire?: WireClaim,
): Case[] {
  const more = wire === undefined ? {} : { wire };
  return FAMILIES.flatMap((family) => [
    {
      name: `${what}: IPv${family} of ${bytes} bytes from the container`,
      network,
      from: 'container' as const,
      frames: (scene) => [sized(scene.toKernel, scene.mark, family, bytes, spec)],
      ...more,
    },
    {
      name: `${what}: IPv${family} of ${bytes} bytes from the kernel`,
      network,
      from: 'kernel' as const,
      frames: (scene) => [sized(scene.toBox, scene.mark, family, bytes, spec)],
      ...more,
    },
  ]);
}

export const SIZES: Group = {
  name: 'sizes',
  setUp: async (lab) => {
    // More than vtepd's network allows, so that one byte too many comes as one datagram.
    await lab.makeKernel('mixed', { mtu: 8000 });
    await lab.makeKernel('jumbo', { mtu: 8930 });
    await lab.makeKernel('big', { mtu: 9000, lower: false });
  },
  cases: [
    ...both('mixed', 'an overlay of 1450', 1449),
    ...both('mixed', 'an overlay of 1450', 1450),
    ...both('mixed', 'an overlay of 1450, one tag,', 1450, { vlanIds: [7] }),
    // A veth lets only one tag through beyond its MTU, so that the container can't send this.
    ...both('mixed', 'an overlay of 1450, two tags,', 1450, { vlanIds: [7, 8] }).filter((c) => c.from === 'kernel'),
    ...[[], [7], [7, 8]].flatMap((vlanIds): Case[] =>
      [1451, 1455, 1459, 7900].map((bytes) => ({
        name: `an overlay of 1450: ${bytes} bytes behind ${vlanIds.length} tags from the kernel are refused`,
        from: 'kernel',
        frames: (scene) => [sized(scene.toBox, scene.mark, 4, bytes, { vlanIds })],
        arrives: 'nothing',
        drops: { inner_oversize: 1 },
      })),
    ),
    {
      name: 'a datagram of the MTU and one byte goes as two fragments from the container',
      from: 'container',
      frames: (scene) => inFragments(packet(scene.toKernel, scene.mark, { bytes: 1423 }), 1450, scene.mark),
    },
    ...both('jumbo', 'jumbo frames', 8929),
    ...both('jumbo', 'jumbo frames', 8930, {}, { 'ip.len': '8980', 'ip.flags.mf': '0' }),
    ...both('big', 'larger than the underlay', 8950, {}, { 'ip.len': '9000', 'ip.flags.mf': '0' }),
    ...both('big', 'larger than the underlay', 8951),
    ...both('big', 'larger than the underlay', 9000),
    ...[14, 15, 46, 59, 60].flatMap((bytes): Case[] =>
      (['container', 'kernel'] as const).map((from) => ({
        name: `a frame of ${bytes} bytes from the ${from}`,
        from,
        frames: (scene) => {
          // The shortest have no room for a mark but in an address.
          const mark = `02:${Buffer.from(scene.mark).toString('hex').match(/../g)?.join(':')}`;
          const ends = from === 'container' ? scene.toKernel : scene.toBox;
          if (bytes - 14 >= scene.mark.length) return [ether(ends, 0x88b5, filled(scene.mark, bytes - 14))];
          return [ether({ ...ends, from: mark }, 0x88b5, new Uint8Array(bytes - 14))];
        },
      })),
    ),
  ],
  // Devices of one port share a socket, and the kernel refuses one that wants it otherwise: the next groups will.
  tearDown: async (lab) => {
    await lab.removeKernel('jumbo');
    await lab.removeKernel('big');
  },
};
