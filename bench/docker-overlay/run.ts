/**
 * Program: Docker's own Consul-backed overlay (Docker 20.10.5) and vtep as Docker's network driver, side by side: the same
 * two dockerds, the same Consul, a network of each driver, measured in turn, round by round.
 *
 * Exit codes: 0; 1 something failed; 2 a wrong option. Whatever the end, everything that was made goes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { DOCKER_HOSTS, DockerPair } from '../../test/docker/docker-pair.js';
import { factsLine, machineFacts } from '../e2e/report/facts.js';
import { ROOT } from '../e2e/root.js';
import { type Driver, type Lengths, MeasuredDriver, type Sample } from './measure.js';
import { reportTable } from './report.js';

const USAGE = `Usage: bench/docker-overlay.sh [options]

Measures Docker's own overlay over Consul and vtep's network plugin side by side, as root.

  --rounds N       rounds, each with both (default: 5; at most 100)
  --seconds N      length of an iperf3 run (default: 3; at most 60)
  --starts N       containers started, and networks made, a round (default: 3; at most 20)
  --drivers a,b    overlay, vtep (default: both)
  --json PATH      where the figures go (default: .cache/bench-docker.json)
  --help           this text
`;

const OVERLAY: Driver = { name: 'overlay', label: "Docker's overlay", driver: 'overlay' };
const VTEP: Driver = { name: 'vtep', label: 'vtep', driver: 'vtep' };
/** The kernel's VXLAN of Docker's overlay has 4789 of the same hosts. */
const VTEPD_OPTIONS = ['--docker-plugin', 'on', '--docker-scope', 'global', '--port', '4790'];

interface Options extends Lengths {
  readonly rounds: number;
  readonly drivers: readonly Driver[];
  readonly jsonPath: string;
}

class UsageError extends Error {}

function wholeNumber(option: string, text: string | undefined, fallback: number, max: number): number {
  if (text === undefined) return fallback;
  const value = /^\d+$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw new UsageError(`${option} ${text}: must be a whole number from 1 to ${max}`);
}

function driversOf(text: string | undefined): Driver[] {
  return (text ?? 'overlay,vtep').split(',').map((name) => {
    const driver = [OVERLAY, VTEP].find((candidate) => candidate.name === name);
    if (driver === undefined) throw new UsageError(`--drivers ${text}: there is no "${name}"; there are overlay, vtep`);
    return driver;
  });
}

function parse(args: readonly string[]): Options | 'help' {
  const text = { type: 'string' } as const;
  const options = { rounds: text, seconds: text, starts: text, drivers: text, json: text } as const;
  let values: { [key in keyof typeof options]?: string } & { help?: boolean };
  try {
    values = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } } }).values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message.split(/\. |\n/)[0]}: see --help`);
  }
  if (values.help) return 'help';
  return {
    rounds: wholeNumber('--rounds', values.rounds, 5, 100),
    seconds: wholeNumber('--seconds', values.seconds, 3, 60),
    starts: wholeNumber('--starts', values.starts, 3, 20),
    pings: 400,
    drivers: driversOf(values.drivers),
    jsonPath: values.json ?? join(ROOT, '.cache/bench-docker.json'),
  };
}

const say = (text: string) => process.stdout.write(`${text}\n`);

async function measure(pair: DockerPair, options: Options): Promise<Map<string, Sample[]>> {
  const measured = options.drivers.map((driver) => new MeasuredDriver(pair, driver));
  if (options.drivers.includes(VTEP)) await Promise.all(DOCKER_HOSTS.map((host) => pair.startVtepd(host)));
  for (const one of measured) await one.up();
  const rounds = new Map<string, Sample[]>(options.drivers.map(({ name }) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    // Whoever is first after a pause pays for cold caches: they take turns.
    const order = round % 2 === 0 ? measured : [...measured].reverse();
    for (const one of order) {
      const sample = await one.round(options);
      rounds.get(one.driver.name)!.push(sample);
      const figures = Object.entries(sample).map(([id, value]) => `${id} ${value.toFixed(3)}`);
      say(`round ${round + 1}, ${one.driver.label}: ${figures.join(', ')}`);
    }
  }
  return rounds;
}

async function main(): Promise<void> {
  const options = parse(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  const facts = machineFacts();
  const pair = await DockerPair.start({ suite: 'bullseye', clusterStore: true, daemonOptions: VTEPD_OPTIONS });
  try {
    const rounds = await measure(pair, options);
    say(`\n${reportTable(options.drivers, rounds, options.drivers[0]!)}\n\n${factsLine(facts)}`);
    mkdirSync(dirname(options.jsonPath), { recursive: true });
    writeFileSync(options.jsonPath, `${JSON.stringify({ facts, rounds: Object.fromEntries(rounds) }, null, 2)}\n`);
  } finally {
    await pair.cleanup();
  }
}

main().catch((error: Error) => {
  process.stderr.write(`docker-overlay: ${error.message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
