/**
 * What other hosts bring to this host's networks: from readings of the registry to calls of the data plane.
 *
 *     nodes/<node>  ──┐
 *     endpoints/<network>/<node> ─┴─▶ setRemote(vni, 'node/<node>', VTEP, MACs)
 *     peers/<network>/<ip>  ────────▶ setRemote(vni, 'peer/<ip>', VTEP, [])
 *
 * Only keys whose entry changed are looked at. Endpoints whose node is not known wait for it. A node whose session ended
 * is held for a time before it is believed gone: a registry that was away drops sessions of nodes that are well.
 * Main thread; no I/O of its own.
 */
import type { Logger } from 'pino';
import type { Forwarding, VtepAddress } from '../forwarding.js';
import type { RegistryEntry } from '../registry/registry.js';
import {
  parseEndpoints,
  parseEndpointsKey,
  parseNode,
  parseNodeKey,
  parsePeer,
  parsePeerKey,
} from '../registry/schema.js';

interface Remote {
  readonly vtep: VtepAddress;
  readonly macs: readonly string[];
}

interface TrackedNetwork {
  readonly vni: number;
  readonly endpoints: Map<string, RegistryEntry>;
  readonly peers: Map<string, RegistryEntry>;
  readonly applied: Map<string, Remote>;
  readonly removals: Map<string, NodeJS.Timeout>;
}

export interface RemoteTableOptions {
  /** This host's own node is skipped. */
  readonly node: string;
  readonly forwarding: Forwarding;
  readonly logger: Logger;
  /** How long a node that left without a word stays. */
  readonly holdMs: number;
  /** How long after a node's endpoints went its nodes/ entry may still be on its way: the two come by two queries. */
  readonly settleMs: number;
}

export class RemoteTable {
  private readonly options: RemoteTableOptions;
  private nodes = new Map<string, RegistryEntry>();
  private readonly networks = new Map<string, TrackedNetwork>();

  constructor(options: RemoteTableOptions) {
    this.options = options;
  }

  nodeCount(): number {
    return this.nodes.size;
  }

  open(name: string, vni: number): void {
    if (this.networks.has(name)) return;
    this.networks.set(name, { vni, endpoints: new Map(), peers: new Map(), applied: new Map(), removals: new Map() });
  }

  close(name: string): void {
    const network = this.networks.get(name);
    for (const timer of network?.removals.values() ?? []) clearTimeout(timer);
    this.networks.delete(name);
  }

  setNodes(entries: readonly RegistryEntry[]): void {
    const before = this.nodes;
    this.nodes = new Map(entries.map((entry) => [entry.key, entry]));
    for (const key of changedKeys(before, this.nodes)) {
      const node = parseNodeKey(key);
      if (node === undefined) continue;
      for (const network of this.networks.values()) this.applyNode(network, node);
    }
  }

  setEndpoints(name: string, entries: readonly RegistryEntry[]): void {
    const network = this.networks.get(name);
    if (network === undefined) return;
    for (const key of replace(network.endpoints, entries)) {
      const node = parseEndpointsKey(key)?.node;
      if (node !== undefined) this.applyNode(network, node, key);
    }
  }

  setPeers(name: string, entries: readonly RegistryEntry[]): void {
    const network = this.networks.get(name);
    if (network === undefined) return;
    for (const key of replace(network.peers, entries)) {
      const address = parsePeerKey(key)?.address;
      if (address === undefined) continue;
      const entry = network.peers.get(key);
      if (entry === undefined) {
        this.remove(network, `peer/${address}`);
        continue;
      }
      const peer = parsePeer(entry, (error) =>
        this.options.logger.warn({ event: 'registry.bad-value', err: error }, error.message),
      );
      if (peer !== undefined) {
        this.set(network, `peer/${address}`, { vtep: { address: peer.address, port: peer.port }, macs: [] });
      }
    }
  }

