/**
 * Program: the scale benchmark, one vtepd in a system of many simulated hosts.
 *
 *     Consul, vtepd ─▶ fill the registry ─▶ attach ─▶ idle ─▶ latency ─▶ cost ─▶ load ─▶ tables right? ─▶ restarts ─▶ watchers ─▶ report
 *
 * Exit codes: 0; 1 something failed, or a change did not arrive; 2 a wrong option; 130, 143, 129 ended by a signal.
 * Whatever the end, everything that was made goes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { factsLine, machineFacts } from '../e2e/report/facts.js';
import { ROOT } from '../e2e/root.js';
import { Testbed } from '../e2e/topology.js';
import { Changes } from './changes.js';
import { Ground } from './ground.js';
import { awaitTables, measureCost, measureIdle, measureLatency, measureLoad } from './measure.js';
import { parseOptions, type ScaleOptions, USAGE, UsageError } from './options.js';
import { Population } from './population.js';
import { type Figures, reportJson, reportTables } from './report.js';
import { SimulatedHosts } from './simulated-hosts.js';
import { measureWatchers } from './watchers.js';

const say = (text: string) => process.stdout.write(`${text}\n`);
const complain = (text: string) => process.stderr.write(`scale: ${text}\n`);
/** After which memory and CPU have come to rest. */
const SETTLE_MS = 3000;

/** A signal that ends the run: the reason of the abort. */
class Ended extends Error {
  constructor(readonly signalName: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`ended by ${signalName}`);
  }
}

async function measure(ground: Ground, options: ScaleOptions, signal: AbortSignal): Promise<Figures> {
  const isShort = options.changes < 5;
  const settle = () => sleep(isShort ? SETTLE_MS / 6 : SETTLE_MS, undefined, { signal });
  const population = new Population(options);
  const names = population.networkNames();
  const watched = names.slice(0, options.watched);
  const hosts = new SimulatedHosts(ground.consul);

  await ground.startVtepd();
  await settle();
  const empty = ground.memory();
  const fillBegunMs = performance.now();
  await hosts.settle(population);
  const fillSeconds = (performance.now() - fillBegunMs) / 1000;
  say(`filled: ${options.hosts} hosts, ${options.endpoints} endpoints, ${options.networks} networks`);

  const attached = await ground.attach(watched);
  await awaitTables(ground, population.macsOf(new Set(watched)), performance.now());
  await settle();
  const full = ground.memory();
  say(`attached: ${attached.length} networks here`);
  const idle = await measureIdle(ground, isShort ? 1 : 10);

  const changes = new Changes(population, hosts, watched);
  const arrived = await measureLatency(ground, changes, options.changes);
  say(`latency: ${arrived.length} changes`);
  const { costs, missing } = await measureCost(ground, changes, options.changes, idle);
  say(`cost: ${costs.length} changes`);
  const load = await measureLoad(ground, changes, options.rate, options.seconds);
  say(`load: ${load.arrived.length} changes`);
  const wanted = population.macsOf(new Set(watched));
  await awaitTables(ground, wanted, performance.now());
  const end = ground.memory();

  await ground.stopVtepd();
  const warmStartMs = await restart(ground, wanted);
  await ground.stopVtepd();
  await ground.forgetReadings(watched);
  const coldStartMs = await restart(ground, wanted);
  await ground.stopVtepd();
  say('restarted twice');
  const { consulSocketPath: socketPath, consulPid } = ground;
  const watchers = await measureWatchers({ socketPath, consulPid, count: options.hosts, population, hosts });

  const lost = [...arrived, ...load.arrived].filter(({ milliseconds }) => milliseconds === undefined);
  return {
    ...{ machine: machineFacts(), consulVersion: ground.consulVersion, options, fillSeconds, attached, idle },
    ...{
      arrived,
      costs,
      load,
      coldStartMs,
      warmStartMs,
      tableEntries: wanted.size,
      memory: { empty, full, end },
      watchers,
    },
    missing: [...lost, ...missing].map(({ kind }) => kind),
  };
}

async function restart(ground: Ground, wanted: ReadonlySet<string>): Promise<number> {
  const begunMs = performance.now();
  await ground.startVtepd();
  return awaitTables(ground, wanted, begunMs);
}

async function bench(options: ScaleOptions, signal: AbortSignal): Promise<number> {
  const testbed = new Testbed(signal);
  let figures: Figures;
  say(factsLine(machineFacts()));
  try {
    const ground = await Ground.lay(testbed, options.vtepdArgs);
    figures = await measure(ground, options, signal);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    await testbed.remove();
  }
  say(`\n${reportTables(figures)}`);
  mkdirSync(dirname(options.jsonPath), { recursive: true });
  writeFileSync(options.jsonPath, reportJson(figures));
  say(`figures: ${options.jsonPath}`);
  for (const kind of figures.missing) complain(`a change did not arrive: ${kind}`);
  return figures.missing.length > 0 ? 1 : 0;
}

async function main(): Promise<number> {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Stays installed: a second Ctrl-C must not stop the removal half-way.
    process.on(name, () => controller.abort(new Ended(name)));
  }
  try {
    const options = parseOptions(process.argv.slice(2), join(ROOT, '.cache/bench-scale.json'));
    if (options === 'help') {
      process.stdout.write(USAGE);
      return 0;
    }
    if (process.getuid?.() !== 0) {
      complain('makes network namespaces and needs root: run it as root or with sudo');
      return 1;
    }
    return await bench(options, controller.signal);
  } catch (error) {
    complain((error as Error).message);
    if (error instanceof Ended) return 128 + constants.signals[error.signalName];
    return error instanceof UsageError ? 2 : 1;
  }
}

process.exit(await main());
