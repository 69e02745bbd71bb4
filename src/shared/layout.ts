/**
 * Sizes of the shared tables, each with its derivation. All memory is fixed at start; a SharedArrayBuffer's pages cost
 * nothing until they are touched, so the limits are generous and the resident size follows the use.
 *
 * | table | bytes | of which touched |
 * |---|---|---|
 * | FDB | 64 + 2^17 slots x 16 | the whole, since the hash spreads |
 * | VNI index | 2^24 x 2 | one page (2048 VNIs) for each neighbourhood in use |
 * | networks | 4096 x 128 | the networks in use |
 * | membership | 4096 networks x 4096 bits | 512 bytes a network |
 * | VTEPs | 4096 x 64 + 8192 x 4 index | the VTEPs in use |
 * | counters, a worker | 4096 x 64 x 8 + 4096 x 8 x 8 | 512 bytes a network, 64 a VTEP |
 * | events, a worker | 64 + 8192 x 32 | the whole, in time |
 */

export const WORKERS_MAX = 16;

/** Index 0 of both is special: counters of no network, and this host's own VTEP. */
export const NETWORKS_MAX = 4096;
export const VTEPS_MAX = 4096;
export const NO_NETWORK = 0;
export const SELF_VTEP = 0;

export const FDB_SLOTS = 1 << 17;
/** Linear probing stays short up to three quarters. */
export const FDB_ENTRIES_MAX = FDB_SLOTS - (FDB_SLOTS >> 2);

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
  /** One each a worker: only that worker writes it. */
  readonly counters: readonly SharedArrayBuffer[];
  readonly events: readonly SharedArrayBuffer[];
}
