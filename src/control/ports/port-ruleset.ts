/**
 * The table `bridge vtep` as text: containers send only from the MAC and the addresses that they were given. Pure.
 *
 *     prerouting   what nearly all frames are: IP from the port's own MAC and address: one look-up, half the cost
 *                  other frames of ports with port security ─▶ port; the TAP and all other ports pass
 *     port         source MAC, then by EtherType ─▶ arp-sender, ipv4-source, ipv6-source ─▶ nd-...; others pass
 *     wrong-mac, wrong-address     counted at the port, dropped
 *
 * The rules never change: a port is an element in each of a few sets, so a thousand ports cost a frame what one does. ICMPv6
 * takes the long way, since ND is in it. The EtherType is asked by `meta protocol`, also where nft would ask the Ethernet
 * header by itself: that looks behind one VLAN tag, as a receiver does behind VLAN 0. A frame with a second tag does not pass.
 * IGMP is 2 and ICMPv6 is 58: nft looks names up in /etc/protocols, which small images for containers don't have.
 */
import { addressNumber, bareAddress } from '../ipam/address-span.js';

export const PORT_TABLE = 'bridge vtep';

/** What the container behind a host interface may send from. */
export interface SecuredPort {
  readonly interface: string;
  readonly network: string;
  readonly mac: string;
  /** With or without prefix length. */
  readonly addresses: readonly string[];
}

/** Frames, by the drop causes' names. */
export type PortDrops = Readonly<Record<'source_mac' | 'source_address', number>>;

export const NO_DROPS: PortDrops = { source_mac: 0, source_address: 0 };

/** Name, type, and the drops that its elements count. */
const SETS = [
  { name: 'senders4', type: 'type ifname . ether_addr . ipv4_addr' },
  { name: 'senders6', type: 'type ifname . ether_addr . ipv6_addr' },
  { name: 'ports', type: 'type ifname' },
  { name: 'macs', type: 'type ifname . ether_addr' },
  { name: 'ipv4', type: 'type ifname . ipv4_addr' },
  { name: 'ipv6', type: 'type ifname . ipv6_addr' },
  // The same addresses, as ND has its target: nft compares the packet's raw bytes with numbers only.
  { name: 'targets', type: 'typeof iifname . @th,64,128' },
  { name: 'source-mac', type: 'type ifname', counts: 'source_mac' },
  { name: 'source-address', type: 'type ifname', counts: 'source_address' },
] as const;
export const DROP_SETS = { 'source-mac': 'source_mac', 'source-address': 'source_address' } as const;

const CHAINS = `
	chain prerouting {
		type filter hook prerouting priority -350; policy accept;
		meta protocol ip iifname . ether saddr . ip saddr @senders4 accept
		meta protocol ip6 meta l4proto != 58 iifname . ether saddr . ip6 saddr @senders6 accept
		iifname @ports goto port
	}
	chain port {
		iifname . ether saddr != @macs goto wrong-mac
		meta protocol vmap { arp : goto arp-sender, ip : goto ipv4-source, ip6 : goto ipv6-source, 8021q : goto wrong-address, 8021ad : goto wrong-address }
	}
	chain arp-sender {
		meta protocol arp arp htype != 1 goto wrong-address
		meta protocol arp iifname . arp saddr ether != @macs goto wrong-address
		meta protocol arp arp operation request arp saddr ip 0.0.0.0 accept
		meta protocol arp iifname . arp saddr ip @ipv4 accept
		goto wrong-address
	}
	chain ipv4-source {
		meta protocol ip iifname . ip saddr @ipv4 accept
		meta protocol ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
		meta protocol ip ip saddr 0.0.0.0 ip protocol 2 accept
		goto wrong-address
	}
	chain ipv6-source {
		meta protocol ip6 icmpv6 type { nd-router-advert, nd-redirect } goto wrong-address
		meta protocol ip6 iifname . ip6 saddr @ipv6 goto nd-sender
		meta protocol ip6 ip6 saddr fe80::/10 goto nd-sender
		meta protocol ip6 ip6 saddr :: icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
		meta protocol ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit goto nd-target
		goto wrong-address
	}
	chain nd-sender {
		meta protocol ip6 icmpv6 type nd-neighbor-advert goto nd-target
	}
	chain nd-target {
		@th,64,10 0x3fa accept
		iifname . @th,64,128 @targets accept
		goto wrong-address
	}
	chain wrong-mac {
		iifname @source-mac drop
		drop
	}
	chain wrong-address {
		iifname @source-address drop
		drop
	}
`;

/** What `nft -f -` takes: replaces the table in one transaction, so that no frame meets half of it. @param counted goes on */
export function portRuleset(ports: Iterable<SecuredPort>, counted: ReadonlyMap<string, PortDrops>): string {
  const all = [...ports];
  const sets = SETS.map((set) => {
    const { name, type } = set;
    const elements = all.flatMap((port) => elementsOf(port)[name].map((key) => key + count(set, port, counted)));
    const lines = [`\t\t${type};`, ...('counts' in set ? ['\t\tcounter;'] : [])];
    if (elements.length > 0) lines.push(`\t\telements = { ${elements.join(', ')} }`);
    return `\tset ${name} {\n${lines.join('\n')}\n\t}\n`;
  });
  return `add table ${PORT_TABLE}\ndelete table ${PORT_TABLE}\ntable ${PORT_TABLE} {\n${sets.join('')}${CHAINS}}\n`;
}

export function addPort(port: SecuredPort): string {
  return change('add', port);
}

export function deletePort(port: SecuredPort): string {
  return change('delete', port);
}

/** Of each set, the keys as nft reads them. */
export function elementsOf(port: SecuredPort): Record<(typeof SETS)[number]['name'], string[]> {
  const key = `"${port.interface}"`;
  const addresses = port.addresses.map(bareAddress);
  const ipv4 = addresses.filter((address) => !address.includes(':'));
  const ipv6 = addresses.filter((address) => address.includes(':'));
  const mac = `${key} . ${port.mac}`;
  return {
    senders4: ipv4.map((address) => `${mac} . ${address}`),
    senders6: ipv6.map((address) => `${mac} . ${address}`),
    ports: [key],
    macs: [mac],
    ipv4: ipv4.map((address) => `${key} . ${address}`),
    ipv6: ipv6.map((address) => `${key} . ${address}`),
    targets: ipv6.map((address) => `${key} . 0x${addressNumber(address).toString(16)}`),
    'source-mac': [key],
    'source-address': [key],
  };
}

function change(verb: 'add' | 'delete', port: SecuredPort): string {
  return Object.entries(elementsOf(port))
    .filter(([, keys]) => keys.length > 0)
    .map(([set, keys]) => `${verb} element ${PORT_TABLE} ${set} { ${keys.join(', ')} }\n`)
    .join('');
}

function count(set: (typeof SETS)[number], port: SecuredPort, counted: ReadonlyMap<string, PortDrops>): string {
  if (!('counts' in set)) return '';
  return ` counter packets ${counted.get(port.interface)?.[set.counts] ?? 0} bytes 0`;
}
