/**
 * Standing endpoints: they come back when their container runs again, or their named namespace is made again. Control
 * plane, main thread; docs/states.md has the states.
 *
 *     veth gone ─▶ stopped (addresses and MAC stay claimed) ─▶ the container is looked for ─▶ attached as it was
 *
 *     engine with events    looked for when it stops, when the stream begins, and at each start that the stream tells
 *     other engines         after 0.25, 0.5, 1, 2, 2, ... s while it is stopped
 *     named namespaces      every 0.25 s, also while they are attached: one may be made anew while the old one lives on
 *
 * Who is found is attached by `resume`, which runs in the network's turn and looks again whether it is still wanted.
 */
import type { Logger } from 'pino';
import type { EngineName } from '../api/container-schema.js';
import type { ContainerEngine } from '../plugins/engines/container-engine.js';
import type { ContainerFinder } from '../plugins/engines/container-finder.js';
import { mountedIdentity, type SandboxInput, sandboxIdentity } from '../ports/namespace.js';
import type { LocalEndpoint } from '../state/local-state.js';
import type { EndpointTable } from './endpoint-table.js';

const TICK_MS = 250;
const LOOK_GAP_MS_MAX = 2000;
const RETRY_GAP_MS_MAX = 30_000;

export interface StandingOptions {
  readonly table: EndpointTable;
  readonly containers: ContainerFinder;
  readonly logger: Logger;
  /** Attaches a stopped one. */
  readonly resume: (endpoint: LocalEndpoint, place: SandboxInput) => Promise<void>;
  /** Takes one off that is in another namespace than its container by now. */
  readonly stop: (endpoint: LocalEndpoint) => Promise<void>;
}

interface Wait {
  /** By performance.now(); infinite: the engine tells. */
  nextMs: number;
  gapMs: number;
  /** Why it could not be attached; told once. */
  told?: string;
}

interface Watch {
  readonly close: () => void;
  isListening: boolean;
}

export class StandingEndpoints {
  private readonly options: StandingOptions;
  private readonly waits = new Map<string, Wait>();
  private readonly watches = new Map<EngineName, Watch>();
  /** Endpoints that are being attached, and engines that are being asked for those that are due. */
  private readonly busy = new Set<string>();
  private readonly underWay = new Set<Promise<void>>();
  private timer: NodeJS.Timeout | undefined;
  private isRunning = false;

  constructor(options: StandingOptions) {
    this.options = options;
  }

  /** What stopped before is looked for from now on. */
  start(): void {
    this.isRunning = true;
    this.changed();
  }

  /** Nothing more begins; waits for what goes on. */
  async close(): Promise<void> {
    this.isRunning = false;
    clearInterval(this.timer);
    this.timer = undefined;
    for (const { close } of this.watches.values()) close();
    this.watches.clear();
    await Promise.all(this.underWay);
  }

