/**
 * Writes that tell of themselves: a key, and in the same transaction the journal of its prefix. Control plane.
 *
 * Many hosts may write one journal at once; one compare-and-set of those that meet succeeds, and the others try again after a
 * random pause. Who has lost some times in a row cuts the journal instead, which always succeeds and costs all readers a
 * whole reading: with that many changes they would hardly have had it cheaper.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { cutJournal, withChange } from './journal.js';
import type { Registry, RegistryEntry, RegistryOperation } from './registry.js';
import { journalKey } from './schema.js';

const TRIES_MAX = 6;
const PAUSE_MS = 10;

type Writer = Pick<Registry, 'get' | 'transaction'>;

/**
 * Makes the key say `value`, held by `session`. A key that does so already is not written.
 * @param checks what must hold besides.
 * @returns false if a check failed or another session holds the key; nothing has changed then.
 */
export function lockJournalled(
  registry: Writer,
  prefix: string,
  lock: { readonly key: string; readonly value: string; readonly session: string },
  checks: readonly RegistryOperation[] = [],
): Promise<boolean> {
  return write(registry, prefix, lock.key, (own) =>
    own?.value === lock.value && own.session === lock.session
      ? { unchanged: [...checks, { verb: 'check-index', key: lock.key, casIndex: own.modifyIndex }] }
      : { changed: [...checks, { verb: 'lock', ...lock }] },
  );
}

/** @returns false if a check failed; nothing has changed then. A key that is not there is as good as deleted. */
export function deleteJournalled(
  registry: Writer,
  prefix: string,
  key: string,
  checks: readonly RegistryOperation[] = [],
): Promise<boolean> {
  return write(registry, prefix, key, (own) =>
    own === undefined ? { unchanged: [] } : { changed: [...checks, { verb: 'delete', key }] },
  );
}

type Plan = { readonly changed: RegistryOperation[] } | { readonly unchanged: RegistryOperation[] };

async function write(
  registry: Writer,
  prefix: string,
  key: string,
  planFor: (own: RegistryEntry | undefined) => Plan,
): Promise<boolean> {
  const journal = journalKey(prefix);
  const name = key.slice(prefix.length);
  const read = () => Promise.all([registry.get(key), registry.get(journal)]);
  let [own, before] = await read();
  for (let tries = 1; ; tries++) {
    const plan = planFor(own);
    if ('unchanged' in plan) {
      if (await registry.transaction(plan.unchanged)) return true;
    } else if (tries > TRIES_MAX) {
      return registry.transaction([...plan.changed, { verb: 'set', key: journal, value: cutJournal(name) }]);
    } else {
      const value = withChange(before, name);
      const casIndex = before?.modifyIndex ?? 0;
      if (await registry.transaction([...plan.changed, { verb: 'cas', key: journal, value, casIndex }])) return true;
    }
    await sleep(Math.random() * PAUSE_MS * 2 ** Math.min(tries, TRIES_MAX));
    const [ownNow, beforeNow] = await read();
    // If neither has moved, what was refused is what the caller asked for.
    if (ownNow?.modifyIndex === own?.modifyIndex && beforeNow?.modifyIndex === before?.modifyIndex) return false;
    [own, before] = [ownNow, beforeNow];
  }
}
