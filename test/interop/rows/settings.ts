/** Networks whose settings change what is sent or taken: reserved bits, group policy, port security, ARP suppression. */
import { expect } from 'vitest';
import { hex } from '../../dataplane/reference/octets.js';
import type { Lab } from '../lab.js';
import { ether, filled, mac, packet, vxlan } from '../packets.js';
import { GHOST_MAC, PLACES } from '../places.js';
import { type Case, type Group, type Scenario, Scene, until } from '../table.js';

const inner = (scene: Scene) => packet(scene.toBox, scene.mark);
const byte = (value: number) => value.toString(16).padStart(2, '0');

function headed(network: 'loose' | 'grouped', name: string, header: (vni: number) => Uint8Array, drops?: string): Case {
  return {
    name,
    network,
    from: 'wire',
    frames: (scene) => scene.datagram(Buffer.concat([header(scene.vni), inner(scene)])),
    arrives: drops === undefined ? (_sent, scene) => [inner(scene)] : 'nothing',
    drops: drops === undefined ? {} : { [drops]: 1 },
  };
}

export const TOLERANT: Group = {
  name: 'a network that tolerates reserved bits',
  setUp: (lab) => lab.makeKernel('loose'),
  cases: [
    ...[0x80, 0x40, 0x20, 0x10, 0x04, 0x02, 0x01].map((flag) =>
      headed('loose', `takes flag ${byte(flag)}`, (vni) => vxlan(vni, { flags: 0x0800_0000 + flag * 0x100_0000 })),
    ),
    ...[1, 2, 3].map((at) =>
      headed('loose', `takes bits in byte ${at}`, (vni) => vxlan(vni, { flags: 0x0800_0000 + 255 * 256 ** (3 - at) })),
    ),
    headed('loose', 'takes bits in the last byte', (vni) => vxlan(vni, { last: 255 })),
    headed('loose', 'takes no datagram without the I flag', (vni) => vxlan(vni, { flags: 0xf700_0000 }), 'no_vni_flag'),
    {
      name: 'sends none itself',
      network: 'loose',
      from: 'container',
      frames: (scene) => [packet(scene.toKernel, scene.mark)],
      wire: { 'vxlan.flags': '0x0800', 'vxlan.gbp': '0', 'vxlan.reserved8': '0' },
    },
  ],
  // The kernel refuses devices of one port that want its socket otherwise.
  tearDown: (lab) => lab.removeKernel('loose'),
};

/** All that leaves host b by the device has this group: the kernel takes it from the packet's mark. */
const setGroup = (group: number) => `nft -f - <<END
table netdev groups {
  chain out { type filter hook egress device ${PLACES.grouped.device} priority 0; meta mark set ${group}; }
}
END`;

export const GROUPED: Group = {
  name: 'a network with group policy, and a kernel device with it',
  setUp: async (lab) => {
    for (const name of ['mixed', 'six'] as const) await lab.removeKernel(name);
    await lab.makeKernel('grouped', { vxlan: 'learning gbp' });
    await lab.shell('b', setGroup(4711));
  },
  cases: [
    {
      name: "a frame with the kernel's group arrives",
      network: 'grouped',
      from: 'kernel',
      frames: (scene) => [inner(scene)],
      wire: { 'vxlan.flags': '0x8800', 'vxlan.gbp': '4711' },
    },
    {
      name: 'a container without a group sends none, and the kernel takes it',
      network: 'grouped',
      from: 'container',
      frames: (scene) => [packet(scene.toKernel, scene.mark)],
      wire: { 'vxlan.flags': '0x0800', 'vxlan.gbp': '0' },
    },
    headed('grouped', 'group 1', (vni) => vxlan(vni, { flags: 0x8800_0001 })),
    headed('grouped', 'group 65535', (vni) => vxlan(vni, { flags: 0x8800_ffff })),
    headed('grouped', 'with "policy applied" and "do not learn"', (vni) => vxlan(vni, { flags: 0x8848_0007 })),
    headed('grouped', 'another flag is refused', (vni) => vxlan(vni, { flags: 0xc800_0007 }), 'reserved_bits'),
    headed(
      'grouped',
      'the last byte is refused',
      (vni) => vxlan(vni, { flags: 0x8800_0007, last: 1 }),
      'reserved_bits',
    ),
  ],
  tearDown: async (lab) => {
    await lab.shell('b', 'nft delete table netdev groups');
    await lab.removeKernel('grouped');
  },
};

