/**
 * Room for vtep's networks in Docker's firewall: dockerd sets the policy of the iptables chain FORWARD to drop, which also
 * meets what a bridge carries between its own ports (net.bridge.bridge-nf-call-iptables is 1 unless somebody says 0).
 * DOCKER-USER is the chain that Docker keeps for others' rules; its first rule leads to a chain of vtep's, and stays over
 * restarts of dockerd. Control plane, main thread.
 *
 * That chain accepts what comes from vtep's bridges or goes to them, since the table `inet vtep` rules there. From a
 * bridge of vtep's to one of Docker's Docker's own rules decide: published ports yes, everything else no.
 */
import { execa } from 'execa';

const TIMEOUT_MS = 20_000;
const CHAIN = 'VTEP-FORWARD';
const RULES = [
  `-A ${CHAIN} -i vtep-b+ -o docker+ -j RETURN`,
  `-A ${CHAIN} -i vtep-b+ -o br-+ -j RETURN`,
  `-A ${CHAIN} -i vtep-b+ -j ACCEPT`,
  `-A ${CHAIN} -o vtep-b+ -j ACCEPT`,
];
/** The chains in nft's words that this is the answer to. */
const ANSWERED = ['ip filter FORWARD', 'ip6 filter FORWARD'];

export class DockerUser {
  private readonly prefix: readonly string[];
  /** An earlier run may have left it. */
  private mayBeThere = true;

  /** @param prefix put before each command, as Iproute's */
  constructor(prefix: readonly string[]) {
    this.prefix = prefix;
  }

  /**
   * Puts chain, rules and the jump there unless they are; also before dockerd has ever run, which takes the chain that it
   * finds. @returns of `dropping`, those chains that still stop vtep's frames: where iptables is not installed, all.
   */
  async ensure(dropping: readonly string[]): Promise<string[]> {
    this.mayBeThere = true;
    const done = [await this.ensureIn('iptables'), await this.ensureIn('ip6tables')];
    return dropping.filter((chain) => !done[ANSWERED.indexOf(chain)]);
  }

  /** What ensure() put there, and not DOCKER-USER itself. */
  async remove(): Promise<void> {
    if (!this.mayBeThere) return;
    this.mayBeThere = false;
    for (const program of ['iptables', 'ip6tables']) {
      await this.run(program, ['-D', 'DOCKER-USER', '-j', CHAIN]);
      await this.run(program, ['-F', CHAIN]);
      await this.run(program, ['-X', CHAIN]);
    }
  }

  private async ensureIn(program: string): Promise<boolean> {
    if ((await this.run(program, ['-S', CHAIN])).stdout !== [`-N ${CHAIN}`, ...RULES].join('\n')) {
      // Declared, the chain is made or emptied, in one transaction with its rules.
      const input = ['*filter', `:${CHAIN} - [0:0]`, ...RULES, 'COMMIT', ''].join('\n');
      if (!(await this.run(`${program}-restore`, ['--noflush'], input)).ok) return false;
    }
    const listed = await this.run(program, ['-S', 'DOCKER-USER']);
    if (listed.ok && listed.stdout.split('\n')[1] === `-A DOCKER-USER -j ${CHAIN}`) return true;
    if (!listed.ok) await this.run(program, ['-N', 'DOCKER-USER']);
    await this.run(program, ['-D', 'DOCKER-USER', '-j', CHAIN]);
    return (await this.run(program, ['-I', 'DOCKER-USER', '-j', CHAIN])).ok;
  }

  private async run(
    program: string,
    args: readonly string[],
    input?: string,
  ): Promise<{ ok: boolean; stdout: string }> {
    const [file, ...rest] = [...this.prefix, program, '-w', ...args];
    const stdin = input === undefined ? { stdin: 'ignore' as const } : { input };
    const result = await execa(file!, rest, { reject: false, timeout: TIMEOUT_MS, env: { LC_ALL: 'C' }, ...stdin });
    return { ok: result.exitCode === 0, stdout: String(result.stdout ?? '') };
  }
}
