/**
 * Networks in the registry: made, found and removed, each by one transaction. Control plane; no kernel object here.
 *
 *     create   networks/<name>, vnis/<vni> and, from the default pool, subnets/<cidr>: all new, or nothing
 *     remove   active ─CAS▶ removing ─(no endpoints)▶ all keys go in one transaction
 *                              ├─(endpoints)─CAS▶ active
 *                              └─(endpoints, forced)─▶ hosts detach them, those of dead nodes are dropped ─▶ asked again
 *
 * Whoever publishes an endpoint checks the index of networks/<name> in the same transaction, so that none slips into a
 * network that is being removed. A remover that died is finished by the next `remove`.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CreateNetwork } from '../api/schema.js';
import { VtepError } from '../errors.js';
import { deleteJournalled } from '../registry/journalled-writes.js';
import type { Registry, RegistryEntry, RegistryOperation } from '../registry/registry.js';
import {
  addressesPrefix,
  encodeValue,
  endpointsPrefix,
  journalKey,
  NETWORKS_PREFIX,
  type NetworkValue,
  NODES_PREFIX,
  networkKey,
  networkValueSchema,
  nodeKey,
  parseEndpoints,
  parseEndpointsKey,
  parseNetwork,
  parseSubnet,
  parseVni,
  parseVniKey,
  peersPrefix,
  subnetKey,
  subnetValueSchema,
  VNIS_PREFIX,
  vniKey,
  vniValueSchema,
} from '../registry/schema.js';
import { askedSubnets, overlapWarnings, planSubnets } from './network-plan.js';
import { renameNetwork } from './network-rename.js';
import { settingsOf } from './network-settings.js';
import { DEFAULT_POOLS, nextFreeSubnet, type Pool } from './subnet-pool.js';

const VNI = { first: 256, last: 16_777_215 };
/** Each lost race is another host's success. */
const CREATE_TRIES_MAX = 100;
const REMOVE_TRIES_MAX = 10;
/** A host that can't be reached keeps its endpoints published until its session ends, 30 s at the most by default. */
const FORCED_WAIT_MS = 40_000;
const FORCED_LOOK_MS = 200;

/** A network as it was read: `modifyIndex` is what a transaction that relies on it checks. */
export interface StoredNetwork {
  readonly value: NetworkValue;
  readonly modifyIndex: number;
}

export class NetworkStore {
  private readonly registry: Registry;
  private readonly hostRoutes: () => Promise<string[]>;
  private readonly pools: readonly Pool[];

  /** @param hostRoutes destinations (CIDR) of the host's routes other than vtep's own: the default pools avoid them. */
  constructor(registry: Registry, hostRoutes: () => Promise<string[]>, pools: readonly Pool[] = DEFAULT_POOLS) {
    this.registry = registry;
    this.hostRoutes = hostRoutes;
    this.pools = pools;
  }

  async list(): Promise<NetworkValue[]> {
    return parseAll((await this.registry.list(NETWORKS_PREFIX)).entries);
  }

  async find(name: string): Promise<StoredNetwork | undefined> {
    const entry = await this.registry.get(networkKey(name));
    if (entry === undefined) return undefined;
    let malformed: VtepError | undefined;
    const value = parseNetwork(entry, (error) => {
      malformed = error;
    });
    if (value === undefined) throw malformed!;
    return { value, modifyIndex: entry.modifyIndex };
  }

  /** @throws VtepError VTEP_ERR_NETWORK_UNKNOWN */
  async require(name: string): Promise<StoredNetwork> {
    const found = await this.find(name);
    if (found !== undefined) return found;
    throw networkUnknown(name);
  }

