/**
 * What a server answered, checked: an index, entries under the prefix, a leader that it has heard of lately. Pure; control
 * plane, used by client.ts. Everything here throws ServerFailure when the answer is none that Consul would give.
 */
import type { ConsulEntry, ConsulResponse } from './consul-library.js';
import { noLeader, nonsense, ServerFailure, textOf } from './failures.js';
import type { RegistryEntry, RegistryKeys, RegistryListing } from './registry.js';

/** A follower hears from its leader some times a second. */
const LAST_CONTACT_MS_MAX = 5000;

export interface Answer {
  /** The server's, for messages. */
  readonly url: string;
  readonly response: ConsulResponse;
  readonly body: unknown;
}

/** X-Consul-Index, never below 1: Consul's API says so, and 0 would make the next blocking query answer at once. */
function indexOf({ url, response }: Answer): number {
  const text = response.headers['x-consul-index'];
  const index = typeof text === 'string' && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(index)) throw nonsense(url, 'answered without X-Consul-Index');
  if (index === 0) throw nonsense(url, 'answered with X-Consul-Index 0');
  return index;
}

/** What a follower says of itself; a server that leads, or that asked its leader, knows one and heard of it just now. */
function checkFresh({ url, response }: Answer): void {
  if (response.headers['x-consul-knownleader'] === 'false') throw new ServerFailure(url, noLeader());
  const lastContactMs = Number(response.headers['x-consul-lastcontact'] ?? 0);
  if (lastContactMs > LAST_CONTACT_MS_MAX) {
    const what = `has not heard of its leader for ${Math.round(lastContactMs / 1000)} s`;
    throw new ServerFailure(url, { ...noLeader(), what });
  }
}

/** The raw entries or names: none for Consul's own kind of 404, at least one else. */
function rawList<T = ConsulEntry>({ url, response, body }: Answer): readonly T[] {
  if (response.headers['x-consul-results-filtered-by-acls'] === 'true') {
    const advice = 'check the token and its policy';
    const facts = { code: 'VTEP_ERR_REGISTRY', elsewhere: false, maybeDone: false, advice } as const;
    throw new ServerFailure(url, { ...facts, what: 'left out keys that the token may not read' });
  }
  if (response.statusCode === 404) {
    if (textOf(body) !== '' || (body !== undefined && !Buffer.isBuffer(body) && typeof body !== 'string')) {
      throw nonsense(url, 'answered 404 as Consul does not');
    }
    return [];
  }
  if (!Array.isArray(body) || body.length === 0) throw nonsense(url, 'answered keys with something else than a list');
  return body as T[];
}

/** Base64 as Go writes it; a value that was cut off in its middle is none. */
function decode(url: string, value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'string' || value.length % 4 !== 0) throw nonsense(url, 'answered a value that is not base64');
  return Buffer.from(value, 'base64').toString();
}

function toEntry(url: string, prefix: string, raw: ConsulEntry, known: RegistryEntry | undefined): RegistryEntry {
  const { CreateIndex: createIndex, ModifyIndex: modifyIndex } = raw;
  const session = raw.Session ? raw.Session : undefined;
  const same = known?.modifyIndex === modifyIndex && known.createIndex === createIndex && known.session === session;
  if (known !== undefined && same) return known;
  const value = decode(url, raw.Value);
  return { key: raw.Key.slice(prefix.length), value, createIndex, modifyIndex, ...(session && { session }) };
}

function checkRaw(url: string, prefix: string, raw: ConsulEntry): void {
  const isEntry =
    typeof raw?.Key === 'string' &&
    raw.Key.startsWith(prefix) &&
    Number.isSafeInteger(raw.ModifyIndex) &&
    Number.isSafeInteger(raw.CreateIndex);
  if (!isEntry) throw nonsense(url, `answered an entry that is not under ${prefix}`);
}

/**
 * @param prefix what every key begins with and `RegistryEntry.key` leaves out; `under` what was asked for, with it.
 * @param known an earlier reading: entries that have not changed since are these very objects, and are not decoded again.
 */
export function listingOf(
  answer: Answer,
  prefix: string,
  under: string,
  known: readonly RegistryEntry[] = [],
): RegistryListing {
  const index = indexOf(answer);
  checkFresh(answer);
  const raws = rawList(answer);
  const knownByKey = new Map(known.map((entry) => [entry.key, entry]));
  const entries = raws.map((raw) => {
    checkRaw(answer.url, under, raw);
    return toEntry(answer.url, prefix, raw, knownByKey.get(raw.Key.slice(prefix.length)));
  });
  return { index, entries };
}

/** @param prefix and `under` as for listingOf. */
export function keysOf(answer: Answer, prefix: string, under: string): RegistryKeys {
  const index = indexOf(answer);
  checkFresh(answer);
  const keys = rawList<unknown>(answer).map((key) => {
    if (typeof key === 'string' && key.startsWith(under)) return key.slice(prefix.length);
    throw nonsense(answer.url, `answered a key that is not under ${under}`);
  });
  return { index, keys };
}

export function entryOf(answer: Answer, prefix: string, key: string): RegistryEntry | undefined {
  indexOf(answer);
  checkFresh(answer);
  const [raw, ...more] = rawList(answer);
  if (raw === undefined) return undefined;
  checkRaw(answer.url, key, raw);
  if (raw.Key !== key || more.length > 0) throw nonsense(answer.url, `answered other keys than ${key}`);
  return toEntry(answer.url, prefix, raw, undefined);
}

export function yesOrNo({ url, body }: Answer): boolean {
  if (typeof body !== 'boolean') throw nonsense(url, 'answered a write with neither true nor false');
  return body;
}

/** Consul's transactions that happened answer with results and without errors. */
export function checkCommitted({ url, body }: Answer): true {
  const { Results, Errors } = (body ?? {}) as { Results?: unknown; Errors?: unknown };
  const isCommitted = (Array.isArray(Results) || Results === null) && (Errors === null || Errors === undefined);
  if (!isCommitted) throw nonsense(url, 'answered a transaction with something else than its results');
  return true;
}

/** Consul's transactions that were rolled back say with which operation and why. */
export function checkRolledBack(url: string, body: unknown): false {
  const { Errors } = (body ?? {}) as { Errors?: unknown };
  if (!Array.isArray(Errors) || Errors.length === 0) throw nonsense(url, 'answered 409 without saying why');
  const words = Errors.map((error) => textOf((error as { What?: unknown }).What));
  const denied = words.find((text) => /permission denied|acl not found/i.test(text));
  if (denied !== undefined) {
    const advice = 'check the token and its policy';
    const facts = { code: 'VTEP_ERR_REGISTRY', elsewhere: false, maybeDone: false, advice } as const;
    throw new ServerFailure(url, { ...facts, what: `refused a transaction (${denied})` });
  }
  return false;
}
