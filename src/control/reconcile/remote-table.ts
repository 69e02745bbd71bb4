/**
 * What other hosts bring to this host's networks: from readings of the registry to calls of the data plane.
 *
 *     nodes/<node>  ──┐
 *     endpoints/<network>/<node> ─┴─▶ setRemote(vni, 'node/<node>', VTEP, MACs and addresses)
 *     peers/<network>/<ip>  ────────▶ setRemote(vni, 'peer/<ip>', VTEP, [])
 *
 * Only keys whose entry changed are looked at. Endpoints whose node is not known wait for it. What is missing stays in
 * force until it is believed gone:
 *
 *     the node is missing                                         AbsenceJudge: a lone death soon, a mass loss held
 *     its endpoints are, and its session is the one they had      it has left the network: after the settle time
 *     its endpoints are, and its session is another               it was dropped and comes back: held
 *
 * Main thread; no I/O of its own.
 */
import type { Logger } from 'pino';
import type { IpFamily } from '../../wire/ip-address.js';
import type { Forwarding } from '../forwarding.js';
import { nodeSource, peerSource } from '../forwarding-source.js';
import { bareAddress, canonicalAddress } from '../ipam/address-span.js';
import type { MacClaim } from '../mac-claims.js';
import type { RegistryEntry, RegistryListing } from '../registry/registry.js';
import {
  type EndpointRecord,
  parseEndpoints,
  parseEndpointsKey,
  parseNode,
  parseNodeKey,
  parsePeer,
  parsePeerKey,
} from '../registry/schema.js';
import { addressFor, type VtepIps } from '../vtep-address.js';
import { AbsenceJudge } from './absence-judge.js';
import { type Unreachable, UnreachableVteps } from './unreachable-vteps.js';

/** What was read, and what it said when it could be read last. */
interface Known<T> {
  readonly entry: RegistryEntry;
  readonly value: T | undefined;
}

type RemoteVtep = VtepIps & { readonly port: number };

interface TrackedNetwork {
  readonly name: string;
  readonly vni: number;
  /** By node. */
  readonly endpoints: Map<string, Known<readonly EndpointRecord[]>>;
  /** By address. */
  readonly peers: Map<string, Known<RemoteVtep>>;
  /** What the data plane has: by node, the session that held its endpoints. */
  readonly applied: Map<string, string>;
  readonly appliedPeers: Set<string>;
  /** Nodes that the data plane has and the readings lack, since when. */
  readonly absent: Map<string, number>;
}

export interface RemoteTableOptions {
  /** This host's own node is skipped. */
  readonly node: string;
  /** That this host has an underlay address of. */
  readonly families: readonly IpFamily[];
  readonly forwarding: Forwarding;
  readonly logger: Logger;
  /** What forwarding hears of a node's endpoints, for whoever else goes by it; undefined: the node is gone. */
  readonly onNode?:
    | ((network: string, node: string, endpoints: readonly EndpointRecord[] | undefined) => void)
    | undefined;
  /** How long those that the registry has lost may take to come back. */
  readonly holdMs: number;
  /** How long after a node's endpoints went its nodes/ entry may still be on its way: the two come by two queries. */
  readonly settleMs: number;
  /** Nodes that vanish within this time count together. */
  readonly windowMs: number;
  /** @default performance.now */
  readonly nowMs?: () => number;
}

export class RemoteTable {
  private readonly options: RemoteTableOptions;
  private readonly nowMs: () => number;
  private readonly judge: AbsenceJudge;
  private readonly nodes = new Map<string, Known<RemoteVtep>>();
  private readonly unreachableVteps: UnreachableVteps;
  private readonly nodeAbsentSince = new Map<string, number>();
  private readonly networks = new Map<string, TrackedNetwork>();
  private timer: NodeJS.Timeout | undefined;
  private timerAtMs = Number.POSITIVE_INFINITY;

  constructor(options: RemoteTableOptions) {
    this.options = options;
    this.nowMs = options.nowMs ?? (() => performance.now());
    this.judge = new AbsenceJudge(options);
    this.unreachableVteps = new UnreachableVteps(options.families, options.logger);
  }

  nodeCount(): number {
    return this.nodes.size;
  }

  /** Those that share no family of the underlay with this host. */
  unreachable(): Unreachable[] {
    return this.unreachableVteps.all();
  }

  /** No reading of nodes/ is newer than the last failed query. */
  get isBlind(): boolean {
    return this.judge.isBlind;
  }

