/**
 * The gateways of this host: of each network that is open here an address on its bridge, the way out, and published
 * ports. Control plane, main thread; docs/gateway.md says what users get.
 *
 *     reconcile   what the kernel has ─▶ plan ─▶ bridge settings ─▶ rules ─▶ addresses ─▶ forwarding
 *
 * Rules stand before an address makes a network reachable; without them a network gets no gateway. What goes wrong is a
 * problem that status() tells and the log says once: networks work without their gateway. Turns follow one another.
 */
import type { Logger } from 'pino';
import type { PublishedPort } from '../api/publish-schema.js';
import { VtepError } from '../errors.js';
import type { Iproute } from '../ports/iproute.js';
import { bridgeName } from '../ports/names.js';
import { type AddressPlan, type HostAddresses, type HostRoute, planAddresses } from './address-plan.js';
import { DockerUser } from './docker-user.js';
import type { Gateway, GatewayNetwork } from './gateways-of.js';
import { HostSettings } from './host-settings.js';
import { NameRedirects } from './name-redirects.js';
import { Nftables } from './nftables.js';
import { bindingsOf, checkListeners, checkPublication, type Publication } from './published-ports.js';
import { type DesiredRules, ruleset } from './ruleset.js';

/** Someone who changes rules by hand is not heard of: they are looked at this often. */
const CHECK_MS = 30_000;
/** Links change in bursts, as when many containers start: a look at everything is for all of a second's changes. */
const SOON_MS = 1000;

export interface GatewayStatus {
  readonly networks: readonly { readonly network: string; readonly addresses: readonly string[] }[];
  readonly problems: readonly string[];
}

interface LocalPublication {
  readonly id: string;
  readonly name: string;
  readonly network: string;
  readonly addresses: readonly string[];
  readonly publish?: readonly PublishedPort[] | undefined;
}

export class GatewayManager {
  private readonly iproute: Iproute;
  private readonly nft: Nftables;
  private readonly settings: HostSettings;
  /** On a host whose dockerd vtep serves. */
  private readonly dockerUser: DockerUser | undefined;
  private readonly logger: Logger;
  private readonly tunnel: () => DesiredRules['tunnel'];
  /** A start is under way: one look at its end does for all networks. */
  private isRestoring = false;
  /** A look that has not begun yet, and will see what is asked for now. */
  private waiting: Promise<void> | undefined;
  private readonly networks = new Map<string, GatewayNetwork>();
  private readonly publications = new Map<string, Publication>();
  private readonly redirects = new NameRedirects();
  private present = new Map<string, readonly Gateway[]>();
  private problems: readonly string[] = [];
  /** The rules that were applied last, and how the kernel lists them. */
  private applied: { readonly text: string; readonly listing: string | undefined } | undefined;
  private turn: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private soon: NodeJS.Timeout | undefined;
  private lookedAtMs = Number.NEGATIVE_INFINITY;

  /** @param options.nftProgram for tests: what is run in nft's place */
  constructor(options: {
    readonly iproute: Iproute;
    readonly logger: Logger;
    /** This host's VTEP; its address may change. */
    readonly tunnel: () => DesiredRules['tunnel'];
    readonly nftProgram?: string | undefined;
    /** Whether this host's dockerd uses vtep. @default false */
    readonly servesDocker?: boolean | undefined;
  }) {
    this.tunnel = options.tunnel;
    this.iproute = options.iproute;
    this.logger = options.logger;
    this.nft = new Nftables(options.iproute.prefix, options.nftProgram);
    this.settings = new HostSettings(options.iproute);
    this.dockerUser = options.servesDocker ? new DockerUser(options.iproute.prefix) : undefined;
  }

  /** Looks at the kernel from now on, until close(). */
  start(): void {
    this.timer = setInterval(() => void this.check(), CHECK_MS);
    this.timer.unref();
  }

  /** Rules and addresses stay, but what leads to the names servers, which end with this process. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    clearTimeout(this.soon);
    if (!this.redirects.isEmpty) {
      this.redirects.clear();
      void this.check();
    }
    await this.turn;
  }

  /** The containers of an open network whose DNS questions go to its server here. Not waited for. */
  setNameClients(network: string, addresses: readonly string[]): void {
    if (this.redirects.setClients(network, addresses)) void this.check();
  }

  /** Whether a names server listens on a gateway's address. Not waited for. */
  setNameServer(address: string, isListening: boolean): void {
    if (this.redirects.setServer(address, isListening)) void this.check();
  }

