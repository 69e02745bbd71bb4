/**
 * ECN over the tunnel (RFC 6040), all of it: four marks inside by four outside on the way in, four on the way out, in both
 * families inside and outside. As in the kernel, a CE goes out as ECT(0).
 */

import { ether, filled, packet } from '../packets.js';
import type { NetworkName } from '../places.js';
import type { Case, Group, Scene } from '../table.js';

const NAMES = ['Not-ECT', 'ECT(1)', 'ECT(0)', 'CE'] as const;
const MARKS = [0, 1, 2, 3] as const;
const DSCP = 0x28;
const CE = 3;

/** RFC 6040, figure 4, as the kernel has it: by what came inside, then by the outer mark. undefined: dropped. */
const DECAPSULATED: readonly (readonly (number | undefined)[])[] = [
  [0, 0, 0, undefined],
  [1, 1, 1, CE],
  [2, 1, 2, CE],
  [CE, CE, CE, CE],
];
const ENCAPSULATED = [0, 1, 2, 2] as const;

const inner = (scene: Scene, family: 4 | 6, mark: number) =>
  packet(scene.toBox, scene.mark, { family, tos: DSCP | mark });

function into(network: NetworkName, outside: 4 | 6, inside: 4 | 6): Case[] {
  return MARKS.flatMap((mark) =>
    MARKS.map((outer): Case => {
      const becomes = DECAPSULATED[mark]?.[outer];
      const what = becomes === undefined ? 'is dropped' : `is ${NAMES[becomes]}`;
      return {
        name: `in: ${NAMES[mark]} in IPv${inside}, ${NAMES[outer]} on IPv${outside} ${what}`,
        network,
        from: 'wire',
        frames: (scene) => scene.tunnel(inner(scene, inside, mark), { tos: outer }),
        arrives: becomes === undefined ? 'nothing' : (_sent, scene) => [inner(scene, inside, becomes)],
        drops: becomes === undefined ? { ecn: 1 } : {},
      };
    }),
  );
}

function outOf(network: NetworkName, outside: 4 | 6, inside: 4 | 6): Case[] {
  const [field, classField] =
    outside === 4 ? ['ip.dsfield.ecn', 'ip.dsfield.dscp'] : ['ipv6.tclass.ecn', 'ipv6.tclass.dscp'];
  return MARKS.map((mark) => ({
    name: `out: ${NAMES[mark]} in IPv${inside} is ${NAMES[ENCAPSULATED[mark]]} on IPv${outside}`,
    network,
    from: 'container',
    frames: (scene) => [packet(scene.toKernel, scene.mark, { family: inside, tos: DSCP | mark })],
    wire: { [field as string]: String(ENCAPSULATED[mark]), [classField as string]: '0' },
  }));
}

const other = (scene: Scene) => ether(scene.toBox, 0x88b5, filled(scene.mark, 60));
const tagged = (scene: Scene, tos: number) => packet(scene.toBox, scene.mark, { vlanIds: [7], tos });

export const ECN: Group = {
  name: 'ECN',
  setUp: async (lab) => {
    await lab.makeKernel('mixed');
    await lab.makeKernel('six');
  },
  cases: [
    ...([4, 6] as const).flatMap((inside) => [
      ...into('mixed', 4, inside),
      ...into('six', 6, inside),
      ...outOf('mixed', 4, inside),
      ...outOf('six', 6, inside),
    ]),
    {
      name: 'in: what is no IP has no mark to get, and is not dropped for it',
      from: 'wire',
      frames: (scene) => scene.tunnel(other(scene), { tos: CE }),
      arrives: (_sent, scene) => [other(scene)],
    },
    {
      name: 'in: behind a VLAN tag it is as without',
      from: 'wire',
      frames: (scene) => scene.tunnel(tagged(scene, DSCP | 2), { tos: CE }),
      arrives: (_sent, scene) => [tagged(scene, DSCP | CE)],
    },
    {
      name: 'out: what is no IP is Not-ECT',
      from: 'container',
      frames: (scene) => [ether(scene.toKernel, 0x88b5, filled(scene.mark, 60))],
      wire: { 'ip.dsfield.ecn': '0' },
    },
  ],
  tearDown: (lab) => lab.removeKernel('six'),
};
