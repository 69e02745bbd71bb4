/**
 * A host with a real dockerd, of a Debian suite (scripts/docker.sh), in a network namespace that the caller made. Test
 * support.
 *
 * Everything of the host runs under an *anchor*: the first process of a mount and a process namespace of their own, with
 * a host name and a /run of their own (where that dockerd looks for plugins, and vtepd for /run/docker.sock), /proc, and /sys that shows
 * the host's interfaces and the machine's cgroups. When the anchor ends, the kernel ends all that runs in there (dockerd,
 * containerd, its shims, containers, vtepd) and drops their mounts. It ends when its standard input does: when the test
 * dies, whatever killed that. dockerd and vtepd come and go meanwhile without a container noticing (live-restore).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { type CommandResult, run } from '../e2e/command.js';
import { ROOT, waitFor } from '../e2e/host-pair.js';
import { IMAGE, makeImageTar } from './image.js';

export type DockerSuite = 'bullseye' | 'bookworm' | 'trixie';

export interface DockerHostOptions {
  suite: DockerSuite;
  /** The name of the host's network namespace; its containers' control groups are under it. */
  netns: string;
  /** For data, configuration and logs; made, and removed with the host. */
  folder: string;
  /** More keys of daemon.json: cluster-store, cluster-advertise. */
  configuration?: Record<string, unknown>;
}

/** A busy machine takes its time. */
const START_MS_MAX = 60_000;
const END_MS_MAX = 30_000;
const COMMAND_MS_MAX = 60_000;

const ANCHOR = `
set -e
mkdir -p "$1/cgroup"
mount --rbind /sys/fs/cgroup "$1/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$1/cgroup" /sys/fs/cgroup
umount -l "$1/cgroup"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker/plugins /run/netns
echo "$2" >/proc/sys/kernel/hostname
echo ready
while read -r _; do :; done
`;

/** A process of a host. `pid` is the machine's number for it, not the host's. */
export interface HostProcess {
  readonly pid: number;
  readonly ended: Promise<void>;
}

export class DockerHost {
  readonly #options: DockerHostOptions;
  readonly #binaries: string;
  #anchor: ChildProcess | undefined;
  #anchorPid = 0;
  #dockerd: HostProcess | undefined;

  private constructor(options: DockerHostOptions, binaries: string) {
    this.#options = options;
    this.#binaries = binaries;
  }

  /** Makes the host, starts its dockerd and imports the image. @throws Error with dockerd's last words; nothing is left */
  static async start(options: DockerHostOptions): Promise<DockerHost> {
    const { stdout } = await execa('bash', [join(ROOT, 'scripts/docker.sh'), options.suite]);
    const host = new DockerHost(options, stdout.trim());
    try {
      await host.#startAnchor();
      await host.startDockerd();
      await host.mustDocker('import', await makeImageTar(), IMAGE);
    } catch (error) {
      const words = host.log('dockerd').slice(-4000);
      await host.remove();
      throw new Error(`${(error as Error).message}\n${words}`);
    }
    return host;
  }

