/** Every kind of Ethernet frame goes through as it is: VLAN tags, EtherTypes, group addresses. */

import type { FrameSpec } from '../../dataplane/reference/frame-spec.js';
import { TCP } from '../../dataplane/reference/packet.js';
import { type Ends, ether, filled, packet } from '../packets.js';
import { KERNEL_MAC } from '../places.js';
import type { Case, Group, Scene } from '../table.js';

function bothWays(name: string, frame: (ends: Ends, scene: Scene) => Uint8Array): Case[] {
  return [
    { name: `${name}, from the container`, from: 'container', frames: (s) => [frame(s.toKernel, s)] },
    { name: `${name}, from the kernel`, from: 'kernel', frames: (s) => [frame(s.toBox, s)] },
  ];
}

const typed = (name: string, type: number) =>
  bothWays(`${name} (${type.toString(16).padStart(4, '0')})`, (ends, { mark }) => ether(ends, type, filled(mark, 60)));
const shaped = (name: string, spec: Partial<FrameSpec>) => bothWays(name, (ends, { mark }) => packet(ends, mark, spec));
/** To each of the network's VTEPs a copy: two peers and the ghost, whose addresses are all on the kernel's host. */
const sentTo = (name: string, to: string) =>
  bothWays(`to ${name}`, ({ from }, { mark }) => ether({ from, to }, 0x88b5, filled(mark, 60))).map((entry) =>
    entry.from === 'kernel' ? entry : { ...entry, arrives: inThree, datagrams: 3 },
  );
const inThree = (sent: readonly Uint8Array[]) => [...sent, ...sent, ...sent];

export const ETHERTYPES: Group = {
  name: 'kinds of frames',
  setUp: (lab) => lab.makeKernel('mixed'),
  cases: [
    ...typed('a local experiment', 0x88b5),
    ...typed('an LLC frame, which has a length instead', 60),
    ...typed('PPPoE', 0x8864),
    ...typed('MPLS', 0x8847),
    ...typed('MACsec', 0x88e5),
    ...typed('PTP', 0x88f7),
    ...typed('FCoE', 0x8906),
    ...typed('nothing that anyone knows', 0xfffe),
    ...shaped('a VLAN tag over IPv4', { vlanIds: [7] }),
    ...shaped('a VLAN tag over IPv6', { vlanIds: [4094], family: 6 }),
    ...shaped('two VLAN tags over TCP', { vlanIds: [7, 8], protocol: TCP }),
    ...bothWays('a priority tag (VLAN 0)', (ends, { mark }) =>
      ether(ends, 0x8100, Uint8Array.of(0xe0, 0, 0x88, 0xb5), filled(mark, 60)),
    ),
    ...bothWays('three VLAN tags', (ends, { mark }) =>
      ether(ends, 0x88a8, Uint8Array.of(0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x88, 0xb5), filled(mark, 60)),
    ),
    ...shaped('IPv4 options', { ipOptions: new Uint8Array(8).fill(1) }),
    ...shaped('IPv6 with an extension header', { family: 6, extensionBytes: 16 }),
    ...shaped('UDP without a checksum', { fault: 'no checksum' }),
    ...shaped('UDP with a bad checksum', { fault: 'bad checksum' }),
    ...shaped('TCP with a bad checksum', { protocol: TCP, fault: 'bad checksum' }),
    ...sentTo('everybody', 'ff:ff:ff:ff:ff:ff'),
    ...sentTo("an IPv4 group's address", '01:00:5e:01:02:03'),
    ...sentTo("an IPv6 group's address", '33:33:00:00:12:34'),
    ...sentTo('an address that nobody has', '02:00:5e:00:88:88'),
    {
      name: 'a bridge keeps what is for bridges (01:80:c2:00:00:0e, LLDP) to itself',
      from: 'container',
      frames: ({ box, mark }) => [ether({ from: box, to: '01:80:c2:00:00:0e' }, 0x88cc, filled(mark, 60))],
      arrives: 'nothing',
      datagrams: 0,
    },
    {
      name: 'what the kernel floods is not flooded back',
      from: 'kernel',
      frames: ({ mark }) => [ether({ from: KERNEL_MAC, to: 'ff:ff:ff:ff:ff:ff' }, 0x88b5, filled(mark, 60))],
      datagrams: 1,
    },
  ],
};

/** What a bridge looks at, and drops or trims, only because it hands packets to the host's firewall. */
const FIREWALLED = ['iptables', 'ip6tables', 'arptables'].map((name) => `net.bridge.bridge-nf-call-${name}`);
const setFirewalled = (value: number) => FIREWALLED.map((key) => `sysctl -qw ${key}=${value}`).join('\n');

export const BROKEN_PACKETS: Group = {
  name: 'packets that are wrong, on hosts whose bridges are no firewalls',
  setUp: async (lab) => {
    await lab.shell('a', setFirewalled(0));
    await lab.makeKernel('mixed');
  },
  tearDown: (lab) => lab.shell('a', setFirewalled(1)),
  cases: [
    ...shaped('IPv4 with a bad header checksum', { fault: 'bad header checksum' }),
    ...shaped('a packet with padding behind it', { fault: 'padding' }),
    ...shaped('a packet that is cut short', { fault: 'cut short' }),
  ],
};
