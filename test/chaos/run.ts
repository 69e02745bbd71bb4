/**
 * One chaos run: a world, actions, quiet points. It ends at the first violation, with all that is needed to look into it:
 * seed, action number, the last actions, what differs, and the folder with the logs and the recording, which is kept.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from '../../src/control/api/schema.js';
import type { Action, HostNumber, Recording } from './actions.js';
import { BEACON_NETWORK, Beacon, beaconContainer } from './beacon.js';
import { checkConnectivity } from './connectivity.js';
import { Executor } from './executor.js';
import { generateActions } from './generator.js';
import { checkHoldings, describeHoldings, type Holdings, type HoldingsLimits, readHoldings } from './holdings.js';
import { Model } from './model.js';
import { observe, settles } from './observation.js';
import { compare, settle } from './oracle.js';
import { Random } from './random.js';
import { nodeName, World } from './world.js';

/** Session TTL, twice as Consul counts, the time that a lost host is held, and room for a busy machine. */
const CONVERGE_MS_MAX = 75_000;
const LAST_ACTIONS = 30;
/** vtepd's default, per network that is open on a host. */
const SPARES = 2;

export interface RunOptions {
  readonly seed: number;
  readonly hosts: number;
  /** Ends with the quiet point after it. */
  readonly minutes?: number;
  /** Ends with the quiet point after so many actions. */
  readonly actionsMax?: number;
  /** Actions between quiet points. @default 15 */
  readonly every?: number;
  /** Instead of those of the seed. */
  readonly replay?: readonly Action[];
  readonly keepLogs?: boolean;
  readonly print?: (line: string) => void;
}

export interface RunResult {
  readonly actions: number;
  readonly quietPoints: number;
  readonly pings: number;
  /** Empty: all was as it should be. */
  readonly violations: readonly string[];
  /** For a person: everything about the violation. */
  readonly report: string;
}

export async function runChaos(options: RunOptions): Promise<RunResult> {
  const world = new World(options.hosts);
  const run = new ChaosRun(world, options);
  let failed = true;
  try {
    const result = await run.run();
    failed = result.violations.length > 0;
    return result;
  } catch (error) {
    (error as Error).message += `\nlogs and actions.json: ${world.folder}`;
    throw error;
  } finally {
    run.record();
    await world.remove({ keepLogs: failed || options.keepLogs === true });
  }
}

class ChaosRun {
  readonly #world: World;
  readonly #options: RunOptions;
  readonly #model = new Model();
  readonly #executor: Executor;
  readonly #random: Random;
  readonly #done: Action[] = [];
  readonly #words: string[] = [];
  readonly #startedMs = performance.now();
  readonly #limits = new Map<HostNumber, HoldingsLimits>();
  #beacon: Beacon | undefined;
  #quietPoints = 0;
  #pings = 0;

  constructor(world: World, options: RunOptions) {
    this.#world = world;
    this.#options = options;
    this.#executor = new Executor(world, this.#model);
    this.#random = new Random(options.seed ^ 0x5eed);
  }

