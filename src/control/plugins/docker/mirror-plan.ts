/**
 * What is to be done so that a host's Docker shows the networks that the registry holds. Pure.
 *
 * | in the registry | in this Docker | step |
 * |---|---|---|
 * | a network | nothing of that name | create |
 * | a network | a network of vtep that stands for it | none |
 * | a network | another network of that name | none, and it is told |
 * | none, or another one of that name | a mirror | remove |
 * | one that was removed | a network of vtep that stands for it | remove |
 * | one that is missing | a network of vtep that a user made | none |
 *
 * Networks of this driver without MIRROR_LABEL, which no user gives, are a user's: such a one goes only after the very
 * network that it was bound to was removed, and never since a registry does not have it, which may have lost its data.
 */
import { parseCidr } from '../../../wire/ip-address.js';
import type { NetworkValue } from '../../registry/schema.js';
import type { CreateDockerNetwork, DockerNetwork } from './engine-api.js';

/** The option, of a network and of its IPAM, that names the network of the registry. */
export const NETWORK_OPTION = 'vtep.network';
/** Of the network that is meant: it is adopted, and never made. */
export const ID_OPTION = 'vtep.id';
const MIRROR_LABEL = 'vtep.mirror';

export type MirroredNetwork = Pick<NetworkValue, 'name' | 'id' | 'subnets' | 'internal' | 'state' | 'options'>;

export type MirrorStep =
  | { readonly do: 'create'; readonly network: MirroredNetwork }
  | { readonly do: 'remove'; readonly id: string; readonly name: string };

export interface MirrorPlan {
  /** In this order. */
  readonly steps: readonly MirrorStep[];
  /** Networks that this Docker can't show, and why. */
  readonly problems: readonly string[];
}

export interface MirrorInput {
  readonly registry: readonly MirroredNetwork[];
  readonly docker: readonly DockerNetwork[];
  /** This driver's name in Docker. */
  readonly driver: string;
  /** Networks that are about to get another name: not made yet. */
  readonly isSettling: (name: string) => boolean;
  /** By Docker's id of a network: the id of the registry's network that it was made as. */
  readonly bound: ReadonlyMap<string, string>;
  /** By the registry's id: whether it was seen to be removed. */
  readonly wasRemoved: (id: string) => boolean;
}

/** The name that a network has between Docker's callback, which tells none, and the answer of Docker's API. */
export function provisionalName(dockerNetworkId: string): string {
  return `docker-${dockerNetworkId.slice(0, 12)}`;
}

export function isProvisional(name: string): boolean {
  return /^docker-[0-9a-f]{12}$/.test(name);
}

export function isMirror({ Driver, Labels }: DockerNetwork, driver: string): boolean {
  return Driver === driver && Labels[MIRROR_LABEL] === '1';
}

/** The name in the registry that a network of this driver stands for. @param networks of the registry */
export function registryName(docker: DockerNetwork, networks: ReadonlyMap<string, unknown>): string {
  const given = docker.Options[NETWORK_OPTION];
  if (given !== undefined && given !== '') return given;
  const provisional = provisionalName(docker.Id);
  return networks.has(provisional) ? provisional : docker.Name;
}

export function planMirrors(input: MirrorInput): MirrorPlan {
  const { registry, docker, driver, isSettling } = input;
  const networks = new Map(registry.map((network) => [network.name, network]));
  const steps: MirrorStep[] = [];
  const shown = new Set<string>();
  // In a fixed order: of two mirrors of one network the same one stays each time.
  const ofDriver = docker.filter((one) => one.Driver === driver).sort((a, b) => (a.Id < b.Id ? -1 : 1));
  for (const one of ofDriver.filter((each) => !isMirror(each, driver))) {
    if (hasLostItsNetwork(one, input)) steps.push({ do: 'remove', id: one.Id, name: one.Name });
    else shown.add(registryName(one, networks));
  }
  for (const one of ofDriver.filter((each) => isMirror(each, driver))) {
    const name = registryName(one, networks);
    if (networks.get(name)?.id === one.Options[ID_OPTION] && !shown.has(name)) shown.add(name);
    else steps.push({ do: 'remove', id: one.Id, name: one.Name });
  }
  const problems: string[] = [];
  const going = new Set(steps.map((step) => (step.do === 'remove' ? step.id : '')));
  for (const network of [...registry].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const { name, state } = network;
    if (state !== 'active' || shown.has(name) || isSettling(name)) continue;
    const rival = docker.find((one) => one.Name === name && !going.has(one.Id));
    const problem = rival === undefined ? whyNotShown(network) : takenBy(rival, name);
    if (problem === undefined) steps.push({ do: 'create', network });
    else problems.push(problem);
  }
  return { steps, problems };
}

/** It may be there all the same: renamed, or put back by a host that did not know of the removal. */
function hasLostItsNetwork({ Id }: DockerNetwork, { registry, bound, wasRemoved }: MirrorInput): boolean {
  const id = bound.get(Id);
  return id !== undefined && wasRemoved(id) && !registry.some((network) => network.id === id);
}

/** The network as Docker takes it: of each family the first subnet. */
export function mirrorOf({ name, id, subnets, internal }: MirroredNetwork, driver: string): CreateDockerNetwork {
  const chosen = ([4, 6] as const).flatMap((family) => firstOf(subnets, family) ?? []);
  const options = { [NETWORK_OPTION]: name, [ID_OPTION]: id };
  return {
    Name: name,
    Driver: driver,
    CheckDuplicate: true,
    Internal: internal,
    EnableIPv6: firstOf(subnets, 6) !== undefined,
    IPAM: {
      Driver: driver,
      Options: options,
      Config: chosen.map(({ cidr, gateway }) => ({
        Subnet: cidr,
        ...(gateway === undefined ? {} : { Gateway: gateway }),
      })),
    },
    Options: options,
    Labels: { [MIRROR_LABEL]: '1' },
  };
}

function firstOf(subnets: MirroredNetwork['subnets'], family: 4 | 6) {
  return subnets.find(({ cidr }) => parseCidr(cidr).family === family);
}

function whyNotShown({ name, subnets }: MirroredNetwork): string | undefined {
  if (firstOf(subnets, 4) !== undefined) return undefined;
  return `network "${name}" has no IPv4 subnet: Docker has no networks of IPv6 alone, so it is not shown there`;
}

function takenBy({ Driver, Id }: DockerNetwork, name: string): string {
  return `network "${name}" is not shown in this host's Docker, which has another one of that name (driver ${Driver}, ${Id.slice(0, 12)}): remove or rename one of the two`;
}
