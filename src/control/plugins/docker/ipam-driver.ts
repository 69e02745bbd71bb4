/**
 * Docker's calls for addresses. Control plane, main thread.
 *
 *     RequestPool      the network's subnet, or a free block for one to be made
 *     RequestAddress   the gateway; before there is a network whatever is asked for; else a reservation in the registry
 *     ReleaseAddress   ends the reservation
 *
 * A PoolID says what it is of: `net:<network's id>:<cidr>` of a network that there is, `new:<random>:<cidr>` of one that
 * CreateNetwork makes right after. The random one is found by its record, or by what the network's record says of it.
 */
import { randomBytes } from 'node:crypto';
import { VtepError } from '../../errors.js';
import { addressText, canonicalAddress, contains, parseSpan } from '../../ipam/address-span.js';
import { hostSpan, subnetOf, whyUnusable } from '../../ipam/usable-addresses.js';
import { checkSubnet, gatewayOf } from '../../networks/subnet-check.js';
import type { NetworkValue, SubnetRecord } from '../../registry/schema.js';
import type { PluginHost } from '../plugin-host.js';
import { type Bindings, dockerOptions, type PoolRecord } from './bindings.js';
import { checkMeant, readPoolOptions } from './network-options.js';
import type { PendingNames } from './pending-names.js';
import type { RequestAddressCall, RequestPoolCall } from './requests.js';

/** So that CreateNetwork knows a pool of ours. */
export const ADDRESS_SPACES = { local: 'vtep-local', global: 'vtep-global' } as const;
const ADDRESS_TYPE = 'RequestAddressType';
const GATEWAY = 'com.docker.network.gateway';
/** Docker asks again at once for a pool that overlaps a route or name server of the host, for ever if it gets the same. */
const ASKED_AGAIN_MS = 1000;
/** A pool without a network after that time belongs to a dockerd that died in between. */
const POOL_EXPIRES_AFTER_MS = 600_000;

interface Pool {
  readonly poolId: string;
  readonly cidr: string;
  readonly network: NetworkValue | undefined;
}

export class IpamDriver {
  private readonly host: PluginHost;
  private readonly bindings: Bindings;
  private readonly names: PendingNames;
  /** The network whose only pool was given last without being asked for by name. */
  private lastGiven: { readonly cidr: string; readonly atMs: number } | undefined;

  constructor(host: PluginHost, bindings: Bindings, names: PendingNames) {
    this.host = host;
    this.bindings = bindings;
    this.names = names;
  }

  async requestPool(call: RequestPoolCall) {
    await this.forgetOldPools();
    const { name, id } = readPoolOptions(call.Options);
    const network = name === undefined ? undefined : checkMeant(await this.bindings.byName(name), name, id);
    if (network !== undefined) return this.poolOf(network, call);
    const cidr = call.Pool === '' ? await this.freeBlock(call.V6 ? 6 : 4) : checkSubnet(call.Pool);
    if (call.SubPool !== '' && !contains(parseSpan(cidr), parseSpan(call.SubPool))) {
      throw new VtepError('VTEP_ERR_INVALID', `range ${call.SubPool} lies outside of the subnet ${cidr}`);
    }
    const poolId = `new:${randomBytes(8).toString('hex')}:${cidr}`;
    await this.bindings.putPool({
      ...{ poolId, cidr, sinceMs: Date.now() },
      ...(name === undefined ? {} : { adopts: name }),
      ...(call.SubPool === '' ? {} : { range: call.SubPool }),
    });
    return { PoolID: poolId, Pool: cidr, Data: {} };
  }

  async releasePool(poolId: string): Promise<void> {
    this.lastGiven = undefined;
    await this.bindings.removePool(poolId);
  }

  async requestAddress(call: RequestAddressCall) {
    this.lastGiven = undefined;
    const isGateway = call.Options[ADDRESS_TYPE] === GATEWAY;
    const pool = await this.poolById(call.PoolID);
    const wanted = call.Address === '' ? undefined : canonicalAddress(call.Address);
    if (pool.network === undefined) return this.answer(pool, wanted ?? gatewayOf(pool.cidr));
    if (isGateway) return this.answer(pool, gatewayFor(pool.network, pool.cidr, wanted));
    // What the network has set apart is nobody's: CreateEndpoint refuses it for a container.
    if (wanted !== undefined && isSetApart(pool.network, wanted)) return this.answer(pool, wanted);
    const network = await this.names.settled(pool.network);
    const subnet = subnetWith(network, pool.cidr);
    return { Address: await this.host.endpoints.reservations.reserve(network, subnet, wanted), Data: {} };
  }

  /** Nothing happens for what is not reserved: a gateway, or what is no more. */
  async releaseAddress(poolId: string, text: string): Promise<void> {
    if (text === '') return;
    const address = canonicalAddress(text);
    const known = parsePoolId(poolId);
    const id = known?.networkId ?? this.bindings.pool(poolId)?.id ?? (await this.networkWithPool(poolId))?.id;
    if (id !== undefined) await this.host.endpoints.reservations.release(id, address);
  }

