/** `vtep attach`, `vtep detach` and `vtep endpoint ls`: containers on networks. */
import type { Command } from 'commander';
import { z } from 'zod';
import { checkInput } from '../control/api/check-input.js';
import { publishText } from '../control/api/publish-schema.js';
import {
  attachSchema,
  detachSchema,
  type Endpoint,
  endpointSchema,
  networkQuerySchema,
} from '../control/api/schema.js';
import { type ContextOf, collect, given, numberOrText } from './context.js';
import { formatTable } from './table.js';

export const ENDPOINT_LABELS = {
  network: '--network',
  netns: '--netns',
  pid: '--pid',
  owner: '--owner',
  ip: '--ip',
  ips: '--ip',
  mac: '--mac',
  name: '--name',
  id: '--id',
  interface: '--interface',
  publish: '--publish',
  group: '--group',
  defaultRoute: '--default-route',
};

interface AttachOptions {
  network: string;
  netns?: string;
  pid?: string;
  ip?: string[];
  mac?: string;
  name?: string;
  interface?: string;
  publish?: string[];
  group?: string;
  defaultRoute?: string;
}

interface DetachOptions {
  network: string;
  netns?: string;
  pid?: string;
  name?: string;
  id?: string;
  owner?: string;
}

export function addEndpointCommands(program: Command, contextOf: ContextOf): void {
  program
    .command('attach')
    .description('give a container on this host an interface and an address in a network')
    .requiredOption('--network <name>', 'the network')
    .option('--netns <name>', 'the container, by its network namespace: a name in /run/netns or an absolute path')
    .option('--pid <pid>', 'the container, by the id of a process in it')
    .option('--ip <address>', 'the address, for each family once (default: the lowest free ones)', collect)
    .option('--mac <address>', 'the MAC address (default: a random one)')
    .option('--name <name>', 'a name for the endpoint')
    .option(
      '--publish <[address:]port:port[/udp]>',
      'a port of this host that leads to one of the container; may be given several times',
      collect,
    )
    .option('--group <number>', 'the group policy id of what it sends, 1 to 65535 (default: none)')
    .option('--default-route <yes|no|auto>', 'by this network (default: auto, if the container has none yet)')
    .option('--interface <name>', "the interface's name in the container (default: the first free of eth0, eth1, ...)")
    .addHelpText(
      'after',
      `
Examples:
  vtep attach --network my_overlay --netns master
  vtep attach --network my_overlay --pid 4711 --ip 10.0.0.20 --name web
  vtep attach --network my_overlay --netns web --publish 8080:80 --publish 192.0.2.1:53:53/udp
  vtep attach --network my_overlay --pid "$(docker inspect -f '{{.State.Pid}}' web)"`,
    )
    .action(async (options: AttachOptions, command: Command) => {
      const { client, print } = contextOf(command);
      const fields = given({ ...attachFields(options), pid: numberOrText(options.pid) });
      const body = checkInput(attachSchema, fields, ENDPOINT_LABELS);
      const { raw, value } = await client.call(endpointSchema, 'POST', '/v1/endpoints', body);
      print(raw, () => attachedText(value));
    });

  program
    .command('detach')
    .description('take a container on this host off a network')
    .requiredOption('--network <name>', 'the network')
    .option('--netns <name>', 'by the network namespace')
    .option('--pid <pid>', 'by the id of a process in the container')
    .option('--name <name>', "by the endpoint's name")
    .option('--id <id>', "by the endpoint's id")
    .option('--owner <owner>', 'by who made it, such as docker:<endpoint id> ("vtep endpoint ls --json" shows it)')
    .addHelpText(
      'after',
      `
Examples:
  vtep detach --network my_overlay --netns master
  vtep detach --network my_overlay --name web`,
    )
    .action(async (options: DetachOptions, command: Command) => {
      const { client, print } = contextOf(command);
      const { network, netns, name, id, owner } = options;
      const fields = given({ network, netns, name, id, owner, pid: numberOrText(options.pid) });
      const body = checkInput(detachSchema, fields, ENDPOINT_LABELS);
      const { raw, value } = await client.call(z.array(endpointSchema), 'POST', '/v1/detach', body);
      print(raw, () => value.map(detachedText).join(''));
    });

  const endpoint = program
    .command('endpoint')
    .description('list the containers on the networks')
    .usage('ls')
    .addHelpText(
      'after',
      `
Examples:
  vtep endpoint ls`,
    );
  endpoint
    .command('ls')
    .description('list the endpoints of all hosts')
    .option('--network <name>', 'of this network only')
    .addHelpText(
      'after',
      `
Examples:
  vtep endpoint ls
  vtep endpoint ls --network my_overlay --json`,
    )
    .action(async (options: { network?: string }, command: Command) => {
      const { client, print } = contextOf(command);
      const path = withNetwork('/v1/endpoints', options.network);
      const { raw, value } = await client.call(z.array(endpointSchema), 'GET', path);
      print(raw, () => endpointTable(value));
    });
}

/** The path with its `?network=` filter, checked. */
export function withNetwork(path: string, network: string | undefined): string {
  const query = checkInput(networkQuerySchema, given({ network }), ENDPOINT_LABELS);
  return query.network === undefined ? path : `${path}?network=${encodeURIComponent(query.network)}`;
}

export function endpointTable(endpoints: readonly Endpoint[]): string {
  const rows = endpoints.map((e) => [
    e.network,
    (e.name || '-') + (e.group === undefined ? '' : ` (group ${e.group})`),
    e.addresses.join(','),
    e.mac,
    e.node,
    e.local
      ? `${e.local.sandbox} ${e.local.containerInterface}${e.local.state === 'published' ? '' : ` (${e.local.state})`}`
      : e.stale === true
        ? '- (last known)'
        : '-',
    e.id,
  ]);
  return formatTable(['NETWORK', 'NAME', 'ADDRESS', 'MAC', 'NODE', 'HERE', 'ID'], rows);
}

/** Only what the API knows: --socket and --json are not part of the request. */
function attachFields(options: AttachOptions): Record<string, unknown> {
  const { network, netns, ip, mac, name, interface: interfaceName, publish, group, defaultRoute } = options;
  const kept = { network, netns, ips: ip, mac, name, interface: interfaceName, publish, defaultRoute };
  return { ...kept, group: numberOrText(group) };
}

function attachedText(endpoint: Endpoint): string {
  const { local } = endpoint;
  const where = local === undefined ? '' : `${local.containerInterface} in ${local.sandbox}: `;
  const waiting = local?.state === 'waiting' ? ' (published to the other hosts when the registry is back)' : '';
  const ports = local?.publish === undefined ? '' : `, published ${local.publish.map(publishText).join(', ')}`;
  const facts = `${endpoint.addresses.join(', ')}, MAC ${endpoint.mac}, endpoint ${endpoint.id}${ports}`;
  return `attached to ${endpoint.network}: ${where}${facts}${waiting}\n`;
}

function detachedText(endpoint: Endpoint): string {
  return `detached from ${endpoint.network}: ${endpoint.addresses.join(', ')}, endpoint ${endpoint.id}\n`;
}
