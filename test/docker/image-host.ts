/**
 * A dockerd in which the project's image is built and run: a DockerHost whose data stay in .cache/image, so that a second
 * run has base image and npm packages as layers already. Test support.
 *
 *     base image   debootstrap with this machine's node and npm (scripts/image-base.sh), imported once
 *     npm          through a proxy in the test's process, since the host's network namespace has no way out
 *     /dev/net/tun one that every user may open, as udev makes it; a bare machine's is root's alone
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { CommandResult } from '../e2e/command.js';
import { type Guard, startGuard } from '../e2e/guard.js';
import { ROOT } from '../e2e/host-pair.js';
import { DockerHost } from './docker-host.js';

export const IMAGE = 'vtep';
export const CONSUL_IMAGE = 'vtep-consul';
const CACHE = join(ROOT, '.cache/image');
const PROXY_PORT = 3128;
const BUILD_MS_MAX = 280_000;
/** The first time on a machine: debootstrap, npm packages, the compiler. */
export const START_MS_MAX = 600_000;

export class ImageHost {
  readonly docker: DockerHost;
  readonly base: string;
  readonly tun: string;
  readonly #netns: string;
  readonly #folder: string;
  readonly #guard: Guard;

  private constructor(docker: DockerHost, base: string, own: { netns: string; folder: string; guard: Guard }) {
    this.docker = docker;
    this.base = base;
    this.#netns = own.netns;
    this.#folder = own.folder;
    this.#guard = own.guard;
    this.tun = join(own.folder, 'tun');
  }

  /** Ready to build: with the base image, and nothing of an earlier run but images. */
  static async start(): Promise<ImageHost> {
    const { stdout: tar } = await execa('bash', [join(ROOT, 'scripts/image-base.sh')]);
    const netns = `vti-${process.pid}`;
    const folder = mkdtempSync(join(tmpdir(), `${netns}-`));
    const guard = startGuard(netns, folder);
    await execa('ip', ['netns', 'add', netns]);
    await execa('ip', ['-n', netns, 'link', 'set', 'dev', 'lo', 'up']);
    await execa('mknod', ['-m', '0666', join(folder, 'tun'), 'c', '10', '200']);
    const overlays = readFileSync('/proc/filesystems', 'utf8').includes('overlay');
    const configuration = { 'data-root': join(CACHE, 'data'), 'storage-driver': overlays ? 'overlay2' : 'vfs' };
    const docker = await DockerHost.start({ suite: 'bookworm', netns, folder: join(folder, 'docker'), configuration });
    // Named by what it is made of, since an import is another image each time.
    const base = `vtep-base:${Math.round(statSync(tar).mtimeMs)}`;
    const host = new ImageHost(docker, base, { netns, folder, guard });
    await host.#removeLeftovers();
    if ((await docker.docker('image', 'inspect', base)).exitCode !== 0) await docker.mustDocker('import', tar, base);
    return host;
  }

  async #removeLeftovers(): Promise<void> {
    const ids = (await this.docker.mustDocker('ps', '-aq')).split('\n').filter((id) => id !== '');
    if (ids.length > 0) await this.docker.mustDocker('rm', '-f', '-v', ...ids);
    await this.docker.mustDocker('network', 'prune', '-f');
    await this.docker.mustDocker('volume', 'prune', '-f');
  }

  /** `docker build` of docker/Dockerfile. The stage that builds has a tag, so that its layers are there the next time. */
  async build(): Promise<void> {
    const proxy = await this.#startProxy();
    try {
      for (const [tag, target] of [
        ['vtep-build', ['--target', 'build']],
        [IMAGE, []],
      ] as const) {
        await this.#build('-f', join(ROOT, 'docker/Dockerfile'), ...target, '-t', tag, ROOT);
      }
      await this.docker.mustDocker('image', 'prune', '-f');
    } finally {
      proxy.closeAllConnections();
      proxy.close();
    }
  }

  async #build(...args: string[]): Promise<void> {
    const proxy = `http://127.0.0.1:${PROXY_PORT}`;
    const settings = { BASE: this.base, BUILD_BASE: this.base, HTTPS_PROXY: proxy };
    const buildArgs = Object.entries(settings).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
    await this.#slowDocker('build', '--network', 'host', ...buildArgs, ...args);
  }

  /** As mustDocker(), for what may take minutes on a busy machine; its output is kept for the failure. */
  async #slowDocker(...args: string[]): Promise<void> {
    const [program, words] = this.docker.dockerCommand(...args);
    await execa(program, words, { timeout: BUILD_MS_MAX, stdin: 'ignore' });
  }

  /** Lets what runs in the host's namespace reach the npm registry: CONNECT alone, so that TLS is theirs. */
  async #startProxy(): Promise<Server> {
    const proxy = createServer((_, response) => response.writeHead(405).end());
    proxy.on('connect', ({ url }, client) => {
      const [, name = '', port = ''] = /^(.+):(\d+)$/.exec(url ?? '') ?? [];
      const server = connect(Number(port), name, () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        server.pipe(client).pipe(server);
      });
      server.on('error', () => client.destroy());
      client.on('error', () => server.destroy());
    });
    const socket = join(this.#folder, 'proxy.sock');
    await new Promise<void>((resolve) => proxy.listen(socket, resolve));
    const listen = `TCP-LISTEN:${PROXY_PORT},bind=127.0.0.1,fork,reuseaddr`;
    await this.docker.spawn('socat', 'socat', listen, `UNIX-CONNECT:${socket}`);
    return proxy;
  }

  /** Consul's own image has these, and its entry point is the program as well. */
  async buildConsul(): Promise<void> {
    const { stdout: binary } = await execa('bash', [join(ROOT, 'scripts/consul.sh')]);
    const context = join(this.#folder, 'consul');
    mkdirSync(context);
    await execa('cp', [binary, join(context, 'consul')]);
    const lines = [`FROM ${this.base}`, 'COPY consul /bin/consul', 'ENTRYPOINT ["/bin/consul"]'];
    writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
    await this.#slowDocker('build', '-t', CONSUL_IMAGE, context);
    rmSync(context, { recursive: true });
  }

  /** A compose of the machine, `docker-compose` or a path, on docker/compose.yaml. */
  compose(program: string, ...args: string[]): Promise<CommandResult> {
    const variables = { BASE: this.base, VTEP_IMAGE: IMAGE, CONSUL: CONSUL_IMAGE, TUN: this.tun };
    const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
    const files = ['-p', 'vtepimage', '-f', join(ROOT, 'docker/compose.yaml')];
    return this.docker.exec('env', ...settings, program, ...files, ...args);
  }

  async remove(): Promise<void> {
    await this.#removeLeftovers();
    await this.docker.remove();
    await execa('ip', ['netns', 'del', this.#netns]);
    rmSync(this.#folder, { recursive: true, force: true });
    await this.#guard.dismiss();
  }
}