  /**
   * @param options what its maker keeps with it in the registry
   * @throws VtepError VTEP_ERR_NETWORK_EXISTS, VTEP_ERR_VNI_IN_USE, VTEP_ERR_VNI_EXHAUSTED, VTEP_ERR_POOL_EXHAUSTED,
   *   VTEP_ERR_INVALID (subnet), VTEP_ERR_CONFLICT (too many lost races)
   */
  async create(input: CreateNetwork, options: NetworkValue['options'] = {}): Promise<NetworkValue> {
    const { given, toChoose } = askedSubnets(input);
    // What is wrong is said before anything is asked for, as far as the subnets are known.
    if (toChoose.length === 0) planSubnets(given, input);
    for (let tries = 0; tries < CREATE_TRIES_MAX; tries++) {
      const existing = await this.find(input.name);
      if (existing !== undefined) throw networkExists(existing.value);
      const vni = await this.chooseVni(input.vni);
      const chosen = await this.chooseSubnets(toChoose, given);
      const value: NetworkValue = {
        v: 1,
        name: input.name,
        id: randomBytes(16).toString('hex'),
        vni,
        subnets: planSubnets([...given, ...chosen], input),
        internal: input.internal ?? false,
        mtuBytes: input.mtuBytes ?? 0,
        ...settingsOf(input),
        state: 'active',
        createdAt: new Date().toISOString(),
        options,
      };
      const claims = claimsOf(value);
      const claim = encodeValue(subnetValueSchema, { v: 1, network: input.name });
      for (const cidr of chosen) claims.push({ verb: 'cas', key: subnetKey(cidr), value: claim, casIndex: 0 });
      if (await this.registry.transaction(claims)) return value;
      await sleep(Math.random() * Math.min(50, 2 * (tries + 1)));
    }
    throw new VtepError(
      'VTEP_ERR_CONFLICT',
      `network "${input.name}": other hosts made networks at the same moment; try again`,
    );
  }

  /**
   * Puts back a network that the registry has lost, as this host knows it. @returns false if its name or VNI now belongs
   * to another network.
   */
  async restore(value: NetworkValue): Promise<boolean> {
    if (value.forced === true) return false;
    return this.registry.transaction(claimsOf({ ...value, state: 'active' }));
  }

  /** @throws VtepError as renameNetwork; the network has its old name then */
  rename(from: string, to: string): Promise<NetworkValue> {
    return renameNetwork(this.registry, from, to);
  }

  /**
   * @param force hosts detach what they have on the network when they see that, those of dead nodes are dropped; what was
   *   begun so is finished so. @param waitMs how long hosts are waited for
   * @throws VtepError VTEP_ERR_NETWORK_UNKNOWN, VTEP_ERR_NETWORK_IN_USE naming the endpoints, VTEP_ERR_CONFLICT
   */
  async remove(name: string, force = false, waitMs = FORCED_WAIT_MS): Promise<void> {
    await this.require(name);
    const endMs = performance.now() + waitMs;
    for (let tries = 0; tries < REMOVE_TRIES_MAX; ) {
      const found = await this.find(name);
      if (found === undefined) return;
      const forced = force || found.value.forced === true;
      if (found.value.state === 'active' || forced !== (found.value.forced ?? false)) {
        // The index of the new state is needed for what follows: read it again.
        await this.writeState(found, 'removing', forced);
        tries += 1;
        continue;
      }
      const users = await this.endpointNames(name);
      if (users.length === 0) {
        if (await this.registry.transaction(await this.removal(found))) return;
        tries += 1;
      } else if (!forced) {
        await this.writeState(found, 'active');
        throw new VtepError(
          'VTEP_ERR_NETWORK_IN_USE',
          `network "${name}" is in use by ${users.join(', ')}: detach ${users.length === 1 ? 'it' : 'them'} first`,
        );
      } else if (performance.now() < endMs) {
        await this.dropDead(name);
        await sleep(FORCED_LOOK_MS);
      } else {
        throw new VtepError(
          'VTEP_ERR_NETWORK_IN_USE',
          `network "${name}" is being removed by force, and ${users.join(', ')} ${users.length === 1 ? 'is' : 'are'} not detached yet: look after that host, or try again`,
        );
      }
    }
    throw new VtepError('VTEP_ERR_CONFLICT', `network "${name}" changed while it was being removed; try again`);
  }

  /** What nodes that are gone have published, as far as their sessions have not taken it along. */
  private async dropDead(network: string): Promise<void> {
    const nodes = new Set((await this.registry.listKeys(NODES_PREFIX)).keys);
    for (const key of (await this.registry.listKeys(endpointsPrefix(network))).keys) {
      const node = parseEndpointsKey(key)?.node;
      if (node === undefined || nodes.has(nodeKey(node))) continue;
      const isDead = { verb: 'check-index', key: nodeKey(node), casIndex: 0 } as const;
      await deleteJournalled(this.registry, endpointsPrefix(network), key, [isDead]);
    }
  }

  private writeState(found: StoredNetwork, state: NetworkValue['state'], forced = false): Promise<boolean> {
    const value = encodeValue(networkValueSchema, { ...found.value, state, ...(forced ? { forced } : {}) });
    return this.registry.compareAndSet(networkKey(found.value.name), value, found.modifyIndex);
  }