  /** Something that the readings lack is still in force: the local copy of before is the better one. */
  isHolding(network?: string): boolean {
    if (network === undefined) return this.nodeAbsentSince.size > 0;
    return (this.networks.get(network)?.absent.size ?? 0) > 0;
  }

  noteFailure(): void {
    this.judge.noteFailure();
  }

  open(name: string, vni: number): void {
    if (this.networks.has(name)) return;
    this.networks.set(name, {
      name,
      vni,
      endpoints: new Map(),
      peers: new Map(),
      applied: new Map(),
      appliedPeers: new Set(),
      absent: new Map(),
    });
  }

  close(name: string): void {
    this.networks.delete(name);
    this.unreachableVteps.forgetNetwork(name);
  }

  /** What was known when the last run ended. */
  restoreNodes(entries: readonly RegistryEntry[]): void {
    this.replaceNodes(entries);
  }

  setNodes({ index, entries }: RegistryListing): void {
    const { gone } = this.replaceNodes(entries);
    const own = this.nodes.get(this.options.node);
    const cause = this.judge.noteReading({
      atMs: this.nowMs(),
      index,
      ownHolder: own && holderOf(own.entry),
      others: this.nodes.size - (own === undefined ? 0 : 1),
      vanished: gone,
    });
    if (cause !== undefined && this.nodeAbsentSince.size > 0) {
      this.options.logger.warn(
        { event: 'nodes.held', nodes: this.nodeAbsentSince.size, cause },
        `${this.nodeAbsentSince.size} nodes are missing from the registry, and ${cause}: they are held for ${this.options.holdMs / 1000} s`,
      );
    }
    this.sweep();
  }

  setEndpoints(name: string, entries: readonly RegistryEntry[]): void {
    const network = this.networks.get(name);
    if (network === undefined) return;
    const parse = (entry: RegistryEntry) => parseEndpoints(entry, this.report)?.endpoints;
    const { changed } = replace(network.endpoints, entries, (key) => parseEndpointsKey(key)?.node, parse);
    for (const node of changed) this.applyNode(network, node);
  }

  setPeers(name: string, entries: readonly RegistryEntry[]): void {
    const network = this.networks.get(name);
    if (network === undefined) return;
    const parse = (entry: RegistryEntry) => {
      const peer = parsePeer(entry, this.report);
      return peer && { ip: peer.address, port: peer.port };
    };
    for (const address of replace(network.peers, entries, (key) => parsePeerKey(key)?.address, parse).changed) {
      const source = peerSource(address);
      const known = network.peers.get(address);
      if (known === undefined) {
        this.unreachableVteps.forget(network.name, source);
        if (network.appliedPeers.delete(address)) this.options.forwarding.removeRemote(network.vni, source);
      } else if (known.value !== undefined && this.set(network, source, known.value, [])) {
        network.appliedPeers.add(address);
      }
    }
  }

  /** What the data plane refused, since it named this host's own address, may be right now that this host has another. */
  applyAgain(): void {
    for (const network of this.networks.values()) {
      for (const node of network.endpoints.keys()) if (!network.absent.has(node)) this.applyNode(network, node);
    }
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  /** @returns how many other nodes were there and are not any more. */
  private replaceNodes(entries: readonly RegistryEntry[]): { gone: number } {
    const parse = (entry: RegistryEntry) => parseNode(entry, this.report)?.vtep;
    let gone = 0;
    for (const node of replace(this.nodes, entries, parseNodeKey, parse).changed) {
      if (this.nodes.has(node)) this.nodeAbsentSince.delete(node);
      else if (node !== this.options.node) {
        gone++;
        this.nodeAbsentSince.set(node, this.nowMs());
      }
      for (const network of this.networks.values()) this.applyNode(network, node);
    }
    return { gone };
  }

  private applyNode(network: TrackedNetwork, name: string): void {
    if (name === this.options.node) return;
    const node = this.nodes.get(name);
    const endpoints = network.endpoints.get(name);
    if (node === undefined || endpoints === undefined) {
      this.unreachableVteps.forget(network.name, nodeSource(name));
      if (!network.applied.has(name) || network.absent.has(name)) return;
      network.absent.set(name, this.nowMs());
      this.arm(this.believedAtMs(network, name));
      return;
    }
    network.absent.delete(name);
    // A value that cannot be read changes nothing: what was known goes on to hold.
    if (node.value === undefined || endpoints.value === undefined) return;
    if (this.set(network, nodeSource(name), node.value, endpoints.value.map(toClaim))) {
      network.applied.set(name, holderOf(endpoints.entry));
      this.options.onNode?.(network.name, name, endpoints.value);
    } else if (this.unreachableVteps.has(network.name, nodeSource(name)) && network.applied.delete(name)) {
      this.options.onNode?.(network.name, name, undefined);
    }
  }

  private believedAtMs(network: TrackedNetwork, name: string): number {
    const sinceMs = network.absent.get(name)!;
    const node = this.nodes.get(name);
    if (node === undefined) return this.judge.believedAtMs(this.nodeAbsentSince.get(name) ?? sinceMs);
    if (this.judge.isBlind) return Number.POSITIVE_INFINITY;
    const hasLeft = network.applied.get(name) === holderOf(node.entry);
    return sinceMs + (hasLeft ? this.options.settleMs : this.options.holdMs);
  }

  /** Removes what is believed gone by now. */
  private sweep(): void {
    const nowMs = this.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const network of this.networks.values()) {
      for (const name of network.absent.keys()) {
        const atMs = this.believedAtMs(network, name);
        if (atMs > nowMs) nextMs = Math.min(nextMs, atMs);
        else this.removeNode(network, name);
      }
    }
    for (const [name, sinceMs] of this.nodeAbsentSince) {
      if (this.judge.believedAtMs(sinceMs) <= nowMs) this.nodeAbsentSince.delete(name);
    }
    this.arm(nextMs);
  }

