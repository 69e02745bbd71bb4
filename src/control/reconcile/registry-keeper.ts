/**
 * Tells a registry that has lost its data from one in which something was removed, and fills it again. Main thread.
 *
 *     meta/registry-id is the one remembered     what is missing was removed: it is noted, so that it never comes back
 *     it is missing, or another one              the registry is empty, or was filled again by others: what the snapshots
 *                                                have and it has not is put back: networks with VNI and subnets, peers
 *
 * Nodes, endpoints and addresses come back by their owners (NodeSession, EndpointManager). A network without endpoints
 * has no owner, so every host that knew it puts it back; compare-and-set makes it one.
 * A host that was away while a network was removed may put it back: a host that saw the removal removes it again, unless
 * it is in use by then. What comes back in the same registry, an operator has restored. A registry at another URL is another registry: nothing is put into it.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import type { NetworkStore } from '../networks/network-store.js';
import type { Registry, RegistryEntry } from '../registry/registry.js';
import {
  encodeValue,
  NETWORKS_PREFIX,
  type NetworkValue,
  PEERS_PREFIX,
  parseNetwork,
  parsePeerKey,
  parseRegistryId,
  REGISTRY_ID_KEY,
  registryIdValueSchema,
  SUBNETS_PREFIX,
  subnetKey,
  subnetValueSchema,
} from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';

/** Hosts find the loss together: most then see that others have put back what they would have. */
const SPREAD_MS = 1000;
/** By then whoever put a network back for endpoints of its own has published them. */
const REMOVED_AGAIN_MS = 5000;
/** A host publishes within some beats of finding the loss. */
const PUT_BACK_MS = 60_000;

export interface RegistryKeeperOptions {
  readonly registry: Registry;
  readonly state: LocalState;
  readonly networks: NetworkStore;
  readonly logger: Logger;
  /** @default 1000 */
  readonly spreadMs?: number | undefined;
  /** @default 5000 */
  readonly removedAgainMs?: number | undefined;
}

export class RegistryKeeper {
  private readonly options: RegistryKeeperOptions;
  private lostMs = Number.NEGATIVE_INFINITY;
  private checking: Promise<boolean> | undefined;
  private readonly timers = new Set<NodeJS.Timeout>();

  constructor(options: RegistryKeeperOptions) {
    this.options = options;
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
  }

  /**
   * Call it when something is missing, and before anything is believed of a registry that was away.
   * @returns whether the registry had lost its data; it is filled again then. @throws VtepError as the registry does
   */
  check(): Promise<boolean> {
    this.checking ??= this.run().finally(() => {
      this.checking = undefined;
    });
    return this.checking;
  }

  /**
   * For a network of this host's that is missing: whether to put it back. Only into a registry that has just been found to
   * have lost its data, since from any other it was removed. @throws VtepError as the registry does
   */
  async mayPutBack(networkId: string): Promise<boolean> {
    await this.check();
    return this.hasJustLostData && this.options.state.removedFrom(networkId) === undefined;
  }

  /** Whether the network was removed from this very registry: what is missing for that stays so. */
  wasRemoved(networkId: string): boolean {
    const { state } = this.options;
    const from = state.removedFrom(networkId);
    return from !== undefined && from === state.registry?.id;
  }

  /** What is missing now need not have been removed: not each host has put back what it knows. */
  get hasJustLostData(): boolean {
    return performance.now() - this.lostMs < PUT_BACK_MS;
  }

  /** Removed by someone, from a registry that is well. What of it is still there was renamed. */
  async noteRemoved(gone: readonly RegistryEntry[], there: readonly RegistryEntry[] = []): Promise<void> {
    const stay = new Set(there.map((entry) => parseNetwork(entry)?.id));
    const ids = gone.flatMap((entry) => parseNetwork(entry)?.id ?? []).filter((id) => !stay.has(id));
    const { state } = this.options;
    if (state.registry !== undefined) await state.noteRemoved(ids, state.registry.id);
  }

