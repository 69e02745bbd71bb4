/** Floods by a multicast group of the underlay: memberships, what goes to the group, what is taken from it. */
import { expect } from 'vitest';
import type { Lab } from '../lab.js';
import { ether, filled, packet, type Underlay } from '../packets.js';
import {
  GROUP,
  GROUP6,
  KERNEL_MAC,
  type NetworkName,
  PLACES,
  STRANGER,
  STRANGER6,
  VTEP_A,
  VTEP_A6,
  VTEP_KERNEL,
} from '../places.js';
import type { Case, Group, Scenario, Scene, Wire } from '../table.js';

const EVERYBODY = 'ff:ff:ff:ff:ff:ff';
const NOBODY = '02:00:5e:00:77:77';

function sentToGroup(network: NetworkName, name: string, to: string): Case {
  const isIpv4 = network === 'mcast';
  return {
    name: `${name} goes to the group, once`,
    network,
    from: 'container',
    frames: (scene) => [ether({ from: scene.box, to }, 0x88b5, filled(scene.mark, 60))],
    wire: isIpv4
      ? { 'ip.src': VTEP_A, 'ip.dst': GROUP, 'ip.ttl': '1', 'eth.dst': '01:00:5e:00:10:98', 'udp.dstport': '4789' }
      : { 'ipv6.src': VTEP_A6, 'ipv6.dst': GROUP6, 'ipv6.hlim': '1', 'eth.dst': '33:33:00:01:42:49' },
  };
}

/** From host b to the group, the datagram's Ethernet header too. */
const toGroup = (network: NetworkName, more: Partial<Underlay> = {}): Partial<Underlay> =>
  network === 'mcast'
    ? { destination: GROUP, destinationMac: '01:00:5e:00:10:98', ttl: 1, ...more }
    : { destination: GROUP6, destinationMac: '33:33:00:01:42:49', ttl: 1, ...more };

const broadcast = (scene: Scene) => ether({ from: KERNEL_MAC, to: EVERYBODY }, 0x88b5, filled(scene.mark, 60));

function group(network: 'mcast' | 'mcast6', address: string, stranger: string): Group {
  return {
    name: `floods by ${address}`,
    setUp: (lab) => lab.makeKernel(network, { group: address }),
    cases: [
      sentToGroup(network, 'a broadcast', EVERYBODY),
      sentToGroup(network, 'a multicast', '01:00:5e:01:02:03'),
      sentToGroup(network, 'a frame for a MAC that nobody knows', NOBODY),
      {
        name: "the kernel's broadcast arrives by the group",
        network,
        from: 'kernel',
        frames: (scene) => [broadcast(scene)],
        wire: { [network === 'mcast' ? 'ip.dst' : 'ipv6.dst']: address },
      },
      {
        name: 'a frame for a MAC that was heard by the group goes to its VTEP',
        network,
        from: 'container',
        frames: (scene) => [packet(scene.toKernel, scene.mark)],
        wire: network === 'mcast' ? { 'ip.dst': VTEP_KERNEL } : { 'ipv6.dst': '2001:db8::2' },
      },
      {
        name: 'a datagram to the group from a stranger is refused',
        network,
        from: 'wire',
        frames: (scene) => scene.tunnel(broadcast(scene), toGroup(network, { source: stranger })),
        arrives: 'nothing',
        drops: { vtep_not_member: 1 },
      },
      {
        name: 'a unicast frame that comes by the group is taken',
        network,
        from: 'wire',
        frames: (scene) => scene.tunnel(packet(scene.toBox, scene.mark), toGroup(network)),
        arrives: (_sent, scene) => [packet(scene.toBox, scene.mark)],
      },
      membership(network, address),
    ],
    tearDown: (lab) => lab.removeKernel(network),
  };
}

/** Whether host a has reported this of the group: IGMPv3's and MLDv2's kinds of records have the same numbers. */
function isReported(wire: Wire, lab: Lab, address: string, record: string): boolean {
  return wire.rows.some(
    (row) =>
      row['eth.src']?.[0] === lab.underlayMac.a &&
      [...(row['igmp.maddr'] ?? []), ...(row['icmpv6.mldr.mar.multicast_address'] ?? [])].includes(address) &&
      [...(row['igmp.record_type'] ?? []), ...(row['icmpv6.mldr.mar.record_type'] ?? [])].includes(record),
  );
}
const TO_EXCLUDE = '4';
const TO_INCLUDE = '3';

const membership = (network: 'mcast' | 'mcast6', address: string): Scenario => ({
  name: 'vtepd has reported its membership when the container came, and its leaving when it went',
  play: async (lab) => {
    await lab.call('POST', '/v1/detach', { network, name: PLACES[network].container });
  },
  rows: (_rows, wire, lab) => {
    expect(isReported(wire, lab, address, TO_EXCLUDE), 'joined').toBe(true);
    expect(isReported(wire, lab, address, TO_INCLUDE), 'left').toBe(true);
  },
});

export const MULTICAST: readonly Group[] = [group('mcast', GROUP, STRANGER), group('mcast6', GROUP6, STRANGER6)];
