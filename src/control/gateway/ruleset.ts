/**
 * The table `inet vtep` as text, from what is to be: pure, the same input gives the same text.
 *
 *     raw,         what the bridge carries from container to container, and the tunnel's own datagrams, are none of
 *       raw-input,   conntrack's business: it would cost them, and two networks may use the same addresses
 *       raw-output
 *     prerouting,  DNS questions of Docker's containers: to the gateway; published ports: to the container (dnat)
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
import { allIps, familyOf, type VtepIps } from '../vtep-address.js';
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

/** A container whose DNS questions, whoever they are for, go to the server on its network's gateway. */
export interface NameRedirect {
  readonly vni: number;
  readonly family: 4 | 6;
  /** Without prefix length, both. */
  readonly client: string;
  readonly server: string;
}

export interface DesiredRules {
  /** This host's VTEP: its datagrams are none of conntrack's business either. */
  readonly tunnel: VtepIps & { readonly port: number };
  readonly networks: readonly RulesetNetwork[];
  readonly bindings: readonly PortBinding[];
  readonly redirects?: readonly NameRedirect[];
}

/** What `nft -f -` takes: replaces the table in one transaction. Few rules over sets: a thousand networks cost no more. */
export function ruleset(desired: DesiredRules): string {
  const networks = [...desired.networks].sort((a, b) => a.vni - b.vni);
  const routed = networks.filter(({ internal, gateways }) => !internal && gateways.length > 0);
  const shut = networks.filter((network) => !routed.includes(network));
  const chains = [
    // Before conntrack's reassembly at -400: fragments between containers pass one by one. The tunnel's own only after it,
    // since all but the first of them have no port to be known by.
    chain('raw', 'filter hook prerouting priority -450', rawRules(networks)),
    chain('raw-input', 'filter hook prerouting priority raw', tunnelRules(desired.tunnel, 'daddr')),
    chain('raw-output', 'filter hook output priority raw', tunnelRules(desired.tunnel, 'saddr')),
    chain('forward', 'filter hook forward priority filter', [
      ...on(
        networks,
        (all) => `iifname . oifname ${set(all.map(({ vni }) => `${quoted(vni)} . ${quoted(vni)}`))} accept`,
      ),
      ...on(shut, (all) => `iifname ${bridges(all)} drop`),
      ...on(shut, (all) => `oifname ${bridges(all)} drop`),
      ...forwardRules(routed),
    ]),
    chain('input', 'filter hook input priority filter', inputRules(shut)),
    chain('prerouting', 'nat hook prerouting priority dstnat', [
      ...redirectRules(desired.redirects ?? []),
      ...desired.bindings.map(publishRule),
    ]),
    chain('output', 'nat hook output priority -100', desired.bindings.map(publishRule)),
    chain('postrouting', 'nat hook postrouting priority srcnat', postroutingRules(routed)),
  ];
  return `add table ${TABLE}\ndelete table ${TABLE}\ntable ${TABLE} {\n${chains.join('')}}\n`;
}

function chain(name: string, type: string, rules: readonly string[]): string {
  return `\tchain ${name} {\n\t\ttype ${type}; policy accept;\n${rules.map((rule) => `\t\t${rule}\n`).join('')}\t}\n`;
}

function tunnelRules(tunnel: DesiredRules['tunnel'], end: 'saddr' | 'daddr'): string[] {
  return allIps(tunnel).map((ip) => `${word(familyOf(ip))} ${end} ${ip} udp dport ${tunnel.port} notrack accept`);
}

function rawRules(networks: readonly RulesetNetwork[]): string[] {
  const gateways = networks.map(({ vni }) => `${quoted(vni)} . ${gatewayMac(vni)}`);
  return on(networks, (all) => [
    // route_localnet, which a published port needs for 127.0.0.1, would let containers in there.
    `iifname ${bridges(all)} ip daddr 127.0.0.0/8 drop`,
    // Not for the gateway, so it stays on the bridge.
    `iifname ${bridges(all)} iifname . ether daddr != ${set(gateways)} notrack`,
  ]).flat();
}

function forwardRules(routed: readonly RulesetNetwork[]): string[] {
  return on(routed, (all) => [
    // Nobody could answer what masquerade passes over: foreign sources, and packets of no connection.
    sourceRule(all, 4),
    sourceRule(all, 6),
    `iifname ${bridges(all)} ct state invalid drop`,
    `oifname ${bridges(all)} ct state established,related accept`,
    `oifname ${bridges(all)} ct status dnat accept`,
    `oifname ${bridges(all)} drop`,
  ]).flat();
}

function sourceRule(routed: readonly RulesetNetwork[], family: 4 | 6): string {
  const sources = pairs('iifname', routed, family);
  const from = `iifname ${bridges(routed)} meta nfproto ipv${family}`;
  return sources === undefined ? `${from} drop` : `${from} ${sources.match} != ${sources.set} drop`;
}

