/**
 * CreateNetwork: the network of the registry that Docker's is, adopted if there is one, else made. Control plane, main thread.
 *
 *     named by vtep.network, there        adopted: what was asked for must fit
 *     named by vtep.network, not there    made under that name
 *     not named                           made as docker-<12 digits of Docker's id>, to be renamed when the name is known
 *
 * Docker's own IPAM on a host of its own (local scope) gives the lowest addresses first and asks nobody: what vtep gives of
 * such a subnet is the upper half.
 */
import type { CreateNetwork } from '../../api/schema.js';
import { VtepError } from '../../errors.js';
import { addressText, bareAddress, canonicalAddress, spanOfBlock } from '../../ipam/address-span.js';
import { settingsOf } from '../../networks/network-settings.js';
import { checkSubnet } from '../../networks/subnet-check.js';
import type { NetworkValue } from '../../registry/schema.js';
import type { PluginHost } from '../plugin-host.js';
import { type Bindings, type DockerOptions, dockerOptions, type PoolRecord } from './bindings.js';
import type { DockerHooks } from './hooks.js';
import { ADDRESS_SPACES, promisedPools } from './ipam-driver.js';
import { checkMeant, type NetworkOptions, readNetworkOptions } from './network-options.js';
import type { CreateNetworkCall, IpamData } from './requests.js';

export type DockerScope = DockerOptions['scope'];

/** What Docker's IPAM has settled. */
interface Asked extends NetworkOptions {
  readonly networkId: string;
  readonly ipam: DockerOptions['ipam'];
  readonly scope: DockerScope;
  readonly subnets: readonly { readonly cidr: string; readonly gateway?: string; readonly aux: readonly string[] }[];
  /** Of the subnets, where this plugin gave them. */
  readonly pools: readonly PoolRecord[];
}

export class NetworkMaker {
  private readonly host: PluginHost;
  private readonly bindings: Bindings;
  private readonly hooks: DockerHooks;
  private readonly scope: DockerScope;

  constructor(host: PluginHost, bindings: Bindings, hooks: DockerHooks, scope: DockerScope) {
    this.host = host;
    this.bindings = bindings;
    this.hooks = hooks;
    this.scope = scope;
  }

  /** @throws VtepError; nothing is made then */
  async make(call: CreateNetworkCall): Promise<void> {
    if (this.bindings.binding(call.NetworkID) !== undefined) return;
    const asked = this.read(call);
    const adopts = await this.adopted(call, asked);
    const network = adopts ?? (await this.create(asked));
    await this.bindings.bind(call.NetworkID, network);
    for (const pool of asked.pools) await this.bindings.putPool({ ...pool, id: network.id });
    await this.keepAuxiliary(network, asked);
    if (adopts === undefined && asked.network === undefined) this.hooks.networkMade(call.NetworkID, network.name);
  }

  private read(call: CreateNetworkCall): Asked {
    const options = readNetworkOptions(call.Options);
    const data = [...call.IPv4Data, ...call.IPv6Data].filter(({ Pool }) => Pool !== '');
    const ours = Object.values<string>(ADDRESS_SPACES);
    const isOurs = data.length > 0 && data.every(({ AddressSpace }) => ours.includes(AddressSpace));
    const pools = isOurs ? data.flatMap(({ Pool }) => promisedPools(this.bindings.pools(), Pool)[0] ?? []) : [];
    const names = [options.network, ...pools.map(({ adopts }) => adopts)].filter((name) => name !== undefined);
    const network = names[0];
    if (names.some((name) => name !== network)) {
      const text = `-o vtep.network=${names[0]} and --ipam-opt vtep.network=${names.find((name) => name !== network)} differ: give one name`;
      throw new VtepError('VTEP_ERR_INVALID', text);
    }
    return {
      ...options,
      ...(network === undefined ? {} : { network }),
      networkId: call.NetworkID,
      ipam: isOurs ? 'vtep' : 'docker',
      scope: this.scope,
      subnets: data.map(readSubnet),
      pools,
    };
  }

  private async adopted(call: CreateNetworkCall, asked: Asked): Promise<NetworkValue | undefined> {
    const networks = await this.bindings.list();
    const same = networks.find((network) => dockerOptions(network)?.networkId === call.NetworkID);
    if (same !== undefined) return same;
    const cidrs = asked.subnets.map(({ cidr }) => cidr);
    if (asked.network !== undefined) {
      const there = networks.find(({ name }) => name === asked.network);
      const named = checkMeant(there, asked.network, asked.id);
      if (named !== undefined) checkFits(named, asked);
      return named;
    }
    if (asked.ipam === 'docker') {
      this.checkNobodyElseGives(networks, cidrs);
      return undefined;
    }
    if (asked.pools.length > 0 || cidrs.length === 0) return undefined;
    // The pool was that of a network that there is, and --ipam-opt the only one to name it.
    const fitting = networks.filter((network) => hasAll(network, cidrs));
    if (fitting.length > 1) {
      const which = fitting.map(({ name }) => `"${name}"`).join(', ');
      const text = `networks ${which} have the subnet ${cidrs.join(', ')}: say which by -o vtep.network=NAME as well`;
      throw new VtepError('VTEP_ERR_INVALID', text);
    }
    const [only] = fitting;
    if (only !== undefined) checkFits(only, { ...asked, network: only.name });
    return only;
  }

