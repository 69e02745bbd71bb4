/**
 * Networks that this host holds, read side: VNI -> index -> what a frame needs to know. @hot
 *
 * The VNI index has a 16-bit cell for each of the 2^24 VNIs: one load, no hash; only touched pages cost memory.
 * Row of a network (32 words, two cache lines): 0 VNI | 1 MTU bytes | 2 flags | 3 VTEP index of the underlay's multicast
 * group, 0: head-end replication | 4 storm limit, frames a second | from 16: each worker's fd of the TAP
 * Main thread writes: the row first, then the VNI cell; on removal the cell first, and the row is reused only after
 * every worker has passed the epoch.
 */
import { NETWORKS_MAX, VNI_COUNT } from './layout.js';

export const NETWORK_ROW_WORDS = 32;
export const NETWORK_VNI_WORD = 0;
export const NETWORK_MTU_WORD = 1;
export const NETWORK_FLAGS_WORD = 2;
export const NETWORK_GROUP_WORD = 3;
export const NETWORK_STORM_WORD = 4;
/** WORKERS_MAX words: the TAP has a queue for each worker, and each queue is a descriptor. */
export const NETWORK_TAP_FDS_WORD = 16;

export const NETWORK_FLAG_LEARNING = 1;
/** Known neighbours are answered here. */
export const NETWORK_FLAG_SUPPRESSION = 2;
/** The VXLAN header carries a group policy id. */
export const NETWORK_FLAG_GROUP_POLICY = 4;
/** Reserved bits of the VXLAN header are ignored. */
export const NETWORK_FLAG_TOLERANT = 8;
/** Only some pairs of groups may talk: shared/group-rules.ts. Beside NETWORK_FLAG_GROUP_POLICY. */
export const NETWORK_FLAG_GROUP_RULES = 256;

export const NETWORK_BYTES = NETWORKS_MAX * NETWORK_ROW_WORDS * 4;
export const VNI_INDEX_BYTES = VNI_COUNT * 2;

export class NetworkTable {
  readonly rows: Int32Array;
  readonly vnis: Uint16Array;

  constructor(rows: SharedArrayBuffer, vnis: SharedArrayBuffer) {
    this.rows = new Int32Array(rows);
    this.vnis = new Uint16Array(vnis);
  }

  /** @returns the network's index, or NO_NETWORK */
  indexOf(vni: number): number {
    return this.vnis[vni] as number;
  }

  vni(networkIndex: number): number {
    return this.rows[networkIndex * NETWORK_ROW_WORDS + NETWORK_VNI_WORD] as number;
  }

  /** The worker's own queue of the network's TAP. */
  tapFd(networkIndex: number, workerIndex: number): number {
    return this.rows[networkIndex * NETWORK_ROW_WORDS + NETWORK_TAP_FDS_WORD + workerIndex] as number;
  }

  mtuBytes(networkIndex: number): number {
    return this.rows[networkIndex * NETWORK_ROW_WORDS + NETWORK_MTU_WORD] as number;
  }

  /** VTEP index of the underlay's multicast group, or 0: each member gets a copy of its own. */
  group(networkIndex: number): number {
    return this.rows[networkIndex * NETWORK_ROW_WORDS + NETWORK_GROUP_WORD] as number;
  }

  flags(networkIndex: number): number {
    return this.rows[networkIndex * NETWORK_ROW_WORDS + NETWORK_FLAGS_WORD] as number;
  }

  /** Frames a second that a source MAC may flood; 0: no limit. */
  stormLimit(networkIndex: number): number {
    return this.rows[networkIndex * NETWORK_ROW_WORDS + NETWORK_STORM_WORD] as number;
  }
}
