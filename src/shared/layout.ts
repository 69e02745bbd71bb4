/**
 * Sizes of the shared tables, each with its derivation. All memory is fixed at start; a SharedArrayBuffer's pages cost
 * nothing until they are touched, so the limits are generous and the resident size follows the use.
 *
 * | table | bytes | of which touched |
 * |---|---|---|
 * | FDB | 20 to 22.5 an entry + 16 K (fdb.ts); 100,000 entries: 2.1 MB | a page for each entry, up to the whole |
 * | VNI index | 2^24 x 2 | one page (2048 VNIs) for each neighbourhood in use |
 * | networks | 4096 x 128 | the networks in use |
 * | membership | 4096 networks x 4096 bits | 512 bytes a network |
 * | VTEPs | 4096 x 64 + 2 x 8192 x 4 indices | the VTEPs in use |
 * | neighbours | 32 a slot, 1.25 to 2.5 slots an address (neighbour-table.ts) | a page for each address, up to the whole |
 * | counters, a worker | 4096 x 128 x 8 + 4096 x 8 x 8 | 1 KiB a network, 64 a VTEP |
 * | events, a worker | 64 + 8192 x 32 | the whole, in time |
 */

export const WORKERS_MAX = 16;

/** Index 0 of both is special: counters of no network, and this host's own VTEP. */
export const NETWORKS_MAX = 4096;
export const VTEPS_MAX = 4096;
export const NO_NETWORK = 0;
export const SELF_VTEP = 0;

/** What the FDB holds unless it is told otherwise. */
export const FDB_ENTRIES_DEFAULT = 100_000;

export const VNI_COUNT = 1 << 24;

export const MEMBERSHIP_WORDS = VTEPS_MAX >> 5;

export const EVENTS_MAX = 8192;

export interface SharedTables {
  readonly epoch: SharedArrayBuffer;
  readonly fdb: SharedArrayBuffer;
  readonly vnis: SharedArrayBuffer;
  readonly networks: SharedArrayBuffer;
  readonly membership: SharedArrayBuffer;
  readonly vteps: SharedArrayBuffer;
  readonly neighbours: SharedArrayBuffer;
  /** One each a worker: only that worker writes it. */
  readonly counters: readonly SharedArrayBuffer[];
  readonly events: readonly SharedArrayBuffer[];
}
