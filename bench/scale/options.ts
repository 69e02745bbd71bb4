/** The command line of the scale benchmark. */
import { parseArgs } from 'node:util';

export const USAGE = `Usage: npm run scale -- [options]

Measures one vtepd in a full system: many simulated hosts in one Consul, in network namespaces, as root.

  --hosts N        simulated hosts (default: 1000)
  --endpoints N    simulated endpoints, spread over hosts and networks (default: 20000)
  --networks N     networks (default: 500)
  --watched N      networks with an endpoint on the real vtepd (default: 50)
  --changes N      changes of each kind, for latency and again for cost (default: 20)
  --seconds N      length of the mixed load (default: 20)
  --rate N         changes a second of the mixed load (default: 20)
  --vtepd-args "..."  further options for vtepd
  --json PATH      where the figures go (default: .cache/bench-scale.json)
  --help           this text
`;

export interface ScaleOptions {
  readonly hosts: number;
  readonly endpoints: number;
  readonly networks: number;
  readonly watched: number;
  readonly changes: number;
  readonly seconds: number;
  readonly rate: number;
  readonly vtepdArgs: readonly string[];
  readonly jsonPath: string;
}

/** What the user gave is wrong; the message says what would be right. */
export class UsageError extends Error {}

const DEFAULTS = { hosts: 1000, endpoints: 20_000, networks: 500, watched: 50, changes: 20, seconds: 20, rate: 20 };
type Count = keyof typeof DEFAULTS;
/** VTEPs and networks: what vtepd's tables hold. Endpoints: its FDB. */
const LIMITS: Record<Count, number> = {
  hosts: 4000,
  endpoints: 100_000,
  networks: 4000,
  watched: 500,
  changes: 1000,
  seconds: 3600,
  rate: 1000,
};
const COUNTS = Object.keys(DEFAULTS) as Count[];

function count(name: Count, text: string | undefined): number {
  if (text === undefined) return DEFAULTS[name];
  const value = /^\d+$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= LIMITS[name]) return value;
  throw new UsageError(`--${name} ${text}: must be a whole number from 1 to ${LIMITS[name]}`);
}

/** parseArgs takes a value that begins with a dash for a forgotten one; this option's always does. */
function joinVtepdArgs(args: readonly string[]): string[] {
  const at = args.indexOf('--vtepd-args');
  const value = args[at + 1];
  if (at === -1 || value === undefined) return [...args];
  return [...args.slice(0, at), `--vtepd-args=${value}`, ...args.slice(at + 2)];
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const counts = Object.fromEntries(COUNTS.map((name) => [name, text])) as Record<Count, typeof text>;
  try {
    const options = { ...counts, 'vtepd-args': text, json: text, help: { type: 'boolean', short: 'h' } } as const;
    return parseArgs({ args: joinVtepdArgs(args), options }).values;
  } catch (error) {
    // The first sentence names the option; what follows are hints for the author of a program.
    throw new UsageError(`${(error as Error).message.split(/\. |\n/)[0]}: see --help`);
  }
}

/** @returns 'help' if that is asked for. @throws UsageError */
export function parseOptions(args: readonly string[], jsonPathDefault: string): ScaleOptions | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const counts = Object.fromEntries(COUNTS.map((name) => [name, count(name, values[name])])) as Record<Count, number>;
  const { hosts, endpoints, networks, watched } = counts;
  if (networks < 2) throw new UsageError(`--networks ${networks}: must be at least 2, one of them wide`);
  if (watched > networks) throw new UsageError(`--watched ${watched}: must be at most --networks ${networks}`);
  if (endpoints < hosts) throw new UsageError(`--endpoints ${endpoints}: must be at least --hosts ${hosts}`);
  return {
    ...counts,
    vtepdArgs: values['vtepd-args']?.split(/\s+/).filter(Boolean) ?? [],
    jsonPath: values.json ?? jsonPathDefault,
  };
}
