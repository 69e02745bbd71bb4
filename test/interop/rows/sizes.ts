/** Sizes at every edge: the overlay's MTU, jumbo frames, an overlay that is larger than its underlay, and the shortest. */

import type { NetworkName } from '../lab.js';
import { ether, filled, packet, sized } from '../packets.js';
import type { Case, Group } from '../table.js';
import { inFragments } from './fragments.js';

const FAMILIES = [4, 6] as const;

/** Both ways, both families. */
function both(network: NetworkName, what: string, bytes: number, more: Partial<Case> = {}): Case[] {
  return FAMILIES.flatMap((family) => [
    {
      name: `${what}: IPv${family} of ${bytes} bytes from the container`,
      network,
      from: 'container' as const,
      frames: (scene) => [sized(scene.toKernel, scene.mark, family, bytes)],
      ...more,
    },
    {
      name: `${what}: IPv${family} of ${bytes} bytes from the kernel`,
      network,
      from: 'kernel' as const,
      frames: (scene) => [sized(scene.toBox, scene.mark, family, bytes)],
      ...more,
    },
  ]);
}

export const SIZES: Group = {
  name: 'sizes',
  setUp: async (lab) => {
    // More than vtepd's network allows, so that one byte too many comes as one datagram.
    await lab.makeKernel('mixed', { mtu: 8000 });
    await lab.makeKernel('jumbo', { mtu: 8950 });
    await lab.makeKernel('big', { mtu: 9000, lower: false });
  },
  cases: [
    ...both('mixed', 'an overlay of 1450', 1449),
    ...both('mixed', 'an overlay of 1450', 1450),
    {
      name: 'one byte over the MTU from the kernel is refused',
      from: 'kernel',
      frames: (scene) => [sized(scene.toBox, scene.mark, 4, 1451)],
      arrives: 'nothing',
      drops: { inner_oversize: 1 },
    },
    {
      name: 'a datagram of the MTU and one byte goes as two fragments from the container',
      from: 'container',
      frames: (scene) => inFragments(packet(scene.toKernel, scene.mark, { bytes: 1423 }), 1450, scene.mark),
    },
    ...both('jumbo', 'jumbo frames', 8949),
    ...both('jumbo', 'jumbo frames', 8950, { wire: { 'ip.len': '9000', 'ip.flags.mf': '0' } }),
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
};
