/** `vtep peer`: VTEPs that run no vtepd, such as the kernel's own VXLAN or a switch. */
import type { Command } from 'commander';
import { z } from 'zod';
import { checkInput } from '../control/api/check-input.js';
import { peerInputSchema, peerSchema } from '../control/api/schema.js';
import { endText } from '../control/vtep-address.js';
import { type ContextOf, given, numberOrText } from './context.js';
import { withNetwork } from './endpoint.js';
import { formatTable } from './table.js';

const LABELS = { network: '--network', address: '--address', port: '--port' };

interface PeerOptions {
  network: string;
  address: string;
  port?: string;
}

export function addPeerCommands(program: Command, contextOf: ContextOf): void {
  const peer = program
    .command('peer')
    .description('VTEPs that run no vtepd, such as the kernel or a switch')
    .usage('add | ls | rm')
    .addHelpText(
      'after',
      `
Examples:
  vtep peer add --network my_overlay --address 10.30.10.113
  vtep peer ls`,
    );

  withPeerOptions(peer.command('add').description('let a VTEP into a network, on every host'))
    .addHelpText(
      'after',
      `
Examples:
  vtep peer add --network my_overlay --address 10.30.10.113
  vtep peer add --network my_overlay --address 10.30.10.113 --port 8472
  vtep peer add --network my_overlay --address 2001:db8::7`,
    )
    .action(async (options: PeerOptions, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(peerSchema, 'POST', '/v1/peers', bodyOf(options));
      print(raw, () => `peer ${endText(value.address, value.port)} added to ${value.network}\n`);
    });

  peer
    .command('ls')
    .description('list the peers')
    .option('--network <name>', 'of this network only')
    .addHelpText(
      'after',
      `
Examples:
  vtep peer ls
  vtep peer ls --network my_overlay --json`,
    )
    .action(async (options: { network?: string }, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(z.array(peerSchema), 'GET', withNetwork('/v1/peers', options.network));
      print(raw, () => {
        const rows = value.map((p) => [p.network, p.address, String(p.port)]);
        return formatTable(['NETWORK', 'ADDRESS', 'PORT'], rows);
      });
    });

  withPeerOptions(peer.command('rm').description('take a VTEP off a network'))
    .addHelpText(
      'after',
      `
Examples:
  vtep peer rm --network my_overlay --address 10.30.10.113`,
    )
    .action(async (options: PeerOptions, command: Command) => {
      const { client, print } = contextOf(command);
      const body = bodyOf(options);
      await client.send('POST', '/v1/peers/remove', body);
      print({ removed: body }, () => `peer ${endText(body.address, body.port)} removed from ${body.network}\n`);
    });
}

function withPeerOptions(command: Command): Command {
  return command
    .requiredOption('--network <name>', 'the network')
    .requiredOption('--address <ip>', "the VTEP's underlay address")
    .option('--port <port>', "the VTEP's UDP port (default: 4789)");
}

function bodyOf({ network, address, port }: PeerOptions): z.output<typeof peerInputSchema> {
  return checkInput(peerInputSchema, given({ network, address, port: numberOrText(port) }), LABELS);
}
