/** Datagrams that are not VXLAN, not for here, not from here, or carry what no host may send: each refused and counted. */

import { ether, packet, vxlan } from '../packets.js';
import { GHOST_MAC, STRANGER, VTEP_GHOST, VTEP_SECOND } from '../places.js';
import type { Case, Group, Scene } from '../table.js';

const good = (scene: Scene) => packet(scene.toBox, scene.mark);

/** The datagram's payload; nothing of it arrives. */
function refused(name: string, cause: string, payload: (scene: Scene) => Uint8Array, source?: string): Case {
  return {
    name: `${name}: ${cause}`,
    from: 'wire',
    frames: (scene) => scene.datagram(payload(scene), source === undefined ? {} : { source }),
    arrives: 'nothing',
    drops: { [cause]: 1 },
  };
}

const withHeader = (header: (scene: Scene) => Uint8Array) => (scene: Scene) =>
  Buffer.concat([header(scene), good(scene)]);
const from = (source: string) => (scene: Scene) =>
  Buffer.concat([vxlan(scene.vni), packet({ from: source, to: scene.box }, scene.mark)]);
const byte = (value: number) => value.toString(16).padStart(2, '0');

export const REFUSALS: Group = {
  name: 'refusals',
  setUp: (lab) => lab.makeKernel('mixed'),
  cases: [
    ...[0, 1, 7].map((bytes) =>
      refused(`${bytes} bytes`, 'invalid_hdr', (scene) => vxlan(scene.vni).subarray(0, bytes)),
    ),
    refused(
      'the I flag not set',
      'no_vni_flag',
      withHeader((scene) => vxlan(scene.vni, { flags: 0 })),
    ),
    refused(
      'all flags but I',
      'no_vni_flag',
      withHeader((scene) => vxlan(scene.vni, { flags: 0xf7ff_ffff })),
    ),
    ...[0x80, 0x40, 0x20, 0x10, 0x04, 0x02, 0x01].map((flag) =>
      refused(
        `flag ${byte(flag)}`,
        'reserved_bits',
        withHeader((scene) => vxlan(scene.vni, { flags: 0x0800_0000 + flag * 0x100_0000 })),
      ),
    ),
    ...[1, 2, 3].map((at) =>
      refused(
        `a bit in reserved byte ${at}`,
        'reserved_bits',
        withHeader((scene) => vxlan(scene.vni, { flags: 0x0800_0000 + 2 ** (8 * (3 - at)) })),
      ),
    ),
    refused(
      'a bit in the last byte',
      'reserved_bits',
      withHeader((scene) => vxlan(scene.vni, { last: 0x80 })),
    ),
    refused(
      'a VNI that is not here',
      'vni_not_found',
      withHeader((scene) => vxlan(scene.vni + 1000)),
    ),
    refused(
      'VNI 0',
      'vni_not_found',
      withHeader(() => vxlan(0)),
    ),
    refused(
      'VNI 16777215',
      'vni_not_found',
      withHeader(() => vxlan(0xff_ffff)),
    ),
    refused(
      'an unknown VNI with reserved bits, the VNI first as in the kernel',
      'vni_not_found',
      withHeader((scene) => vxlan(scene.vni + 1000, { last: 1 })),
    ),
    refused(
      'a sender that is no VTEP of the network',
      'vtep_not_member',
      withHeader((scene) => vxlan(scene.vni)),
      STRANGER,
    ),
    ...[0, 1, 13].map((bytes) =>
      refused(`an inner frame of ${bytes} bytes`, 'inner_runt', (scene) =>
        Buffer.concat([vxlan(scene.vni), good(scene).subarray(0, bytes)]),
      ),
    ),
    refused('a source MAC of zeros', 'mac_invalid_source', from('00:00:00:00:00:00')),
    refused('a multicast source MAC', 'mac_invalid_source', from('01:00:5e:00:00:01')),
    refused('broadcast as the source MAC', 'mac_invalid_source', from('ff:ff:ff:ff:ff:ff')),
    refused("the container's own MAC from outside", 'local_mac', (scene) =>
      Buffer.concat([vxlan(scene.vni), packet({ from: scene.box, to: scene.box }, scene.mark)]),
    ),
    refused("the gateway's MAC, of which each host has its own", 'local_mac', from('02:76:74:00:10:92')),
    refused('a MAC that is registered on another host', 'entry_exists', from(GHOST_MAC)),
    refused('the same from a second peer', 'entry_exists', from(GHOST_MAC), VTEP_SECOND),
    {
      name: 'that MAC from the host that has registered it arrives',
      from: 'wire',
      frames: (scene) => scene.datagram(from(GHOST_MAC)(scene), { source: VTEP_GHOST }),
      arrives: (_sent, scene) => [packet({ from: GHOST_MAC, to: scene.box }, scene.mark)],
    },
    {
      name: 'a bad UDP checksum: refused by the kernel, counted by vtepd',
      from: 'wire',
      frames: (scene) => scene.tunnel(good(scene), { checksum: 'bad' }),
      arrives: 'nothing',
      // The kernel has one counter for both.
      drops: { underlay_overflow: 1 },
    },
    {
      name: 'another port is not vtepd',
      from: 'wire',
      frames: (scene) => scene.tunnel(good(scene), { destinationPort: 8472 }),
      arrives: 'nothing',
    },
    {
      name: 'a frame for nobody here is handed to the bridge, which drops it',
      from: 'wire',
      frames: (scene) =>
        scene.tunnel(ether({ from: '02:00:5e:00:00:64', to: '02:00:5e:00:77:77' }, 0x88b5, scene.mark)),
      // The bridge floods what it does not know.
      arrives: (_sent, scene) => [ether({ from: '02:00:5e:00:00:64', to: '02:00:5e:00:77:77' }, 0x88b5, scene.mark)],
    },
  ],
};
