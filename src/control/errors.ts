/**
 * Errors of the control plane: one class, a stable code, and what to do about it.
 *
 * A message names the thing, the value that was given and what would be right, in one line. docs/errors.md lists every
 * code; a test keeps the two in step.
 */

/** Each code with the HTTP status that the API answers and whether trying again later can help. */
export const ERROR_CODES = {
  VTEP_ERR_INVALID: { httpStatus: 400, retryable: false },
  VTEP_ERR_NOT_ROOT: { httpStatus: 500, retryable: false },
  VTEP_ERR_NO_TUN: { httpStatus: 500, retryable: false },
  VTEP_ERR_NO_IPROUTE: { httpStatus: 500, retryable: false },
  VTEP_ERR_PORT_IN_USE: { httpStatus: 500, retryable: false },
  VTEP_ERR_SOCKET_IN_USE: { httpStatus: 500, retryable: false },
  VTEP_ERR_UNDERLAY: { httpStatus: 500, retryable: false },
  VTEP_ERR_NODE_NAME_IN_USE: { httpStatus: 409, retryable: false },
  VTEP_ERR_REGISTRY_UNREACHABLE: { httpStatus: 503, retryable: true },
  VTEP_ERR_REGISTRY: { httpStatus: 502, retryable: true },
  VTEP_ERR_CONFLICT: { httpStatus: 409, retryable: true },
  VTEP_ERR_NETWORK_EXISTS: { httpStatus: 409, retryable: false },
  VTEP_ERR_NETWORK_UNKNOWN: { httpStatus: 404, retryable: false },
  VTEP_ERR_NETWORK_IN_USE: { httpStatus: 409, retryable: false },
  VTEP_ERR_VNI_IN_USE: { httpStatus: 409, retryable: false },
  VTEP_ERR_VNI_EXHAUSTED: { httpStatus: 507, retryable: false },
  VTEP_ERR_HOST_PORT_IN_USE: { httpStatus: 409, retryable: false },
  VTEP_ERR_POOL_EXHAUSTED: { httpStatus: 507, retryable: false },
  VTEP_ERR_ADDRESS_IN_USE: { httpStatus: 409, retryable: false },
  VTEP_ERR_NAMESPACE_UNKNOWN: { httpStatus: 404, retryable: false },
  VTEP_ERR_CONTAINER_UNKNOWN: { httpStatus: 404, retryable: false },
  VTEP_ERR_ENGINE_UNREACHABLE: { httpStatus: 503, retryable: true },
  VTEP_ERR_INTERFACE_EXISTS: { httpStatus: 409, retryable: false },
  VTEP_ERR_ENDPOINT_UNKNOWN: { httpStatus: 404, retryable: false },
  VTEP_ERR_PEER_EXISTS: { httpStatus: 409, retryable: false },
  VTEP_ERR_PEER_UNKNOWN: { httpStatus: 404, retryable: false },
  VTEP_ERR_NOT_FOUND: { httpStatus: 404, retryable: false },
  VTEP_ERR_KERNEL: { httpStatus: 500, retryable: false },
  VTEP_ERR_STATE: { httpStatus: 500, retryable: false },
  VTEP_ERR_TABLE_FULL: { httpStatus: 507, retryable: false },
  VTEP_ERR_DAEMON_UNREACHABLE: { httpStatus: 503, retryable: true },
  VTEP_ERR_INTERNAL: { httpStatus: 500, retryable: false },
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** @throws never; `message` is one line for a person, `code` is for programs. */
export class VtepError extends Error {
  readonly code: ErrorCode;
  readonly httpStatus: number;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'VtepError';
    this.code = code;
    this.httpStatus = ERROR_CODES[code].httpStatus;
    this.retryable = ERROR_CODES[code].retryable;
  }
}
