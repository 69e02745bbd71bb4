/**
 * Carries out one action after the other and keeps the model in step; here are the faults, and the way to what else there
 * is. An action whose object is not there (any more) does nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hostInterfaceName, tapName } from '../../src/control/ports/names.js';
import type { Action, AttachAction, HostNumber } from './actions.js';
import { AttachmentActions } from './attachment-actions.js';
import { Judge } from './judge.js';
import type { Model } from './model.js';
import { NetworkActions } from './network-actions.js';
import { hostLinks } from './observation.js';
import { nodeName, type World } from './world.js';

/** A host that the registry does not hear of for 20 s is believed dead by the others; the next action may take 10 s. */
const ABSENCE_MS_MAX = 6000;

export class Executor {
  readonly attachments: AttachmentActions;
  readonly #networks: NetworkActions;
  readonly #judge: Judge;
  readonly #world: World;
  readonly #model: Model;
  readonly #partitions = new Set<HostNumber>();
  /** Without power. */
  readonly #dark = new Set<HostNumber>();

  constructor(world: World, model: Model) {
    this.#world = world;
    this.#model = model;
    this.#judge = new Judge(world);
    this.attachments = new AttachmentActions(world, model, this.#judge);
    this.#networks = new NetworkActions(world, model, this.#judge);
  }

  get violations(): readonly string[] {
    return this.#judge.violations;
  }

  /** All is as the model says. */
  calmDown(): void {
    this.#judge.calmDown();
  }

  /** @returns what came of it, for the log. */
  async execute(action: Action): Promise<string> {
    const wait = action.kind === 'takeover';
    for (const host of this.#world.hosts) {
      if (this.#dark.has(host) || this.#judge.absenceMs(host) <= (wait ? 0 : ABSENCE_MS_MAX)) continue;
      await this.#heal(host);
      await this.#start(host);
    }
    return this.#execute(action);
  }

  /** A quiet point begins: all faults end. */
  async healAll(): Promise<void> {
    this.#world.startRegistry();
    for (const host of this.#world.hosts) await this.#heal(host);
    for (const host of this.#world.hosts) await this.#start(host);
    await this.#world.waitForRegistry();
  }

  #execute(action: Action): Promise<string> | string {
    switch (action.kind) {
      case 'attach':
        return this.attachments.attach(action);
      case 'detach':
        return this.attachments.detach(action.container, action.by);
      case 'delete-namespace':
        return this.#deleteNamespace(action.container);
      case 'move':
        return this.attachments.move(action.container, action.successor, action.host);
      case 'network-create':
        return this.#networks.create(action);
      case 'network-rm':
        return action.force === true
          ? this.#networks.removeByForce(action.host, action.network)
          : this.#networks.remove(action.host, action.network);
      case 'restart':
      case 'stop':
        return this.#stop(action.host, action.signal, action.kind === 'restart');
      case 'start':
        return this.#start(action.host);
      case 'power-loss':
        return this.#powerLoss(action.host);
      case 'takeover':
        if (this.#partitions.has(action.host)) return 'skipped: partitioned';
        return this.attachments.takeover(action.container, action.successor, action.host);
      case 'killed-attach':
        return this.#killedAttach(action.attach, action.afterMs);
      case 'race':
        return this.attachments.race(action.attaches);
      case 'partition':
        return this.#partition(action);
      case 'heal':
        return this.#heal(action.host);
      case 'renumber':
        return this.#renumber(action.host, action.live);
      case 'registry-restart':
      case 'registry-stop':
        return this.#registryStop(action.signal, action.kind === 'registry-restart');
      case 'registry-start':
        this.#world.startRegistry();
        return 'done';
      case 'registry-wipe':
        return this.#registryWipe();
      case 'delete-link':
        return this.#deleteLink(action.host, action.network, action.what);
      case 'delete-veth':
        return this.#deleteVeth(action.container);
      case 'pause':
        return sleep(action.ms, 'done');
      case 'quiet':
        return 'done';
    }
  }

  async #deleteNamespace(container: string): Promise<string> {
    if (!this.#world.hasNamespace(container)) return 'skipped: no such namespace';
    await this.#world.deleteNamespace(container);
    this.#model.containerGone(container);
    return 'done';
  }

  async #stop(host: HostNumber, signal: NodeJS.Signals, again: boolean): Promise<string> {
    this.#judge.hostTroubled(host);
    this.#judge.absent(host);
    await this.#world.end(nodeName(host), signal);
    if (again) await this.#start(host);
    return 'done';
  }

  async #start(host: HostNumber): Promise<string> {
    this.#dark.delete(host);
    await this.#world.startDaemon(host);
    if (!this.#partitions.has(host)) this.#judge.present(host);
    return 'done';
  }

  async #powerLoss(host: HostNumber): Promise<string> {
    this.#dark.add(host);
    this.#judge.absent(host);
    this.#judge.hostTroubled(host);
    await this.#world.end(nodeName(host), 'SIGKILL');
    for (const attachment of this.#model.at(host)) this.#model.dead.set(attachment.container, attachment);
    for (const container of this.attachments.containers(host)) {
      await this.#world.deleteNamespace(container);
      this.#model.containerGone(container);
    }
    for (const link of (await hostLinks(this.#world, host)).keys()) await this.#deleteHostLink(host, link);
    return 'done';
  }

  async #killedAttach(action: AttachAction, afterMs: number): Promise<string> {
    this.#judge.hostTroubled(action.host);
    const attach = this.attachments.attach(action);
    await sleep(afterMs);
    const running = this.#world.isRunning(nodeName(action.host));
    await this.#world.end(nodeName(action.host), 'SIGKILL');
    const text = await attach;
    if (running) await this.#world.startDaemon(action.host);
    return text;
  }

  async #partition({ host, from, how }: Extract<Action, { kind: 'partition' }>): Promise<string> {
    this.#judge.hostTroubled(host);
    this.#partitions.add(host);
    this.#judge.absent(host);
    await this.#world.partition(host, from, how);
    return 'done';
  }

  async #heal(host: HostNumber): Promise<string> {
    this.#partitions.delete(host);
    await this.#world.heal(host);
    if (this.#world.isRunning(nodeName(host))) this.#judge.present(host);
    return 'done';
  }

  async #renumber(host: HostNumber, live: boolean): Promise<string> {
    this.#judge.hostTroubled(host);
    const restart = !live && this.#world.isRunning(nodeName(host));
    if (restart) await this.#world.end(nodeName(host), 'SIGTERM');
    await this.#world.renumber(host);
    if (restart) await this.#world.startDaemon(host);
    return this.#world.address(host);
  }

  async #registryStop(signal: NodeJS.Signals, again: boolean): Promise<string> {
    this.#judge.registryTroubled();
    await this.#world.end('registry', signal);
    if (again) this.#world.startRegistry();
    return 'done';
  }

  async #registryWipe(): Promise<string> {
    this.#judge.registryTroubled();
    await this.#world.end('registry', 'SIGKILL');
    this.#world.wipeRegistry();
    this.#world.startRegistry();
    return 'done';
  }

  async #deleteLink(host: HostNumber, network: string, what: 'bridge' | 'tap'): Promise<string> {
    const vni = this.#model.networks.get(network)?.vni;
    if (vni === undefined) return 'skipped: no such network';
    this.#judge.hostTroubled(host);
    return this.#deleteHostLink(host, what === 'tap' ? tapName(vni) : `vtep-b${vni}`);
  }

  async #deleteVeth(container: string): Promise<string> {
    const attachments = this.#model.of(container);
    for (const attachment of attachments) {
      await this.#deleteHostLink(attachment.host, hostInterfaceName(attachment.id));
      this.#model.detached(attachment);
    }
    return attachments.length === 0 ? 'skipped: not attached' : 'done';
  }

  async #deleteHostLink(host: HostNumber, link: string): Promise<string> {
    const netns = this.#world.netns(nodeName(host));
    const { ok } = await this.#world.run('ip', ['-n', netns, 'link', 'del', link]);
    return ok ? 'done' : `${link} was not there`;
  }
}
