/** Forwarding without a data plane: remembers what it was told; makes persistent TAPs in a namespace. Test support. */
import { execaSync } from 'execa';
import type { Forwarding, ForwardingNetwork, ForwardingStatus, VtepAddress } from '../../src/control/forwarding.js';
import type { MacClaim } from '../../src/control/mac-claims.js';
import type { VtepIps } from '../../src/control/vtep-address.js';

interface Told {
  readonly network: ForwardingNetwork;
  local: string[];
  readonly remotes: Map<string, { address: string; macs: string[] }>;
}

export class FakeForwarding implements Forwarding {
  readonly networks = new Map<number, Told>();
  /** Each call, as text. */
  readonly calls: string[] = [];
  failOpen: Error | undefined;
  private readonly namespace: string | undefined;

  /** @param namespace where TAPs are made; none: no TAPs. */
  constructor(namespace?: string) {
    this.namespace = namespace;
  }

  openNetwork(network: ForwardingNetwork): void {
    if (this.failOpen !== undefined) throw this.failOpen;
    if (this.namespace !== undefined) {
      const args = ['-n', this.namespace, 'tuntap', 'add', 'dev', network.tapName, 'mode', 'tap'];
      execaSync('ip', args, { reject: false });
    }
    if (!this.networks.has(network.vni)) this.networks.set(network.vni, { network, local: [], remotes: new Map() });
    this.calls.push(`open ${network.vni}`);
  }

  async closeNetwork(vni: number): Promise<void> {
    this.networks.delete(vni);
    this.calls.push(`close ${vni}`);
  }

  setLocal(vni: number, claims: readonly MacClaim[]): void {
    this.networks.get(vni)!.local = claims.map(({ mac }) => mac);
  }

  setRemote(vni: number, source: string, vtep: VtepAddress, claims: readonly MacClaim[]): void {
    const address = `${vtep.address}:${vtep.port}`;
    const macs = claims.map(({ mac }) => mac);
    this.networks.get(vni)?.remotes.set(source, { address, macs });
    this.calls.push(`remote ${vni} ${source} ${address} ${macs.join(',')}`);
  }

  removeRemote(vni: number, source: string): void {
    this.networks.get(vni)?.remotes.delete(source);
    this.calls.push(`gone ${vni} ${source}`);
  }

  moveUnderlay({ ip, otherIp }: VtepIps): void {
    this.calls.push(`move ${[ip, ...(otherIp === undefined ? [] : [otherIp])].join(' ')}`);
  }

  renewUnderlay(): void {
    this.calls.push('renew');
  }

  fdb(): [] {
    return [];
  }

  vteps(): [] {
    return [];
  }

  neighbours(): [] {
    return [];
  }

  status(): ForwardingStatus {
    return {
      workers: [],
      offloads: [],
      listen: { address: '192.0.2.1', port: 4789 },
      totals: {},
      drops: {},
      networks: [],
      vteps: [],
    };
  }

  async close(): Promise<void> {}
}