  /** Networks that have just appeared: one that was removed is back by a host that did not know. */
  noteAppeared(entries: readonly RegistryEntry[]): void {
    const { state } = this.options;
    for (const entry of entries) {
      const network = parseNetwork(entry);
      const removedFrom = network && state.removedFrom(network.id);
      if (network === undefined || removedFrom === undefined || removedFrom === state.registry?.id) continue;
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        void this.removeAgain(network);
      }, this.options.removedAgainMs ?? REMOVED_AGAIN_MS);
      timer.unref();
      this.timers.add(timer);
    }
  }

  private async run(): Promise<boolean> {
    const { registry, state, logger } = this.options;
    const remembered = state.registry;
    const found = await registry.get(REGISTRY_ID_KEY);
    const id = found && parseRegistryId(found)?.id;
    if (remembered !== undefined && id === remembered.id) return false;
    const isLost = remembered !== undefined && registry.urls.includes(remembered.url);
    if (isLost) {
      this.lostMs = performance.now();
      logger.warn(
        { event: 'registry.lost-data', url: registry.url },
        `the registry ${registry.url} has lost its data: what this host knows of it is put back`,
      );
      await this.putBack();
    }
    await this.remember();
    return isLost;
  }

  /** Enters an id if there is none. */
  private async remember(): Promise<void> {
    const { registry, state } = this.options;
    const mine = { v: 1 as const, id: randomBytes(16).toString('hex') };
    await registry.compareAndSet(REGISTRY_ID_KEY, encodeValue(registryIdValueSchema, mine), 0);
    const entry = await registry.get(REGISTRY_ID_KEY);
    const value = entry && parseRegistryId(entry);
    if (value !== undefined) await state.setRegistry({ url: registry.url, id: value.id });
  }

  private async putBack(): Promise<void> {
    const { registry, state, networks, logger } = this.options;
    // Read before the wait: a reading of the empty registry may replace them meanwhile, in another run.
    const known = state.snapshot(NETWORKS_PREFIX).map((entry) => parseNetwork(entry));
    const peers = state.snapshot(PEERS_PREFIX);
    await sleep(Math.random() * (this.options.spreadMs ?? SPREAD_MS));
    const there = new Set((await networks.list()).map((network) => network.name));
    for (const network of known) {
      if (network === undefined || network.state === 'removing' || state.removedFrom(network.id)) continue;
      if (there.has(network.name) || !(await networks.restore(network))) continue;
      logger.warn(
        { event: 'network.put-back', network: network.name },
        `network "${network.name}" was gone from the registry: put back`,
      );
    }
    // Also of those that other hosts have put back, who may not have known what belonged to them.
    const ids = new Set((await networks.list()).map((network) => network.id));
    const back = known.filter((network) => network !== undefined).filter(({ id }) => ids.has(id));
    const names = new Set(back.map((network) => network.name));
    await this.putSubnetsBack(back);
    for (const { key, value } of peers) {
      if (!names.has(parsePeerKey(key)?.network ?? '')) continue;
      if (await registry.compareAndSet(key, value, 0)) {
        logger.warn({ event: 'peer.put-back', key }, `${key} was gone from the registry: put back`);
      }
    }
  }

  private async putSubnetsBack(networks: readonly NetworkValue[]): Promise<void> {
    const { registry } = this.options;
    const claimed = new Set((await registry.list(SUBNETS_PREFIX)).entries.map(({ key }) => key));
    for (const { name, subnets } of networks) {
      for (const subnet of subnets) {
        const key = subnetKey(subnet.cidr);
        if (claimed.has(key)) continue;
        await registry.compareAndSet(key, encodeValue(subnetValueSchema, { v: 1, network: name }), 0);
      }
    }
  }

  private async removeAgain({ name, id }: NetworkValue): Promise<void> {
    const { networks, logger } = this.options;
    try {
      if ((await networks.find(name))?.value.id !== id) return;
      await networks.remove(name);
      logger.warn(
        { event: 'network.removed-again', network: name },
        `network "${name}", which had been removed, was put back by a host that did not know: removed again`,
      );
    } catch (error) {
      if (error instanceof VtepError && error.code === 'VTEP_ERR_NETWORK_UNKNOWN') return;
      logger.warn(
        { event: 'network.remove-again-failed', err: error, network: name },
        `network "${name}" had been removed and is back: ${(error as Error).message}`,
      );
    }
  }
}
