/**
 * A machine with a real systemd, in namespaces (systemd-machine.sh says what it shares with this one). Its files vanish
 * with it. Test support.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { ROOT, run, waitFor } from './host-pair.js';

const SCRIPT = fileURLToPath(new URL('systemd-machine.sh', import.meta.url));
/** What units expect of a machine; multi-user is what it boots. */
const TARGETS = ['sysinit', 'basic', 'shutdown', 'umount', 'network-online', 'multi-user'];

export class SystemdMachine {
  readonly #name: string;
  readonly #folder: string;
  readonly #process: ChildProcess;
  #init = 0;

  /** @param folder empty, of this machine's: what is put into its `inbox` is in /run/inbox there */
  static async boot(name: string, folder: string, netnsPath: string): Promise<SystemdMachine> {
    mkdirSync(join(folder, 'inbox'), { recursive: true });
    mkdirSync(join(folder, 'units'));
    const unit = '[Unit]\nDefaultDependencies=no\n';
    for (const target of TARGETS) writeFileSync(join(folder, 'units', `${target}.target`), unit);
    const machine = new SystemdMachine(name, folder, netnsPath);
    await waitFor('systemd to be up', async () => {
      if (machine.#process.exitCode !== null) throw new Error(`the machine ended with ${machine.#process.exitCode}`);
      machine.#init = machine.#findInit();
      return machine.#init !== 0 && (await machine.run('systemctl', 'is-system-running')).stdout === 'running';
    });
    return machine;
  }

  private constructor(name: string, folder: string, netnsPath: string) {
    this.#name = name;
    this.#folder = folder;
    const args = ['--pdeathsig', 'KILL', '--', SCRIPT, 'boot', name, folder, netnsPath, ROOT.replace(/\/$/, '')];
    this.#process = spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  /** The only child of what was started here, by then. */
  #findInit(): number {
    const { pid } = this.#process;
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
  }

  run(command: string, ...args: string[]) {
    return run('nsenter', ['--target', String(this.#init), '--all', '--', command, ...args]);
  }

  async must(command: string, ...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(command, ...args);
    if (exitCode === 0) return stdout;
    throw new Error(`${command} ${args.join(' ')}: ${stderr || stdout}`);
  }

  async write(path: string, text: string): Promise<void> {
    await execa('nsenter', ['--target', String(this.#init), '--all', '--', 'tee', path], { input: text });
  }

  /** A property of a unit. */
  show(unit: string, property: string): Promise<string> {
    return this.must('systemctl', 'show', unit, `--property=${property}`, '--value');
  }

  /** Everything in it ends at once. */
  async remove(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('close', resolve));
    const isRunning = this.#process.exitCode === null && this.#process.signalCode === null;
    if (isRunning) this.#process.kill('SIGKILL');
    if (isRunning) await ended;
    const script = [SCRIPT, 'remove', this.#name, this.#folder] as const;
    // The kernel takes its time to end them all.
    await waitFor('the control group to be empty', async () => (await run('bash', script)).exitCode === 0);
  }
}
