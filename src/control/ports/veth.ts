/**
 * An endpoint's cable: one end in the host's bridge, the other in the container with its MAC and address.
 *
 *     vtep-p<id> (host, in vtep-b<vni>)  ═══ veth ═══  ethN (container, 10.0.0.2/24)
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { VtepError } from '../errors.js';
import { portSteps } from './bridge.js';
import { gsoMaxBytesFor } from './gso-size.js';
import type { Iproute } from './iproute.js';
import { awaitedInterfaceName, bridgeName, endpointAlias, hostInterfaceName } from './names.js';
import type { Sandbox } from './namespace.js';

const PORT_LOOK_MS = 20;
const PORT_LOOKS_MAX = 50;

export interface EndpointPort {
  readonly endpointId: string;
  readonly network: string;
  readonly vni: number;
  readonly mtuBytes: number;
  readonly mac: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
  readonly containerInterface: string;
  /** Default routes that the container gets, at most one of each family. */
  readonly defaultGateways?: readonly string[];
  readonly owner?: string | undefined;
  /** Frames may go back out of the port that they came by: the endpoint calls itself by a published port. */
  readonly hairpin?: boolean;
}

/**
 * The interface's name in the container: the wanted one, or the first free of eth0, eth1, ...
 * @throws VtepError VTEP_ERR_INTERFACE_EXISTS if the wanted one is taken.
 */
export async function chooseInterface(iproute: Iproute, sandbox: Sandbox, wanted: string | undefined): Promise<string> {
  const taken = new Set((await iproute.linksIn(sandbox.path)).map((link) => link.ifname));
  if (wanted !== undefined) {
    if (taken.has(wanted)) {
      throw new VtepError(
        'VTEP_ERR_INTERFACE_EXISTS',
        `${sandbox.label} already has an interface "${wanted}": give another name, or none to get the first free of eth0, eth1, ...`,
      );
    }
    return wanted;
  }
  for (let number = 0; ; number++) if (!taken.has(`eth${number}`)) return `eth${number}`;
}

/** The bridge must stand. @throws VtepError VTEP_ERR_KERNEL; nothing of the veth is left then. */
export async function createVeth(iproute: Iproute, sandbox: Sandbox, port: EndpointPort): Promise<void> {
  const host = hostInterfaceName(port.endpointId);
  const inner = port.containerInterface;
  const mtu = String(port.mtuBytes);
  // One request: the container's end never shows up in the host's namespace.
  await iproute.ip(
    ...['link', 'add', 'name', host, 'mtu', mtu, 'type', 'veth'],
    ...['peer', 'name', inner, 'address', port.mac, 'mtu', mtu, 'netns', sandbox.path],
  );
  try {
    await adoptHostEnd(iproute, port);
    await setAlias(iproute, port);
    await iproute.ipIn(sandbox.path, 'link', 'set', 'dev', 'lo', 'up');
    for (const address of port.addresses) {
      await addAddress(iproute, sandbox.path, inner, address);
    }
    // Best effort: superframes of another size go as well, in more messages.
    const gsoMaxBytes = String(gsoMaxBytesFor(port.mtuBytes));
    await iproute.ipIn(sandbox.path, 'link', 'set', 'dev', inner, 'gso_max_size', gsoMaxBytes).catch(() => {});
    await iproute.ipIn(sandbox.path, 'link', 'set', 'dev', inner, 'up');
    for (const gateway of port.defaultGateways ?? []) {
      await iproute.ipIn(sandbox.path, 'route', 'replace', 'default', 'via', gateway, 'dev', inner);
    }
  } catch (error) {
    await iproute.removeLink(host).catch(() => false);
    throw error;
  }
}

/**
 * The same without a container: its end stays on the host, down and without addresses, for whoever runs the container to
 * move, rename and address. @throws VtepError VTEP_ERR_KERNEL; nothing of the veth is left then.
 */