const network = 'guarded';
const { subnet, subnet6 } = PLACES.guarded;
const NET = Uint8Array.from(subnet.split('.').map(Number));
const EVERYBODY = 'ff:ff:ff:ff:ff:ff';
const NOBODY = '02:00:5e:00:77:77';

/** From 10.52.0.HOST, which is the container's own for 2. */
const fromHost = (scene: Scene, host: number) =>
  packet(scene.toKernel, scene.mark, { source: NET[1]! * 0x1_0000 + host });

/** RFC 826: who has .ASKED, tell .2; the mark as padding behind it. */
function arpRequest(scene: Scene, asked: number, sender = 2): Uint8Array {
  const who = [mac(scene.box), NET, Uint8Array.of(sender), new Uint8Array(6), NET, Uint8Array.of(asked)];
  return ether({ from: scene.box, to: EVERYBODY }, 0x0806, hex('0001 0800 06 04 0001'), ...who, filled(scene.mark, 18));
}

const heldBack = (name: string, cause: string, frame: (scene: Scene) => Uint8Array): Case => ({
  ...{ name: `held back at the port: ${name}`, network, from: 'container', frames: (scene) => [frame(scene)] },
  ...{ arrives: 'nothing', drops: { [cause]: 1 }, datagrams: 0 },
});

/** To the peer and to the ghost's host, whose addresses are both the kernel's host's. */
const flooded = (name: string, frame: (scene: Scene) => Uint8Array): Case => ({
  ...{ name: `flooded: ${name}`, network, from: 'container', frames: (scene) => [frame(scene)] },
  ...{ arrives: (sent) => [...sent, ...sent], datagrams: 2 },
});

const answered: Scenario = {
  name: "ARP for a registered container of another host is answered at once, with that one's MAC, and does not leave",
  play: async (lab, scene) => {
    const here = new Scene(lab, network, scene.mark);
    await lab.sendFromContainer(network, arpRequest(here, 99));
    // ARP's opcode 2, and the ghost as its sender.
    const answer = Buffer.concat([hex('0806 0001 0800 06 04 0002'), mac(GHOST_MAC), NET, Uint8Array.of(99)]);
    await until('the answer', () => lab.atContainer[network].with(answer).length === 1);
  },
  datagrams: 0,
};

const solicited: Scenario = {
  name: 'so are neighbour solicitations of a real kernel',
  play: async (lab) => {
    await lab.pair.exec(PLACES.guarded.container, 'ping', '-6', '-c', '1', '-W', '0.2', `${subnet6}:99`);
    expect(await lab.shell(PLACES.guarded.container, 'ip -6 neigh')).toContain(
      `${subnet6}:99 dev eth0 lladdr ${GHOST_MAC}`,
    );
  },
};

export const GUARDED: Group = {
  name: 'a network with port security and ARP suppression',
  setUp: (lab: Lab) => lab.makeKernel(network),
  cases: [
    { name: 'its own address is let through', network, from: 'container', frames: (scene) => [fromHost(scene, 2)] },
    heldBack('the address of another', 'source_address', (scene) => fromHost(scene, 77)),
    heldBack('the MAC of another', 'source_mac', (s) =>
      ether({ from: NOBODY, to: s.toKernel.to }, 0x88b5, filled(s.mark, 60)),
    ),
    heldBack('an ARP request in the name of another', 'source_address', (scene) => arpRequest(scene, 77, 3)),
    answered,
    solicited,
    flooded('ARP for an address that nobody has registered', (scene) => arpRequest(scene, 77)),
    flooded('ARP for an address behind a peer', (scene) => arpRequest(scene, 100)),
    flooded('gratuitous ARP', (scene) => arpRequest(scene, 2)),
    {
      name: "the kernel's ARP request reaches the container",
      network,
      from: 'kernel',
      frames: (s) => [
        ether(
          { from: s.toBox.from, to: EVERYBODY },
          0x0806,
          hex('0001 0800 06 04 0001'),
          mac(s.toBox.from),
          NET,
          Uint8Array.of(100),
          new Uint8Array(6),
          NET,
          Uint8Array.of(2),
          filled(s.mark, 18),
        ),
      ],
    },
  ],
  tearDown: (lab) => lab.removeKernel(network),
};
