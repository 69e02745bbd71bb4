/** What the main thread hands to a worker at its start. The descriptors are the main thread's to close. */
import type { SharedTables } from './layout.js';

/** What the start-up probes found and the switches allow. The TAPs' own offloads (TSO, USO) are set on their descriptors. */
export interface WorkerOffloads {
  /** UDP_SEGMENT on the sending sockets: one message carries up to 64 datagrams of one size. */
  readonly underlayGso: boolean;
  /** UDP_GRO is set on the receiving sockets: one message brings datagrams that the kernel has coalesced. */
  readonly underlayGro: boolean;
  /** TCP segments are coalesced into superframes for the TAP. */
  readonly coalesceTcp: boolean;
  /** UDP datagrams likewise (virtio's UDP_L4, Linux 6.2 and later). */
  readonly coalesceUdp: boolean;
  /** Checksums by WebAssembly SIMD; else by the plain reference. */
  readonly simdChecksum: boolean;
}

/** What the worker does about the outer header; the rest of it is set on the sending sockets. */
export interface WorkerOuterHeader {
  /** The sending sockets' own TOS or traffic class, without ECN bits. */
  readonly tos: number;
  /** The inner packet's DSCP goes outside; `tos` is 0 then. */
  readonly inheritsDscp: boolean;
  /** The upper half of each pool of sending sockets sets DF, the lower does not. */
  readonly inheritsDf: boolean;
}

/** A worker's sockets of one family of the underlay. */
export interface UnderlaySockets {
  readonly family: 4 | 6;
  /** Receives on the VXLAN port. */
  readonly rxFd: number;
  /** Sending sockets, one a source port; the inner flow's hash picks. A power of two of them, as many in each family. */
  readonly txFds: readonly number[];
}

export interface WorkerInput {
  readonly workerIndex: number;
  readonly tables: SharedTables;
  /** Watches the wake, underlay and TAP descriptors; the main thread adds and removes them. */
  readonly epollFd: number;
  readonly wakeFd: number;
  /** At least one family; IPv4 first. */
  readonly underlay: readonly UnderlaySockets[];
  readonly offloads: WorkerOffloads;
  /** @default TOS 0, nothing inherited */
  readonly outer?: WorkerOuterHeader;
  /** How long a worker goes on polling after its last frame, before it sleeps in the kernel. 0: not at all. */
  readonly spinMicroseconds: number;
  /** The thread's niceness, -20 to 19. Where the kernel refuses it, the thread stays as it is. */
  readonly nice: number;
}

/**
 * epoll tokens that are no network index. That of a receiving socket tells its descriptor, so that the main thread may add
 * others to a worker's set and the worker needs no list: it takes VXLAN from whatever socket is ready.
 */
export const TOKEN_WAKE = -1;
const TOKEN_UNDERLAY_FIRST = -2;

export function underlayToken(fd: number): number {
  return TOKEN_UNDERLAY_FIRST - fd;
}

/** @param token below TOKEN_WAKE */
export function underlayFdOf(token: number): number {
  return TOKEN_UNDERLAY_FIRST - token;
}
