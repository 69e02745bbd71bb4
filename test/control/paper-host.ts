/**
 * A host without kernel and daemon: session, endpoints, claims, publication and reaper as Host wires them, moved by the
 * test step by step, with a clock of the test's. Test support.
 */
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { KeyedMutex } from '../../src/control/endpoints/keyed-mutex.js';
import { Publisher } from '../../src/control/endpoints/publisher.js';
import { AddressPool } from '../../src/control/ipam/address-pool.js';
import { Reaper } from '../../src/control/ipam/reaper.js';
import { NetworkStore } from '../../src/control/networks/network-store.js';
import type { Registry } from '../../src/control/registry/registry.js';
import type { NetworkValue } from '../../src/control/registry/schema.js';
import type { LocalEndpoint } from '../../src/control/state/local-state.js';
import { gated, type MemoryRegistry } from './memory-registry.js';

export const TTL_MS = 15_000;
export const REAP_AFTER_MS = 60_000;
const logger = pino({ level: 'silent' });

export interface Clock {
  nowMs: number;
}

export class PaperHost {
  readonly endpoints = new Map<string, LocalEndpoint>();
  readonly networks = new Map<string, NetworkValue>();
  readonly store: NetworkStore;
  readonly pool: AddressPool;
  readonly reaper: Reaper;
  readonly publisher: Publisher;
  /** No word goes between it and the registry. */
  cut = false;
  session: string | undefined;
  renewedMs = 0;
  private beating: Promise<void> = Promise.resolve();
  private readonly registry: Registry;
  private readonly mutex = new KeyedMutex();

  constructor(
    readonly node: string,
    private readonly memory: MemoryRegistry,
    private readonly clock: Clock,
    /** As Publisher's: whether a network that is missing may be put back. */
    mayRestore?: () => Promise<boolean>,
  ) {
    const registry = gated(memory, () => this.cut);
    this.registry = registry;
    const session = () => this.session;
    this.store = new NetworkStore(registry, async () => []);
    const now = () => clock.nowMs;
    this.reaper = new Reaper({ ...{ registry, node, logger, now }, reapAfterMs: REAP_AFTER_MS });
    const absence = (other: string) => this.reaper.absence(other);
    this.pool = new AddressPool(registry, node, logger, { session, absence });
    this.publisher = new Publisher({
      ...{ registry, node, networks: this.store, addresses: this.pool, logger, session },
      ...(mayRestore && { mayRestore }),
    });
  }

  /** Renews its session, or enters anew and publishes all that it has. One after another. */
  beat(): Promise<void> {
    const next = this.beating.catch(() => undefined).then(() => this.beatNow());
    this.beating = next;
    return next;
  }

  private async beatNow(): Promise<void> {
    if (this.session !== undefined && (await this.registry.renewSession(this.session))) {
      this.renewedMs = this.clock.nowMs;
      return;
    }
    this.session = undefined;
    const renewedMs = this.clock.nowMs;
    const session = await this.registry.createSession(this.node, TTL_MS / 1000);
    const entered = await this.registry.transaction([
      { verb: 'lock', key: `nodes/${this.node}`, value: '{}', session },
    ]);
    if (!entered) return;
    this.session = session;
    this.renewedMs = renewedMs;
    await this.publishAll();
  }

  async publishAll(): Promise<void> {
    for (const network of this.networks.values()) await this.mutex.run(network.name, () => this.publish(network));
    const held = [...this.endpoints.values()].flatMap(({ id, network, addresses }) =>
      addresses.map((text) => ({ network, address: text.split('/')[0]!, endpointId: id })),
    );
    const contested = await this.pool.sweep(held, (id) => this.endpoints.has(id));
    for (const name of contested) await this.mutex.run(name, () => this.publish(this.networks.get(name)!));
  }

  private async publish(network: NetworkValue): Promise<void> {
    await this.publisher.publish(
      network,
      [...this.endpoints.values()].filter((endpoint) => endpoint.network === network.name),
    );
  }

  attach(name: string, ips?: readonly string[]): Promise<LocalEndpoint> {
    return this.mutex.run(name, () => this.attachNow(name, ips));
  }

  private async attachNow(name: string, ips?: readonly string[]): Promise<LocalEndpoint> {
    const { value } = await this.store.require(name);
    const id = randomBytes(8).toString('hex');
    let endpoint: LocalEndpoint | undefined;
    try {
      const addresses = await this.pool.claim(value, id, ips);
      endpoint = {
        ...{ id, name: id, network: name, vni: value.vni, addresses, mac: '02:00:5e:10:00:01', mtuBytes: 1450 },
        ...{ sandbox: 'netns:x', sandboxIdentity: id, hostInterface: `h${id}`, containerInterface: 'eth0' },
      };
      this.endpoints.set(id, endpoint);
      this.networks.set(name, value);
      await this.publish(value);
      return endpoint;
    } catch (error) {
      this.endpoints.delete(id);
      await this.publish(value)
        .then(() => this.release(endpoint))
        .catch(() => undefined);
      throw error;
    } finally {
      this.pool.settled(id);
    }
  }

  /** Works without the registry; what is owed then is swept later. */
  async detach(id: string): Promise<void> {
    const endpoint = this.endpoints.get(id);
    if (endpoint !== undefined) await this.mutex.run(endpoint.network, () => this.detachNow(endpoint));
  }

  private async detachNow(endpoint: LocalEndpoint): Promise<void> {
    if (!this.endpoints.delete(endpoint.id)) return;
    await this.publish(this.networks.get(endpoint.network)!)
      .then(() => this.release(endpoint))
      .catch(() => undefined);
  }

  private async release(endpoint: LocalEndpoint | undefined): Promise<void> {
    for (const text of endpoint?.addresses ?? []) {
      await this.pool.release(endpoint!.network, text.split('/')[0]!, endpoint!.id);
    }
  }

  /** What the registry does with a session that was not renewed for its TTL. */
  expireIfDue(): void {
    const { session } = this;
    if (session !== undefined && this.clock.nowMs - this.renewedMs > TTL_MS) this.memory.expire(session);
  }
}

/** Each published address with the endpoints that have it: `blue 10.0.0.2` -> [`cdh1 e-1`]. */
export function publishedAddresses(memory: MemoryRegistry): Map<string, string[]> {
  const published = new Map<string, string[]>();
  for (const key of memory.under('endpoints/')) {
    const [, network, node] = key.split('/');
    const { endpoints } = JSON.parse(memory.keys.get(key)!.value) as {
      endpoints: { id: string; addresses: string[] }[];
    };
    for (const { id, addresses } of endpoints) {
      for (const address of addresses) {
        const what = `${network} ${address}`;
        published.set(what, [...(published.get(what) ?? []), `${node} ${id}`]);
      }
    }
  }
  return published;
}
