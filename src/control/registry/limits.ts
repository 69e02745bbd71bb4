/**
 * What Consul takes: sizes, keys, operations in a transaction, a session's TTL. Pure; checked before anything is sent, so
 * that a refusal names what would be right. Control plane, used by client.ts.
 */
import { VtepError } from '../errors.js';
import type { ConsulKvOperation } from './consul-library.js';
import type { RegistryOperation } from './registry.js';

/** Consul's kv_max_value_size and txn_max_req_len. */
const VALUE_BYTES_MAX = 512 * 1024;
const TRANSACTION_OPERATIONS_MAX = 64;
/** Consul has no limit of its own below the URL's; the embedded registry's LMDB keys end at 1978. */
const KEY_BYTES_MAX = 1024;
const SESSION_TTL_SECONDS = { min: 10, max: 86_400 };

/** Turns keys of the Registry interface into Consul's, and refuses those that Consul would not keep as they are. */
export class KeySpace {
  readonly prefix: string;

  /** @param prefix a missing slash at its end is added. */
  constructor(prefix: string) {
    this.prefix = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
    checkKey(this.prefix);
  }

  key(key: string): string {
    if (key === '') throw new VtepError('VTEP_ERR_INVALID', 'registry key is empty: give at least one character');
    checkKey(key);
    return this.prefix + key;
  }

  tree(under: string): string {
    checkKey(under);
    return this.prefix + under;
  }
}

/** Consul's HTTP server answers a redirect for paths that are not clean, and refuses control characters. */
function checkKey(key: string): void {
  const wrong = (why: string) => new VtepError('VTEP_ERR_INVALID', `registry key ${JSON.stringify(key)} ${why}`);
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw wrong(`is longer than ${KEY_BYTES_MAX} bytes`);
  if (/(^|\/)\.{1,2}(\/|$)|\/\/|^\//.test(key)) throw wrong('has an empty, "." or ".." part: name every part');
  if (/\p{Cc}/u.test(key) || !key.isWellFormed()) throw wrong('has a control character: use printable ones');
}

export function checkValue(key: string, value: string): void {
  const bytes = Buffer.byteLength(value);
  if (bytes > VALUE_BYTES_MAX) {
    const text = `registry value of ${key} has ${bytes} bytes: at most ${VALUE_BYTES_MAX} (512 KiB) fit in one key`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
}

export function checkTtl(ttlSeconds: number): void {
  const { min, max } = SESSION_TTL_SECONDS;
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < min || ttlSeconds > max) {
    const text = `session TTL ${ttlSeconds} s is out of range: give whole seconds from ${min} to ${max}`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
}

/** @throws VtepError VTEP_ERR_INVALID for more than Consul takes in one. */
export function toConsulTransaction(operations: readonly RegistryOperation[], keys: KeySpace): ConsulKvOperation[] {
  const sent = operations.map((operation) => toConsul(operation, keys));
  if (sent.length > TRANSACTION_OPERATIONS_MAX) {
    const text = `registry transaction has ${sent.length} operations: at most ${TRANSACTION_OPERATIONS_MAX} go in one`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
  const bytes = Buffer.byteLength(JSON.stringify(sent));
  if (bytes > VALUE_BYTES_MAX) {
    const text = `registry transaction has ${bytes} bytes: at most ${VALUE_BYTES_MAX} go in one`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
  return sent;
}

function toConsul(operation: RegistryOperation, keys: KeySpace): ConsulKvOperation {
  const { verb } = operation;
  if (verb === 'delete-tree') return { KV: { Verb: verb, Key: keys.tree(operation.key) } };
  const Key = keys.key(operation.key);
  if (verb === 'delete') return { KV: { Verb: verb, Key } };
  // Consul's check-index knows no 0: absence has a verb of its own.
  if (verb === 'check-index' && operation.casIndex === 0) return { KV: { Verb: 'check-not-exists', Key } };
  return {
    KV: {
      Verb: verb,
      Key,
      ...('value' in operation ? { Value: Buffer.from(operation.value).toString('base64') } : {}),
      ...('casIndex' in operation ? { Index: operation.casIndex } : {}),
      ...('session' in operation ? { Session: operation.session } : {}),
    },
  };
}
