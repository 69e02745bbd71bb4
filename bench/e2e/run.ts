/**
 * Program: the end-to-end benchmark.
 *
 *     load systems ─▶ all up ─▶ idle baseline ─▶ rounds: each measurement, each system ─▶ idle daemons ─▶ all down
 *                                                         │
 *                                                         └▶ tables, JSON, chart
 *
 * A measurement that fails costs its sample, not the run. Exit codes: 0; 1 something failed; 2 a wrong option;
 * 130, 143, 129 ended by a signal. Whatever the end, everything that was made goes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FIGURES } from './figures.js';
import { measureIdleCores } from './measure/cpu.js';
import { DISTURBED_CORES, startForeignCount } from './measure/foreign.js';
import { type IdleDaemon, measureIdle } from './measure/idle.js';
import { MEASUREMENTS, type Measurement } from './measure/measurements.js';
import { waitForPath } from './measure/ping.js';
import { type BenchOptions, namesOf, parseOptions, USAGE, UsageError } from './options.js';
import { drawChart } from './report/chart.js';
import { factsLine, machineFacts } from './report/facts.js';
import { reportJson } from './report/json.js';
import { Results } from './report/results.js';
import { idleTable, resultTables } from './report/tables.js';
import { ROOT } from './root.js';
import { loadSystems, type Path, type System } from './system.js';
import { Testbed } from './topology.js';

const SETTLE_MS = 2000;
const say = (text: string) => process.stdout.write(`${text}\n`);
const complain = (text: string) => process.stderr.write(`bench: ${text}\n`);
const oneLine = (error: unknown) => (error as Error).message.trim().replaceAll('\n', ' | ');

/** A signal that ends the run: the reason of the abort. */
class Ended extends Error {
  constructor(readonly signalName: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`ended by ${signalName}`);
  }
}

function abortOnSignals(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Stays installed: a second Ctrl-C must not stop the removal half-way.
    process.on(name, () => controller.abort(new Ended(name)));
  }
  // A reader that has gone away (`| head`) is no reason to leave things behind.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => controller.abort(new Ended('SIGHUP')));
  }
  return controller.signal;
}

async function chooseSystems(options: BenchOptions): Promise<System[]> {
  const all = await loadSystems(ROOT, options.systemPaths).catch((error: Error) => {
    throw new UsageError(error.message);
  });
  if (options.systems === undefined) return all;
  const wanted = namesOf(
    '--systems',
    options.systems.join(','),
    all.map(({ name }) => name),
  );
  return all.filter(({ name }) => wanted.includes(name));
}

async function bringUp(
  testbed: Testbed,
  systems: readonly System[],
  options: BenchOptions,
): Promise<Map<string, Path>> {
  const paths = new Map<string, Path>();
  for (const system of systems) {
    const path = await system.up(await testbed.addTopology(system.name), { vtepdArgs: options.vtepdArgs });
    await waitForPath(testbed, path);
    paths.set(system.name, path);
    say(`up: ${system.name}`);
  }
  return paths;
}

interface Run {
  readonly testbed: Testbed;
  readonly options: BenchOptions;
  readonly paths: ReadonlyMap<string, Path>;
  readonly results: Results;
  readonly idleCores: number;
}

async function measure(run: Run, round: number, measurement: Measurement, system: string): Promise<void> {
  const { testbed, options, results, idleCores } = run;
  const where = { round, system, measurement: measurement.name };
  const head = `round ${round}/${options.rounds}  ${measurement.name.padEnd(11)}  ${system.padEnd(19)}`;
  try {
    const context = { testbed, path: run.paths.get(system)!, idleCores, ...options };
    const foreign = startForeignCount(testbed.namespaces);
    const { figures, details } = await measurement.run(context);
    const foreignCores = foreign();
    const isDisturbed = foreignCores > DISTURBED_CORES;
    if (isDisturbed) results.disturbances.push({ ...where, foreignCores });
    const wanted = FIGURES.filter(({ id, group }) => figures[id] !== undefined && options.only.includes(group));
    for (const { id } of wanted) results.add(id, system, round, figures[id]!);
    if (details !== undefined) results.details.push({ ...where, ...details });
    const shown = wanted.map(({ id, digits, unit }) => `${id} ${figures[id]!.toFixed(digits)} ${unit}`).join(', ');
    say(`${head}  ${shown}${isDisturbed ? `  (disturbed: others used ${foreignCores.toFixed(1)} cores)` : ''}`);
  } catch (error) {
    testbed.signal.throwIfAborted();
    results.failures.push({ ...where, reason: oneLine(error) });
    say(`${head}  failed: ${oneLine(error)}`);
  }
}

async function runRounds(run: Run): Promise<void> {
  const measurements = MEASUREMENTS.filter(({ groups }) => groups.some((group) => run.options.only.includes(group)));
  for (let round = 1; round <= run.options.rounds; round++) {
    // The systems next to each other in time, measurement by measurement: what disturbs one disturbs the others too.
    for (const measurement of measurements) {
      for (const system of run.paths.keys()) await measure(run, round, measurement, system);
    }
  }
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

async function bench(options: BenchOptions, signal: AbortSignal): Promise<number> {
  const systems = await chooseSystems(options);
  const facts = machineFacts();
  const results = new Results(systems);
  let idle: IdleDaemon[] = [];
  const testbed = new Testbed(signal);
  say(factsLine(facts));
  try {
    const paths = await bringUp(testbed, systems, options);
    const settle = () => sleep(options.quick ? SETTLE_MS / 4 : SETTLE_MS, undefined, { signal });
    await settle();
    const idleCores = await measureIdleCores(options.quick ? 0.5 : 3);
    say(`all up; the idle machine uses ${(100 * idleCores).toFixed(1)} % of a core\n`);
    await runRounds({ testbed, options, paths, results, idleCores });
    if (options.only.includes('idle')) idle = await measureIdle(paths, options.idleSeconds, settle);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    for (const system of systems) await system.down?.().catch((error: unknown) => complain(oneLine(error)));
    await testbed.remove();
  }
  say(`\n${resultTables(results)}`);
  if (idle.length > 0) say(idleTable(idle));
  write(options.jsonPath, reportJson(facts, options, results, idle));
  say(`figures: ${options.jsonPath}`);
  if (options.chartPath !== undefined) {
    write(options.chartPath, drawChart(results, factsLine(facts)));
    say(`chart: ${options.chartPath}`);
  }
  if (results.disturbances.length > 0) {
    complain(`${results.disturbances.length} measurements were disturbed by other processes on this machine`);
  }
  for (const { round, system, measurement, reason } of results.failures) {
    complain(`round ${round}, ${measurement}, ${system}: ${reason}`);
  }
  return results.failures.length > 0 ? 1 : 0;
}

async function main(): Promise<number> {
  try {
    const options = parseOptions(process.argv.slice(2), join(ROOT, '.cache/bench-e2e.json'));
    if (options === 'help') {
      process.stdout.write(USAGE);
      return 0;
    }
    if (process.getuid?.() !== 0) {
      complain('makes network namespaces and needs root: run it as root or with sudo');
      return 1;
    }
    return await bench(options, abortOnSignals());
  } catch (error) {
    complain(error instanceof UsageError ? error.message : (error as Error).message);
    if (error instanceof Ended) return 128 + constants.signals[error.signalName];
    return error instanceof UsageError ? 2 : 1;
  }
}

process.exitCode = await main();
