/**
 * A network's bridge on this host and the TAP in it:
 *
 *     container veth ──┐
 *     container veth ──┤ vtep-b<vni> ── vtep-t<vni> ── worker
 *
 * The TAP is made by the data plane (it is persistent); here it gets its MTU and its bridge. What exists is adopted:
 * each step looks at the actual state first, so that a second call changes nothing.
 */
import { gatewayMac } from '../ipam/mac.js';
import type { Iproute, Link } from './iproute.js';
import { bridgeName, tapName } from './names.js';

export interface BridgeInput {
  readonly vni: number;
  readonly network: string;
  readonly mtuBytes: number;
}

/**
 * @throws VtepError VTEP_ERR_KERNEL; a bridge that this call made is gone again then.
 */
export async function ensureBridge(iproute: Iproute, input: BridgeInput): Promise<void> {
  const bridge = bridgeName(input.vni);
  let made = false;
  let links = await iproute.links();
  if (!links.some((link) => link.ifname === bridge)) {
    // The gateway's MAC, on every host the same: a container that moves finds its gateway where it knew it.
    await iproute.batch([
      `link add name ${bridge} address ${gatewayMac(input.vni)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    ]);
    made = true;
    links = await iproute.links();
  }
  try {
    await iproute.batch(bridgeSteps(links.find((link) => link.ifname === bridge)!, input));
    const tap = links.find((link) => link.ifname === tapName(input.vni));
    // A TAP that is missing is the data plane's to make; the next look finds it.
    if (tap !== undefined) await iproute.batch(portSteps(tap, bridge, input.mtuBytes));
    const alias = `vtep network=${input.network}`;
    if (links.find((link) => link.ifname === bridge)?.ifalias !== alias) {
      // Not in the batch: an alias has a blank in it.
      await iproute.ip('link', 'set', 'dev', bridge, 'alias', alias);
    }
  } catch (error) {
    if (made) await iproute.removeLink(bridge).catch(() => false);
    throw error;
  }
}

/** Bridge and TAP go, whatever is left of them. @throws VtepError VTEP_ERR_KERNEL */
export async function removeBridge(iproute: Iproute, vni: number): Promise<void> {
  await iproute.removeLink(bridgeName(vni));
  await iproute.removeLink(tapName(vni));
}

/** What a link lacks to be a port of the bridge. */
export function portSteps(link: Link, bridge: string, mtuBytes: number): string[] {
  const steps: string[] = [];
  const set = `link set dev ${link.ifname}`;
  // The host has no address here but the gateway's; link-local traffic of its own would be noise on each network.
  if (link.inet6_addr_gen_mode !== 'none') steps.push(`${set} addrgenmode none`);
  if (link.mtu !== mtuBytes) steps.push(`${set} mtu ${mtuBytes}`);
  if (link.master !== bridge) steps.push(`${set} master ${bridge}`);
  if (!link.flags.includes('UP')) steps.push(`${set} up`);
  return steps;
}

function bridgeSteps(link: Link, input: BridgeInput): string[] {
  const steps: string[] = [];
  const set = `link set dev ${link.ifname}`;
  const data = link.linkinfo?.info_data;
  if (data?.stp_state !== 0 || data.forward_delay !== 0 || data.mcast_snooping !== 0) {
    steps.push(`${set} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`);
  }
  if (link.inet6_addr_gen_mode !== 'none') steps.push(`${set} addrgenmode none`);
  if (link.address !== gatewayMac(input.vni)) steps.push(`${set} address ${gatewayMac(input.vni)}`);
  if (link.mtu !== input.mtuBytes) steps.push(`${set} mtu ${input.mtuBytes}`);
  if (!link.flags.includes('UP')) steps.push(`${set} up`);
  return steps;
}
