/** The outer header: what vtepd sends, and what of the kernel's it takes. */
import { packet } from '../packets.js';
import type { Case, Group, Scene, WireClaim } from '../table.js';

const inner = (scene: Scene) => packet(scene.toBox, scene.mark);

const taken = (name: string, options: Parameters<Scene['tunnel']>[1]): Case => ({
  name: `taken: ${name}`,
  from: 'wire',
  frames: (scene) => scene.tunnel(inner(scene), options),
  arrives: (_sent, scene) => [inner(scene)],
});

const VTEPD: WireClaim = {
  'ip.src': '192.0.2.1',
  'ip.dst': '192.0.2.2',
  'ip.ttl': '64',
  'ip.flags.df': '0',
  'ip.flags.mf': '0',
  'ip.hdr_len': '20',
  'udp.dstport': '4789',
  'udp.srcport': /^(49[2-9]|4915[2-9]|491[6-9]|[56])\d*$/,
  'vxlan.flags': '0x0800',
  'vxlan.vni': '4242',
  'vxlan.gbp': '0',
  'vxlan.reserved8': '0',
};

export const OUTER_HEADER: Group = {
  name: 'outer header',
  setUp: (lab) => lab.makeKernel('mixed'),
  cases: [
    ...([4, 6] as const).map((family) => ({
      name: `what vtepd sends for IPv${family}`,
      from: 'container' as const,
      frames: (scene: Scene) => [packet(scene.toKernel, scene.mark, { family })],
      wire: VTEPD,
    })),
    ...[1, 2, 255].map((ttl) => taken(`TTL ${ttl}`, { ttl })),
    taken('DF set', { df: true }),
    taken('source port 1', { sourcePort: 1 }),
    taken('source port 4789', { sourcePort: 4789 }),
    taken('source port 65535', { sourcePort: 65_535 }),
    taken('DSCP 46', { tos: 46 << 2 }),
    taken('no UDP checksum', { checksum: 'zero' }),
    taken('a UDP checksum', { checksum: 'good' }),
    taken('IP options', { ipOptions: new Uint8Array(8).fill(1) }),
  ],
};

/** A group for each way in which the kernel's device can be told to send. */
function kernelSends(name: string, settings: string, wire: WireClaim): Group {
  return {
    name: `the kernel's device with ${name}`,
    setUp: (lab) => lab.makeKernel('mixed', { vxlan: `learning ${settings}` }),
    cases: ([4, 6] as const).map((family) => ({
      name: `IPv${family} arrives from it`,
      from: 'kernel',
      frames: (scene) => [packet(scene.toBox, scene.mark, { family, tos: 0xb8 })],
      wire,
    })),
  };
}

export const KERNEL_HEADERS: readonly Group[] = [
  kernelSends('its defaults', '', { 'ip.ttl': '64', 'ip.flags.df': '0', 'ip.dsfield.dscp': '0' }),
  kernelSends('a fixed TTL and TOS', 'ttl 7 tos 0x28', { 'ip.ttl': '7', 'ip.dsfield.dscp': '10' }),
  kernelSends('an inherited TTL and TOS', 'ttl inherit tos inherit', { 'ip.ttl': '64', 'ip.dsfield.dscp': '46' }),
  kernelSends('DF set', 'df set', { 'ip.flags.df': '1' }),
  kernelSends('DF inherited', 'df inherit', { 'ip.flags.df': '1' }),
  kernelSends('UDP checksums off', 'noudpcsum', { 'udp.checksum': '0x0000' }),
  kernelSends('UDP checksums on', 'udpcsum', { 'udp.checksum': /^0x(?!0000)/ }),
  kernelSends('source ports of its own', 'srcport 1000 1001', { 'udp.srcport': '1000' }),
];

/** On a veth the checksum is left undone for good, so the capture has it whole only without the offload. */
export const CHECKSUMS: Group = {
  name: "vtepd's host without transmit checksum offload",
  setUp: async (lab) => {
    await lab.shell('a', 'ethtool -K ens33 tx off');
    await lab.makeKernel('mixed');
  },
  cases: ([4, 6] as const).flatMap((family) =>
    [1, 2, 64, 1401, 1402].map(
      (bytes): Case => ({
        name: `the outer checksums are right: IPv${family} with ${bytes} bytes inside`,
        from: 'container',
        frames: (scene) => [packet(scene.toKernel, scene.mark, { family, bytes })],
        wire: { 'udp.checksum.status': ['1', '1'], 'udp.checksum': /^0x(?!0000)/, 'ip.checksum.status': /^1/ },
      }),
    ),
  ),
  tearDown: (lab) => lab.shell('a', 'ethtool -K ens33 tx on'),
};
