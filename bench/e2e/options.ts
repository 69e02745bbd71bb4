/** The command line of the benchmark. */
import { parseArgs } from 'node:util';
import { GROUPS, type Group } from './figures.js';

export const USAGE = `Usage: npm run bench:e2e -- [options]

Measures vtep end to end beside the kernel's VXLAN, in network namespaces, round by round, as root.

  --rounds N           rounds, each with every system (default: 5)
  --seconds N          length of an iperf3 run (default: 4)
  --only a,b           measurements: ${GROUPS.join(', ')} (default: all)
  --systems a,b        systems by name (default: all; see bench/e2e/systems)
  --system PATH        a further system, a compiled .js or .mjs file; may be given more than once
  --vtepd-args "..."   further options for vtepd, such as "--workers 2"
  --json PATH          where the figures go (default: .cache/bench-e2e.json)
  --chart PATH         draw a chart, as SVG
  --quick              1 round of 1 s, few pings, short steps: to see that it works, not to measure
  --help               this text
`;

export interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly stepSeconds: number;
  readonly pingCount: number;
  readonly idleSeconds: number;
  readonly only: readonly Group[];
  /** undefined: all */
  readonly systems: readonly string[] | undefined;
  readonly systemPaths: readonly string[];
  readonly vtepdArgs: readonly string[];
  readonly jsonPath: string;
  readonly chartPath: string | undefined;
  readonly quick: boolean;
}

/** What the user gave is wrong; the message says what would be right. */
export class UsageError extends Error {}

const FULL = { rounds: 5, seconds: 4, stepSeconds: 1, pingCount: 1000, idleSeconds: 10 };
const QUICK = { rounds: 1, seconds: 1, stepSeconds: 0.3, pingCount: 100, idleSeconds: 1 };

function wholeNumber(option: string, text: string, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw new UsageError(`${option} ${text}: must be a whole number from 1 to ${max}`);
}

/** The names of a list, in it and without blanks; `known` are the ones that there are. */
export function namesOf<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !known.includes(name as T));
  if (unknown !== undefined) {
    throw new UsageError(`${option} ${text}: there is no "${unknown}"; there are ${known.join(', ')}`);
  }
  return [...new Set(names)] as T[];
}

/** parseArgs takes a value that begins with a dash for a forgotten one; this option's always does. */
function joinVtepdArgs(args: readonly string[]): string[] {
  const at = args.indexOf('--vtepd-args');
  const value = args[at + 1];
  return at === -1 || value === undefined
    ? [...args]
    : [...args.slice(0, at), `--vtepd-args=${value}`, ...args.slice(at + 2)];
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: joinVtepdArgs(args),
      options: {
        rounds: text,
        seconds: text,
        only: text,
        systems: text,
        system: { type: 'string', multiple: true },
        'vtepd-args': text,
        json: text,
        chart: text,
        quick: flag,
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    // The first sentence names the option; what follows are hints for the author of a program.
    throw new UsageError(`${(error as Error).message.split(/\. |\n/)[0]}: see --help`);
  }
}

/** @returns 'help' if that is asked for. @throws UsageError */
export function parseOptions(args: readonly string[], jsonPathDefault: string): BenchOptions | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const defaults = values.quick ? QUICK : FULL;
  const { rounds, seconds } = values;
  return {
    ...defaults,
    ...(rounds === undefined ? {} : { rounds: wholeNumber('--rounds', rounds, 1000) }),
    ...(seconds === undefined ? {} : { seconds: wholeNumber('--seconds', seconds, 3600) }),
    only: values.only === undefined ? GROUPS : namesOf('--only', values.only, GROUPS),
    systems: values.systems?.split(',').map((name) => name.trim()),
    systemPaths: values.system ?? [],
    vtepdArgs: values['vtepd-args']?.split(/\s+/).filter(Boolean) ?? [],
    jsonPath: values.json ?? jsonPathDefault,
    chartPath: values.chart,
    quick: values.quick ?? false,
  };
}