function inputRules(shut: readonly RulesetNetwork[]): string[] {
  const internal = shut.filter(({ gateways }) => gateways.length > 0);
  const names = ([4, 6] as const).flatMap((family) => {
    const addresses = internal.flatMap(({ vni, gateways }) =>
      gateways.filter((gateway) => gateway.family === family).map(({ address }) => `${quoted(vni)} . ${address}`),
    );
    const to = `iifname . ${word(family)} daddr ${set(addresses)}`;
    return addresses.length === 0 ? [] : [`${to} meta l4proto { tcp, udp } th dport 53 accept`];
  });
  return [
    ...on(internal, (all) => [
      `iifname ${bridges(all)} ct state established,related accept`,
      `iifname ${bridges(all)} icmp type echo-request accept`,
      `iifname ${bridges(all)} icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept`,
      ...names,
    ]).flat(),
    ...on(shut, (all) => `iifname ${bridges(all)} drop`),
  ];
}

function redirectRules(redirects: readonly NameRedirect[]): string[] {
  return ([4, 6] as const).flatMap((family) => {
    const own = redirects.filter((one) => one.family === family);
    const elements = own.map(({ vni, client, server }) => `${quoted(vni)} . ${client} : ${server}`).sort();
    const to = `dnat ${word(family)} to iifname . ${word(family)} saddr map ${set(elements)}`;
    return elements.length === 0 ? [] : [`meta l4proto { tcp, udp } th dport 53 ${to}`];
  });
}

function publishRule(binding: PortBinding): string {
  const { protocol, hostAddress, hostPort, containerAddress, containerPort } = binding;
  const isIpv6 = containerAddress.includes(':');
  // Nothing gets from ::1 or a link-local address to another interface: better refused than lost.
  const unspecified = isIpv6
    ? 'fib daddr type local ip6 daddr != { ::1, fe80::/10 }'
    : 'fib daddr type local meta nfproto ipv4';
  const match = hostAddress === undefined ? unspecified : `${word(isIpv6 ? 6 : 4)} daddr ${hostAddress}`;
  const target = isIpv6 ? `[${containerAddress}]:${containerPort}` : `${containerAddress}:${containerPort}`;
  return `${match} ${protocol} dport ${hostPort} dnat ${word(isIpv6 ? 6 : 4)} to ${target}`;
}

function postroutingRules(routed: readonly RulesetNetwork[]): string[] {
  const out = ([4, 6] as const).flatMap((family) => {
    const inside = pairs('oifname', routed, family);
    if (inside === undefined) return [];
    const subnets = subnetsOf(routed, family).map(({ subnet }) => subnet);
    return [
      // To a published port of one's own network: the answer must come back through the host. By the source, since
      // bridge netfilter, where it is on, does such a dnat on the bridge and tells no incoming interface here.
      `${inside.match} ${inside.set} ct status dnat masquerade`,
      `${inside.match} ${inside.set} accept`,
      `${word(family)} saddr ${set(subnets)} masquerade`,
    ];
  });
  return on(routed, (all) => [
    // From the host itself to a published port, by whichever address of its own, 127.0.0.1 too.
    `oifname ${bridges(all)} fib saddr type local ct status dnat masquerade`,
    ...out,
  ]).flat();
}

/** Bridge and source subnet, as one key. @returns undefined if no network has a subnet of the family */
function pairs(interfaceWord: 'iifname' | 'oifname', networks: readonly RulesetNetwork[], family: 4 | 6) {
  const all = subnetsOf(networks, family).map(({ vni, subnet }) => `${quoted(vni)} . ${subnet}`);
  return all.length === 0 ? undefined : { match: `${interfaceWord} . ${word(family)} saddr`, set: set(all) };
}

function subnetsOf(networks: readonly RulesetNetwork[], family: 4 | 6): { vni: number; subnet: string }[] {
  return networks.flatMap(({ vni, gateways }) =>
    gateways.filter((gateway) => gateway.family === family).map(({ subnet }) => ({ vni, subnet })),
  );
}

/** The rule, unless there is no network for it: a set must not be empty. */
function on<T>(networks: readonly RulesetNetwork[], rule: (networks: readonly RulesetNetwork[]) => T): T[] {
  return networks.length === 0 ? [] : [rule(networks)];
}

function set(elements: readonly string[]): string {
  return `{ ${elements.join(', ')} }`;
}

function bridges(networks: readonly RulesetNetwork[]): string {
  return set(networks.map(({ vni }) => quoted(vni)));
}

function word(family: 4 | 6): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6';
}

function quoted(vni: number): string {
  return `"${bridgeName(vni)}"`;
}