  record(): void {
    const { seed, hosts } = this.#options;
    const recording: Recording = { seed, hosts, actions: this.#done };
    writeFileSync(join(this.#world.folder, 'actions.json'), `${JSON.stringify(recording, undefined, 1)}\n`);
  }

  async run(): Promise<RunResult> {
    await this.#world.setUp();
    for (const host of this.#world.hosts) await this.#world.startDaemon(host);
    await this.#makeBeacons();
    let violations = this.#accidents();
    for (const action of this.#actions()) {
      if (violations.length > 0) break;
      this.#done.push(action);
      violations = await this.#step(action);
    }
    const report = violations.length === 0 ? '' : this.#report(violations);
    return {
      actions: this.#done.filter(({ kind }) => kind !== 'quiet').length,
      ...{ quietPoints: this.#quietPoints, pings: this.#pings, violations, report },
    };
  }

  *#actions(): Generator<Action> {
    const { seed, hosts, every, minutes, actionsMax, replay } = this.#options;
    if (replay !== undefined) {
      yield* replay;
      return;
    }
    const source = generateActions({ seed, hosts, ...(every === undefined ? {} : { every }) });
    for (const action of source) {
      yield action;
      const late = minutes !== undefined && performance.now() - this.#startedMs > minutes * 60_000;
      const many = actionsMax !== undefined && this.#done.length > actionsMax;
      if (!late && !many) continue;
      if (action.kind !== 'quiet') yield { kind: 'quiet', spared: [] };
      return;
    }
  }

  async #step(action: Action): Promise<string[]> {
    const number = this.#done.length;
    const startedMs = performance.now();
    const before = Math.round((startedMs - this.#startedMs) / 100) / 10;
    let text: string;
    let violations: string[] = [];
    if (action.kind === 'quiet') {
      violations = await this.#quiet(action.spared);
      text = violations.length === 0 ? 'all as it should be' : `${violations.length} things differ`;
    } else {
      text = await this.#executor.execute(action);
    }
    const took = Math.round(performance.now() - startedMs);
    const line = `#${number} at ${before} s, ${took} ms: ${JSON.stringify(action)}: ${text}`;
    this.#words.push(line);
    this.#options.print?.(line);
    return [...violations, ...this.#executor.violations, ...this.#accidents()];
  }

  #accidents(): string[] {
    return [...this.#world.accidents];
  }

  async #makeBeacons(): Promise<void> {
    const answer = await this.#world.api(1, 'POST', '/v1/networks', { name: BEACON_NETWORK, ipv6: true });
    if (answer.code !== undefined) throw new Error(`the first network could not be made: ${answer.text}`);
    const { id, vni, subnets } = answer.body as Network;
    const [subnet, subnet6] = subnets.map(({ cidr }) => cidr) as [string, string];
    this.#model.networks.set(BEACON_NETWORK, {
      name: BEACON_NETWORK,
      id,
      vni,
      ...{ subnet, subnet6 },
      pooled: true,
    });
    await this.#executor.attachments.ensureBeacons();
  }

  async #quiet(spared: readonly HostNumber[]): Promise<string[]> {
    this.#quietPoints++;
    const lost = await this.#stopBeacon();
    await this.#executor.healAll();
    await this.#executor.attachments.ensureBeacons();
    const differences = [...lost, ...(await this.#converge())];
    if (differences.length > 0) return differences;
    const wrong = [...(await checkConnectivity(this.#world, this.#model, this.#random)), ...this.#checkHoldings()];
    await this.#executor.attachments.removeIdle();
    this.#executor.calmDown();
    this.#model.dead.clear();
    if (wrong.length === 0) this.#startBeacon(spared);
    return wrong;
  }

  async #converge(): Promise<string[]> {
    const hosts = this.#world.hosts.map((host) => ({
      ...{ host, node: nodeName(host), address: this.#world.address(host) },
    }));
    let differences: string[] = [];
    await settles(async () => {
      if (this.#accidents().length > 0) return true;
      const seen = await observe(this.#world, this.#executor.attachments.containers());
      if (typeof seen === 'string') {
        differences = [seen];
        return false;
      }
      const settled = settle(this.#model, seen);
      differences = compare(settled, hosts, seen, SPARES);
      if (differences.length > 0) return false;
      this.#model.become(settled);
      return true;
    }, CONVERGE_MS_MAX);
    return differences.length === 0
      ? []
      : [`${CONVERGE_MS_MAX / 1000} s after all was healed, this differs:`, ...differences];
  }

  #checkHoldings(): string[] {
    return this.#world.hosts.flatMap((host) => {
      const now = readHoldings(this.#world, host);
      if (now === undefined) return [`${nodeName(host)} has no vtepd`];
      this.#options.print?.(`   ${describeHoldings(nodeName(host), now)}`);
      const open = new Set(this.#model.at(host).map(({ network }) => network)).size;
      const limits = this.#limits.get(host);
      if (limits !== undefined) return checkHoldings(nodeName(host), now, open, limits);
      this.#limits.set(host, { baseline: now satisfies Holdings, baselineNetworks: open });
      return [];
    });
  }

  #startBeacon(spared: readonly HostNumber[]): void {
    const [from, to] = spared;
    if (from === undefined || to === undefined) return;
    const target = this.#model.of(beaconContainer(to))[0];
    if (target !== undefined) this.#beacon = new Beacon(this.#world, from, to, target.ip);
  }

  async #stopBeacon(): Promise<string[]> {
    const beacon = this.#beacon;
    this.#beacon = undefined;
    if (beacon === undefined) return [];
    const { sent, lost, duplicates } = await beacon.stop();
    this.#pings += sent;
    const wrong: string[] = [];
    if (lost.length > 0)
      wrong.push(`${lost.length} of ${sent} pings were lost, ${beacon.description}: ${ranges(lost).join(', ')}`);
    if (duplicates > 0) wrong.push(`${duplicates} of ${sent} pings were answered twice, ${beacon.description}`);
    return wrong;
  }

  #report(violations: readonly string[]): string {
    const { seed, hosts } = this.#options;
    return [
      `VIOLATION at action ${this.#done.length} of seed ${seed}, ${hosts} hosts`,
      ...violations.map((text) => `  ${text}`),
      `the last actions:`,
      ...this.#words.slice(-LAST_ACTIONS).map((text) => `  ${text}`),
      `logs and actions.json (for --replay): ${this.#world.folder}`,
    ].join('\n');
  }
}

/** 1, 2, 3, 7 as 1-3, 7. */
function ranges(numbers: readonly number[]): string[] {
  const found: [number, number][] = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`));
}
