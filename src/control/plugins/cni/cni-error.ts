/**
 * Errors as CNI wants them: a number, a sentence, and what is more to say. Pure.
 *
 * 1 to 99 are the specification's, from 100 on vtep's own; docs/cni.md lists both. What other parts of the control plane
 * throw keeps its own stable code in `details`.
 */
import { type ErrorCode, VtepError } from '../../errors.js';

export const CNI_CODES = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  badEnvironment: 4,
  io: 5,
  undecodable: 6,
  invalidConfig: 7,
  tryAgain: 11,
  notAvailable: 50,
  notAvailableLimited: 51,
  internal: 100,
  notAsAdded: 101,
  interfaceExists: 102,
  networkUnknown: 103,
  noAddress: 104,
  portInUse: 105,
  notAllRemoved: 106,
  kernel: 107,
} as const;

/** The body of an answer that is no success, but for the version, which is the request's. */
export interface CniErrorBody {
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

export class CniError extends Error {
  readonly code: number;
  readonly details: string | undefined;

  constructor(code: keyof typeof CNI_CODES, message: string, details?: string) {
    super(message);
    this.name = 'CniError';
    this.code = CNI_CODES[code];
    this.details = details;
  }
}

const BY_VTEP_CODE: Partial<Record<ErrorCode, keyof typeof CNI_CODES>> = {
  VTEP_ERR_INVALID: 'invalidConfig',
  VTEP_ERR_NAMESPACE_UNKNOWN: 'unknownContainer',
  VTEP_ERR_INTERFACE_EXISTS: 'interfaceExists',
  VTEP_ERR_NETWORK_UNKNOWN: 'networkUnknown',
  VTEP_ERR_POOL_EXHAUSTED: 'noAddress',
  VTEP_ERR_ADDRESS_IN_USE: 'noAddress',
  VTEP_ERR_HOST_PORT_IN_USE: 'portInUse',
  VTEP_ERR_KERNEL: 'kernel',
  VTEP_ERR_NO_TUN: 'kernel',
  VTEP_ERR_STATE: 'io',
};

/** Whatever was thrown. A code of vtep's that can pass by itself is "try again later". */
export function toCniBody(error: unknown): CniErrorBody {
  if (error instanceof CniError) {
    const { code, message: msg, details } = error;
    return { code, msg, ...(details === undefined ? {} : { details }) };
  }
  if (error instanceof VtepError) {
    const kind = error.retryable ? 'tryAgain' : (BY_VTEP_CODE[error.code] ?? 'internal');
    return { code: CNI_CODES[kind], msg: error.message, details: error.code };
  }
  const text = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ');
  return { code: CNI_CODES.internal, msg: `vtepd failed: ${text}; its log has more`, details: 'VTEP_ERR_INTERNAL' };
}
