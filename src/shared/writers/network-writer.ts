/** Networks and their members, write side. Main thread only. */
import { MEMBERSHIP_WORDS, NETWORKS_MAX } from '../layout.js';
import {
  NETWORK_FLAG_GROUP_POLICY,
  NETWORK_FLAG_GROUP_RULES,
  NETWORK_FLAG_LEARNING,
  NETWORK_FLAG_SUPPRESSION,
  NETWORK_FLAG_TOLERANT,
  NETWORK_FLAGS_WORD,
  NETWORK_GROUP_WORD,
  NETWORK_MTU_WORD,
  NETWORK_ROW_WORDS,
  NETWORK_STORM_WORD,
  NETWORK_TAP_FDS_WORD,
  NETWORK_VNI_WORD,
} from '../network-table.js';

export interface NetworkRow {
  readonly vni: number;
  /** One a worker, by worker index. */
  readonly tapFds: readonly number[];
  readonly mtuBytes: number;
  readonly learning: boolean;
  readonly suppression?: boolean;
  readonly groupPolicy?: boolean;
  readonly groupRules?: boolean;
  readonly tolerant?: boolean;
  readonly stormLimit?: number;
}

function flagsOf(row: NetworkRow): number {
  return (
    (row.learning ? NETWORK_FLAG_LEARNING : 0) |
    (row.suppression ? NETWORK_FLAG_SUPPRESSION : 0) |
    (row.groupPolicy ? NETWORK_FLAG_GROUP_POLICY : 0) |
    (row.groupPolicy && row.groupRules ? NETWORK_FLAG_GROUP_RULES : 0) |
    (row.tolerant ? NETWORK_FLAG_TOLERANT : 0)
  );
}

export class NetworkWriter {
  readonly #rows: Int32Array;
  readonly #vnis: Uint16Array;
  readonly #membership: Int32Array;
  readonly #free: number[] = [];
  #next = 1;

  constructor(rows: SharedArrayBuffer, vnis: SharedArrayBuffer, membership: SharedArrayBuffer) {
    this.#rows = new Int32Array(rows);
    this.#vnis = new Uint16Array(vnis);
    this.#membership = new Int32Array(membership);
  }

  /** Takes a free index; nothing is published yet. @returns 0 if the table is full */
  reserve(): number {
    const index = this.#free.pop();
    if (index !== undefined) return index;
    return this.#next < NETWORKS_MAX ? this.#next++ : 0;
  }

  /** Row first, then the VNI's cell: whoever finds the index finds the row. */
  publish(index: number, row: NetworkRow): void {
    const word = index * NETWORK_ROW_WORDS;
    this.#rows[word + NETWORK_VNI_WORD] = row.vni;
    this.#rows.set(row.tapFds, word + NETWORK_TAP_FDS_WORD);
    this.#rows[word + NETWORK_MTU_WORD] = row.mtuBytes;
    this.#rows[word + NETWORK_STORM_WORD] = row.stormLimit ?? 0;
    Atomics.store(this.#rows, word + NETWORK_FLAGS_WORD, flagsOf(row));
    Atomics.store(this.#vnis, row.vni, index);
  }

  /** From now on no datagram finds the network. The row stays readable until release(). */
  unpublish(vni: number): void {
    Atomics.store(this.#vnis, vni, 0);
  }

  /** Only after every worker has passed the epoch that followed unpublish(). */
  release(index: number): void {
    this.#rows.fill(0, index * NETWORK_ROW_WORDS, (index + 1) * NETWORK_ROW_WORDS);
    this.#membership.fill(0, index * MEMBERSHIP_WORDS, (index + 1) * MEMBERSHIP_WORDS);
    this.#free.push(index);
  }

  /** From the next frame on floods go to the group. @param vtepIndex of its row; 0: to each member */
  setGroup(index: number, vtepIndex: number): void {
    Atomics.store(this.#rows, index * NETWORK_ROW_WORDS + NETWORK_GROUP_WORD, vtepIndex);
  }

  addMember(networkIndex: number, vtepIndex: number): void {
    Atomics.or(this.#membership, networkIndex * MEMBERSHIP_WORDS + (vtepIndex >> 5), 1 << (vtepIndex & 31));
  }

  removeMember(networkIndex: number, vtepIndex: number): void {
    Atomics.and(this.#membership, networkIndex * MEMBERSHIP_WORDS + (vtepIndex >> 5), ~(1 << (vtepIndex & 31)));
  }
}
