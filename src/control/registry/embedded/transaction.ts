/**
 * PUT /v1/txn: up to 64 KV operations of which all happen or none. Embedded registry.
 *
 * Each operation sees what those before it did. All are tried, so that the answer names every one that failed.
 */
import type { Draft } from './draft.js';
import { HttpFailure, type KvRecord, kvJson } from './records.js';

export const OPERATIONS_MAX = 64;

export interface KvOperation {
  readonly verb: string;
  readonly key: string;
  readonly value: Buffer;
  readonly flags: number;
  readonly index: number;
  readonly session: string;
}

export interface OperationError {
  readonly OpIndex: number;
  readonly What: string;
}

type OperationResult = { readonly KV: ReturnType<typeof kvJson> };

/** Carries the errors out of Store.write, so that nothing is written. */
export class TransactionFailure extends Error {
  constructor(readonly errors: readonly OperationError[]) {
    super('the transaction failed');
    this.name = 'TransactionFailure';
  }
}

/** @throws HttpFailure 400 for a body that cannot be read, 413 for too many operations. */
export function checkTransactionRequest(body: Buffer): KvOperation[] {
  let request: unknown;
  try {
    request = JSON.parse(body.toString());
  } catch (error) {
    throw new HttpFailure(400, `Failed to parse body: ${(error as Error).message}`);
  }
  if (!Array.isArray(request)) throw new HttpFailure(400, 'Failed to parse body: expected an array');
  if (request.length > OPERATIONS_MAX) {
    throw new HttpFailure(413, `Transaction contains too many operations (${request.length} > ${OPERATIONS_MAX})`);
  }
  return request.map(checkOperation);
}

function checkOperation(operation: unknown): KvOperation {
  const kv = (operation as { KV?: Record<string, unknown> } | null)?.KV;
  if (typeof kv !== 'object' || kv === null)
    throw new HttpFailure(400, 'Failed to parse body: only KV operations are served');
  const { Verb, Key = '', Value, Flags = 0, Index = 0, Session = '' } = kv;
  const isValue = Value === undefined || Value === null || typeof Value === 'string';
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof Verb !== 'string' || typeof Key !== 'string' || typeof Session !== 'string' || !isValue) {
    throw new HttpFailure(400, 'Failed to parse body: Verb, Key, Value and Session are strings');
  }
  if (!isCount(Flags) || !isCount(Index))
    throw new HttpFailure(400, 'Failed to parse body: Flags and Index are counts');
  const value = Buffer.from((Value as string | null | undefined) ?? '', 'base64');
  return { verb: Verb, key: Key, value, flags: Flags, index: Index, session: Session };
}

/** @throws TransactionFailure */
export function runTransaction(draft: Draft, operations: readonly KvOperation[]): OperationResult[] {
  const results: OperationResult[] = [];
  const errors: OperationError[] = [];
  for (const [OpIndex, operation] of operations.entries()) {
    try {
      results.push(...runOperation(draft, operation));
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      errors.push({ OpIndex, What: error.message });
    }
  }
  if (errors.length > 0) throw new TransactionFailure(errors);
  return results;
}

function fail(what: string): never {
  throw new HttpFailure(409, what);
}

function runOperation(draft: Draft, operation: KvOperation): OperationResult[] {
  const { verb, key, value, flags, index, session } = operation;
  if (key === '' && verb !== 'delete-tree' && verb !== 'get-tree') fail('Must provide key');
  const existing = draft.get(key);
  const written = (record: KvRecord | undefined, why: string): OperationResult[] =>
    record === undefined ? fail(why) : [{ KV: kvJson(key, record, true) }];

  switch (verb) {
    case 'set':
      return written(draft.set(key, value, flags), '');
    case 'cas':
      return written(draft.compareAndSet(key, value, flags, index), `failed to set key "${key}", index is stale`);
    case 'lock':
      return written(draft.lock(key, value, flags, session), `failed to lock key "${key}", lock is already held`);
    case 'unlock': {
      const why = `failed to unlock key "${key}", lock isn't held, or is held by another session`;
      return written(draft.unlock(key, value, flags, session), why);
    }
    case 'get':
      if (existing === undefined) return fail(`key "${key}" doesn't exist`);
      return [{ KV: kvJson(key, existing) }];
    case 'get-tree':
      return draft.list(key).map(([name, record]) => ({ KV: kvJson(name, record) }));
    case 'check-index':
      if (existing === undefined) return fail(`failed to check index, key "${key}" doesn't exist`);
      if (existing.modifyIndex !== index) {
        return fail(`failed index check for key "${key}", current modify index ${existing.modifyIndex} != ${index}`);
      }
      return written(existing, '');
    case 'check-session': {
      if (existing === undefined) return fail(`failed to check session, key "${key}" doesn't exist`);
      const holder = existing.session ?? '';
      if (holder !== session)
        return fail(`failed session check for key "${key}", current session "${holder}" != "${session}"`);
      return written(existing, '');
    }
    case 'check-not-exists':
      if (existing !== undefined) return fail(`key "${key}" exists`);
      return [];
    case 'delete':
      draft.delete(key);
      return [];
    case 'delete-cas':
      if (!draft.compareAndDelete(key, index)) return fail(`failed to delete key "${key}", index is stale`);
      return [];
    case 'delete-tree':
      draft.deleteTree(key);
      return [];
    default:
      return fail(`unknown KV verb "${verb}"`);
  }
}
