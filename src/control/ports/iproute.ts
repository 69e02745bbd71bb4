/**
 * iproute2 as the control plane calls it: argument lists, never a shell string; JSON out, batches in.
 *
 * Errors: VTEP_ERR_KERNEL with the command and the tool's own first line; the tool missing is named too.
 */
import { execa } from 'execa';
import { VtepError } from '../errors.js';
import { LinkMonitor } from './link-monitor.js';
import { netSysctlPath } from './net-sysctl.js';

/** One interface, of what `ip -json -details link` prints; only what ports/ looks at. */
export interface Link {
  readonly ifindex: number;
  readonly ifname: string;
  /** Of a veth: the index of the other end, in its own namespace. */
  readonly link_index?: number;
  /** Of a veth: the number of that namespace, as seen from here. */
  readonly link_netnsid?: number;
  readonly address?: string;
  readonly mtu?: number;
  readonly master?: string;
  readonly ifalias?: string;
  readonly flags: readonly string[];
  readonly inet6_addr_gen_mode?: string;
  readonly linkinfo?: {
    readonly info_kind?: string;
    /** Of a bridge's port. */
    readonly info_slave_data?: { readonly state?: string };
    readonly info_data?: {
      readonly stp_state?: number;
      readonly forward_delay?: number;
      readonly mcast_snooping?: number;
    };
  };
}

export interface Route {
  readonly dst: string;
  readonly dev?: string;
}

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a program gets from us: a fixed language, so that its messages can be told apart. */
const ENVIRONMENT = { LC_ALL: 'C' };
const COMMAND_TIMEOUT_MS = 20_000;

export class Iproute {
  /** Put before each command, for instance `nsenter --net=PATH`: whose kernel objects these are. @default none */
  readonly prefix: readonly string[];

  constructor(prefix: readonly string[] = []) {
    this.prefix = prefix;
  }

  /** All links of the host's namespace. */
  async links(): Promise<Link[]> {
    return parseJson(await this.run([...this.prefix, 'ip', '-json', '-details', 'link', 'show'])) as Link[];
  }

  /** One link of the host's namespace: the kernel prints one, however many there are. Undefined: it is not there. */
  async link(name: string): Promise<Link | undefined> {
    const command = [...this.prefix, 'ip', '-json', '-details', 'link', 'show', 'dev', name];
    const outcome = await this.attempt(command);
    if (outcome.exitCode === 0) return (parseJson(outcome.stdout) as Link[])[0];
    if (/does not exist|Cannot find device/.test(outcome.stderr)) return undefined;
    throw failure(command, outcome);
  }

  /** The routes of the host's main table, both families. */
  async routes(): Promise<Route[]> {
    const show = async (family: '-4' | '-6') =>
      parseJson(await this.run([...this.prefix, 'ip', family, '-json', 'route', 'show'])) as Route[];
    return [...(await show('-4')), ...(await show('-6'))];
  }

  /** What `ip -json ARGS` prints. */
  async show<T>(...args: string[]): Promise<T[]> {
    return parseJson(await this.run([...this.prefix, 'ip', '-json', ...args])) as T[];
  }

  /** The default routes of a container, of one family. */
  async defaultRoutesIn(namespacePath: string, family: 4 | 6): Promise<Route[]> {
    const show = ['ip', '-json', `-${family}`, 'route', 'show', 'default'];
    return parseJson(await this.run(inside(namespacePath, show))) as Route[];
  }

  async ip(...args: string[]): Promise<void> {
    await this.run([...this.prefix, 'ip', ...args]);
  }

  /** Runs the lines as one `ip -batch`; stops at the first that fails. */
  async batch(lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.run([...this.prefix, 'ip', '-batch', '-'], `${lines.join('\n')}\n`);
  }

  async linksIn(namespacePath: string): Promise<Link[]> {
    return parseJson(await this.run(inside(namespacePath, ['ip', '-json', '-details', 'link', 'show']))) as Link[];
  }

