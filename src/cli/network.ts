/** `vtep network`: create, ls, inspect, rm. */
import type { Command } from 'commander';
import { z } from 'zod';
import { checkInput } from '../control/api/check-input.js';
import {
  createdNetworkSchema,
  createNetworkSchema,
  FLOOD_MODES,
  type Network,
  type NetworkDetail,
  nameSchema,
  networkDetailSchema,
  networkSchema,
  RESERVED_BITS_MODES,
} from '../control/api/schema.js';
import { endText } from '../control/vtep-address.js';
import { type ContextOf, collect, given, numberOrText, onOrText } from './context.js';
import { endpointTable } from './endpoint.js';
import { formatFields, formatTable, printable } from './table.js';

const LABELS = {
  ...{ name: 'network name', vni: '--vni', mtuBytes: '--mtu' },
  ...{ subnets: '--subnet', gateways: '--gateway', ranges: '--ip-range', reserved: '--reserve' },
  ...{ learntMacsMax: '--max-learnt-macs', flood: '--flood', group: '--group', arpSuppression: '--arp-suppression' },
  ...{ portSecurity: '--port-security', stormLimit: '--storm-limit', groupPolicy: '--group-policy' },
  ...{ allowedGroups: '--allow-groups', reservedBits: '--reserved-bits', snooping: '--snooping' },
};
const byNameSchema = z.object({ name: nameSchema });

interface CreateOptions {
  subnet?: string[];
  gateway?: string[];
  ipRange?: string[];
  reserve?: string[];
  ipv6?: boolean;
  internal?: boolean;
  vni?: string;
  mtu?: string;
  learning: boolean;
  maxLearntMacs?: string;
  flood?: string;
  group?: string;
  snooping?: string;
  arpSuppression?: string;
  portSecurity?: string;
  stormLimit?: string;
  groupPolicy?: string;
  allowGroups?: string;
  reservedBits?: string;
}

