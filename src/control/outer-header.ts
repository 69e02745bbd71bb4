/**
 * What an operator can say of the outer header, and what follows from it for sockets, workers and offloads. Pure.
 *
 * It is the host's, not a network's: it concerns the way through the underlay, the sockets are shared by all networks, and
 * TTL, DF and checksum are settings of a socket.
 */
import type { WorkerOuterHeader } from '../shared/worker-input.js';
import type { OffloadStatus } from './forwarding.js';
import type { OffloadSwitches } from './offload-switches.js';

export const DF_POLICIES = ['unset', 'set', 'inherit'] as const;
export type DfPolicy = (typeof DF_POLICIES)[number];

export interface OuterHeader {
  /** TOS or traffic class, without ECN bits; `inherit`: the inner packet's DSCP. */
  readonly tos: number | 'inherit';
  /** TTL or hop limit; 0: the route's, or the kernel's default. */
  readonly ttl: number;
  /** Unset: what does not fit is fragmented. Inherit: set for inner IPv6 and for inner IPv4 that has it. */
  readonly df: DfPolicy;
  /** Whether datagrams have a UDP checksum. */
  readonly checksum: boolean;
  /** Datagrams over IPv6 without a checksum are taken (RFC 6935). */
  readonly acceptZeroChecksum6: boolean;
}

export const OUTER_HEADER_DEFAULT: OuterHeader = {
  tos: 0,
  ttl: 0,
  df: 'unset',
  checksum: true,
  acceptZeroChecksum6: false,
};

/** @returns undefined for what is no TOS: a number of 0 to 252 without ECN bits, decimal or 0x..., or `inherit` */
export function parseTos(text: string): number | 'inherit' | undefined {
  if (text === 'inherit') return text;
  const value = /^(\d{1,3}|0x[0-9a-fA-F]{1,2})$/.test(text) ? Number(text) : Number.NaN;
  return value <= 252 && (value & 3) === 0 ? value : undefined;
}

/** @returns undefined for what is no TTL: 1 to 255, or `auto` */
export function parseTtl(text: string): number | undefined {
  if (text === 'auto') return 0;
  const value = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  return value <= 255 ? value : undefined;
}

export function workerOuterHeader({ tos, df }: OuterHeader): WorkerOuterHeader {
  return {
    tos: tos === 'inherit' ? 0 : tos,
    inheritsDscp: tos === 'inherit',
    inheritsDf: df === 'inherit',
  };
}

/** UDP_SEGMENT makes checksums, and the kernel refuses it on sockets that have none (EINVAL). */
export function allowedOffloads(switches: OffloadSwitches, { checksum }: OuterHeader): OffloadSwitches {
  return checksum ? switches : { ...switches, 'underlay-gso': 'off' };
}

/** Says why what nobody has switched off is off. */
export function explainOffloads(
  status: readonly OffloadStatus[],
  switches: OffloadSwitches,
  { checksum }: OuterHeader,
): OffloadStatus[] {
  const isForced = (name: string) => name === 'underlay-gso' && !checksum && switches['underlay-gso'] !== 'off';
  return status.map((row) => (isForced(row.name) ? { ...row, detail: 'it needs --outer-checksum on' } : row));
}