  private async removal({ value, modifyIndex }: StoredNetwork): Promise<RegistryOperation[]> {
    const operations: RegistryOperation[] = [
      { verb: 'delete-cas', key: networkKey(value.name), casIndex: modifyIndex },
      { verb: 'delete-tree', key: addressesPrefix(value.name) },
      { verb: 'delete-tree', key: peersPrefix(value.name) },
      { verb: 'delete', key: journalKey(endpointsPrefix(value.name)) },
    ];
    // Only what is claimed for this network: a subnet that was given by hand has no claim, or another network's.
    const vni = await this.registry.get(vniKey(value.vni));
    if (vni !== undefined && parseVni(vni)?.network === value.name) {
      operations.push({ verb: 'delete-cas', key: vni.key, casIndex: vni.modifyIndex });
    }
    for (const { cidr } of value.subnets) {
      const claim = await this.registry.get(subnetKey(cidr));
      if (claim !== undefined && parseSubnet(claim)?.network === value.name) {
        operations.push({ verb: 'delete-cas', key: claim.key, casIndex: claim.modifyIndex });
      }
    }
    return operations;
  }

  /** What a person should know of the network's subnets that is no error: tenants may overlap. */
  async overlaps(value: NetworkValue): Promise<string[]> {
    const others = (await this.list()).filter(({ name }) => name !== value.name);
    return overlapWarnings(value, others, await this.hostRoutes());
  }

  private async endpointNames(network: string): Promise<string[]> {
    const names: string[] = [];
    for (const entry of (await this.registry.list(endpointsPrefix(network))).entries) {
      const node = parseEndpointsKey(entry.key)?.node ?? entry.key;
      const value = parseEndpoints(entry);
      // A value that cannot be read still says that the node has endpoints here.
      if (value === undefined) names.push(`?@${node}`);
      else names.push(...value.endpoints.map((endpoint) => `${endpoint.name}@${node}`));
    }
    return names;
  }

  private async chooseVni(given: number | undefined): Promise<number> {
    if (given !== undefined) {
      const entry = await this.registry.get(vniKey(given));
      if (entry === undefined) return given;
      const holder = parseVni(entry)?.network;
      throw new VtepError(
        'VTEP_ERR_VNI_IN_USE',
        `VNI ${given} is in use by network "${holder ?? '?'}": give another, or none to get the lowest free one`,
      );
    }
    const taken = new Set<number | undefined>();
    for (const entry of (await this.registry.list(VNIS_PREFIX)).entries) taken.add(parseVniKey(entry.key));
    for (let vni = VNI.first; vni <= VNI.last; vni++) if (!taken.has(vni)) return vni;
    throw new VtepError(
      'VTEP_ERR_VNI_EXHAUSTED',
      `each VNI of ${VNI.first} to ${VNI.last} is in use: remove a network`,
    );
  }

  /** One of the pools for each family; none overlaps a network, a route of this host, or one that was given. */
  async chooseSubnets(families: readonly (4 | 6)[], given: readonly string[]): Promise<string[]> {
    if (families.length === 0) return [];
    const networks = await this.list();
    const blocked = networks.flatMap(({ subnets }) => subnets.map(({ cidr }) => cidr));
    blocked.push(...given, ...(await this.hostRoutes()));
    return families.map((family) => nextFreeSubnet(this.pools, family, blocked));
  }
}

export function networkUnknown(name: string): VtepError {
  return new VtepError(
    'VTEP_ERR_NETWORK_UNKNOWN',
    `network "${name}" does not exist: "vtep network ls" shows those there are, "vtep network create ${name}" makes it`,
  );
}

export function parseAll(entries: readonly RegistryEntry[]): NetworkValue[] {
  return entries.map((entry) => parseNetwork(entry)).filter((value) => value !== undefined);
}

function networkExists(value: NetworkValue): VtepError {
  const text =
    value.state === 'removing'
      ? `network "${value.name}" is being removed: "vtep network rm ${value.name}" finishes it`
      : `network "${value.name}" exists already (VNI ${value.vni}, ${value.subnets.map(({ cidr }) => cidr).join(', ')}): use it, or give another name`;
  return new VtepError('VTEP_ERR_NETWORK_EXISTS', text);
}

function claimsOf(value: NetworkValue): RegistryOperation[] {
  const vni = encodeValue(vniValueSchema, { v: 1, network: value.name });
  return [
    { verb: 'cas', key: networkKey(value.name), value: encodeValue(networkValueSchema, value), casIndex: 0 },
    { verb: 'cas', key: vniKey(value.vni), value: vni, casIndex: 0 },
  ];
}