  stop(): void {
    for (const network of this.networks.values()) for (const timer of network.removals.values()) clearTimeout(timer);
  }

  private applyNode(network: TrackedNetwork, node: string, key?: string): void {
    if (node === this.options.node) return;
    const source = `node/${node}`;
    const endpointsEntry = this.endpointsEntry(network, node, key);
    const nodeEntry = this.nodes.get(`nodes/${node}`);
    if (endpointsEntry === undefined || nodeEntry === undefined) {
      if (network.applied.has(source)) this.scheduleRemoval(network, node);
      return;
    }
    const report = (error: Error) =>
      this.options.logger.warn({ event: 'registry.bad-value', err: error }, error.message);
    const value = parseNode(nodeEntry, report);
    const endpoints = parseEndpoints(endpointsEntry, report);
    // A value that cannot be read changes nothing: what was known goes on to hold.
    if (value === undefined || endpoints === undefined) return;
    const macs = endpoints.endpoints.map((endpoint) => endpoint.mac);
    this.set(network, source, { vtep: { address: value.vtep.ip, port: value.vtep.port }, macs });
  }

  private endpointsEntry(network: TrackedNetwork, node: string, key?: string): RegistryEntry | undefined {
    if (key !== undefined) return network.endpoints.get(key);
    for (const [candidate, entry] of network.endpoints) if (parseEndpointsKey(candidate)?.node === node) return entry;
    return undefined;
  }

  /** An orderly leave keeps the node: gone after the settling time. The node gone too: after the hold time. */
  private scheduleRemoval(network: TrackedNetwork, node: string): void {
    const source = `node/${node}`;
    if (network.removals.has(source)) return;
    const isBack = () => this.nodes.has(`nodes/${node}`) && this.endpointsEntry(network, node) !== undefined;
    const settled = setTimeout(() => {
      if (isBack()) {
        network.removals.delete(source);
        return;
      }
      if (this.nodes.has(`nodes/${node}`)) {
        this.remove(network, source);
        return;
      }
      const held = setTimeout(
        () => (isBack() ? network.removals.delete(source) : this.remove(network, source)),
        this.options.holdMs,
      );
      held.unref();
      network.removals.set(source, held);
    }, this.options.settleMs);
    settled.unref();
    network.removals.set(source, settled);
  }

  private set(network: TrackedNetwork, source: string, remote: Remote): void {
    clearTimeout(network.removals.get(source));
    network.removals.delete(source);
    try {
      this.options.forwarding.setRemote(network.vni, source, remote.vtep, remote.macs);
      network.applied.set(source, remote);
    } catch (error) {
      this.options.logger.error(
        { event: 'remote.refused', err: error, source },
        `${source} could not be entered: ${(error as Error).message}`,
      );
    }
  }

  private remove(network: TrackedNetwork, source: string): void {
    clearTimeout(network.removals.get(source));
    network.removals.delete(source);
    if (network.applied.delete(source)) this.options.forwarding.removeRemote(network.vni, source);
  }
}

/** Makes `map` hold exactly `entries`. @returns the keys that came, went or changed. */
function replace(map: Map<string, RegistryEntry>, entries: readonly RegistryEntry[]): string[] {
  const after = new Map(entries.map((entry) => [entry.key, entry]));
  const changed = changedKeys(map, after);
  map.clear();
  for (const [key, entry] of after) map.set(key, entry);
  return changed;
}

function changedKeys(before: ReadonlyMap<string, RegistryEntry>, after: ReadonlyMap<string, RegistryEntry>): string[] {
  const changed: string[] = [];
  for (const [key, entry] of after) {
    const old = before.get(key);
    // A registry that lost its data may give an old index to a new value.
    if (old === undefined || old.modifyIndex !== entry.modifyIndex || old.value !== entry.value) changed.push(key);
  }
  for (const key of before.keys()) if (!after.has(key)) changed.push(key);
  return changed;
}
