/** `vtep network`: create, ls, inspect, rm. */
import type { Command } from 'commander';
import { z } from 'zod';
import { checkInput } from '../control/api/check-input.js';
import {
  createNetworkSchema,
  type Network,
  type NetworkDetail,
  nameSchema,
  networkDetailSchema,
  networkSchema,
} from '../control/api/schema.js';
import { type ContextOf, given, numberOrText } from './context.js';
import { endpointTable } from './endpoint.js';
import { formatFields, formatTable } from './table.js';

const LABELS = { name: 'network name', subnet: '--subnet', vni: '--vni', mtuBytes: '--mtu' };
const byNameSchema = z.object({ name: nameSchema });

interface CreateOptions {
  subnet?: string;
  vni?: string;
  mtu?: string;
  learning: boolean;
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
    .option('--subnet <cidr>', 'the pool of addresses (default: the next free /24 of 10.0.0.0/8)')
    .option('--vni <number>', 'the VXLAN network identifier, 1 to 16777215 (default: the next free one)')
    .option('--mtu <bytes>', 'the MTU inside the network (default: what the underlay of each host allows)')
    .option('--no-learning', 'do not learn MAC addresses from the tunnel; only the registry tells')
    .addHelpText(
      'after',
      `
Examples:
  vtep network create my_overlay
  vtep network create db --subnet 10.0.2.0/24 --vni 5000
  vtep network create jumbo --mtu 8950 --no-learning --json`,
    )
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { client, print } = contextOf(command);
      const fields = given({
        name,
        subnet: options.subnet,
        vni: numberOrText(options.vni),
        mtuBytes: numberOrText(options.mtu),
        learning: options.learning ? undefined : false,
      });
      const body = checkInput(createNetworkSchema, fields, LABELS);
      const { raw, value } = await client.call(networkSchema, 'POST', '/v1/networks', body);
      print(raw, () => {
        const facts = `VNI ${value.vni}, subnet ${value.subnets.join(', ')}, gateway ${value.gateway}`;
        return `network ${value.name} created: ${facts}\n`;
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
    .addHelpText(
      'after',
      `
Examples:
  vtep network rm my_overlay
  vtep network rm db jumbo`,
    )
    .action(async (names: string[], _options: unknown, command: Command) => {
      const context = contextOf(command);
      const removed: string[] = [];
      for (const name of names) {
        try {
          await context.client.send('DELETE', pathOf(name));
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
  const rows = networks.map((n) => [n.name, String(n.vni), n.subnets.join(','), n.gateway, n.scope]);
  return formatTable(['NAME', 'VNI', 'SUBNET', 'GATEWAY', 'SCOPE'], rows);
}

function networkText(network: NetworkDetail): string {
  const { local } = network;
  const peers = network.peers.map((peer) => `${peer.address}:${peer.port}`);
  const fields = formatFields([
    ['name', network.name],
    ['id', network.id],
    ['vni', String(network.vni)],
    ['subnet', network.subnets.join(', ')],
    ['gateway', network.gateway],
    ['mtu', network.mtuBytes === 0 ? 'from the underlay of each host' : `${network.mtuBytes} bytes`],
    ['flood', network.flood],
    ['learning', network.learning ? 'on' : 'off'],
    ['scope', network.scope],
    ['created', network.createdAt],
    ['here', local && `bridge ${local.bridge}, tap ${local.tap}, mtu ${local.mtuBytes} bytes`],
    ['peers', peers.join(', ')],
  ]);
  return network.endpoints.length === 0 ? fields : `${fields}\n${endpointTable(network.endpoints)}`;
}
