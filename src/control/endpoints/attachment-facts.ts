/**
 * An endpoint of this host as the kernel has it now, and what is around it: for plugins, which tell their runtime and
 * compare. Control plane, main thread; reads only, without the registry.
 */
import type { Gateway } from '../gateway/gateways-of.js';
import type { Iproute } from '../ports/iproute.js';
import { bridgeName } from '../ports/names.js';
import { sandboxPaths } from '../ports/namespace.js';
import type { LocalEndpoint } from '../state/local-state.js';

export interface LinkFacts {
  readonly name: string;
  readonly mac: string;
  readonly isUp: boolean;
  readonly master: string | undefined;
}

export interface ContainerFacts {
  readonly mac: string;
  readonly mtuBytes: number;
  readonly isUp: boolean;
  /** Whether its other end is the endpoint's host interface. */
  readonly isOurs: boolean;
  /** With prefix length; without those that the kernel gave itself. */
  readonly addresses: readonly string[];
  readonly routes: readonly { readonly dst: string; readonly gateway: string }[];
}

export interface AttachmentFacts {
  readonly bridge: LinkFacts | undefined;
  readonly hostInterface: LinkFacts | undefined;
  /** undefined: no such namespace, or no such interface in it. */
  readonly container: ContainerFacts | undefined;
  /** The network's on this host. */
  readonly gateways: readonly Gateway[];
}

interface AddressedLink {
  readonly address: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly link_index?: number;
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number; readonly scope: string }[];
}

interface ContainerRoute {
  readonly dst: string;
  readonly gateway?: string;
}

export async function attachmentFacts(
  iproute: Iproute,
  endpoint: LocalEndpoint,
  gateways: readonly Gateway[],
): Promise<AttachmentFacts> {
  const [bridge, hostLink, container] = await Promise.all([
    iproute.link(bridgeName(endpoint.vni)),
    iproute.link(endpoint.hostInterface),
    containerFacts(iproute, endpoint),
  ]);
  const facts = (link: typeof bridge): LinkFacts | undefined =>
    link && { name: link.ifname, mac: link.address ?? '', isUp: link.flags.includes('UP'), master: link.master };
  const { peerIndex, ...inside } = container ?? { peerIndex: undefined };
  return {
    bridge: facts(bridge),
    hostInterface: facts(hostLink),
    container:
      container && ({ ...inside, isOurs: hostLink !== undefined && peerIndex === hostLink.ifindex } as ContainerFacts),
    gateways,
  };
}

async function containerFacts(iproute: Iproute, endpoint: LocalEndpoint) {
  const [path] = await sandboxPaths(iproute, endpoint, endpoint.hostInterface);
  if (path === undefined) return undefined;
  const dev = endpoint.containerInterface;
  const families = [4, 6].filter((family) => endpoint.addresses.some((a) => a.includes(':') === (family === 6)));
  const routes = (family: number) => iproute.showIn<ContainerRoute>(path, `-${family}`, 'route', 'show', 'dev', dev);
  const [[link], ...found] = await Promise.all([
    iproute.showIn<AddressedLink>(path, 'address', 'show', 'dev', dev).catch(() => []),
    ...families.map((family) => routes(family).catch(() => [])),
  ]);
  if (link === undefined) return undefined;
  return {
    mac: link.address,
    mtuBytes: link.mtu,
    isUp: link.flags.includes('UP'),
    peerIndex: link.link_index,
    addresses: (link.addr_info ?? [])
      .filter(({ scope }) => scope !== 'link')
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    routes: found.flatMap((list, index) =>
      list.flatMap(({ dst, gateway }) =>
        gateway === undefined ? [] : [{ dst: dst === 'default' ? DEFAULT[families[index]! as 4 | 6] : dst, gateway }],
      ),
    ),
  };
}

const DEFAULT = { 4: '0.0.0.0/0', 6: '::/0' } as const;
