/** The links of one host, in memory, by the few commands that ports/ gives. Containers are files: a namespace's identity. Test support. */
import { rmSync, writeFileSync } from 'node:fs';
import { Iproute, type Link } from '../../../src/control/ports/iproute.js';

interface FakeLink {
  kind: string;
  master?: string;
  up: boolean;
  alias?: string;
  /** The container's path, of a veth. */
  peer?: string;
  peerName?: string;
  mac?: string;
}

export class FakeKernel extends Iproute {
  readonly all = new Map<string, FakeLink>();

  /** A container comes. */
  boot(path: string): void {
    writeFileSync(path, '');
  }

  /** A container ends, and its cables with it. */
  end(path: string): void {
    for (const [name, { peer }] of this.all) if (peer === path) this.all.delete(name);
    rmSync(path, { force: true });
  }

  veths(): string[] {
    return [...this.all].filter(([, { kind }]) => kind === 'veth').map(([name]) => name);
  }

  override async links(): Promise<Link[]> {
    return [...this.all].map(([ifname, link], index) => ({
      ...{ ifindex: index + 1, ifname, mtu: 1450, flags: link.up ? ['UP'] : [], inet6_addr_gen_mode: 'none' },
      ...(link.master === undefined ? {} : { master: link.master }),
      ...(link.alias === undefined ? {} : { ifalias: link.alias }),
      linkinfo: { info_kind: link.kind, info_slave_data: { state: 'forwarding' } },
    }));
  }

  override async link(name: string): Promise<Link | undefined> {
    return (await this.links()).find(({ ifname }) => ifname === name);
  }

  override async linksIn(path: string): Promise<Link[]> {
    const here = [...this.all.values()].filter(({ peer }) => peer === path);
    return here.map(({ peerName }, index) => ({ ifindex: index + 2, ifname: peerName!, flags: ['UP'] }));
  }

  override async ip(...args: string[]): Promise<void> {
    const after = (word: string, from = 0) => args[args.indexOf(word, from) + 1]!;
    if (args[1] === 'add') {
      const peerAt = args.indexOf('peer');
      const peer = { peer: after('netns'), peerName: after('name', peerAt), mac: after('address') };
      this.all.set(after('name'), { kind: 'veth', up: false, ...peer });
      return;
    }
    const link = this.all.get(after('dev'));
    if (link === undefined) throw new Error(`no ${after('dev')}`);
    if (args.includes('alias')) link.alias = after('alias');
    if (args.includes('master')) link.master = after('master');
    if (args.includes('up')) link.up = true;
  }

  override async batch(lines: readonly string[]): Promise<void> {
    for (const line of lines) {
      const bridge = /^link add name (\S+) .*type bridge/.exec(line);
      if (bridge === null) await this.ip(...line.split(' '));
      else this.all.set(bridge[1]!, { kind: 'bridge', up: false });
    }
  }

  override async removeLink(name: string): Promise<boolean> {
    return this.all.delete(name);
  }

  override async ipIn(): Promise<void> {}
  override async setSysctlIn(): Promise<void> {}
  override async isNetworkNamespace(): Promise<boolean> {
    return true;
  }
  override async routes(): Promise<[]> {
    return [];
  }
  override async defaultRoutesIn(): Promise<[]> {
    return [];
  }
}
