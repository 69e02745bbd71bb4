/**
 * Actions from a seed, without end. Pure: it keeps a plan of how the world would be if every action succeeded, so that
 * what it asks for mostly makes sense; what really happened is the executor's to know.
 *
 *     quiet ─▶ actions ─▶ quiet ─▶ actions ─▶ ...        each stretch spares two hosts, or none
 */
import type { Action, AttachAction, HostNumber } from './actions.js';
import { Random } from './random.js';

export interface GeneratorOptions {
  readonly seed: number;
  readonly hosts: number;
  /** Actions between two quiet points. @default 15 */
  readonly every?: number;
}

const NETWORKS_MIN = 2;
const NETWORKS_MAX = 5;
const CONTAINERS_MAX = 14;
/** How many actions a fault lasts at most. */
const FAULT_ACTIONS_MAX = 4;

interface Plan {
  networks: string[];
  containers: Map<string, { host: HostNumber; networks: string[] }>;
  /** Faults under way: what ends each, and after how many actions. */
  repairs: { action: Action; after: number }[];
  troubled: Set<HostNumber>;
  registryTroubled: boolean;
  spared: readonly HostNumber[];
}

export function* generateActions(options: GeneratorOptions): Generator<Action, never> {
  const generator = new ActionGenerator(options);
  for (;;) {
    yield generator.quiet();
    yield* generator.networks();
    for (let count = 0; count < (options.every ?? 15); count++) yield generator.next();
  }
}