  private arm(atMs: number): void {
    if (atMs === Number.POSITIVE_INFINITY || atMs >= this.timerAtMs) return;
    clearTimeout(this.timer);
    this.timerAtMs = atMs;
    const fire = () => {
      this.timerAtMs = Number.POSITIVE_INFINITY;
      this.sweep();
    };
    this.timer = setTimeout(fire, Math.max(0, Math.ceil(atMs - this.nowMs())));
    this.timer.unref();
  }

  private removeNode(network: TrackedNetwork, name: string): void {
    network.absent.delete(name);
    network.applied.delete(name);
    this.options.forwarding.removeRemote(network.vni, nodeSource(name));
    this.options.onNode?.(network.name, name, undefined);
    this.options.logger.info(
      { event: 'remote.gone', node: name, vni: network.vni },
      `node ${name} has left VNI ${network.vni}`,
    );
  }

  private set(network: TrackedNetwork, source: string, remote: RemoteVtep, macs: readonly MacClaim[]): boolean {
    const vtep = addressFor(this.options.families, remote);
    if (vtep === undefined) {
      this.unreachableVteps.note(network.name, source, remote);
      this.options.forwarding.removeRemote(network.vni, source);
      return false;
    }
    this.unreachableVteps.forget(network.name, source);
    try {
      this.options.forwarding.setRemote(network.vni, source, vtep, macs);
      return true;
    } catch (error) {
      this.options.logger.error(
        { event: 'remote.refused', err: error, source },
        `${source} could not be entered: ${(error as Error).message}`,
      );
      return false;
    }
  }

  private readonly report = (error: Error): void => {
    this.options.logger.warn({ event: 'registry.bad-value', err: error }, error.message);
  };
}

function toClaim({ mac, attachedAt, addresses }: EndpointRecord): MacClaim {
  return { mac, since: attachedAt ?? 0, addresses: addresses.map((text) => canonicalAddress(bareAddress(text))) };
}

/** Another one when the key was lost and made anew. */
function holderOf(entry: RegistryEntry): string {
  return entry.session ?? `#${entry.createIndex}`;
}

/** Makes `map` hold exactly `entries`, by what `nameOf` makes of their keys. @returns the names that came, went or changed. */
function replace<T>(
  map: Map<string, Known<T>>,
  entries: readonly RegistryEntry[],
  nameOf: (key: string) => string | undefined,
  parse: (entry: RegistryEntry) => T | undefined,
): { changed: string[] } {
  const changed: string[] = [];
  const there = new Set<string>();
  for (const entry of entries) {
    const name = nameOf(entry.key);
    if (name === undefined) continue;
    there.add(name);
    const old = map.get(name);
    // A registry that lost its data may give an old index to a new value: only the text says that it is the same.
    const value = old?.entry.value === entry.value ? old.value : (parse(entry) ?? old?.value);
    map.set(name, { entry, value });
    const isSame = old !== undefined && old.value === value && holderOf(old.entry) === holderOf(entry);
    if (!isSame) changed.push(name);
  }
  for (const name of map.keys()) {
    if (there.has(name)) continue;
    map.delete(name);
    changed.push(name);
  }
  return { changed };
}