  private async poolOf(network: NetworkValue, call: RequestPoolCall) {
    const families = network.subnets.filter(({ cidr }) => cidr.includes(':') === call.V6);
    const wanted = call.Pool === '' ? undefined : checkSubnet(call.Pool);
    const subnet = wanted === undefined ? families[0] : families.find(({ cidr }) => cidr === wanted);
    if (subnet === undefined) {
      const has = network.subnets.map(({ cidr }) => cidr).join(', ');
      const what = wanted === undefined ? `no IPv${call.V6 ? 6 : 4} subnet` : `no subnet ${wanted}`;
      throw new VtepError('VTEP_ERR_INVALID', `network "${network.name}" has ${what}: it has ${has}`);
    }
    if (call.SubPool !== '' && call.SubPool !== subnet.range) {
      const own = subnet.range === undefined ? 'no range' : `the range ${subnet.range}`;
      const text = `network "${network.name}" is there already and has ${own}: leave --ip-range ${call.SubPool} out`;
      throw new VtepError('VTEP_ERR_INVALID', text);
    }
    if (wanted === undefined) this.checkNotAskedAgain(network, subnet.cidr);
    return { PoolID: `net:${network.id}:${subnet.cidr}`, Pool: subnet.cidr, Data: {} };
  }

  /** Docker found that the block overlaps a route of the host, and has nothing but to ask once more. */
  private checkNotAskedAgain(network: NetworkValue, cidr: string): void {
    const last = this.lastGiven;
    this.lastGiven = { cidr, atMs: performance.now() };
    if (last?.cidr !== cidr || performance.now() - last.atMs > ASKED_AGAIN_MS) return;
    this.lastGiven = undefined;
    const text = `network "${network.name}" has the subnet ${cidr}, and this host a route or name server in it, as where it has containers on that network already: give "--subnet ${cidr}" as well`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }

  private async freeBlock(family: 4 | 6): Promise<string> {
    const promised = this.bindings.pools().map(({ cidr }) => cidr);
    const [cidr] = await this.host.networks.chooseSubnets([family], promised);
    return cidr!;
  }

  private async forgetOldPools(): Promise<void> {
    for (const { poolId, id, sinceMs } of this.bindings.pools()) {
      if (id === undefined && Date.now() - sinceMs > POOL_EXPIRES_AFTER_MS) await this.bindings.removePool(poolId);
    }
  }

  /** @throws VtepError VTEP_ERR_NETWORK_UNKNOWN */
  private async poolById(poolId: string): Promise<Pool> {
    const known = parsePoolId(poolId);
    if (known !== undefined) {
      const network = await this.bindings.byId(known.networkId);
      if (network === undefined) throw poolUnknown(poolId);
      return { poolId, cidr: known.cidr, network };
    }
    const record = this.bindings.pool(poolId);
    if (record !== undefined && record.id === undefined) return { poolId, cidr: record.cidr, network: undefined };
    const network = record === undefined ? await this.networkWithPool(poolId) : await this.bindings.byId(record.id!);
    const cidr = record?.cidr ?? cidrOf(poolId);
    if (network === undefined || cidr === undefined) throw poolUnknown(poolId);
    return { poolId, cidr, network };
  }

  /** The registry says whose it is, where the local copy does not. */
  private async networkWithPool(poolId: string): Promise<NetworkValue | undefined> {
    const network = (await this.bindings.list()).find((one) => dockerOptions(one)?.pools.includes(poolId) === true);
    const cidr = cidrOf(poolId);
    if (network === undefined || cidr === undefined) return undefined;
    await this.bindings.putPool({ poolId, cidr, sinceMs: Date.now(), id: network.id });
    return network;
  }

  private answer({ cidr }: Pool, address: string) {
    if (!contains(parseSpan(cidr), parseSpan(address))) {
      throw new VtepError('VTEP_ERR_INVALID', `address ${address} lies outside of the subnet ${cidr}`);
    }
    return { Address: `${address}/${cidr.slice(cidr.indexOf('/') + 1)}`, Data: {} };
  }
}

/** The pools that are promised and fit one that CreateNetwork names. */
export function promisedPools(pools: readonly PoolRecord[], cidr: string): PoolRecord[] {
  return pools.filter((pool) => pool.id === undefined && pool.cidr === cidr).sort((a, b) => b.sinceMs - a.sinceMs);
}

function parsePoolId(poolId: string): { networkId: string; cidr: string } | undefined {
  const match = /^net:([0-9a-f]{32}):(.+)$/.exec(poolId);
  return match === null ? undefined : { networkId: match[1]!, cidr: match[2]! };
}

function cidrOf(poolId: string): string | undefined {
  return /^(?:new|net):[0-9a-f]+:(.+)$/.exec(poolId)?.[1];
}

function subnetWith(network: NetworkValue, cidr: string): SubnetRecord {
  const subnet = network.subnets.find((one) => one.cidr === cidr);
  if (subnet !== undefined) return subnet;
  throw new VtepError('VTEP_ERR_NETWORK_UNKNOWN', `network "${network.name}" has no subnet ${cidr} any more`);
}

/** Docker insists on one: a network without gets its own address, which is nobody's. */
function gatewayFor(network: NetworkValue, cidr: string, wanted: string | undefined): string {
  const { gateway } = subnetWith(network, cidr);
  if (wanted !== undefined && wanted !== gateway) {
    const own = gateway === undefined ? 'has no gateway' : `has the gateway ${gateway}`;
    const text = `network "${network.name}" is there already and ${own}: leave --gateway ${wanted} out`;
    throw new VtepError('VTEP_ERR_INVALID', text);
  }
  if (gateway !== undefined) return gateway;
  const { family, first } = hostSpan(cidr);
  return addressText(first - 1n, family);
}

function isSetApart(network: NetworkValue, address: string): boolean {
  return subnetOf(network, address) !== undefined && whyUnusable(network, address) !== undefined;
}

function poolUnknown(poolId: string): VtepError {
  const text = `address pool "${poolId}" belongs to no network of the registry: "docker network rm" its network and make it again`;
  return new VtepError('VTEP_ERR_NETWORK_UNKNOWN', text);
}
