/**
 * What the two planes agree on for a worker's warm-up: for each family of the underlay one network between this host and
 * one VTEP, both on loopback, in tables that nobody else sees. The main thread fills them; the worker sets its own
 * descriptors in.
 */
import type { SharedTables } from './layout.js';

export interface WarmUpInput {
  readonly tables: SharedTables;
  readonly paths: readonly WarmUpPath[];
}

export interface WarmUpPath {
  readonly family: 4 | 6;
  readonly networkIndex: number;
  readonly peerVtep: number;
}

export const WARM_UP_MTU_BYTES = 1450;
/** Every address of 127.0.0.0/8 is the host's own; of IPv6 there is one, so this host's own row has none there. */
export const WARM_UP_SELF = [127, 0, 0, 1] as const;
export const WARM_UP_PEER = { 4: [127, 0, 0, 2], 6: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] } as const;
/** MAC bytes 0 and 1, and the last of the other four, of the container here and of the one there. */
export const WARM_UP_MAC_HIGH16 = 0x0200;
export const WARM_UP_MAC_HERE = 1;
export const WARM_UP_MAC_THERE = 2;
/** IPv4 addresses: the container there is a neighbour that is known, the stranger is not. */
export const WARM_UP_IP_HERE = 0xc0000201;
export const WARM_UP_IP_THERE = 0xc0000202;
export const WARM_UP_IP_STRANGER = 0xc0000203;