  async #startAnchor(): Promise<void> {
    const { netns, folder } = this.#options;
    mkdirSync(folder, { recursive: true });
    const unshare = [
      'unshare',
      '--mount',
      '--uts',
      '--pid',
      '--fork',
      '--kill-child',
      '--propagation',
      'slave',
      '--mount-proc',
    ];
    const log = openSync(this.logPath('anchor'), 'a');
    this.#anchor = spawn(
      'nsenter',
      [`--net=/run/netns/${netns}`, ...unshare, 'bash', '-c', ANCHOR, 'anchor', folder, netns],
      {
        stdio: ['pipe', log, log],
      },
    );
    closeSync(log);
    const isReady = () => this.log('anchor').includes('ready');
    await waitFor(`the namespaces of ${netns}`, isReady).catch(() => {
      throw new Error(`no namespaces for ${netns}: ${this.log('anchor')}`);
    });
    this.#anchorPid = onlyChild(this.#anchor.pid!);
  }

  logPath(name: string): string {
    return join(this.#options.folder, `${name}.log`);
  }

  log(name: string): string {
    return existsSync(this.logPath(name)) ? readFileSync(this.logPath(name), 'utf8') : '';
  }

  /** The command line that runs a command on this host. */
  enter(...command: string[]): [string, string[]] {
    const target = ['--target', String(this.#anchorPid), '--mount', '--uts', '--pid', '--net'];
    return ['nsenter', [...target, '--', ...command]];
  }

  /** Starts a process on this host, its output in the log NAME.log. It ends with the host at the latest. */
  async spawn(name: string, ...command: string[]): Promise<HostProcess> {
    const log = openSync(this.logPath(name), 'a');
    const [program, args] = this.enter(...command);
    const path = `${this.#binaries}/usr/sbin:${this.#binaries}/usr/bin:${process.env.PATH}:/usr/sbin:/sbin`;
    const child = spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, PATH: path } });
    closeSync(log);
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    // nsenter forks once to enter the process namespace, and does not pass signals on.
    let pid = 0;
    await waitFor(`${name} to start`, () => {
      if (child.exitCode !== null) throw new Error(`${name} ended at once: ${this.log(name).slice(-2000)}`);
      pid = onlyChild(child.pid!);
      return pid !== 0;
    });
    return { pid, ended };
  }

  /** Runs a command on this host to its end. */
  async exec(...command: string[]): Promise<CommandResult> {
    const [program, args] = this.enter(...command);
    return run(program, args, COMMAND_MS_MAX);
  }

  /** The command line of the docker command on this host. */
  dockerCommand(...args: string[]): [string, string[]] {
    return this.enter(join(this.#binaries, 'usr/bin/docker'), ...args);
  }

  docker(...args: string[]): Promise<CommandResult> {
    const [program, argsAll] = this.dockerCommand(...args);
    return run(program, argsAll, COMMAND_MS_MAX);
  }

  /** As docker(), but a failure is the test's failure. @returns its output */
  async mustDocker(...args: string[]): Promise<string> {
    const result = await this.docker(...args);
    if (result.exitCode === 0) return result.stdout;
    throw new Error(`docker ${args.join(' ')} on ${this.#options.netns}: ${result.stderr || result.stdout}`);
  }

  /** Starts dockerd and waits until it answers. */
  async startDockerd(): Promise<void> {
    const { netns, folder, configuration } = this.#options;
    const file = join(folder, 'daemon.json');
    const settings = {
      ...{ 'data-root': join(folder, 'data'), 'exec-root': '/run/docker', pidfile: '/run/docker.pid' },
      ...{ hosts: ['unix:///run/docker.sock'], 'storage-driver': 'vfs', 'live-restore': true },
      ...{ 'cgroup-parent': `/${netns}`, 'exec-opts': ['native.cgroupdriver=cgroupfs'] },
      ...configuration,
    };
    writeFileSync(file, JSON.stringify(settings));
    const dockerd = await this.spawn('dockerd', join(this.#binaries, 'usr/sbin/dockerd'), '--config-file', file);
    this.#dockerd = dockerd;
    let ended = false;
    void dockerd.ended.then(() => {
      ended = true;
    });
    const ping = ['curl', '-sf', '-m', '5', '--unix-socket', '/run/docker.sock', 'http://docker/_ping'];
    await waitFor(
      `dockerd of ${netns}`,
      async () => {
        if (ended) throw new Error(`dockerd of ${netns} ended: ${this.log('dockerd').slice(-2000)}`);
        return (await this.exec(...ping)).stdout === 'OK';
      },
      START_MS_MAX,
    );
  }

  /** Ends dockerd by `signal` and waits for its end. Containers run on. */
  async stopDockerd(signal: NodeJS.Signals): Promise<void> {
    if (this.#dockerd === undefined) throw new Error(`no dockerd was started on ${this.#options.netns}`);
    await endProcess(this.#dockerd, signal);
    this.#dockerd = undefined;
  }

  /** Ends all that runs on the host and removes its folder. The network namespace is the caller's. */
  async remove(): Promise<void> {
    const { netns, folder } = this.#options;
    if (this.#anchor !== undefined) {
      // A dockerd that ends in order has taken its containers' networks down; the rest goes with the anchor.
      const ended =
        this.#anchor.exitCode !== null ? undefined : new Promise((resolve) => this.#anchor?.once('exit', resolve));
      this.#anchor.stdin?.end();
      await ended;
      this.#anchor = undefined;
    }
    await removeControlGroups(netns);
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** @throws Error if it has not ended after 30 s */
export async function endProcess(target: HostProcess, signal: NodeJS.Signals): Promise<void> {
  let ended = false;
  void target.ended.then(() => {
    ended = true;
  });
  process.kill(target.pid, signal);
  await waitFor(`process ${target.pid} to end by ${signal}`, () => ended, END_MS_MAX);
}

/** 0 if it has none yet. */
function onlyChild(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
  } catch {
    return 0;
  }
}

/**
 * The control groups that containers of `netns` had, in each hierarchy.
 * @throws Error that names those in which something still runs
 */
async function removeControlGroups(netns: string): Promise<void> {
  const top = '/sys/fs/cgroup';
  const hierarchies = readdirSync(top, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const paths = [top, ...hierarchies.map((entry) => join(top, entry.name))].map((path) => join(path, netns));
  await waitFor(`${netns} to be gone from ${top}`, async () => {
    const left = paths.filter((path) => existsSync(path));
    if (left.length > 0) await run('find', [...left, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', '+']);
    return left.length === 0;
  });
}
