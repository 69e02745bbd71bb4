/**
 * vtepd is killed after each single effect of attach and detach, with the registry and without it, and starts again: what
 * is in the kernel, in the local copy and in the registry says the same, and nothing is left over.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Nftables } from '../../src/control/gateway/nftables.js';
import { Host } from '../../src/control/host.js';
import { Iproute } from '../../src/control/ports/iproute.js';
import { parsePortListing } from '../../src/control/ports/port-listing.js';
import { PORT_TABLE } from '../../src/control/ports/port-ruleset.js';
import { LocalState } from '../../src/control/state/local-state.js';
import { CrashGate } from './crash-gate.js';
import { FakeForwarding } from './fake-forwarding.js';
import { MemoryRegistry } from './memory-registry.js';
import { inHost, linkNames, Namespaces } from './namespaces.js';

const namespaces = new Namespaces();
const WAIT = { timeout: 20_000, interval: 30 };
let directory: string;
const ends = new Set<Rig>();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
});
afterEach(async () => {
  for (const rig of ends) await rig.stop();
  ends.clear();
  await namespaces.removeAll();
  rmSync(directory, { recursive: true });
});

class Rig {
  readonly registry = new MemoryRegistry();
  readonly netns: string;
  readonly container: string;
  readonly stateDirectory: string;
  gate = new CrashGate();
  host!: Host;
  private readonly portTable: Nftables;
  private state!: LocalState;

  constructor(netns: string, container: string, stateDirectory: string) {
    this.netns = netns;
    this.portTable = new Nftables(inHost(netns), undefined, PORT_TABLE);
    this.container = container;
    this.stateDirectory = stateDirectory;
  }

  async start(): Promise<void> {
    const gate = new CrashGate();
    this.gate = gate;
    this.host = await Host.start({
      ...{ node: 'cdh1', version: '0', sessionTtlSeconds: 2, holdMs: 500, spareAddresses: 1 },
      ...{ vtep: { ip: '10.30.10.111', port: 4789 }, underlay: { interface: 'ens33', mtuBytes: 1500 } },
      ...{ stateDirectory: this.stateDirectory, logger: pino({ level: 'silent' }), nftProgram: 'true' },
      registry: gate.wrap(this.registry, 'registry'),
      forwarding: gate.wrap(new FakeForwarding(this.netns), 'data plane'),
      iproute: gate.wrap(new Iproute(inHost(this.netns)), 'kernel'),
      portTable: gate.wrap(this.portTable, 'port security'),
      openState: (path) => {
        this.state = new LocalState(path);
        return gate.wrap(this.state, 'local copy');
      },
    });
  }

  /** Does `job`, of which `count` effects happen. @returns whether the process died of it. */
  async die(count: number, job: () => Promise<unknown>): Promise<boolean> {
    this.gate.arm(count);
    const outcome = await Promise.race([job().then(() => 'done'), this.gate.death.then(() => 'dead')]);
    this.gate.die();
    await this.state.close();
    return outcome === 'dead';
  }

  /** No container has a cable that is not secured: also right after the crash, before the next start. */
  async isSecured(): Promise<void> {
    const secured = parsePortListing((await this.portTable.listing('json')) ?? '')?.macs ?? new Map<string, string>();
    for (const name of await linkNames(this.netns)) {
      if (name.startsWith('vtep-p')) expect([...secured.keys()], 'a port that is not secured').toContain(name);
    }
  }

  async stop(): Promise<void> {
    this.gate.die();
    await this.state.close();
  }

  /** Kernel, registry and what the host says agree. @returns the endpoints. */
  async agree(): Promise<string[]> {
    return vi.waitFor(async () => {
      expect((await this.host.status()).registry.connected).toBe(true);
      const endpoints = await this.host.listEndpoints();
      expect(endpoints.map(({ local }) => local?.state)).toEqual(endpoints.map(() => 'published'));
      const claims = this.registry.under('addresses/').map((key) => JSON.parse(this.registry.keys.get(key)!.value));
      const used = claims.filter(({ spare }) => spare === undefined).map(({ endpointId }) => endpointId);
      expect(used).toEqual(endpoints.map(({ id }) => id));
      expect(claims.length - used.length).toBe(endpoints.length === 0 ? 0 : 1);
      const published = this.registry.keys.get('endpoints/blue/cdh1')?.value;
      expect(
        published === undefined ? [] : JSON.parse(published).endpoints.map(({ id }: { id: string }) => id),
      ).toEqual(endpoints.map(({ id }) => id));
      // What has to ask the kernel comes last: most tries end before it.
      const links = await linkNames(this.netns);
      const objects = endpoints.length === 0 ? [] : ['vtep-b256', 'vtep-t256'];
      expect(links).toEqual([...objects, ...endpoints.map(({ local }) => local!.hostInterface)].sort());
      expect(await linkNames(this.container)).toEqual(endpoints.map(({ local }) => local!.containerInterface));
      const table = parsePortListing((await this.portTable.listing('json')) ?? '');
      expect([...(table?.macs ?? [])]).toEqual(endpoints.map(({ mac, local }) => [local!.hostInterface, mac]));
      return endpoints.map(({ id }) => id);
    }, WAIT);
  }
}

