/**
 * The command tree of `vtep` and the one place where a failure becomes a line and an exit code.
 *
 * Exit codes: 0 done, 1 a failure, 2 wrong input (also if it is vtepd that finds it wrong).
 */
import { Command, CommanderError } from 'commander';
import { VtepError } from '../control/errors.js';
import { usageMessage } from '../control/usage-message.js';
import { VERSION } from '../control/version.js';
import { type CliIo, contextFactory, SOCKET_DEFAULT } from './context.js';
import { addEndpointCommands } from './endpoint.js';
import { addHostCommands } from './host.js';
import { addNetworkCommands } from './network.js';
import { addPeerCommands } from './peer.js';
import { printable } from './table.js';

const EXAMPLES = `
Examples:
  vtep network create my_overlay
  vtep attach --network my_overlay --netns master
  vtep network ls
  vtep endpoint ls --network my_overlay
  vtep status

Every command has its own help with examples: vtep network create --help`;

/** Runs one command. @param argv without the interpreter and the script. @returns the exit code; never throws. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const complain = (error: unknown) => {
    io.stderr(`vtep: ${printable(messageOf(error))}\n`);
    exitCode = Math.max(exitCode, error instanceof VtepError && error.code === 'VTEP_ERR_INVALID' ? 2 : 1);
  };

  const program = new Command('vtep')
    .description('Overlay networks for containers: operates the vtepd of this host.')
    .option('--socket <path>', `vtepd's unix socket (environment: VTEP_SOCKET; default: ${SOCKET_DEFAULT})`)
    .option('--json', "print vtepd's answer as JSON")
    .version(VERSION, '--version', 'print the version and exit')
    .helpOption('-h, --help', 'print this help and exit')
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: true })
    // Commander's own error output is several lines; catch below makes one of it.
    .configureOutput({ writeOut: (text) => io.stdout(text), writeErr: () => {} })
    .exitOverride();
  const contextOf = contextFactory(io, complain);
  addNetworkCommands(program, contextOf);
  addEndpointCommands(program, contextOf);
  addHostCommands(program, contextOf);
  addPeerCommands(program, contextOf);

  try {
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) complain(error);
    else if (error.exitCode !== 0) complain(new VtepError('VTEP_ERR_INVALID', usageOf(error, argv)));
  }
  return exitCode;
}

function usageOf(error: CommanderError, argv: readonly string[]): string {
  const command = argv.find((word) => ['network', 'endpoint', 'node', 'peer'].includes(word));
  const help = `see vtep ${command === undefined ? '' : `${command} `}--help`;
  // What Commander raises when a group is given without a command of it.
  if (error.code === 'commander.help') return `the command is not complete; ${help}`;
  return `${usageMessage(error)}; ${help}`;
}

function messageOf(error: unknown): string {
  if (error instanceof VtepError) return error.message;
  return `unexpected failure: ${error instanceof Error ? error.message.replace(/\s+/g, ' ') : String(error)}`;
}
