/** The same tunnel over an underlay of IPv6: headers, sizes, checksums, refusals, fragments, and the kernel's offloads. */

import { ether, filled, packet, sized, vxlan } from '../packets.js';
import { STRANGER6, VTEP_A6, VTEP_KERNEL6 } from '../places.js';
import type { Case, Group, Scene, WireClaim } from '../table.js';

const network = 'six';
const inner = (scene: Scene) => packet(scene.toBox, scene.mark);

const taken = (name: string, options: Parameters<Scene['tunnel']>[1]): Case => ({
  name: `taken: ${name}`,
  network,
  from: 'wire',
  frames: (scene) => scene.tunnel(inner(scene), options),
  arrives: (_sent, scene) => [inner(scene)],
});

const refused = (name: string, cause: string | undefined, frames: (scene: Scene) => Uint8Array[]): Case => ({
  name: `refused: ${name}`,
  network,
  from: 'wire',
  frames,
  arrives: 'nothing',
  drops: cause === undefined ? {} : { [cause]: 1 },
});

const both = (family: 4 | 6, bytes: number): Case[] => [
  {
    name: `IPv${family} of ${bytes} bytes from the container`,
    network,
    from: 'container',
    frames: (scene) => [sized(scene.toKernel, scene.mark, family, bytes)],
    wire: VTEPD,
  },
  {
    name: `IPv${family} of ${bytes} bytes from the kernel`,
    network,
    from: 'kernel',
    frames: (scene) => [sized(scene.toBox, scene.mark, family, bytes)],
  },
];

const VTEPD: WireClaim = {
  'ipv6.src': VTEP_A6,
  'ipv6.dst': VTEP_KERNEL6,
  'ipv6.hlim': '64',
  'ipv6.tclass.dscp': '0',
  'udp.dstport': '4789',
  'udp.srcport': /^(49[2-9]|4915[2-9]|491[6-9]|[56])\d*$/,
  'udp.checksum': /^0x(?!0000)/,
  'vxlan.flags': '0x0800',
  'vxlan.vni': '4246',
};

export const IPV6_UNDERLAY: Group = {
  name: 'an underlay of IPv6',
  setUp: (lab) => lab.makeKernel(network),
  cases: [
    ...([4, 6] as const).flatMap((family) => [100, 1429, 1430].flatMap((bytes) => both(family, bytes))),
    refused('one byte over the MTU', 'inner_oversize', (s) => s.tunnel(sized(s.toBox, s.mark, 4, 1431))),
    taken('hop limit 1', { ttl: 1 }),
    taken('a flow label', { flowLabel: 0xabcde }),
    taken('DSCP 46', { tos: 46 << 2 }),
    taken('source port 1', { sourcePort: 1 }),
    // A PadN option fills the header of 8 bytes; UDP follows.
    taken('destination options', { ipOptions: Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0) }),
    taken('fragments', { fragmentBytes: 64, id: 12 }),
    refused('the first fragments without the last', undefined, (s) =>
      s.tunnel(inner(s), { fragmentBytes: 64, id: 13 }).slice(0, -1),
    ),
    // RFC 8200 section 8.1: without a checksum UDP over IPv6 is nothing; the kernel drops it, and counts it with others.
    refused('no UDP checksum', undefined, (s) => s.tunnel(inner(s), { checksum: 'zero' })),
    refused('a bad UDP checksum', 'underlay_overflow', (s) => s.tunnel(inner(s), { checksum: 'bad' })),
    refused('a sender that is no VTEP of the network', 'vtep_not_member', (s) =>
      s.tunnel(inner(s), { source: STRANGER6 }),
    ),
    refused('a reserved bit', 'reserved_bits', (s) => s.datagram(Buffer.concat([vxlan(s.vni, { last: 1 }), inner(s)]))),
    refused('a VNI that is not here', 'vni_not_found', (s) => s.datagram(Buffer.concat([vxlan(9), inner(s)]))),
    refused('the VNI of a network whose peers are of IPv4', 'vtep_not_member', (s) =>
      s.datagram(Buffer.concat([vxlan(4242), inner(s)])),
    ),
    {
      name: 'a broadcast goes to the peer',
      network,
      from: 'container',
      frames: (s) => [ether({ from: s.box, to: 'ff:ff:ff:ff:ff:ff' }, 0x88b5, filled(s.mark, 60))],
      wire: { 'ipv6.dst': VTEP_KERNEL6 },
    },
  ],
};

const kernelSends = (name: string, settings: string, wire: WireClaim, more: Partial<Case> = {}): Group => ({
  name: `an underlay of IPv6, the kernel's device with ${name}`,
  setUp: (lab) => lab.makeKernel(network, { vxlan: `learning ${settings}` }),
  cases: ([4, 6] as const).map((family) => ({
    name: `IPv${family} from it`,
    network,
    from: 'kernel',
    frames: (scene) => [packet(scene.toBox, scene.mark, { family, tos: 0xb8 })],
    wire,
    ...more,
  })),
});

export const IPV6_KERNEL_HEADERS: readonly Group[] = [
  kernelSends('its defaults', '', { 'ipv6.hlim': '64', 'udp.checksum': /^0x(?!0000)/ }),
  kernelSends('a fixed TTL, TOS and flow label', 'ttl 7 tos 0x28 flowlabel 0x12345', {
    'ipv6.hlim': '7',
    'ipv6.tclass.dscp': '10',
    'ipv6.flow': '0x012345',
  }),
  kernelSends('an inherited TTL and TOS', 'ttl inherit tos inherit', { 'ipv6.hlim': '64', 'ipv6.tclass.dscp': '46' }),
  kernelSends('zero checksums', 'udp6zerocsumtx', { 'udp.checksum': '0x0000' }, { arrives: 'nothing', datagrams: 1 }),
];