async function newRig(name: string): Promise<Rig> {
  const rig = new Rig(await namespaces.add(), await namespaces.add(), join(directory, name));
  await rig.start();
  await rig.host.createNetwork({ name: 'blue', internal: true });
  return rig;
}

interface Scenario {
  readonly name: string;
  readonly prepare: (rig: Rig) => Promise<void>;
  readonly job: (rig: Rig) => Promise<unknown>;
}

const attach = (rig: Rig) => rig.host.attach({ network: 'blue', netns: rig.container });
const detach = (rig: Rig) => rig.host.detach({ network: 'blue', netns: rig.container });
const spare = (rig: Rig) =>
  vi.waitFor(() => expect(rig.registry.under('addresses/')).toContain('addresses/blue/10.0.0.254'), WAIT);
const away = async (rig: Rig) => {
  rig.registry.goDown();
  await vi.waitFor(async () => expect((await rig.host.status()).registry.connected).toBe(false), WAIT);
};

const SCENARIOS: Scenario[] = [
  { name: 'attach', prepare: async () => undefined, job: attach },
  {
    name: 'detach',
    prepare: async (rig) => {
      await attach(rig);
      await spare(rig);
    },
    job: detach,
  },
  {
    name: 'attach from the stock while the registry is away',
    prepare: async (rig) => {
      await attach(rig);
      await spare(rig);
      await away(rig);
      await detach(rig);
    },
    job: attach,
  },
  {
    name: 'detach while the registry is away',
    prepare: async (rig) => {
      await attach(rig);
      await spare(rig);
      await away(rig);
    },
    job: detach,
  },
];

/** @returns whether `count` effects were fewer than all. */
async function killAfter(count: number, { prepare, job }: Scenario): Promise<boolean> {
  const rig = await newRig(`k${count}`);
  ends.add(rig);
  await prepare(rig);
  const died = await rig.die(count, () => job(rig));
  const last = rig.gate.passed.at(-1) ?? 'nothing';
  await rig.isSecured();
  // The first start may find the registry still away.
  await rig.start();
  if (rig.registry.down) rig.registry.down = false;
  const [there] = await rig.agree().catch((error: Error) => {
    throw new Error(`killed after ${count} effects, the last ${last}: ${error.message}`, { cause: error });
  });
  // Whatever it was, it can be done again.
  if (there === undefined) await attach(rig);
  await detach(rig);
  expect(await rig.agree()).toEqual([]);
  expect(count, 'an operation without effects was killed nowhere').toBeLessThan(60);
  if (!died) expect(count).toBeGreaterThan(3);
  ends.delete(rig);
  await rig.stop();
  await namespaces.remove(rig.netns);
  await namespaces.remove(rig.container);
  return died;
}

/** Each waits more than it works. */
const AT_ONCE = 4;

it.each(SCENARIOS)('$name', { timeout: 400_000 }, async (scenario) => {
  for (let count = 0; ; count += AT_ONCE) {
    const counts = Array.from({ length: AT_ONCE }, (_, index) => count + index);
    const died = await Promise.all(counts.map((each) => killAfter(each, scenario)));
    if (died.includes(false)) return;
  }
});
