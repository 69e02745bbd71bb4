/**
 * Networks made and removed: asked of the hosts, entered in the model as they were answered, and judged at once. A VNI or
 * subnet that is given twice, and a network that goes under its endpoints, are violations on the spot.
 */
import type { Network } from '../../src/control/api/schema.js';
import type { Action, HostNumber } from './actions.js';
import type { Judge } from './judge.js';
import { keyOf, type Model } from './model.js';
import { settles } from './observation.js';
import type { World } from './world.js';

/** How long an endpoint whose container is gone may still be there: vtepd hears of it from the kernel. */
const RELEASE_MS_MAX = 15_000;

export class NetworkActions {
  readonly #world: World;
  readonly #model: Model;
  readonly #judge: Judge;

  constructor(world: World, model: Model, judge: Judge) {
    this.#world = world;
    this.#model = model;
    this.#judge = judge;
  }

  async create(action: Extract<Action, { kind: 'network-create' }>): Promise<string> {
    const { host, network: name, subnetOf, ipv6 } = action;
    if (this.#model.networks.has(name)) return 'skipped: it exists';
    const subnet = subnetOf === undefined ? undefined : this.#model.networks.get(subnetOf)?.subnet;
    const pooled = subnet === undefined;
    const answer = await this.#world.api(host, 'POST', '/v1/networks', { name, ipv6, ...(pooled ? {} : { subnet }) });
    if (answer.outcome === 'refused') return this.#judge.unanswered(host, answer);
    if (answer.outcome === 'lost' || answer.code !== undefined) {
      const calm = this.#judge.calm(host);
      if (answer.code !== undefined) this.#judge.refused(`network create ${name}`, calm, answer);
      // A write whose answer the registry could not give may have been done.
      this.#model.unsettledNetworks.set(name, { pooled });
      return answer.text;
    }
    const { id, vni, subnets } = answer.body as Network;
    const [cidr, subnet6] = subnets.map((one) => one.cidr) as [string, string?];
    if ((ipv6 === true) !== (subnet6 !== undefined))
      this.#judge.violations.push(`network create ${name} was given the IPv6 subnet ${subnet6}`);
    for (const other of this.#model.networks.values()) {
      if (other.vni === vni)
        this.#judge.violations.push(`network create ${name} was given VNI ${vni}, which ${other.name} has`);
      if (pooled && other.subnet === cidr)
        this.#judge.violations.push(`network create ${name} was given subnet ${cidr}, which ${other.name} has`);
      if (subnet6 !== undefined && other.subnet6 === subnet6)
        this.#judge.violations.push(`network create ${name} was given subnet ${subnet6}, which ${other.name} has`);
    }
    this.#model.networks.set(name, {
      ...{ name, id, vni, subnet: cidr, pooled },
      ...(subnet6 === undefined ? {} : { subnet6 }),
    });
    return `VNI ${vni}, ${cidr}${subnet6 === undefined ? '' : ` ${subnet6}`}`;
  }

  async remove(host: HostNumber, name: string): Promise<string> {
    const calm = this.#judge.calm(...this.#world.hosts);
    const users = this.#model.on(name);
    const maybe = [...this.#model.unsettled.values()].some(({ network }) => network === name);
    const ask = () => this.#world.api(host, 'DELETE', `/v1/networks/${name}`);
    let answer = await ask();
    if (calm && users.length === 0 && !maybe && answer.code === 'VTEP_ERR_NETWORK_IN_USE') {
      await settles(async () => {
        answer = await ask();
        return answer.code !== 'VTEP_ERR_NETWORK_IN_USE';
      }, RELEASE_MS_MAX);
    }
    if (answer.outcome === 'refused') return this.#judge.unanswered(host, answer);
    if (answer.outcome === 'answered' && answer.code === undefined) {
      if (users.length === 0) this.#model.networks.delete(name);
      else if (calm)
        this.#judge.violations.push(`network rm ${name} succeeded, and ${users.map(keyOf).join(', ')} use it`);
      // Its hosts were believed dead; they put it back when they return.
      else this.#model.unsettleNetwork(name);
      return answer.text;
    }
    const known = this.#model.networks.has(name);
    const reasons = [
      (users.length > 0 || maybe) && 'VTEP_ERR_NETWORK_IN_USE',
      !known && 'VTEP_ERR_NETWORK_UNKNOWN',
    ] as const;
    if (answer.code !== undefined) this.#judge.refused(`network rm ${name}`, calm, answer, reasons);
    if (known && answer.code !== 'VTEP_ERR_NETWORK_IN_USE') this.#model.unsettleNetwork(name);
    return answer.text;
  }

  /** Where something is in trouble nobody knows when a host hears of it, so it is left out. */
  async removeByForce(host: HostNumber, name: string): Promise<string> {
    if (!this.#judge.calm(...this.#world.hosts)) return 'skipped: something is in trouble';
    if (!this.#model.networks.has(name) || [...this.#model.unsettled.values()].some(({ network }) => network === name))
      return 'skipped: not known';
    const answer = await this.#world.api(host, 'DELETE', `/v1/networks/${name}?force=true`);
    if (answer.outcome !== 'answered' || answer.code !== undefined) {
      this.#judge.violations.push(`network rm --force ${name} failed though nothing was in trouble: ${answer.text}`);
      return answer.text;
    }
    const users = this.#model.on(name);
    for (const attachment of users) this.#model.detached(attachment);
    this.#model.networks.delete(name);
    return `done, ${users.length} endpoints went`;
  }
}
