/**
 * vtepd dies after each single effect of a standing endpoint's stop, its coming back and its end, with the registry and
 * without it, and starts again: the endpoint stands with its addresses, or is gone with all of it. On a host without kernel
 * and processes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NetworkStore } from '../../../src/control/networks/network-store.js';
import type { LocalEndpoint } from '../../../src/control/state/local-state.js';
import { MemoryRegistry } from '../memory-registry.js';
import { PaperHost } from '../plugins/docker/paper-docker.js';

const EFFECTS_MAX = 60;
let directory: string;
let registry: MemoryRegistry;
let count = 0;

beforeEach(async () => {
  directory = mkdtempSync('/dev/shm/vtct-');
  registry = new MemoryRegistry();
  await new NetworkStore(registry, async () => []).create({ name: 'blue', internal: true });
});
afterEach(() => rmSync(directory, { recursive: true }));

class Case {
  readonly host: PaperHost;
  readonly path: string;
  first!: LocalEndpoint;

  constructor() {
    this.host = new PaperHost(`h${++count}`, registry, directory);
    this.path = join(directory, `web-${count}`);
  }

  async begin(): Promise<void> {
    await this.host.start();
    this.host.kernel.boot(this.path);
    this.first = await this.attach();
    await this.host.manager.idle();
  }

  attach(): Promise<LocalEndpoint> {
    return this.host.manager.attach({ network: 'blue', netns: this.path, standing: true, mayExist: true });
  }

  /** The container ends, and vtepd sees it. */
  async stop(): Promise<void> {
    this.host.kernel.end(this.path);
    await this.host.manager.checkLinks();
  }

  /** The container runs again, and vtepd is told. */
  async resume(): Promise<void> {
    this.host.kernel.boot(this.path);
    await this.attach();
  }

  /** Stopped or attached, it is the one that it was, and the registry, the kernel and the local copy say so too. */
  stands(how: 'stopped' | 'attached'): void {
    const { manager, kernel, state } = this.host;
    const { id, mac, addresses } = this.first;
    const same = [{ id, mac, addresses }];
    const [here, nowhere] =
      how === 'attached' ? [manager.all(), manager.allStopped()] : [manager.allStopped(), manager.all()];
    expect(here).toMatchObject(same);
    expect(nowhere).toEqual([]);
    expect(how === 'attached' ? state.endpoints() : state.stoppedEndpoints()).toMatchObject(same);
    expect(how === 'attached' ? state.stoppedEndpoints() : state.endpoints()).toEqual([]);
    expect(state.intents()).toEqual([]);
    expect(kernel.veths()).toEqual(how === 'attached' ? [this.first.hostInterface] : []);
    if (registry.down) return;
    expect(Object.fromEntries(this.host.claims())).toEqual({ [addresses[0]!.split('/')[0]!]: id });
    expect(this.published()).toEqual(how === 'attached' ? [id] : []);
  }

  gone(): void {
    const { manager, kernel, state } = this.host;
    expect([...manager.all(), ...manager.allStopped(), ...state.endpoints(), ...state.stoppedEndpoints()]).toEqual([]);
    expect(kernel.veths()).toEqual([]);
    expect([...this.host.claims()]).toEqual([]);
    expect(this.published()).toEqual([]);
  }

  private published(): string[] {
    const text = registry.keys.get(`endpoints/blue/${this.host.node}`)?.value;
    return text === undefined ? [] : JSON.parse(text).endpoints.map(({ id }: { id: string }) => id);
  }
}

const JOBS: readonly { name: string; wasStopped: boolean; job: (one: Case) => Promise<unknown> }[] = [
  { name: 'its stop', wasStopped: false, job: (one) => one.stop() },
  { name: 'its coming back', wasStopped: true, job: (one) => one.resume() },
  { name: 'the end of a stopped one', wasStopped: true, job: (one) => one.host.manager.detachById(one.first.id) },
];
const ALL = JOBS.flatMap((job) => [false, true].map((isAway) => ({ ...job, isAway })));

it.each(ALL)('dies in $name, registry away: $isAway', async ({ name, wasStopped, job, isAway }) => {
  for (let effects = 0; ; effects++) {
    expect(effects).toBeLessThan(EFFECTS_MAX);
    const one = new Case();
    const { host } = one;
    await one.begin();
    if (wasStopped) await one.stop();
    if (isAway) registry.goDown();
    const died = await host.die(effects, () => job(one));
    if (died) await host.start();
    await host.manager.checkLinks();
    // It stands or is gone already without the registry, and the registry is told the same when it answers.
    const isEnd = name === 'the end of a stopped one';
    const isGone = isEnd && host.manager.allStopped().length === 0;
    const isAttached = host.manager.all().length > 0;
    if (!died) expect([isGone, isAttached]).toEqual([isEnd, name === 'its coming back']);
    for (const isBack of isAway ? [false, true] : [true]) {
      if (isBack) {
        registry.down = false;
        await host.heard();
      }
      if (!isGone) one.stands(isAttached ? 'attached' : 'stopped');
      else if (isBack) one.gone();
    }
    if (!isGone) {
      // Whatever it was, it goes on.
      if (isAttached) await one.stop();
      one.stands('stopped');
      await one.resume();
      one.stands('attached');
      await host.manager.detachById(one.first.id);
      await host.heard();
      one.gone();
    }
    await host.stop();
    if (!died) {
      expect(effects).toBeGreaterThan(0);
      break;
    }
  }
});
