/**
 * The table `inet vtep` as text, from what is to be: pure, the same input gives the same text.
 *
 *     raw          what the bridge carries from container to container is none of conntrack's business
 *     prerouting,  published ports: to the container (dnat)
 *       output
 *     forward      one bridge to itself: yes; internal: no; into a network: answers and published ports only
 *     input        internal networks reach DNS, echo and ND of the gateway; networks without a gateway here, nothing
 *     postrouting  out of a network: with the host's address (masquerade); hairpins of published ports too
 *
 * With net.bridge.bridge-nf-call-iptables on, bridged frames pass these hooks as well, with the bridge as the interface
 * on both sides; hence the first rules of raw and forward.
 */
import { gatewayMac } from '../ipam/mac.js';
import { bridgeName } from '../ports/names.js';
import type { Gateway } from './gateways-of.js';

export const TABLE = 'inet vtep';

export interface RulesetNetwork {
  readonly vni: number;
  readonly internal: boolean;
  /** Those that this host has; none: the network is on its own here. */
  readonly gateways: readonly Gateway[];
}

export interface PortBinding {
  readonly protocol: 'tcp' | 'udp';
  /** Absent: all of the host's addresses of the container address's family. */
  readonly hostAddress?: string | undefined;
  readonly hostPort: number;
  /** Without prefix length. */
  readonly containerAddress: string;
  readonly containerPort: number;
}

export interface DesiredRules {
  readonly networks: readonly RulesetNetwork[];
  readonly bindings: readonly PortBinding[];
}

/** What `nft -f -` takes: replaces the table in one transaction. */
export function ruleset(desired: DesiredRules): string {
  const networks = [...desired.networks].sort((a, b) => a.vni - b.vni);
  const routed = networks.filter(({ internal, gateways }) => !internal && gateways.length > 0);
  const shut = networks.filter((network) => !routed.includes(network));
  const chains = [
    chain('raw', 'filter hook prerouting priority raw', rawRules(networks)),
    chain('forward', 'filter hook forward priority filter', forwardRules(networks, routed, shut)),
    chain('input', 'filter hook input priority filter', shut.flatMap(inputRules)),
    chain('prerouting', 'nat hook prerouting priority dstnat', desired.bindings.map(publishRule)),
    chain('output', 'nat hook output priority -100', desired.bindings.map(publishRule)),
    chain('postrouting', 'nat hook postrouting priority srcnat', routed.flatMap(postroutingRules)),
  ];
  return `add table ${TABLE}\ndelete table ${TABLE}\ntable ${TABLE} {\n${chains.join('')}}\n`;
}

function chain(name: string, type: string, rules: readonly string[]): string {
  return `\tchain ${name} {\n\t\ttype ${type}; policy accept;\n${rules.map((rule) => `\t\t${rule}\n`).join('')}\t}\n`;
}

function rawRules(networks: readonly RulesetNetwork[]): string[] {
  return [
    // Not for the gateway, so it stays on the bridge. Two networks may use the same addresses: tracked, they would meet.
    ...networks.map(({ vni }) => `iifname ${quoted(vni)} ether daddr != ${gatewayMac(vni)} notrack`),
    // route_localnet, which a published port needs for 127.0.0.1, would let containers in there.
    ...networks.map(({ vni }) => `iifname ${quoted(vni)} ip daddr 127.0.0.0/8 drop`),
  ];
}

function forwardRules(
  networks: readonly RulesetNetwork[],
  routed: readonly RulesetNetwork[],
  shut: readonly RulesetNetwork[],
): string[] {
  return [
    ...networks.map(({ vni }) => `iifname ${quoted(vni)} oifname ${quoted(vni)} accept`),
    ...shut.map(({ vni }) => `iifname ${quoted(vni)} drop`),
    ...shut.map(({ vni }) => `oifname ${quoted(vni)} drop`),
    ...routed.flatMap(({ vni, gateways }) => [
      // Nobody could answer what masquerade passes over: foreign sources, and packets of no connection.
      sourceRule(vni, 'ip', 4, gateways),
      sourceRule(vni, 'ip6', 6, gateways),
      `iifname ${quoted(vni)} ct state invalid drop`,
    ]),
    ...routed.flatMap(({ vni }) => [
      `oifname ${quoted(vni)} ct state established,related accept`,
      `oifname ${quoted(vni)} ct status dnat accept`,
      `oifname ${quoted(vni)} drop`,
    ]),
  ];
}

function sourceRule(vni: number, word: 'ip' | 'ip6', family: 4 | 6, gateways: readonly Gateway[]): string {
  const subnets = gateways.filter((gateway) => gateway.family === family).map(({ subnet }) => subnet);
  if (subnets.length === 0) return `iifname ${quoted(vni)} meta nfproto ipv${family} drop`;
  return `iifname ${quoted(vni)} ${word} saddr != { ${subnets.join(', ')} } drop`;
}

function inputRules({ vni, gateways }: RulesetNetwork): string[] {
  const from = `iifname ${quoted(vni)}`;
  if (gateways.length === 0) return [`${from} drop`];
  return [
    `${from} ct state established,related accept`,
    `${from} icmp type echo-request accept`,
    `${from} icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept`,
    ...gateways.map(
      ({ family, address }) =>
        `${from} ${family === 4 ? 'ip' : 'ip6'} daddr ${address} meta l4proto { tcp, udp } th dport 53 accept`,
    ),
    `${from} drop`,
  ];
}

function publishRule(binding: PortBinding): string {
  const { protocol, hostAddress, hostPort, containerAddress, containerPort } = binding;
  const isIpv6 = containerAddress.includes(':');
  const word = isIpv6 ? 'ip6' : 'ip';
  // Nothing gets from ::1 or a link-local address to another interface: better refused than lost.
  const unspecified = isIpv6
    ? 'fib daddr type local ip6 daddr != { ::1, fe80::/10 }'
    : 'fib daddr type local meta nfproto ipv4';
  const match = hostAddress === undefined ? unspecified : `${word} daddr ${hostAddress}`;
  const target = isIpv6 ? `[${containerAddress}]:${containerPort}` : `${containerAddress}:${containerPort}`;
  return `${match} ${protocol} dport ${hostPort} dnat ${word} to ${target}`;
}

function postroutingRules({ vni, gateways }: RulesetNetwork): string[] {
  const bridge = quoted(vni);
  return [
    ...gateways.map(
      ({ family, subnet }) => `oifname != ${bridge} ${family === 4 ? 'ip' : 'ip6'} saddr ${subnet} masquerade`,
    ),
    // To a published port of one's own network: the answer must come back through the host.
    `iifname ${bridge} oifname ${bridge} ct status dnat masquerade`,
    // From the host itself, by whichever address of its own, 127.0.0.1 too.
    `oifname ${bridge} fib saddr type local ct status dnat masquerade`,
  ];
}

function quoted(vni: number): string {
  return `"${bridgeName(vni)}"`;
}