  /** Some endpoint stands, has stopped, or stands no more. */
  changed(): void {
    if (!this.isRunning) return;
    const { table, containers } = this.options;
    const stopped = table.allStopped();
    const attached = table.all().filter(({ standing }) => standing !== undefined);
    for (const id of this.waits.keys()) if (!stopped.some((one) => one.id === id)) this.waits.delete(id);
    for (const { id } of stopped) if (!this.waits.has(id)) this.waits.set(id, { nextMs: 0, gapMs: TICK_MS });
    for (const engine of containers.engines) {
      const isWanted = [...stopped, ...attached].some((one) => placeOf(one).kind === engine.name);
      if (isWanted && !this.watches.has(engine.name)) this.watch(engine);
      if (!isWanted) {
        this.watches.get(engine.name)?.close();
        this.watches.delete(engine.name);
      }
    }
    const isWatching = stopped.length > 0 || attached.some((one) => placeOf(one).kind === 'netns');
    if (isWatching) this.timer ??= setInterval(() => this.tick(), TICK_MS).unref();
    else {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    if (stopped.length > 0) this.tick();
  }

  private watch(engine: ContainerEngine): void {
    if (engine.watch === undefined) return;
    const of = (wanted?: string) =>
      this.all().filter(
        (one) => placeOf(one).kind === engine.name && (wanted ?? placeOf(one).name) === placeOf(one).name,
      );
    const watch: Watch = { isListening: false, close: () => stream.close() };
    this.watches.set(engine.name, watch);
    const stream = engine.watch({
      onListening: () => {
        watch.isListening = true;
        this.run(() => this.look(engine, of()));
      },
      onLost: () => {
        watch.isListening = false;
        for (const { id } of of()) this.postpone(id, TICK_MS);
      },
      onStart: (name) => {
        const meant = of(name);
        if (meant.length > 0) this.run(() => this.look(engine, meant));
      },
    });
  }

  private all(): LocalEndpoint[] {
    const { table } = this.options;
    return [...table.all().filter(({ standing }) => standing !== undefined), ...table.allStopped()];
  }

  /** What is due is looked for. */
  private tick(): void {
    if (!this.isRunning) return;
    const { table, containers } = this.options;
    const now = performance.now();
    const due = table.allStopped().filter(({ id }) => (this.waits.get(id)?.nextMs ?? 0) <= now && !this.busy.has(id));
    const named = table.all().filter((one) => one.standing !== undefined && placeOf(one).kind === 'netns');
    for (const endpoint of [...due, ...named]) {
      if (placeOf(endpoint).kind === 'netns') this.run(() => this.lookAtNamespace(endpoint));
    }
    for (const engine of containers.engines) {
      const wanted = due.filter((one) => placeOf(one).kind === engine.name);
      if (wanted.length > 0 && !this.busy.has(engine.name)) {
        this.busy.add(engine.name);
        this.run(() => this.look(engine, wanted).finally(() => this.busy.delete(engine.name)));
      }
    }
  }

  private run(job: () => Promise<void>): void {
    if (!this.isRunning) return;
    const done = job().catch((error: unknown) => {
      this.options.logger.error({ event: 'standing.failed', err: error }, (error as Error).message);
    });
    this.underWay.add(done);
    void done.finally(() => this.underWay.delete(done));
  }

  private async lookAtNamespace(endpoint: LocalEndpoint): Promise<void> {
    const place = { netns: placeOf(endpoint).name };
    const identity = await mountedIdentity(place);
    if (identity !== undefined) await this.settle(endpoint, place, identity);
  }

  private async look(engine: ContainerEngine, endpoints: readonly LocalEndpoint[]): Promise<void> {
    const names = [...new Set(endpoints.map((one) => placeOf(one).name))];
    const found = await engine.inspect(names).catch((error: Error) => {
      this.options.logger.debug({ event: 'standing.engine-silent', err: error }, error.message);
      return [];
    });
    const jobs = endpoints.map(async (endpoint) => {
      const container = found.find(({ name }) => name === placeOf(endpoint).name);
      if (container?.pid === undefined) {
        this.postpone(endpoint.id, LOOK_GAP_MS_MAX);
        return;
      }
      const place = { pid: container.pid, container };
      const identity = await sandboxIdentity(place);
      if (identity !== undefined) await this.settle(endpoint, place, identity);
    });
    await Promise.all(jobs);
  }

  /** The container is there: the endpoint becomes, or is, attached to it. */
  private async settle(endpoint: LocalEndpoint, place: SandboxInput, identity: string): Promise<void> {
    const { table, logger } = this.options;
    if (this.busy.has(endpoint.id) || !this.isRunning) return;
    if (table.get(endpoint.id) !== undefined && endpoint.sandboxIdentity === identity) return;
    this.busy.add(endpoint.id);
    const wait = this.waits.get(endpoint.id);
    try {
      if (table.get(endpoint.id) === endpoint) await this.options.stop(endpoint);
      if (table.isStopped(endpoint)) await this.options.resume(endpoint, place);
    } catch (error) {
      const message = (error as Error).message;
      const known = this.waits.get(endpoint.id) ?? wait;
      const { network, name } = endpoint;
      if (known?.told !== message) {
        logger.warn(
          { event: 'standing.resume-failed', err: error, endpoint: endpoint.id, name, network },
          `${endpoint.sandbox} runs again, and endpoint "${name}" of network "${network}" does not: ${message}`,
        );
      }
      const gapMs = Math.min(RETRY_GAP_MS_MAX, 2 * Math.max(TICK_MS, known?.gapMs ?? 0));
      this.waits.set(endpoint.id, { gapMs, nextMs: performance.now() + gapMs, told: message });
    } finally {
      this.busy.delete(endpoint.id);
      this.changed();
    }
  }

  /** Not there yet: looked for again by and by, or when the engine tells. */
  private postpone(id: string, gapMsMax: number): void {
    const wait = this.waits.get(id);
    const endpoint = this.options.table.allStopped().find((one) => one.id === id);
    if (wait === undefined || endpoint === undefined) return;
    const isTold = this.watches.get(placeOf(endpoint).kind as EngineName)?.isListening === true;
    wait.nextMs = isTold ? Number.POSITIVE_INFINITY : performance.now() + wait.gapMs;
    wait.gapMs = Math.min(gapMsMax, 2 * wait.gapMs);
  }
}

/** `netns` or the engine, and the name there. */
function placeOf({ sandbox }: LocalEndpoint): { kind: string; name: string } {
  const colon = sandbox.indexOf(':');
  return { kind: sandbox.slice(0, colon), name: sandbox.slice(colon + 1) };
}
