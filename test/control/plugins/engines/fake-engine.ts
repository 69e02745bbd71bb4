/** A container engine in memory, over real processes in network namespaces that are theirs alone. Test support. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { EngineName } from '../../../../src/control/api/container-schema.js';
import { VtepError } from '../../../../src/control/errors.js';
import type {
  Container,
  ContainerEngine,
  StartListener,
} from '../../../../src/control/plugins/engines/container-engine.js';

export class FakeEngine implements ContainerEngine {
  readonly place = 'a test';
  readonly containers = new Map<string, { readonly id: string; process: ChildProcess | undefined }>();
  /** How often it was asked. */
  asked = 0;
  isAway = false;
  readonly watch: ContainerEngine['watch'];
  private readonly listeners = new Set<StartListener>();

  /** @param tells whether it has an event stream */
  constructor(
    readonly name: EngineName,
    tells: boolean,
  ) {
    if (!tells) return;
    this.watch = (listener) => {
      this.listeners.add(listener);
      setImmediate(() => listener.onListening());
      return { close: () => this.listeners.delete(listener) };
    };
  }

  async isPresent(): Promise<boolean> {
    return true;
  }

  async inspect(names: readonly string[]): Promise<Container[]> {
    this.asked++;
    if (this.isAway) throw new VtepError('VTEP_ERR_ENGINE_UNREACHABLE', `${this.name} (a test) does not answer`);
    return [...this.containers]
      .filter(([name, { id }]) => names.some((wanted) => wanted === name || id.startsWith(wanted)))
      .map(([name, { id, process }]) => ({ engine: this.name, id, name, pid: process?.pid }));
  }

  create(name: string): void {
    this.containers.set(name, { id: randomBytes(32).toString('hex'), process: undefined });
  }

  /** @returns the namespace's path, for `nsenter`. */
  async start(name: string): Promise<string> {
    if (!this.containers.has(name)) this.create(name);
    const child = spawn('unshare', ['--net', '--kill-child', 'sh', '-c', 'echo up; exec sleep 600'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    this.containers.get(name)!.process = child;
    for (const listener of this.listeners) listener.onStart(name);
    return `/proc/${child.pid}/ns/net`;
  }

  async stop(name: string): Promise<void> {
    const container = this.containers.get(name)!;
    const { process } = container;
    container.process = undefined;
    if (process === undefined || process.exitCode !== null) return;
    const ended = once(process, 'exit');
    process.kill('SIGKILL');
    await ended;
  }

  async end(): Promise<void> {
    for (const name of this.containers.keys()) await this.stop(name);
  }
}
