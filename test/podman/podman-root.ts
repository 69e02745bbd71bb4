/**
 * Podman with a place of its own for all that it keeps, and a busybox to run: the machine's own containers are neither seen
 * nor touched. Test support.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/** Without the unified hierarchy beside those of version 1: crun does not know both at once. */
const COMMAND = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec podman "$@"';

export class PodmanRoot {
  /** What podman, and whoever asks it, needs in the environment. */
  readonly env: Record<string, string>;
  private readonly folder = mkdtempSync(join(tmpdir(), 'vtep-podman-'));
  private readonly root = join(this.folder, 'root');

  constructor() {
    const { folder } = this;
    const at = (name: string) => JSON.stringify(join(folder, name));
    const storage = `[storage]\ndriver = "vfs"\ngraphroot = ${at('graph')}\nrunroot = ${at('run')}\n`;
    const engine = [
      ...['cgroup_manager = "cgroupfs"', 'events_logger = "none"', 'lock_type = "file"', 'runtime = "crun"'],
      ...[`static_dir = ${at('static')}`, `tmp_dir = ${at('tmp')}`, `volume_path = ${at('volumes')}`],
    ];
    // Within what a test machine allows.
    const containers = 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]';
    writeFileSync(join(folder, 'storage.conf'), storage);
    writeFileSync(join(folder, 'containers.conf'), `[containers]\n${containers}\n[engine]\n${engine.join('\n')}\n`);
    this.env = {
      CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
      CONTAINERS_CONF: join(folder, 'containers.conf'),
    };
  }

  /** Makes what its containers run. */
  async build(): Promise<void> {
    for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp']) {
      mkdirSync(join(this.root, name), { recursive: true });
    }
    const { stdout } = await execa('sh', ['-c', 'command -v busybox']);
    copyFileSync(stdout, join(this.root, 'bin/busybox'));
    const libraries = await execa('ldd', [stdout], { reject: false });
    for (const [path] of libraries.stdout.matchAll(/\/\S+/g)) {
      mkdirSync(join(this.root, path, '..'), { recursive: true });
      copyFileSync(path, join(this.root, path));
    }
    for (const name of ['sh', 'sleep', 'ping', 'ip']) symlinkSync('busybox', join(this.root, 'bin', name));
  }

  async podman(...args: string[]): Promise<string> {
    const command = ['--mount', 'sh', '-c', COMMAND, 'podman', ...args];
    return (await execa('unshare', command, { env: this.env, stdin: 'ignore', timeout: 60_000 })).stdout;
  }

  /** A container without a network, asleep. */
  async run(name: string): Promise<void> {
    const options = ['--detach', '--name', name, '--network', 'none', '--cgroups', 'disabled'];
    await this.podman('run', ...options, '--stop-signal', 'KILL', '--rootfs', this.root, '/bin/sleep', '600');
  }

  async remove(): Promise<void> {
    await this.podman('rm', '--all', '--force', '--time', '0');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
