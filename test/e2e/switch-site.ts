/**
 * Hosts on a switch, for end-to-end tests of multicast: `a`, `b`, `c` (192.0.2.1 to .3) and, for what is no vtepd, `k`
 * (192.0.2.9), each with its `ens33` on a port of the same name in namespace `sw`. The switch snoops IGMP and MLD and is
 * the querier, so it forwards a group only to ports that have joined it. The embedded registry is on `a`. Test support.
 */
import { type HostName, HostPair, type HostPairOptions, UNDERLAY, waitFor } from './host-pair.js';

export const SITE_ADDRESS = { a: '192.0.2.1', b: '192.0.2.2', c: '192.0.2.3', k: '192.0.2.9' } as const;
export type SiteHost = keyof typeof SITE_ADDRESS;
export const SWITCH = 'sw';
const BRIDGE = 'br0';

export interface SwitchSiteOptions extends HostPairOptions {
  hosts: readonly SiteHost[];
}

export class SwitchSite extends HostPair {
  readonly hosts: readonly SiteHost[];

  constructor(options: SwitchSiteOptions) {
    super(options);
    this.hosts = options.hosts;
  }

  override async setUp(mtu: number): Promise<void> {
    await this.addNamespace(SWITCH);
    // The querier counts once its first response time, here 1 s, is over.
    const querier = 'mcast_snooping 1 mcast_querier 1 mcast_query_response_interval 100 mcast_igmp_version 3';
    await this.mustExec(SWITCH, 'ip', ...`link add ${BRIDGE} type bridge ${querier}`.split(' '));
    await this.mustExec(SWITCH, 'ip', 'link', 'set', BRIDGE, 'up');
    for (const host of this.hosts) {
      const netns = await this.addNamespace(host);
      await this.mustExec(
        SWITCH,
        'ip',
        ...`link add p-${host} type veth peer name ${UNDERLAY} netns ${netns}`.split(' '),
      );
      await this.mustExec(SWITCH, 'ip', ...`link set p-${host} master ${BRIDGE} mtu ${mtu} up`.split(' '));
      await this.mustExec(host, 'ip', 'addr', 'add', `${SITE_ADDRESS[host]}/24`, 'dev', UNDERLAY);
      await this.mustExec(host, 'ip', 'link', 'set', UNDERLAY, 'mtu', String(mtu), 'up');
    }
  }

  /** The names of hosts are checked nowhere below: they are parts of paths and namespaces. */
  as(host: SiteHost): HostName {
    return host as HostName;
  }

  /** The groups that the host's underlay interface is a member of. */
  async groups(host: SiteHost): Promise<string[]> {
    const shown = (await this.mustExec(host, 'ip', '-json', 'maddr', 'show', 'dev', UNDERLAY)).json();
    return (shown as { maddr: { address?: string }[] }[]).flatMap(({ maddr }) =>
      maddr.flatMap(({ address }) => address ?? []),
    );
  }

  /** Begins a capture of what leaves or enters a host's underlay. @returns what gives its lines so far */
  async capture(host: SiteHost | typeof SWITCH, name: string, filter: string): Promise<() => string[]> {
    const device = host === SWITCH ? BRIDGE : UNDERLAY;
    const args = ['-i', device, '-n', '-l', '-v', '--immediate-mode', '-Z', 'root', filter];
    this.spawn(name, this.netns(host), 'tcpdump', ...args);
    await waitFor('tcpdump', () => this.log(name).includes('listening on'));
    return () => this.log(name).split('\n');
  }
}

export async function createSwitchSite(options: SwitchSiteOptions): Promise<SwitchSite> {
  const site = new SwitchSite(options);
  try {
    await site.setUp(options.mtu ?? 1500);
    for (const host of options.hosts) if (host !== 'k') await site.startDaemon(site.as(host));
  } catch (error) {
    await site.cleanup();
    throw error;
  }
  return site;
}
