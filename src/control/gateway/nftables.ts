/**
 * The program `nft`, for one table that is vtep's; other tables are looked at, never touched. Main thread.
 *
 * Errors: VTEP_ERR_KERNEL with nft's own first line, or saying that nft is not installed.
 */
import { execa } from 'execa';
import { VtepError } from '../errors.js';
import { TABLE } from './ruleset.js';

const TIMEOUT_MS = 20_000;

interface ChainObject {
  readonly chain?: {
    readonly family: string;
    readonly table: string;
    readonly name: string;
    readonly hook?: string;
    readonly policy?: string;
  };
}

export class Nftables {
  private readonly command: readonly string[];
  private readonly table: readonly string[];

  /**
   * @param prefix put before the command, as Iproute's. @param program for tests: one that is not there
   * @param table family and name
   */
  constructor(prefix: readonly string[], program = 'nft', table = TABLE) {
    this.command = [...prefix, program];
    this.table = table.split(' ');
  }

  /** @param text of ruleset(): all of it is taken, or nothing. */
  async apply(text: string): Promise<void> {
    await this.run(['-f', '-'], text);
  }

  /** The table as the kernel has it, as text or as nft's JSON. @returns undefined if it is not there. */
  async listing(format: 'text' | 'json' = 'text'): Promise<string | undefined> {
    const flags = format === 'json' ? ['-n', '-j'] : ['-n'];
    const { exitCode, stdout, stderr } = await this.attempt([...flags, 'list', 'table', ...this.table]);
    if (exitCode === 0) return stdout;
    if (/No such file or directory/.test(stderr)) return undefined;
    throw failure('list table', stderr);
  }

  async remove(): Promise<void> {
    const { exitCode, stderr } = await this.attempt(['delete', 'table', ...this.table]);
    if (exitCode !== 0 && !/No such file or directory/.test(stderr)) throw failure('delete table', stderr);
  }

  /** Others' chains that forward nothing unless a rule of theirs says so: `ip filter FORWARD`. */
  async droppingForwardChains(): Promise<string[]> {
    const listed = JSON.parse(await this.run(['-j', 'list', 'chains'])) as { nftables: ChainObject[] };
    return listed.nftables
      .flatMap(({ chain }) => (chain === undefined ? [] : [chain]))
      .filter(({ hook, policy, family, table }) => {
        return hook === 'forward' && policy === 'drop' && family !== 'bridge' && `${family} ${table}` !== TABLE;
      })
      .map(({ family, table, name }) => `${family} ${table} ${name}`);
  }

  private async run(args: readonly string[], input?: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.attempt(args, input);
    if (exitCode !== 0) throw failure(args.join(' '), stderr);
    return stdout;
  }

  private async attempt(args: readonly string[], input?: string) {
    const [file, ...rest] = [...this.command, ...args];
    const result = await execa(file!, rest, {
      reject: false,
      timeout: TIMEOUT_MS,
      env: { LC_ALL: 'C' },
      ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    });
    const stderr = String(result.stderr ?? '');
    if (result.code === 'ENOENT' || /failed to execute/.test(stderr)) {
      throw new VtepError('VTEP_ERR_KERNEL', 'nft is not installed: apt-get install nftables');
    }
    return { exitCode: result.exitCode ?? 1, stdout: String(result.stdout ?? ''), stderr };
  }
}

function failure(what: string, stderr: string): VtepError {
  const line = stderr.split('\n').find((text) => text.trim() !== '') ?? 'no reason given';
  return new VtepError('VTEP_ERR_KERNEL', `"nft ${what}" failed: ${line}`);
}
