/**
 * Durations as Consul writes them, which is as Go does: "10s", "1m30s", "250ms". Embedded registry.
 */
const UNIT_NANOSECONDS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** @returns nanoseconds, or undefined when `text` is no duration. "0" is one; "10" lacks its unit. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let nanoseconds = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    nanoseconds += Number(amount) * (UNIT_NANOSECONDS[unit ?? ''] ?? Number.NaN);
  }
  return Math.round(nanoseconds);
}
