/**
 * Two hosts with podman and vtepd, each with a view of its own of /run, /var/lib, /etc/cni and /dev/shm, so that podman
 * meets nothing of the machine's and leaves nothing there. Test support.
 *
 *     holder (sleep) of each host: its network namespace and a private mount namespace; vtepd and podman enter both
 *
 * All that podman stores is in the fixture's folder. The configuration is docker/cni/10-vtep.conflist itself, with the
 * host's socket.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { execa, execaSync } from 'execa';
import { type CommandResult, run } from '../e2e/command.js';
import { type HostName, HostPair, ROOT, waitFor } from '../e2e/host-pair.js';

export const CONFLIST = join(ROOT, 'docker/cni/10-vtep.conflist');
/** Debian's; where the plugins' own packages put them. */
const PLUGIN_FOLDERS = ['/usr/lib/cni', '/opt/cni/bin'];
/** With a hierarchy of each version crun refuses to work. */
const HOLD = `
for path in /run /var/lib /etc/cni /dev/shm; do mount -t tmpfs tmpfs $path || exit 1; done
mkdir -p /run/netns /run/lock
umount /sys/fs/cgroup/unified 2>/dev/null
exec sleep 100000`;

export class PodmanHosts extends HostPair {
  readonly #holders = new Map<string, number>();

  async start(): Promise<void> {
    await this.setUp(1500);
    await Promise.all(
      (['a', 'b'] as const).map(async (host) => {
        await this.#hold(host);
        this.#configure(host);
        await this.startDaemon(host);
      }),
    );
    const image = this.#imageFolder();
    await Promise.all(
      (['a', 'b'] as const).map(async (host) => {
        const archive = join(this.folder, `${host}.tar`);
        await execa('tar', ['-C', image, '-cf', archive, '.']);
        await this.mustPodman(host, 'import', '-q', '-c', 'ENV PATH=/bin', archive, 'box');
      }),
    );
  }

  podman(host: HostName, ...args: string[]): Promise<CommandResult> {
    const own = join(this.folder, `podman-${host}`);
    const stores = ['--root', join(own, 'root'), '--runroot', join(own, 'runroot'), '--tmpdir', join(own, 'tmp')];
    const [enter, ...way] = this.entering(this.netns(host));
    const conf = `CONTAINERS_CONF=${join(own, 'containers.conf')}`;
    return run(enter!, [...way, 'env', conf, 'podman', ...stores, '--storage-driver', 'vfs', ...args]);
  }

  async mustPodman(host: HostName, ...args: string[]): Promise<string> {
    const result = await this.podman(host, ...args);
    if (result.exitCode === 0) return result.stdout;
    const log = this.log(`vtepd-${host}`).slice(-2000);
    throw new Error(`podman ${args.join(' ')} on ${host}: ${result.stderr || result.stdout}\n${log}`);
  }

  /** A plugin run by hand, as a runtime would. */
  async plugin(host: HostName, name: string, env: Record<string, string>, config: object): Promise<CommandResult> {
    const [enter, ...way] = this.entering(this.netns(host));
    const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    const folders = [join(this.folder, `podman-${host}`, 'bin'), ...PLUGIN_FOLDERS];
    const folder = folders.find((path) => existsSync(join(path, name)))!;
    const command = [...way, 'env', ...variables, join(folder, name)];
    const {
      stdout,
      stderr,
      exitCode = 128,
    } = await execa(enter!, command, {
      input: JSON.stringify(config),
      reject: false,
    });
    return { stdout, stderr, exitCode, json: () => JSON.parse(stdout) };
  }

  /** A namespace with a process in it and no engine. @returns its path, which every view of the machine has */
  async addBareContainer(name: string): Promise<string> {
    const netns = await this.addNamespace(name);
    const path = `/proc/${this.spawn(name, netns, 'sleep', '1000').pid}/ns/net`;
    await waitFor(`the process in ${netns}`, () => statSync(path).ino === statSync(`/run/netns/${netns}`).ino);
    return path;
  }

  override async cleanup(): Promise<void> {
    for (const host of ['a', 'b'] as const) {
      if (this.#holders.has(this.netns(host))) await this.podman(host, 'rm', '-fa', '-t', '0').catch(() => undefined);
    }
    await super.cleanup();
  }

  protected override entering(netns: string): string[] {
    const holder = this.#holders.get(netns);
    return holder === undefined ? super.entering(netns) : ['nsenter', '-t', String(holder), '-m', '-n'];
  }

  async #hold(host: HostName): Promise<void> {
    const netns = this.netns(host);
    // Not "ip netns exec": it hides the cgroups.
    const way = ['nsenter', `--net=/run/netns/${netns}`, 'unshare', '-m', '--propagation', 'private', 'sh', '-c', HOLD];
    const { pid } = this.spawnAs(`holder-${host}`, way);
    await waitFor(`the private folders of ${host}`, async () => {
      const { stdout } = await run('nsenter', [
        '-t',
        String(pid),
        '-m',
        '-n',
        'sh',
        '-c',
        'ps -o comm= -p $0; ls /run',
        String(pid),
      ]);
      return /^sleep\n(.*\n)*netns/.test(stdout);
    });
    this.#holders.set(netns, pid!);
  }

  #configure(host: HostName): void {
    const own = join(this.folder, `podman-${host}`);
    const [bin, conf] = [join(own, 'bin'), join(own, 'net.d')];
    for (const path of [bin, conf]) mkdirSync(path, { recursive: true });
    symlinkSync(join(ROOT, 'dist/cni.js'), join(bin, 'vtep-cni'));
    const list = JSON.parse(readFileSync(CONFLIST, 'utf8')) as { name: string; plugins: object[] };
    list.plugins[0] = { ...list.plugins[0], socket: this.socketPath(host) };
    writeFileSync(join(conf, '10-vtep.conflist'), JSON.stringify(list));
    list.name = 'second';
    writeFileSync(join(conf, '20-second.conflist'), JSON.stringify(list));
    const folders = JSON.stringify([bin, ...PLUGIN_FOLDERS]);
    writeFileSync(
      join(own, 'containers.conf'),
      // Machines differ in cgroups and in what root may raise limits to.
      `[containers]\ncgroups = "disabled"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n` +
        `[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ${folders}\nnetwork_config_dir = ${JSON.stringify(conf)}\n` +
        `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n`,
    );
  }

  /** BusyBox, with its libraries if it has any. */
  #imageFolder(): string {
    const folder = join(this.folder, 'image');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    mkdirSync(join(folder, 'etc'));
    copyFileSync('/bin/busybox', join(folder, 'bin/busybox'));
    for (const applet of ['sh', 'ping', 'nc', 'httpd', 'cat', 'sleep', 'printf', 'mount']) {
      symlinkSync('busybox', join(folder, 'bin', applet));
    }
    for (const library of librariesOf('/bin/busybox')) {
      mkdirSync(join(folder, dirname(library)), { recursive: true });
      copyFileSync(library, join(folder, library));
    }
    writeFileSync(join(folder, 'index.html'), 'hello\n');
    return folder;
  }
}

/** None of a static one. */
export function librariesOf(program: string): string[] {
  const { stdout } = execaSync('ldd', [program], { reject: false });
  return [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]!);
}
