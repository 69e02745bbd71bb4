/**
 * What the reconciler tells the data plane, in the control plane's words. The implementation (forwarding-tables.ts)
 * translates each call into the shared tables, in the publish order that docs/shared-memory.md states.
 *
 * Main thread only. All calls are idempotent: the same call twice changes nothing.
 */
import type { MacClaim } from './mac-claims.js';
import type { FLOOD_MODES } from './networks/network-settings.js';
import type { VtepAddress, VtepIps } from './vtep-address.js';

export type { VtepAddress } from './vtep-address.js';

export interface ForwardingNetwork {
  readonly name: string;
  /** 1 to 16,777,215. */
  readonly vni: number;
  /** The persistent TAP; created if it is not there, adopted if it is. */
  readonly tapName: string;
  readonly mtuBytes: number;
  /** Learn source MACs from the tunnel (for VTEPs that do not publish endpoints). */
  readonly learning: boolean;
  /** How broadcast, unknown and multicast frames reach the other VTEPs. @default replicate */
  readonly flood?: (typeof FLOOD_MODES)[number];
  /** The underlay's multicast group. @default by the VNI (networks/multicast-group.ts) */
  readonly group?: string | undefined;
  /** IGMP and MLD snooping. @default true */
  readonly snooping?: boolean;
  /** Answer ARP requests and neighbour solicitations for known neighbours. @default false */
  readonly suppression?: boolean;
  /** Addresses that each host has on its own bridge: requests for them stay on their host. @default none */
  readonly gateways?: readonly string[];
  /** Learnt MACs of this network; 0: no limit of its own. @default 0 */
  readonly learntMacsMax?: number;
  /** Frames a second that a source MAC may flood; 0: no limit. @default 0 */
  readonly stormLimit?: number;
  /** VXLAN-GBP. @default false */
  readonly groupPolicy?: boolean;
  /** Pairs FROM:TO of groups that may talk. @default all */
  readonly allowedGroups?: readonly string[] | undefined;
  /** Take datagrams with reserved bits set. @default false */
  readonly tolerant?: boolean;
}

export type FdbKind = 'local' | 'static' | 'dynamic';

export interface FdbEntry {
  readonly vni: number;
  readonly network: string;
  readonly mac: string;
  readonly kind: FdbKind;
  /** Absent for a local entry. */
  readonly vtep?: VtepAddress;
  /** Seconds since the last frame from this MAC; dynamic entries only. */
  readonly idleSeconds?: number;
}

export type NeighbourKind = 'local' | 'remote' | 'gateway';

export interface NeighbourEntry {
  readonly vni: number;
  readonly network: string;
  readonly address: string;
  readonly mac: string;
  readonly kind: NeighbourKind;
  /** Of a remote one: the host that has published it, and where that is. */
  readonly node?: string;
  readonly vtep?: VtepAddress;
}

export interface Forwarding {
  /**
   * Opens (creates or adopts) the TAP and starts to move frames. Called again, it makes the TAP anew if someone has
   * deleted it. @throws VtepError VTEP_ERR_NO_TUN, VTEP_ERR_KERNEL, VTEP_ERR_TABLE_FULL
   */
  openNetwork(network: ForwardingNetwork): void;
  /** Stops the network's frames and closes the TAP. The TAP device itself stays; ports/ removes it. */
  closeNetwork(vni: number): Promise<void>;
  /** The MACs and addresses of this host's own endpoints on the network; its gateway's are local in any case. */
  setLocal(vni: number, macs: readonly MacClaim[]): void;
  /**
   * Replaces what `source` (forwarding-source.ts) brings to the network: its VTEP becomes a member (gets floods,
   * may send), `macs` become static FDB entries that name it, and their addresses neighbours that workers answer for,
   * unless another source claims them by a newer right (mac-claims.ts). Another VTEP than before takes its place without a moment in which an entry names none.
   */
  setRemote(vni: number, source: string, vtep: VtepAddress, macs: readonly MacClaim[]): void;
  /** The source leaves the network; its VTEP stays while another source of the network names it. */
  removeRemote(vni: number, source: string): void;
  /**
   * This host's underlay addresses have changed, one or both: all that is sent and received of the family from now on is by
   * the new one. Frames in the old sockets' buffers are lost. @param ips of the same families as before
   * @throws VtepError VTEP_ERR_UNDERLAY, VTEP_ERR_PORT_IN_USE; then nothing has changed
   */
  moveUnderlay(ips: VtepIps): void;
  /** The underlay's link is back after it was down: its multicast groups are joined anew. */
  renewUnderlay(): void;
  fdb(vni?: number): FdbEntry[];
  /** The other VTEPs of this host's networks. */
  vteps(): VtepAddress[];
  neighbours(vni?: number): NeighbourEntry[];
  status(): ForwardingStatus;
  /** Stops the workers and waits for them. Kernel objects stay. */
  close(): Promise<void>;
}

/** How a network's floods leave this host now. */
export interface FloodStatus {
  readonly via: 'replicate' | 'multicast';
  /** That this host receives. */
  readonly group?: string;
  /** Why it is so, where that is not what the network's setting says already. */
  readonly reason?: string;
}

export interface NetworkCounters {
  readonly vni: number;
  readonly network: string;
  readonly flood?: FloodStatus;
  readonly counters: Readonly<Record<string, number>>;
}

/** `unsupported`: the kernel refused it at start, `detail` says how. `on` with a detail: what has gone without it since. */
export interface OffloadStatus {
  readonly name: string;
  readonly state: 'on' | 'off' | 'unsupported';
  readonly detail?: string;
}

export interface ForwardingStatus {
  readonly workers: readonly {
    readonly id: number;
    readonly state: 'running' | 'stopped' | 'failed';
    readonly turns: number;
  }[];
  readonly offloads: readonly OffloadStatus[];
  readonly listen: VtepAddress;
  /** Frames, bytes and drops by cause, summed over the workers, that belong to no known network or to all. */
  readonly totals: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
  readonly networks: readonly NetworkCounters[];
  readonly vteps: readonly (VtepAddress & { readonly counters: Readonly<Record<string, number>> })[];
}