  /** What the last run had, so that its rules are replaced by the same: nothing is touched until restored(). */
  restore(networks: readonly GatewayNetwork[], endpoints: readonly LocalPublication[]): void {
    this.isRestoring = true;
    for (const network of networks) this.networks.set(network.name, network);
    for (const endpoint of endpoints) {
      if (endpoint.publish !== undefined) this.publications.set(endpoint.id, publicationOf(endpoint, endpoint.publish));
    }
  }

  /** Never rejects. */
  restored(): Promise<void> {
    this.isRestoring = false;
    return this.check();
  }

  /** The network's bridge stands. Never rejects: what is wrong is a problem. */
  open(network: GatewayNetwork): Promise<void> {
    this.networks.set(network.name, network);
    return this.check();
  }

  /** The network's bridge is gone, or going. Never rejects. */
  async closeNetwork(name: string): Promise<void> {
    if (this.networks.delete(name)) await this.check();
  }

  /** Puts right what is not as it should be. Never rejects. */
  check(): Promise<void> {
    if (this.isRestoring) return Promise.resolve();
    this.waiting ??= this.turn.then(async () => {
      this.waiting = undefined;
      await this.reconcile().catch((error: unknown) => {
        this.note([`the gateways of this host could not be looked at: ${(error as Error).message}`]);
      });
      this.lookedAtMs = performance.now();
    });
    this.turn = this.waiting;
    return this.waiting;
  }

  /** As check(), at once or when the last look is a second ago. Not waited for. */
  checkSoon(): void {
    const waitMs = Math.max(0, this.lookedAtMs + SOON_MS - performance.now());
    this.soon ??= setTimeout(() => {
      this.soon = undefined;
      void this.check();
    }, waitMs).unref();
  }

  /**
   * The endpoint's ports of the host, until unpublish(). Its network is open.
   * @throws VtepError VTEP_ERR_HOST_PORT_IN_USE, VTEP_ERR_INVALID, VTEP_ERR_KERNEL; nothing is published then
   */
  async publish(endpoint: LocalPublication & { readonly publish: readonly PublishedPort[] }): Promise<void> {
    const network = this.networks.get(endpoint.network);
    if (network === undefined || network.internal) {
      throw new VtepError('VTEP_ERR_INVALID', `network "${endpoint.network}" is internal: it publishes no ports`);
    }
    const publication = publicationOf(endpoint, endpoint.publish);
    checkPublication(publication, this.publications.values());
    this.publications.set(endpoint.id, publication);
    try {
      await checkListeners(this.iproute.prefix, publication.ports);
      await this.check();
      if (this.gateways(endpoint.network).length === 0) {
        const why = this.problems.find((problem) => problem.includes(`"${endpoint.network}"`)) ?? this.problems[0];
        throw new VtepError('VTEP_ERR_KERNEL', `no port can be published: ${why ?? 'the network has no gateway here'}`);
      }
    } catch (error) {
      await this.unpublish(endpoint.id);
      throw error;
    }
  }

  /** Whether neither a container nor a program of this host has the port. */
  async isPortFree(port: PublishedPort): Promise<boolean> {
    const nobody = { endpointId: '', name: '', network: '', addresses: ['0.0.0.0', '::'], ports: [port] };
    try {
      checkPublication(nobody, this.publications.values());
      await checkListeners(this.iproute.prefix, [port]);
      return true;
    } catch {
      return false;
    }
  }

  async unpublish(endpointId: string): Promise<void> {
    if (this.publications.delete(endpointId)) await this.check();
  }

  /** The gateways that the network has on this host. */
  gateways(network: string): readonly Gateway[] {
    return this.present.get(network) ?? [];
  }

  status(): GatewayStatus {
    const networks = [...this.present].map(([network, gateways]) => ({
      network,
      addresses: gateways.map(({ address, prefixLength }) => `${address}/${prefixLength}`),
    }));
    return { networks, problems: [...this.problems] };
  }

  private async reconcile(): Promise<void> {
    const networks = [...this.networks.values()];
    if (networks.length === 0) {
      await this.removeRules();
      this.present = new Map();
      this.note([]);
      return;
    }
    const problems: string[] = [];
    const plans = await this.plan(networks);
    for (const plan of plans.values()) problems.push(...plan.problems);
    try {
      await this.applyRules(networks, plans);
    } catch (error) {
      this.present = new Map();
      const names = networks.map(({ name }) => `"${name}"`).join(', ');
      const what = 'no gateway here: containers reach each other, but not the outside';
      this.note([...problems, `networks ${names} have ${what}: ${(error as Error).message}`]);
      return;
    }
    const present = new Map<string, readonly Gateway[]>();
    for (const network of networks) {
      const plan = plans.get(network.name)!;
      try {
        await this.applyAddresses(network, plan);
        present.set(network.name, plan.gateways);
      } catch (error) {
        problems.push(`network "${network.name}" has no gateway on this host: ${(error as Error).message}`);
      }
    }
    this.present = present;
    this.note([...problems, ...(await this.forward(networks))]);
  }