export function addNetworkCommands(program: Command, contextOf: ContextOf): void {
  const network = program
    .command('network')
    .description('make, list, look at and remove networks')
    .usage('create | ls | inspect | rm')
    .addHelpText(
      'after',
      `
Examples:
  vtep network create my_overlay
  vtep network ls`,
    );

  network
    .command('create')
    .description('make a network, once, for all hosts')
    .argument('<name>', 'the name of the network')
    .option(
      '--subnet <cidr>',
      'a subnet, IPv4 or IPv6; again for more (default: the next free one of the pool)',
      collect,
    )
    .option('--ipv6', 'an IPv6 subnet as well: the next free /64 of the pool, if none is given')
    .option(
      '--gateway <address>',
      "the gateway of the subnet that it lies in, or none; again for more (default: each subnet's first address)",
      collect,
    )
    .option('--ip-range <range>', 'the part of its subnet that containers get addresses of; again for more', collect)
    .option('--reserve <range>', 'an address, FIRST-LAST or a block that no container gets; again for more', collect)
    .option('--internal', 'no way out of the network: no default route, no masquerade')
    .option('--vni <number>', 'the VXLAN network identifier, 1 to 16777215 (default: the next free one)')
    .option('--mtu <bytes>', 'the MTU inside the network (default: what the underlay of each host allows)')
    .option('--no-learning', 'do not learn MAC addresses from the tunnel; only the registry tells')
    .option('--max-learnt-macs <number>', 'learn no more MAC addresses than these; 0: no limit (default: 0)')
    .option('--flood <mode>', `how broadcasts reach the other hosts: ${FLOOD_MODES.join(', ')} (default: replicate)`)
    .option('--group <address>', "the underlay's multicast group (default: 239.x.y.z with the VNI as x.y.z)")
    .option('--snooping <on|off>', 'send multicast only where a container has joined it, by IGMP and MLD (default: on)')
    .option('--arp-suppression <on|off>', 'answer ARP and ND for known neighbours on the spot (default: on)')
    .option('--port-security <on|off>', 'containers send only from what they were given (default: on)')
    .option('--storm-limit <number>', 'frames a second that a container may flood; 0: no limit (default: 0)')
    .option('--group-policy <on|off>', 'carry group policy ids in the VXLAN header (default: off)')
    .option('--allow-groups <from:to,...>', 'with group policy: these pairs of groups may talk (default: all)')
    .option(
      '--reserved-bits <mode>',
      `reserved bits of the VXLAN header: ${RESERVED_BITS_MODES.join(', ')} (default: strict)`,
    )
    .addHelpText(
      'after',
      `
Examples:
  vtep network create my_overlay
  vtep network create db --subnet 10.0.2.0/24 --vni 5000
  vtep network create six --ipv6 --internal
  vtep network create lab --subnet 10.0.2.0/24 --subnet fd00:2::/64 --reserve 10.0.2.200-10.0.2.254
  vtep network create jumbo --mtu 8950 --no-learning --json`,
    )
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { client, print } = contextOf(command);
      const fields = given({
        name,
        subnets: options.subnet,
        gateways: options.gateway,
        ranges: options.ipRange,
        reserved: options.reserve,
        ipv6: options.ipv6,
        internal: options.internal,
        vni: numberOrText(options.vni),
        mtuBytes: numberOrText(options.mtu),
        learning: options.learning ? undefined : false,
        learntMacsMax: numberOrText(options.maxLearntMacs),
        flood: options.flood,
        group: options.group,
        snooping: onOrText(options.snooping),
        arpSuppression: onOrText(options.arpSuppression),
        portSecurity: onOrText(options.portSecurity),
        stormLimit: numberOrText(options.stormLimit),
        groupPolicy: onOrText(options.groupPolicy),
        allowedGroups: options.allowGroups?.split(','),
        reservedBits: options.reservedBits,
      });
      const body = checkInput(createNetworkSchema, fields, LABELS);
      const { raw, value } = await client.call(createdNetworkSchema, 'POST', '/v1/networks', body);
      print(raw, () => {
        const subnets = value.subnets.map(({ cidr, gateway }) => `subnet ${cidr}, gateway ${gateway ?? 'none'}`);
        const warnings = (value.warnings ?? []).map((warning) => `warning: ${printable(warning)}\n`).join('');
        return `network ${value.name} created: ${[`VNI ${value.vni}`, ...subnets].join(', ')}\n${warnings}`;
      });
    });

  network
    .command('ls')
    .description('list the networks of all hosts')
    .addHelpText(
      'after',
      `
Examples:
  vtep network ls
  vtep network ls --json`,
    )
    .action(async (_options: unknown, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(z.array(networkSchema), 'GET', '/v1/networks');
      print(raw, () => networkTable(value));
    });

  network
    .command('inspect')
    .description('show one network with its endpoints and peers')
    .argument('<name>', 'the name of the network')
    .addHelpText(
      'after',
      `
Examples:
  vtep network inspect my_overlay
  vtep network inspect my_overlay --json`,
    )
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(networkDetailSchema, 'GET', pathOf(name));
      print(raw, () => networkText(value));
    });

  network
    .command('rm')
    .description('remove networks; refused while one has endpoints')
    .argument('<names...>', 'the names of the networks')
    .option('--force', 'also with endpoints: each host detaches its own, and the containers lose the interface')
    .addHelpText(
      'after',
      `
Examples:
  vtep network rm my_overlay
  vtep network rm db jumbo
  vtep network rm --force db`,
    )
    .action(async (names: string[], options: { force?: boolean }, command: Command) => {
      const context = contextOf(command);
      const removed: string[] = [];
      for (const name of names) {
        try {
          await context.client.send('DELETE', options.force === true ? `${pathOf(name)}?force=true` : pathOf(name));
          removed.push(name);
        } catch (error) {
          context.complain(error);
        }
      }
      context.print({ removed }, () => removed.map((name) => `network ${name} removed\n`).join(''));
    });
}

