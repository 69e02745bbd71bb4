/**
 * The settings under /proc/sys/net that the gateway needs. They are switched on and never back: others may rely on them
 * by then. A bridge's own go with the bridge.
 */
import { execa } from 'execa';
import { VtepError } from '../errors.js';
import type { Iproute } from '../ports/iproute.js';
import { bridgeName } from '../ports/names.js';
import { netSysctlPath } from '../ports/net-sysctl.js';

export class HostSettings {
  private readonly iproute: Iproute;

  constructor(iproute: Iproute) {
    this.iproute = iproute;
  }

  /** Before the bridge has an address. */
  async prepareBridge(vni: number, hasIpv6: boolean): Promise<void> {
    const bridge = bridgeName(vni);
    // Linux answers ARP for any address of its own on any interface: another network's gateway would be found here.
    await this.ensure(`ipv4/conf/${bridge}/arp_ignore`, '1');
    // Published ports by 127.0.0.1; what would come in from a container is dropped (ruleset.ts).
    await this.ensure(`ipv4/conf/${bridge}/route_localnet`, '1');
    if (hasIpv6) await this.ensure(`ipv6/conf/${bridge}/disable_ipv6`, '0');
  }

  /** @returns what was switched on, for the log. */
  async forward(hasIpv6: boolean): Promise<string[]> {
    const done: string[] = [];
    if (await this.ensure('ipv4/ip_forward', '1')) done.push('net.ipv4.ip_forward');
    if (!hasIpv6 || (await this.read('ipv6/conf/all/forwarding')) === '1') return done;
    // A host that forwards no longer listens to routers, unless told to: it would lose its own default route.
    for (const dev of await this.interfacesByRouter()) {
      if ((await this.read(`ipv6/conf/${dev}/accept_ra`)) !== '1') continue;
      await this.ensure(`ipv6/conf/${dev}/accept_ra`, '2');
      done.push(`net.ipv6.conf.${dev}.accept_ra=2`);
    }
    await this.ensure('ipv6/conf/all/forwarding', '1');
    return [...done, 'net.ipv6.conf.all.forwarding'];
  }

  private async interfacesByRouter(): Promise<string[]> {
    const routes = await this.iproute.show<{ dev?: string; protocol?: string }>('-6', 'route', 'show');
    const found = routes.filter(({ protocol, dev }) => protocol === 'ra' && dev !== undefined);
    return [...new Set(found.map(({ dev }) => dev as string))];
  }

  /** @returns whether it had to be changed. */
  private async ensure(path: string, value: string): Promise<boolean> {
    if ((await this.read(path)) === value) return false;
    const file = netSysctlPath(path);
    await this.run(['tee', file], file, value);
    return true;
  }

  private async read(path: string): Promise<string> {
    const file = netSysctlPath(path);
    return (await this.run(['cat', file], file)).trim();
  }

  private async run(command: readonly string[], what: string, input?: string): Promise<string> {
    const [file, ...args] = [...this.iproute.prefix, ...command];
    const io = input === undefined ? { stdin: 'ignore' as const } : { input };
    const { exitCode, stdout, stderr } = await execa(file!, args, { reject: false, env: { LC_ALL: 'C' }, ...io });
    if (exitCode === 0) return stdout;
    const hint = stderr.includes('Read-only') ? '; in a container, mount a second view of it: docs/image.md' : '';
    const done = input === undefined ? 'read' : 'set';
    throw new VtepError('VTEP_ERR_KERNEL', `${what} could not be ${done}: ${stderr}${hint}`);
  }
}