  private async plan(networks: readonly GatewayNetwork[]): Promise<Map<string, AddressPlan>> {
    const addresses = await this.iproute.show<HostAddresses>('address', 'show');
    const routes = [
      ...(await this.iproute.show<HostRoute>('-4', 'route', 'show')),
      ...(await this.iproute.show<HostRoute>('-6', 'route', 'show')).filter(({ dst }) => !/^(fe80|ff)/.test(dst)),
    ];
    const nameOf = (bridge: string) => networks.find(({ vni }) => bridgeName(vni) === bridge)?.name;
    const plans = new Map<string, AddressPlan>();
    for (const network of networks) {
      const plan = planAddresses(network, addresses, routes, nameOf);
      plans.set(network.name, plan);
      // The next of the networks must see what this one is about to take.
      routes.push(...plan.gateways.map(({ subnet }) => ({ dst: subnet, dev: bridgeName(network.vni) })));
    }
    return plans;
  }

  private async applyRules(
    networks: readonly GatewayNetwork[],
    plans: ReadonlyMap<string, AddressPlan>,
  ): Promise<void> {
    const text = ruleset({
      tunnel: this.tunnel(),
      networks: networks.map((network) => ({
        vni: network.vni,
        internal: network.internal,
        gateways: plans.get(network.name)!.gateways,
      })),
      bindings: [...this.publications.values()].flatMap(bindingsOf),
      redirects: networks.flatMap((network) => this.redirects.of(network, plans.get(network.name)!.gateways)),
    });
    const { applied } = this;
    if (applied?.text === text) {
      if (applied.listing === (await this.nft.listing())) return;
      this.logger.warn({ event: 'gateway.rules-changed' }, "vtep's rules were changed or removed: put back");
    }
    await this.nft.apply(text);
    this.applied = { text, listing: await this.nft.listing() };
  }

  private async applyAddresses({ name, vni }: GatewayNetwork, plan: AddressPlan): Promise<void> {
    if (plan.steps.length === 0) return;
    await this.settings.prepareBridge(
      vni,
      plan.gateways.some(({ family }) => family === 6),
    );
    await this.iproute.batch(plan.steps);
    this.logger.info({ event: 'gateway.address', network: name, steps: plan.steps }, `gateway of network "${name}"`);
  }

  /** @returns problems */
  private async forward(networks: readonly GatewayNetwork[]): Promise<string[]> {
    const outward = networks.filter((network) => !network.internal && this.gateways(network.name).length > 0);
    // Internal networks too: Docker's policy meets what a bridge carries.
    if (outward.length === 0) return (await this.dockerUser?.ensure([])) ?? [];
    try {
      const hasIpv6 = outward.some(({ name }) => this.gateways(name).some(({ family }) => family === 6));
      const done = await this.settings.forward(hasIpv6);
      if (done.length > 0) {
        this.logger.info({ event: 'gateway.forwarding', settings: done }, `switched on: ${done.join(', ')}`);
      }
      const dropping = await this.nft.droppingForwardChains();
      return ((await this.dockerUser?.ensure(dropping)) ?? dropping).map(
        (chain) =>
          `chain "${chain}" of this host drops what is forwarded unless a rule of its own accepts: containers may not reach the outside (docs/gateway.md)`,
      );
    } catch (error) {
      return [`this host forwards nothing, so containers do not reach the outside: ${(error as Error).message}`];
    }
  }

  private async removeRules(): Promise<void> {
    this.applied = undefined;
    await this.dockerUser?.remove();
    try {
      await this.nft.remove();
    } catch (error) {
      // Without nft there is nothing of it to remove.
      this.logger.debug({ event: 'gateway.rules-left', err: error }, 'the rules could not be removed');
    }
  }

  /** New problems are said once, and once that one is no more. */
  private note(problems: readonly string[]): void {
    for (const problem of problems) {
      if (!this.problems.includes(problem)) this.logger.warn({ event: 'gateway.problem' }, problem);
    }
    for (const problem of this.problems) {
      if (!problems.includes(problem)) this.logger.info({ event: 'gateway.problem-gone' }, `no longer: ${problem}`);
    }
    this.problems = problems;
  }
}

function publicationOf(endpoint: LocalPublication, ports: readonly PublishedPort[]): Publication {
  const addresses = endpoint.addresses.map((address) => address.replace(/\/.*$/, ''));
  return { endpointId: endpoint.id, name: endpoint.name, network: endpoint.network, addresses, ports };
}