  /** Docker of another host gives addresses of the same pool, lowest first: they would be the same ones. */
  private checkNobodyElseGives(networks: readonly NetworkValue[], cidrs: readonly string[]): void {
    if (this.scope === 'global') return;
    const rival = networks.find((network) => {
      const docker = dockerOptions(network);
      return (
        docker?.ipam === 'docker' && docker.host !== this.host.node && cidrs.some((cidr) => hasAll(network, [cidr]))
      );
    });
    if (rival === undefined) return;
    const { name } = rival;
    const make = `docker network create -d vtep --ipam-driver vtep --ipam-opt vtep.network=${name} -o vtep.network=${name} ${name}`;
    const text = `Docker on host ${dockerOptions(rival)?.host} gives the addresses of ${cidrs.join(', ')} to network "${name}": to join it, ${make}; for a network of its own, give another --subnet`;
    throw new VtepError('VTEP_ERR_CONFLICT', text);
  }

  private create(asked: Asked): Promise<NetworkValue> {
    const { networkId, ipam, scope, subnets, pools, kept } = asked;
    const halves = ipam === 'docker' && scope === 'local';
    const ranges = subnets.flatMap(({ cidr }) => (halves ? upperHalf(cidr) : (rangeOf(pools, cidr) ?? [])));
    const gateways = subnets.flatMap(({ gateway }) => gateway ?? []);
    const reserved = subnets.flatMap(({ aux }) => aux);
    const input: CreateNetwork = {
      ...asked.asked,
      name: asked.network ?? `docker-${networkId.slice(0, 12)}`,
      ...(subnets.length === 0 ? {} : { subnets: subnets.map(({ cidr }) => cidr) }),
      ...(gateways.length === 0 ? {} : { gateways }),
      ...(ranges.length === 0 ? {} : { ranges }),
      ...(reserved.length === 0 ? {} : { reserved }),
    };
    const docker: DockerOptions = {
      ...{ networkId, host: this.host.node, ipam, scope },
      pools: pools.map(({ poolId }) => poolId),
    };
    return this.host.networks.create(input, { docker, ...kept });
  }

  /** Docker has asked for them as for a container's, and gives them back when its network goes. */
  private async keepAuxiliary(network: NetworkValue, { subnets }: Asked): Promise<void> {
    const { reservations } = this.host.endpoints;
    for (const address of subnets.flatMap(({ aux }) => aux)) await reservations.keep(network.id, address);
  }
}

function readSubnet({ Pool, Gateway, AuxAddresses }: IpamData): Asked['subnets'][number] {
  const cidr = checkSubnet(Pool);
  const gateway = Gateway === '' ? undefined : canonicalAddress(bareAddress(Gateway));
  const aux = Object.values(AuxAddresses).map((text) => canonicalAddress(bareAddress(String(text))));
  return { cidr, ...(gateway === undefined ? {} : { gateway }), aux };
}

/** @throws VtepError VTEP_ERR_INVALID for what was asked for and is not so */
function checkFits(network: NetworkValue, { asked, labels, subnets, network: name }: Asked): void {
  const refuse = (why: string) => new VtepError('VTEP_ERR_INVALID', `network "${name}" is there already: ${why}`);
  if (network.state !== 'active') throw refuse('it is being removed; try again when it is gone');
  const missing = subnets.find(({ cidr }) => !hasAll(network, [cidr]));
  if (missing !== undefined) {
    const has = network.subnets.map(({ cidr }) => cidr).join(', ');
    const how = `--ipam-driver vtep --ipam-opt vtep.network=${name}`;
    throw refuse(`its subnets are ${has}, and Docker's is ${missing.cidr}: give ${how}, or --subnet ${has}`);
  }
  const real: Record<string, unknown> = { ...settingsOf(network), vni: network.vni, mtuBytes: network.mtuBytes };
  real.internal = network.internal;
  for (const [field, value] of Object.entries(asked)) {
    if (field === 'ipv6' || JSON.stringify(real[field]) === JSON.stringify(value)) continue;
    const label = labels[field] ?? field;
    throw refuse(
      `${label} is ${JSON.stringify(real[field] ?? null)}, not ${JSON.stringify(value)}: leave ${label} out`,
    );
  }
}

function hasAll(network: NetworkValue, cidrs: readonly string[]): boolean {
  return cidrs.every((cidr) => network.subnets.some((subnet) => subnet.cidr === cidr));
}

function rangeOf(pools: readonly PoolRecord[], cidr: string): string | undefined {
  return pools.find((pool) => pool.cidr === cidr)?.range;
}

function upperHalf(cidr: string): string {
  const { family, first, last } = spanOfBlock(cidr);
  return `${addressText(first + (last - first + 1n) / 2n, family)}-${addressText(last, family)}`;
}
