/**
 * Commands and what came of them: a process, or one of `vtep` in this process.
 *
 * The second is for the hundreds of calls by which tests set things up and look at them: the same command tree, client
 * and output, without a Node of its own for each. What only the executable has (streams, exit codes of the process) is
 * in test/cli/process.test.ts, and two-hosts.test.ts goes its whole way with it once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { runCli } from '../../src/cli/program.js';

export interface CommandResult {
  stdout: string;
  stderr: string;
  exitCode: number;
  /** Parses stdout. @throws Error that shows both streams if it is not JSON */
  // biome-ignore lint/suspicious/noExplicitAny: a test names what it expects in its assertions
  json(): any;
}

const TIMEOUT_MS = 30_000;
/** What a process has that was ended by its timeout. */
const EXIT_CODE_ENDED = 128;

export async function run(command: string, args: readonly string[], timeoutMs = TIMEOUT_MS): Promise<CommandResult> {
  const result = await execa(command, args, { reject: false, timeout: timeoutMs, stdin: 'ignore' });
  return resultOf([command, ...args], result.stdout, result.stderr, result.exitCode ?? EXIT_CODE_ENDED);
}

/** `vtep` in this process. The output is without its last line feed, as that of a process. */
export async function runVtep(socketPath: string, args: readonly string[]): Promise<CommandResult> {
  const output = { stdout: '', stderr: '' };
  const timer = new AbortController();
  const exitCode = await Promise.race([
    runCli(['--socket', socketPath, ...args], {
      env: process.env,
      stdout: (text) => {
        output.stdout += text;
      },
      stderr: (text) => {
        output.stderr += text;
      },
    }),
    sleep(TIMEOUT_MS, EXIT_CODE_ENDED, { ref: false, signal: timer.signal }).catch(() => EXIT_CODE_ENDED),
  ]);
  timer.abort();
  const [stdout, stderr] = [output.stdout, output.stderr].map((text) => text.replace(/\n$/, '')) as [string, string];
  return resultOf(['vtep', ...args], stdout, stderr, exitCode);
}

function resultOf(command: readonly string[], stdout: string, stderr: string, exitCode: number): CommandResult {
  return {
    stdout,
    stderr,
    exitCode,
    json() {
      try {
        return JSON.parse(stdout);
      } catch {
        throw new Error(`no JSON from ${command.join(' ')}:\n${stdout}\n${stderr}`);
      }
    },
  };
}