export async function createAwaitedVeth(iproute: Iproute, port: EndpointPort): Promise<void> {
  const host = hostInterfaceName(port.endpointId);
  const inner = awaitedInterfaceName(port.endpointId);
  const mtu = String(port.mtuBytes);
  await iproute.ip(
    ...['link', 'add', 'name', host, 'mtu', mtu, 'type', 'veth'],
    ...['peer', 'name', inner, 'address', port.mac, 'mtu', mtu],
  );
  try {
    await adoptHostEnd(iproute, port);
    await setAlias(iproute, port);
    // Best effort, and kept when it is moved.
    const gsoMaxBytes = String(gsoMaxBytesFor(port.mtuBytes));
    await iproute.ip('link', 'set', 'dev', inner, 'gso_max_size', gsoMaxBytes).catch(() => {});
  } catch (error) {
    await iproute.removeLink(host).catch(() => false);
    throw error;
  }
}

function setAlias(iproute: Iproute, { endpointId, network, owner }: EndpointPort): Promise<void> {
  const alias = endpointAlias(endpointId, network, owner);
  return iproute.ip('link', 'set', 'dev', hostInterfaceName(endpointId), 'alias', alias);
}

async function addAddress(iproute: Iproute, namespacePath: string, inner: string, address: string): Promise<void> {
  if (!address.includes(':')) {
    await iproute.ipIn(namespacePath, 'address', 'add', address, 'broadcast', '+', 'dev', inner);
    return;
  }
  // Container engines switch IPv6 off for interfaces that they did not make; a read-only /proc/sys says so below.
  await iproute.setSysctlIn(namespacePath, `ipv6/conf/${inner}/disable_ipv6`, '0').catch(() => undefined);
  // The registry says that nobody else has it: duplicate detection would only keep it unusable for a second.
  await iproute.ipIn(namespacePath, 'address', 'add', address, 'nodad', 'dev', inner);
}

/**
 * Has the container's kernel announce its addresses (gratuitous ARP, unsolicited neighbour advertisements): who knew an address by an earlier endpoint's MAC
 * learns the new one. Best effort: a namespace whose /proc/sys is read-only goes without. Never rejects.
 */
export async function announce(iproute: Iproute, namespacePath: string, port: EndpointPort): Promise<void> {
  const inner = port.containerInterface;
  const host = hostInterfaceName(port.endpointId);
  try {
    await iproute.setSysctlIn(namespacePath, `ipv4/conf/${inner}/arp_notify`, '1');
    if (port.addresses.some((address) => address.includes(':'))) {
      await iproute.setSysctlIn(namespacePath, `ipv6/conf/${inner}/ndisc_notify`, '1');
    }
    // A bridge opens a port some time after its carrier is there; until then the announcement would get no further.
    for (let looks = 0; looks < PORT_LOOKS_MAX; looks++) {
      const link = await iproute.link(host);
      if (link === undefined) return;
      if (link.linkinfo?.info_slave_data?.state === 'forwarding') break;
      await sleep(PORT_LOOK_MS);
    }
    // With these settings the kernel announces on a change of the MAC, and takes the same one for a change.
    await iproute.ipIn(namespacePath, 'link', 'set', 'dev', inner, 'address', port.mac);
  } catch {
    // The peers find out when the entry that they hold no longer answers.
  }
}

/** Makes the host's end a port of the bridge, as far as it is not. @returns false if the veth is not there. */
export async function adoptHostEnd(
  iproute: Iproute,
  port: Pick<EndpointPort, 'endpointId' | 'vni' | 'mtuBytes' | 'hairpin'>,
): Promise<boolean> {
  const name = hostInterfaceName(port.endpointId);
  const link = await iproute.link(name);
  if (link === undefined) return false;
  const hairpin = port.hairpin === true ? [`link set dev ${name} type bridge_slave hairpin on`] : [];
  await iproute.batch([...portSteps(link, bridgeName(port.vni), port.mtuBytes), ...hairpin]);
  return true;
}

/** Both ends go. Nothing happens if they are gone. @throws VtepError VTEP_ERR_KERNEL */
export async function removeVeth(iproute: Iproute, endpointId: string): Promise<void> {
  await iproute.removeLink(hostInterfaceName(endpointId));
}
