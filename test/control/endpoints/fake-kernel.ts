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
  /** Of a veth whose other end is on the host, or was: by that its own index is known. */
  peerIndex?: number;
}

export class FakeKernel extends Iproute {
  readonly all = new Map<string, FakeLink>();
  private indexes = 1000;

  /** A container comes. */
  boot(path: string): void {
    writeFileSync(path, '');
  }

  /** An engine moves the end of a veth from the host into its container, and renames it. */
  move(name: string, path: string, inner: string): void {
    const end = this.all.get(name);
    const host = [...this.all.values()].find(({ peerName, peer }) => peerName === name && peer === undefined);
    if (end === undefined || host === undefined) throw new Error(`no ${name} on the host`);
    this.all.delete(name);
    host.peer = path;
    host.peerName = inner;
  }

  /** A container ends, and its cables with it. */
  end(path: string): void {
    for (const [name, { peer }] of this.all) if (peer === path) this.all.delete(name);
    rmSync(path, { force: true });
  }

  veths(): string[] {
    return [...this.all]
      .filter(([name, { kind }]) => kind === 'veth' && !name.startsWith('vtep-c'))
      .map(([name]) => name);
  }

  override async links(): Promise<Link[]> {
    return [...this.all].map(([ifname, link], index) => ({
      ...{ ifindex: index + 1, ifname, mtu: 1450, flags: link.up ? ['UP'] : [], inet6_addr_gen_mode: 'none' },
      ...(link.master === undefined ? {} : { master: link.master }),
      ...(link.alias === undefined ? {} : { ifalias: link.alias }),
      ...(link.peerIndex === undefined ? {} : { link_index: link.peerIndex }),
      linkinfo: { info_kind: link.kind, info_slave_data: { state: 'forwarding' } },
    }));
  }

  override async link(name: string): Promise<Link | undefined> {
    return (await this.links()).find(({ ifname }) => ifname === name);
  }

  override async linksIn(path: string): Promise<Link[]> {
    const here = [...this.all.values()].filter(({ peer }) => peer === path);
    return here.map(({ peerName, peerIndex, mac }, index) => ({
      ...{ ifindex: peerIndex ?? index + 2, ifname: peerName!, flags: ['UP'] },
      ...(mac === undefined ? {} : { address: mac }),
    }));
  }

  override async ip(...args: string[]): Promise<void> {
    const after = (word: string, from = 0) => args[args.indexOf(word, from) + 1]!;
    if (args[1] === 'add') {
      const peerAt = args.indexOf('peer');
      if (!args.includes('netns')) {
        const [host, inner, mac] = [after('name'), after('name', peerAt), after('address')];
        this.indexes += 1;
        this.all.set(host, { kind: 'veth', up: false, peerName: inner, mac, peerIndex: this.indexes });
        this.all.set(inner, { kind: 'veth', up: false, mac });
        return;
      }
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
    const { peerName, peer } = this.all.get(name) ?? {};
    if (peerName !== undefined && peer === undefined) this.all.delete(peerName);
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