class ActionGenerator {
  readonly #random: Random;
  readonly #hosts: readonly HostNumber[];
  readonly #plan: Plan = {
    networks: [],
    containers: new Map(),
    repairs: [],
    troubled: new Set(),
    registryTroubled: false,
    spared: [],
  };
  #names = 0;

  constructor(options: GeneratorOptions) {
    this.#random = new Random(options.seed);
    this.#hosts = Array.from({ length: options.hosts }, (_, index) => index + 1);
  }

  quiet(): Action {
    const plan = this.#plan;
    plan.repairs = [];
    plan.troubled.clear();
    plan.registryTroubled = false;
    // With two hosts, sparing both leaves nothing but registry trouble; so every other time.
    plan.spared = this.#random.chance(this.#hosts.length > 2 ? 0.75 : 0.5) ? this.#pair() : [];
    return { kind: 'quiet', spared: plan.spared };
  }

  /** Those that should be there; each that is makes this a no-op. */
  networks(): Action[] {
    const { networks } = this.#plan;
    while (networks.length < NETWORKS_MIN) networks.push(this.#name('n'));
    return networks.map((network, index) => ({
      ...{ kind: 'network-create', host: this.#random.pick(this.#hosts), network },
      ...(index % 2 === 0 ? { ipv6: true } : {}),
    }));
  }

  next(): Action {
    const plan = this.#plan;
    for (const repair of plan.repairs) repair.after--;
    const due = plan.repairs.findIndex(({ after }) => after <= 0);
    if (due >= 0) {
      const [repair] = plan.repairs.splice(due, 1);
      this.#repaired(repair!.action);
      return repair!.action;
    }
    for (;;) {
      const action = this.#random.weighted<() => Action | undefined>([
        [26, () => this.#attach()],
        [8, () => this.#detach()],
        [5, () => this.#deleteNamespace()],
        [7, () => this.#move()],
        [6, () => this.#networkCreate()],
        [4, () => this.#networkRm()],
        [7, () => this.#restart()],
        [4, () => this.#stop()],
        [2, () => this.#powerLoss()],
        [3, () => this.#killedAttach()],
        [5, () => this.#race()],
        [7, () => this.#partition()],
        [3, () => this.#renumber()],
        [6, () => this.#registry()],
        [4, () => this.#deleteLink()],
        [3, () => this.#deleteVeth()],
        [14, () => ({ kind: 'pause', ms: this.#random.between(100, 2500) })],
      ])();
      if (action !== undefined) return action;
    }
  }

  #pair(): HostNumber[] {
    const first = this.#random.pick(this.#hosts);
    return [first, this.#random.pick(this.#hosts.filter((host) => host !== first))].sort();
  }

  #name(letter: string): string {
    this.#names++;
    return `${letter}${this.#names}`;
  }

  #newAttach(network: string, host: HostNumber): AttachAction {
    const container = this.#name('c');
    this.#plan.containers.set(container, { host, networks: [network] });
    return {
      kind: 'attach',
      host,
      network,
      container,
      ...(this.#random.chance(0.2) ? { ipOffset: this.#random.between(2, 40) } : {}),
      ...(this.#random.chance(0.2) ? { mac: this.#mac() } : {}),
    };
  }

  #mac(): string {
    const bytes = Array.from({ length: 5 }, () => this.#random.between(0, 255).toString(16).padStart(2, '0'));
    return ['06', ...bytes].join(':');
  }

  #attach(): Action | undefined {
    const { networks, containers } = this.#plan;
    if (networks.length === 0 || containers.size >= CONTAINERS_MAX) return undefined;
    const network = this.#random.pick(networks);
    const second = [...containers].filter(([, { networks: on }]) => on.length === 1 && on[0] !== network);
    if (second.length > 0 && this.#random.chance(0.12)) {
      const [container, at] = this.#random.pick(second);
      at.networks.push(network);
      return { kind: 'attach', host: at.host, network, container };
    }
    return this.#newAttach(network, this.#random.pick(this.#hosts));
  }

  #someContainer(): string | undefined {
    const names = [...this.#plan.containers.keys()];
    return names.length === 0 ? undefined : this.#random.pick(names);
  }

  #detach(): Action | undefined {
    const container = this.#someContainer();
    if (container === undefined) return undefined;
    this.#plan.containers.delete(container);
    return { kind: 'detach', container, by: this.#random.pick(['name', 'netns', 'id'] as const) };
  }

  #deleteNamespace(): Action | undefined {
    const container = this.#someContainer();
    if (container === undefined) return undefined;
    this.#plan.containers.delete(container);
    return { kind: 'delete-namespace', container };
  }

  #deleteVeth(): Action | undefined {
    const container = this.#someContainer();
    if (container === undefined) return undefined;
    this.#plan.containers.delete(container);
    return { kind: 'delete-veth', container };
  }

  #move(): Action | undefined {
    const container = this.#someContainer();
    const at = container === undefined ? undefined : this.#plan.containers.get(container);
    if (container === undefined || at === undefined || at.networks.length > 1) return undefined;
    const host = this.#random.pick(this.#hosts.filter((candidate) => candidate !== at.host));
    const successor = this.#name('c');
    this.#plan.containers.delete(container);
    this.#plan.containers.set(successor, { host, networks: at.networks });
    return { kind: 'move', container, successor, host };
  }

  #networkCreate(): Action | undefined {
    const { networks } = this.#plan;
    if (networks.length >= NETWORKS_MAX) return undefined;
    const subnetOf = networks.length > 0 && this.#random.chance(0.2) ? this.#random.pick(networks) : undefined;
    const network = this.#name('n');
    networks.push(network);
    const host = this.#random.pick(this.#hosts);
    const ipv6 = this.#random.chance(0.4);
    return {
      ...{ kind: 'network-create', host, network },
      ...(subnetOf === undefined ? {} : { subnetOf }),
      ...(ipv6 ? { ipv6 } : {}),
    };
  }

  /** In use or not: one in use must be refused. */
  #networkRm(): Action | undefined {
    const { networks, containers } = this.#plan;
    if (networks.length === 0) return undefined;
    const network = this.#random.pick(networks);
    const inUse = [...containers.values()].some((container) => container.networks.includes(network));
    const host = this.#random.pick(this.#hosts);
    if (inUse && this.#random.chance(0.25)) {
      this.#plan.networks = networks.filter((name) => name !== network);
      for (const [container, at] of containers) {
        at.networks = at.networks.filter((name) => name !== network);
        if (at.networks.length === 0) containers.delete(container);
      }
      return { kind: 'network-rm', host, network, force: true };
    }
    if (!inUse) this.#plan.networks = networks.filter((name) => name !== network);
    return { kind: 'network-rm', host, network };
  }

  /** A host that may be harmed now. */
  #victim(): HostNumber | undefined {
    const { spared, troubled } = this.#plan;
    const open = this.#hosts.filter((host) => !spared.includes(host) && !troubled.has(host));
    return open.length === 0 ? undefined : this.#random.pick(open);
  }

  #until(action: Action, host?: HostNumber): void {
    if (host !== undefined) this.#plan.troubled.add(host);
    this.#plan.repairs.push({ action, after: this.#random.between(1, FAULT_ACTIONS_MAX) });
  }

  #repaired(action: Action): void {
    if ('host' in action) this.#plan.troubled.delete(action.host);
    if (action.kind === 'registry-start') this.#plan.registryTroubled = false;
  }

  #signal(): 'SIGTERM' | 'SIGKILL' {
    return this.#random.pick(['SIGTERM', 'SIGKILL'] as const);
  }

  #restart(): Action | undefined {
    const host = this.#victim();
    return host === undefined ? undefined : { kind: 'restart', host, signal: this.#signal() };
  }

  #stop(): Action | undefined {
    const host = this.#victim();
    if (host === undefined) return undefined;
    this.#until({ kind: 'start', host }, host);
    return { kind: 'stop', host, signal: this.#signal() };
  }

  #powerLoss(): Action | undefined {
    const host = this.#victim();
    if (host === undefined) return undefined;
    const lost = [...this.#plan.containers].filter(([, at]) => at.host === host);
    for (const [container] of lost) this.#plan.containers.delete(container);
    const movable = lost.filter(([, at]) => at.networks.length === 1);
    this.#until({ kind: 'start', host }, host);
    if (movable.length > 0) {
      const [container, at] = this.#random.pick(movable);
      const elsewhere = this.#random.pick(this.#hosts.filter((candidate) => candidate !== host));
      const successor = this.#name('c');
      this.#plan.containers.set(successor, { host: elsewhere, networks: at.networks });
      // Before the boot, which was pushed first and waits for its turn.
      this.#plan.repairs.unshift({ action: { kind: 'takeover', container, successor, host: elsewhere }, after: 1 });
    }
    return { kind: 'power-loss', host };
  }

  #killedAttach(): Action | undefined {
    const host = this.#victim();
    const { networks, containers } = this.#plan;
    if (host === undefined || networks.length === 0 || containers.size >= CONTAINERS_MAX) return undefined;
    const attach = this.#newAttach(this.#random.pick(networks), host);
    return { kind: 'killed-attach', attach, afterMs: this.#random.between(0, 250) };
  }

  #race(): Action | undefined {
    const { networks, containers } = this.#plan;
    if (networks.length === 0 || containers.size > CONTAINERS_MAX - this.#hosts.length) return undefined;
    const network = this.#random.pick(networks);
    // The same fixed address for all, or whatever each gets.
    const ipOffset = this.#random.chance(0.4) ? this.#random.between(41, 60) : undefined;
    const attaches = this.#hosts.map((host): AttachAction => {
      const container = this.#name('c');
      containers.set(container, { host, networks: [network] });
      return { kind: 'attach', host, network, container, ...(ipOffset === undefined ? {} : { ipOffset }) };
    });
    return { kind: 'race', attaches };
  }

  #partition(): Action | undefined {
    const fromAll = this.#random.chance(0.4);
    const { troubled } = this.#plan;
    const others = this.#hosts.filter((host) => !troubled.has(host));
    const host = fromAll ? this.#victim() : others.length === 0 ? undefined : this.#random.pick(others);
    if (host === undefined) return undefined;
    this.#until({ kind: 'heal', host }, host);
    return fromAll
      ? { kind: 'partition', host, from: 'all', how: this.#random.pick(['link', 'silent'] as const) }
      : { kind: 'partition', host, from: 'registry', how: this.#random.pick(['silent', 'unreachable'] as const) };
  }

  #renumber(): Action | undefined {
    const host = this.#victim();
    return host === undefined ? undefined : { kind: 'renumber', host, live: this.#random.chance(0.5) };
  }

  #registry(): Action | undefined {
    if (this.#plan.registryTroubled) return undefined;
    return this.#random.weighted<() => Action>([
      [2, () => ({ kind: 'registry-restart', signal: this.#signal() })],
      [
        2,
        () => {
          this.#plan.registryTroubled = true;
          this.#until({ kind: 'registry-start' });
          return { kind: 'registry-stop', signal: this.#signal() };
        },
      ],
      [1, () => ({ kind: 'registry-wipe' })],
    ])();
  }

  #deleteLink(): Action | undefined {
    const { networks } = this.#plan;
    if (networks.length === 0) return undefined;
    const what = this.#random.pick(['bridge', 'tap'] as const);
    return { kind: 'delete-link', host: this.#random.pick(this.#hosts), network: this.#random.pick(networks), what };
  }
}