function pathOf(name: string): string {
  return `/v1/networks/${encodeURIComponent(checkInput(byNameSchema, { name }, LABELS).name)}`;
}

function networkTable(networks: readonly Network[]): string {
  const each = (n: Network, text: (subnet: Network['subnets'][number]) => string) => n.subnets.map(text).join(',');
  const rows = networks.map((n) => [
    n.name,
    String(n.vni),
    each(n, ({ cidr }) => cidr),
    each(n, ({ gateway }) => gateway ?? '-'),
    n.scope,
  ]);
  return formatTable(['NAME', 'VNI', 'SUBNET', 'GATEWAY', 'SCOPE'], rows);
}

function subnetText({ cidr, gateway, range, reserved }: Network['subnets'][number]): string {
  const facts = [cidr, gateway === undefined ? 'no gateway' : `gateway ${gateway}`];
  if (range !== undefined) facts.push(`range ${range}`);
  if (reserved !== undefined) facts.push(`reserved ${reserved.join(' ')}`);
  return facts.join(', ');
}

const FREE_SHOWN_MAX = 1_000_000;

function usageText({ usage }: NetworkDetail, cidr: string): string {
  const own = usage?.find((one) => one.cidr === cidr);
  if (own === undefined) return '';
  const free = own.free > FREE_SHOWN_MAX ? `more than ${FREE_SHOWN_MAX}` : String(own.free);
  const spare = own.spare === 0 ? '' : `, ${own.spare} spare`;
  return `, ${own.used} used${spare}, ${free} free`;
}

function onOff(is: boolean): string {
  return is ? 'on' : 'off';
}

function learningText({ learning, learntMacsMax }: NetworkDetail): string {
  return learning && learntMacsMax > 0 ? `on, ${learntMacsMax} MACs at most` : onOff(learning);
}

function groupPolicyText({ groupPolicy, allowedGroups }: NetworkDetail): string | undefined {
  if (!groupPolicy) return undefined;
  return allowedGroups === undefined ? 'on' : `on, may talk: ${allowedGroups.join(', ')}`;
}

function floodText({ via, group, reason }: NonNullable<NonNullable<NetworkDetail['local']>['flood']>): string {
  const how = via === 'multicast' ? `by multicast to ${group}` : 'by a copy to each host';
  return reason === undefined ? how : `${how}: ${reason}`;
}

function networkText(network: NetworkDetail): string {
  const { local } = network;
  const peers = network.peers.map((peer) => endText(peer.address, peer.port));
  const fields = formatFields([
    ['name', network.name],
    ['id', network.id],
    ['vni', String(network.vni)],
    ...network.subnets.map((subnet) => ['subnet', subnetText(subnet) + usageText(network, subnet.cidr)] as const),
    ['state', network.removing ? 'is being removed' : undefined],
    ['internal', network.internal ? 'yes' : undefined],
    ['mtu', network.mtuBytes === 0 ? 'from the underlay of each host' : `${network.mtuBytes} bytes`],
    ['flood', network.group === undefined ? network.flood : `${network.flood}, group ${network.group}`],
    ['learning', learningText(network)],
    ['snooping', network.snooping ? undefined : 'off'],
    ['arp suppression', onOff(network.arpSuppression)],
    ['port security', onOff(network.portSecurity)],
    ['storm limit', network.stormLimit === 0 ? undefined : `${network.stormLimit} frames a second`],
    ['group policy', groupPolicyText(network)],
    ['reserved bits', network.reservedBits === 'strict' ? undefined : network.reservedBits],
    ['scope', network.scope],
    ['created', network.createdAt],
    ['here', local && `bridge ${local.bridge}, tap ${local.tap}, mtu ${local.mtuBytes} bytes`],
    ['floods here', local?.flood && floodText(local.flood)],
    ['peers', peers.join(', ')],
  ]);
  return network.endpoints.length === 0 ? fields : `${fields}\n${endpointTable(network.endpoints)}`;
}