  /** The ways into the namespace that has this number as seen from the host's, by its names first. */
  async sandboxes(netnsId: number): Promise<{ label: string; path: string }[]> {
    const named = await this.show<{ nsid: number; name?: string }>('netns', 'list-id');
    const listing = await this.run([...this.prefix, 'lsns', '-t', 'net', '-J', '-o', 'NETNSID,PID']);
    const { namespaces = [] } = JSON.parse(listing || '{}') as {
      namespaces?: { netnsid: string; pid: number | null }[];
    };
    return [
      ...named
        .filter(({ nsid, name }) => nsid === netnsId && name !== undefined)
        .map(({ name }) => ({ label: `netns:${name}`, path: `/run/netns/${name}` })),
      ...namespaces
        .filter(({ netnsid, pid }) => netnsid === String(netnsId) && pid !== null)
        .map(({ pid }) => ({ label: `pid:${pid}`, path: `/proc/${pid}/ns/net` })),
    ];
  }

  /** Calls `onChange`, which must not throw, after each change of a link, until it is closed. */
  monitorLinks(onChange: () => void): { close(): Promise<void> } {
    return new LinkMonitor(this, onChange);
  }

  /** What `ip -json ARGS` prints in a container. */
  async showIn<T>(namespacePath: string, ...args: string[]): Promise<T[]> {
    return parseJson(await this.run(inside(namespacePath, ['ip', '-json', ...args]))) as T[];
  }

  /** Not a batch: an interface's name may hold "#", which a batch takes for a comment. */
  async ipIn(namespacePath: string, ...args: string[]): Promise<void> {
    await this.run(inside(namespacePath, ['ip', ...args]));
  }

  /** Writes a setting of the namespace's own /proc/sys/net. */
  async setSysctlIn(namespacePath: string, path: string, value: string): Promise<void> {
    await this.run(inside(namespacePath, ['tee', netSysctlPath(path)]), value);
  }

  /** Whether nsenter can go into the path: only a network namespace lets it. */
  async isNetworkNamespace(path: string): Promise<boolean> {
    return (await this.attempt(inside(path, ['true']))).exitCode === 0;
  }

  /** Removes the link if it is there. @returns whether it was. */
  async removeLink(name: string): Promise<boolean> {
    const command = [...this.prefix, 'ip', 'link', 'delete', 'dev', name];
    const outcome = await this.attempt(command);
    if (outcome.exitCode === 0) return true;
    if (/Cannot find device/.test(outcome.stderr)) return false;
    throw failure(command, outcome);
  }

  private async run(command: readonly string[], input?: string): Promise<string> {
    const outcome = await this.attempt(command, input);
    if (outcome.exitCode !== 0) throw failure(command, outcome);
    return outcome.stdout;
  }

  private async attempt(command: readonly string[], input?: string): Promise<Outcome> {
    const [file, ...args] = command;
    const result = await execa(file!, args, {
      reject: false,
      timeout: COMMAND_TIMEOUT_MS,
      env: ENVIRONMENT,
      ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    });
    if (result.code === 'ENOENT') {
      throw new VtepError('VTEP_ERR_KERNEL', `${file} is not installed: install iproute2 and util-linux`);
    }
    return { exitCode: result.exitCode ?? 1, stdout: String(result.stdout ?? ''), stderr: String(result.stderr ?? '') };
  }
}

function inside(namespacePath: string, command: readonly string[]): string[] {
  return ['nsenter', `--net=${namespacePath}`, ...command];
}

function failure(command: readonly string[], outcome: Outcome): VtepError {
  const lines = outcome.stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Command failed'));
  return new VtepError(
    'VTEP_ERR_KERNEL',
    `"${command.join(' ')}" failed: ${lines[0] ?? `exit code ${outcome.exitCode}`}`,
  );
}

function parseJson(text: string): unknown {
  // iproute2 prints nothing at all, not [], where there is nothing to list.
  return text.trim() === '' ? [] : JSON.parse(text);
}
