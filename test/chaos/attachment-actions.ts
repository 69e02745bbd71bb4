/**
 * Attach, detach, move, takeover and race: asked of the hosts, entered in the model as they were answered, and judged at
 * once. An address that is given twice is a violation on the spot.
 */
import type { Endpoint } from '../../src/control/api/schema.js';
import type { AttachAction, HostNumber } from './actions.js';
import { BEACON_NETWORK, beaconContainer } from './beacon.js';
import type { Judge } from './judge.js';
import { type AttachmentModel, addressAt, addressesOf, keyOf, type Model } from './model.js';
import { settles } from './observation.js';
import { attachmentOf } from './oracle.js';
import { nodeName, type World } from './world.js';

/** How long what is gone may still be held: vtepd hears of it from the kernel. */
const RELEASE_MS_MAX = 15_000;
/** Session TTL, twice, and what a reaper may take. */
const TAKEOVER_MS_MAX = 150_000;

export class AttachmentActions {
  readonly #world: World;
  readonly #model: Model;
  readonly #judge: Judge;
  readonly #containers = new Map<string, HostNumber>();

  constructor(world: World, model: Model, judge: Judge) {
    this.#world = world;
    this.#model = model;
    this.#judge = judge;
  }

  /** Every container that has a namespace, or had; of one host or of all. */
  containers(host?: HostNumber): string[] {
    return [...this.#containers].filter(([, at]) => host === undefined || at === host).map(([name]) => name);
  }

  /** Namespaces that nothing is attached to go. */
  async removeIdle(): Promise<void> {
    for (const container of this.containers()) {
      if (this.#model.of(container).length > 0) continue;
      await this.#world.deleteNamespace(container);
      this.#containers.delete(container);
    }
  }

  async attach(action: AttachAction, { contested = false } = {}): Promise<string> {
    const { container, network: name, host } = action;
    const network = this.#model.networks.get(name);
    if (this.#containers.has(container) && !this.#world.hasNamespace(container)) return 'skipped: container gone';
    const subnets = this.#model.of(container).map((at) => this.#model.networks.get(at.network)?.subnet);
    // Two interfaces in one subnet answer for each other; that is the containers' kernel, not the overlay.
    if (subnets.includes(network?.subnet)) return 'skipped: attached to that subnet';
    if (!this.#world.hasNamespace(container)) await this.#world.addNamespace(container);
    this.#containers.set(container, host);
    const ip =
      network === undefined || action.ipOffset === undefined ? undefined : addressAt(network.subnet, action.ipOffset);
    return this.#attachAs(action, ip, contested);
  }

  async #attachAs(action: AttachAction, ip: string | undefined, contested: boolean): Promise<string> {
    const { container, network, host, mac } = action;
    const body = { network, netns: this.#world.netns(container), name: container, ip, mac };
    const calm = this.#judge.calm(host);
    const ask = () => this.#world.api(host, 'POST', '/v1/endpoints', body);
    const holder = () => this.#model.on(network).find((other) => other.ip === ip);
    let answer = await ask();
    if (calm && !contested && answer.code === 'VTEP_ERR_ADDRESS_IN_USE' && holder() === undefined) {
      // Its last holder may have gone a moment ago.
      await settles(async () => {
        answer = await ask();
        return answer.code !== 'VTEP_ERR_ADDRESS_IN_USE';
      }, RELEASE_MS_MAX);
    }
    if (answer.outcome === 'lost') this.#model.unsettle({ container, network, host });
    if (answer.outcome !== 'answered') return this.#judge.unanswered(host, answer);
    if (answer.code === undefined) return this.#attached(action, ip, answer.body as Endpoint);
    const reasons: (string | false)[] = [
      !this.#model.networks.has(network) && 'VTEP_ERR_NETWORK_UNKNOWN',
      (contested || holder() !== undefined) && 'VTEP_ERR_ADDRESS_IN_USE',
    ];
    this.#judge.refused(`attach of ${container} to ${network} on ${nodeName(host)}`, calm, answer, reasons);
    return answer.text;
  }

  async #attached(action: AttachAction, ip: string | undefined, endpoint: Endpoint): Promise<string> {
    const { container, network, host } = action;
    const attachment = attachmentOf({ container, network, host }, endpoint);
    const what = `attach of ${container} to ${network} on ${nodeName(host)}`;
    const given: string[] = [];
    for (const other of this.#model.on(network)) {
      const shared = addressesOf(other).find((one) => addressesOf(attachment).includes(one));
      if (shared === undefined) continue;
      if (this.#judge.mayBeReaped(other.host)) {
        // Its host was believed dead; when it is back it shows the conflict, and somebody ends the container.
        given.push(other.container);
      } else {
        this.#judge.violations.push(
          `${what} was given ${shared}, which ${other.container} on ${nodeName(other.host)} has`,
        );
      }
    }
    if (ip !== undefined && attachment.ip !== ip)
      this.#judge.violations.push(`${what}: asked for ${ip}, got ${attachment.ip}`);
    if (action.mac !== undefined && attachment.mac !== action.mac)
      this.#judge.violations.push(`${what}: asked for ${action.mac}, got ${attachment.mac}`);
    if (!this.#model.networks.has(network) && !this.#model.unsettledNetworks.has(network))
      this.#judge.violations.push(`${what} succeeded, and the network does not exist`);
    for (const container of given) {
      await this.#world.deleteNamespace(container);
      this.#model.containerGone(container);
    }
    this.#model.attached(attachment);
    return `${addressesOf(attachment).join(' ')} ${attachment.mac} ${attachment.id.slice(0, 8)}`;
  }

  async detach(container: string, by: 'name' | 'netns' | 'id'): Promise<string> {
    const texts: string[] = [];
    for (const attachment of this.#model.of(container)) texts.push(await this.#detachOne(attachment, by));
    return texts.join('; ') || 'skipped: not attached';
  }

  async #detachOne(attachment: AttachmentModel, by: 'name' | 'netns' | 'id'): Promise<string> {
    const { container, network, host, id } = attachment;
    const selector = by === 'name' ? { name: container } : { netns: this.#world.netns(container) };
    const answer =
      by === 'id'
        ? await this.#world.api(host, 'DELETE', `/v1/endpoints/${id}`)
        : await this.#world.api(host, 'POST', '/v1/detach', { network, ...selector });
    if (answer.outcome === 'lost') this.#model.unsettle({ container, network, host });
    if (answer.outcome !== 'answered') return this.#judge.unanswered(host, answer);
    // It works without the registry, so nothing but an unknown fate excuses an error.
    if (answer.code !== undefined) this.#judge.refused(`detach of ${keyOf(attachment)}`, true, answer);
    else this.#model.detached(attachment);
    return answer.text;
  }

  async move(container: string, successor: string, host: HostNumber): Promise<string> {
    const [attachment, ...more] = this.#model.of(container);
    if (attachment === undefined || more.length > 0) return 'skipped: not attached once';
    const detached = await this.#detachOne(attachment, 'name');
    if (this.#model.of(container).length > 0 || detached !== 'done') return detached;
    await this.#world.addNamespace(successor);
    this.#containers.set(successor, host);
    const { network, mac, ip } = attachment;
    const calm = this.#judge.calm(attachment.host);
    // An address whose release is owed to the registry is still taken.
    return this.#attachAs({ kind: 'attach', host, network, container: successor, mac }, ip, !calm);
  }

  async takeover(container: string, successor: string, host: HostNumber): Promise<string> {
    const dead = this.#model.dead.get(container);
    const ready = this.#world.isRunning(nodeName(host));
    if (dead === undefined || !ready || this.#world.isRunning(nodeName(dead.host))) return 'skipped: not as planned';
    if (!this.#world.isRunning('registry') || !this.#model.networks.has(dead.network)) return 'skipped: no registry';
    await this.#world.addNamespace(successor);
    this.#containers.set(successor, host);
    const { network, mac, ip } = dead;
    const sinceMs = performance.now();
    let text = '';
    const taken = await settles(async () => {
      text = await this.#attachAs({ kind: 'attach', host, network, container: successor, mac }, ip, true);
      return this.#model.of(successor).length > 0 || this.#judge.violations.length > 0;
    }, TAKEOVER_MS_MAX);
    if (!taken)
      this.#judge.violations.push(`${ip} of ${container} could not be taken over ${TAKEOVER_MS_MAX} ms after: ${text}`);
    return `${text} after ${Math.round((performance.now() - sinceMs) / 1000)} s`;
  }

  async race(attaches: readonly AttachAction[]): Promise<string> {
    const { network, ipOffset } = attaches[0]!;
    const subnet = this.#model.networks.get(network)?.subnet;
    const ip = subnet === undefined || ipOffset === undefined ? undefined : addressAt(subnet, ipOffset);
    const free = ip !== undefined && !this.#model.on(network).some((other) => other.ip === ip);
    const calm = this.#judge.calm(...attaches.map(({ host }) => host));
    const texts = await Promise.all(attaches.map((attach) => this.attach(attach, { contested: ip !== undefined })));
    const winners = attaches.filter(({ container }) => this.#model.of(container).length > 0).length;
    if (free && calm && winners !== 1)
      this.#judge.violations.push(`${winners} of ${attaches.length} who asked for ${ip} of ${network} at once got it`);
    return texts.join('; ');
  }

  /** Those that died with their host. */
  async ensureBeacons(): Promise<void> {
    for (const host of this.#world.hosts) {
      const container = beaconContainer(host);
      if (this.#model.of(container).length > 0) continue;
      this.#containers.delete(container);
      let text = '';
      const attached = await settles(async () => {
        text = await this.attach({ kind: 'attach', host, network: BEACON_NETWORK, container });
        return this.#model.of(container).length > 0;
      }, 60_000);
      if (!attached) this.#judge.violations.push(`${container} could not be attached within 60 s: ${text}`);
    }
  }
}
