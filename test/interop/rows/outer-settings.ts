/** The outer header as an operator wants it: vtepd started again with class, DF, TTL and checksums of its own. */
import { ether, filled, packet } from '../packets.js';
import type { NetworkName } from '../places.js';
import type { Case, Group, Scene, WireClaim } from '../table.js';

const EF = 0xb8;
const EVERYBODY = 'ff:ff:ff:ff:ff:ff';

function sends(
  name: string,
  frame: (scene: Scene) => Uint8Array,
  wire: WireClaim,
  network: NetworkName = 'mixed',
  copies = 1,
): Case {
  return {
    name,
    network,
    from: 'container',
    frames: (scene) => [frame(scene)],
    arrives: (sent) => Array.from({ length: copies }, () => sent).flat(),
    wire,
    datagrams: copies,
  };
}

const of = (family: 4 | 6, more: Parameters<typeof packet>[2] = {}) => {
  return (scene: Scene) => packet(scene.toKernel, scene.mark, { family, tos: EF, ...more });
};
const noIp = (scene: Scene) => ether(scene.toKernel, 0x88b5, filled(scene.mark, 60));

export const OUTER_SETTINGS: Group = {
  name: 'class, DF and TTL inherited or fixed, UDP checksums off',
  setUp: async (lab) => {
    const header = ['--outer-tos', 'inherit', '--outer-df', 'inherit', '--outer-ttl', '9'];
    await lab.restart(...header, '--outer-checksum', 'off', '--accept-zero-checksum6', 'on');
    await lab.makeKernel('mixed');
    await lab.makeKernel('six', { vxlan: 'learning udp6zerocsumtx udp6zerocsumrx' });
  },
  cases: [
    sends("IPv4's class", of(4), { 'ip.dsfield.dscp': '46', 'ip.dsfield.ecn': '0' }),
    sends("IPv6's class", of(6), { 'ip.dsfield.dscp': '46' }),
    sends("a tagged packet's class", of(4, { vlanIds: [7] }), { 'ip.dsfield.dscp': '46' }),
    sends('class and ECN together', of(4, { tos: EF | 1 }), { 'ip.dsfield.dscp': '46', 'ip.dsfield.ecn': '1' }),
    sends('no class of what is no IP', noIp, { 'ip.dsfield.dscp': '0', 'ip.flags.df': '0' }),
    sends("IPv4's DF", of(4, { fragmentField: 0x4000 }), { 'ip.flags.df': '1' }),
    sends('IPv4 without DF', of(4, { fragmentField: 0 }), { 'ip.flags.df': '0' }),
    sends('IPv6, which is never fragmented on the way', of(6), { 'ip.flags.df': '1' }),
    sends('the TTL', of(4), { 'ip.ttl': '9' }),
    sends(
      'the TTL of what floods to each VTEP',
      (scene) => ether({ from: scene.box, to: EVERYBODY }, 0x88b5, filled(scene.mark, 60)),
      { 'ip.ttl': '9' },
      'mixed',
      3,
    ),
    sends('no UDP checksum', of(4), { 'udp.checksum': '0x0000' }),
    sends("over IPv6: IPv4's class, and the hop limit", of(4), { 'ipv6.tclass.dscp': '46', 'ipv6.hlim': '9' }, 'six'),
    sends("over IPv6: IPv6's class", of(6), { 'ipv6.tclass.dscp': '46' }, 'six'),
    sends('over IPv6: no UDP checksum', of(4), { 'udp.checksum': '0x0000' }, 'six'),
    ...([4, 6] as const).map(
      (family): Case => ({
        name: `over IPv6: the kernel's IPv${family} without a UDP checksum is taken`,
        network: 'six',
        from: 'kernel',
        frames: (scene) => [packet(scene.toBox, scene.mark, { family })],
        wire: { 'udp.checksum': '0x0000' },
      }),
    ),
  ],
  tearDown: async (lab) => {
    await lab.removeKernel('six');
    await lab.restart();
  },
};
