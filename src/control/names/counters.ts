/** What a network's names server has done, in numbers for `vtep status`. Main thread. */

export const NAMES_COUNTERS = [
  'queries',
  /** From what this host knows, refusals included. */
  'answered',
  'forwarded',
  /** Waited for the answer to an equal question that was under way. */
  'shared',
  /** No resolver answered in time: SERVFAIL. */
  'forwardFailures',
  /** Not a query, or not to be understood. */
  'malformed',
  /** More than the server takes at once or in a second. */
  'overload',
  /** An answer could not be sent. */
  'sendFailures',
] as const;

export type NamesCounter = (typeof NAMES_COUNTERS)[number];
export type NamesCounters = Record<NamesCounter, number>;

export function newNamesCounters(): NamesCounters {
  return Object.fromEntries(NAMES_COUNTERS.map((name) => [name, 0])) as NamesCounters;
}
