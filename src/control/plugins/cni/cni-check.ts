/** What CHECK finds: the result of the ADD beside what the kernel has now. Pure. */
import type { Endpoint } from '../../api/schema.js';
import type { AttachmentFacts } from '../../endpoints/attachment-facts.js';
import type { CniResult } from './cni-result.js';

/**
 * Each difference as a sentence; none: all is as it was added. Not compared: MTUs, which follow the underlay's, and what
 * other plugins of the chain have made.
 */
export function differences(
  before: CniResult,
  endpoint: Endpoint,
  { bridge, hostInterface, container, gateways }: AttachmentFacts,
): string[] {
  const ifname = endpoint.local!.containerInterface;
  const found: string[] = [];
  const index = before.interfaces.findIndex(({ name, sandbox }) => name === ifname && (sandbox ?? '') !== '');
  if (index < 0) found.push(`prevResult has no interface "${ifname}" of a container`);
  if (container === undefined) {
    found.push(`interface "${ifname}" is not in the container`);
  } else {
    const { mac } = before.interfaces[index] ?? {};
    if (!container.isOurs) found.push(`interface "${ifname}" is another one than was added`);
    if (!container.isUp) found.push(`interface "${ifname}" is down`);
    if (mac !== undefined && mac.toLowerCase() !== container.mac) {
      found.push(`interface "${ifname}" has the MAC ${container.mac}, not ${mac}`);
    }
    const ips = before.ips.filter((ip) => ip.interface === undefined || ip.interface === index);
    for (const { address } of ips) {
      if (container.addresses.includes(address)) continue;
      found.push(`interface "${ifname}" has no address ${address}, but ${container.addresses.join(', ') || 'none'}`);
    }
    for (const { dst, gw } of before.routes) {
      const isOurs = gateways.some(({ address }) => address === gw);
      if (!isOurs || container.routes.some((route) => route.dst === dst && route.gateway === gw)) continue;
      found.push(`the container has no route to ${dst} by ${gw}`);
    }
  }
  found.push(...onTheHost(endpoint, bridge, hostInterface));
  return found;
}

function onTheHost(
  endpoint: Endpoint,
  bridge: AttachmentFacts['bridge'],
  port: AttachmentFacts['hostInterface'],
): string[] {
  if (port === undefined) return [`the host has no interface "${endpoint.local!.hostInterface}"`];
  const found: string[] = [];
  if (!port.isUp) found.push(`the host's interface "${port.name}" is down`);
  if (bridge === undefined) found.push(`the bridge of network "${endpoint.network}" is not there`);
  else if (port.master !== bridge.name) found.push(`the host's interface "${port.name}" is not in "${bridge.name}"`);
  else if (!bridge.isUp) found.push(`the bridge "${bridge.name}" is down`);
  return found;
}
