/** Which default routes a new interface of a container gets: `--default-route yes|no|auto`. */
import { cidrContains, parseCidr, parseIp } from '../../wire/ip-address.js';
import type { Attach } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Iproute } from '../ports/iproute.js';
import type { Sandbox } from '../ports/namespace.js';
import type { Gateway, GatewayNetwork } from './gateways-of.js';

/**
 * `auto`: of each family that the container has no default route of yet, if the network leads outside from this host.
 * `yes`: of each family, in the place of one that is there.
 * @param gateways those that the network has on this host
 * @param addresses the endpoint's, with prefix length: the gateway is that of the subnet that one of them lies in
 * @returns at most one gateway of each family
 * @throws VtepError VTEP_ERR_INVALID for `yes` where there is no way out
 */
export async function chooseDefaultGateways(
  iproute: Iproute,
  sandbox: Sandbox,
  options: {
    readonly wanted: Attach['defaultRoute'];
    readonly network: GatewayNetwork;
    readonly gateways: readonly Gateway[];
    readonly addresses: readonly string[];
  },
): Promise<string[]> {
  const { wanted = 'auto', network, addresses } = options;
  const gateways = network.internal ? [] : options.gateways;
  if (wanted === 'no') return [];
  if (wanted === 'yes' && gateways.length === 0) {
    const why = network.internal ? 'is internal' : 'has no gateway on this host ("vtep status" says why)';
    throw new VtepError('VTEP_ERR_INVALID', `network "${network.name}" ${why}: attach without --default-route yes`);
  }
  const chosen: string[] = [];
  for (const family of [4, 6] as const) {
    const gateway = gateways.find((candidate) => candidate.family === family && isOnLink(candidate, addresses));
    if (gateway === undefined) continue;
    if (wanted === 'yes' || (await iproute.defaultRoutesIn(sandbox.path, family)).length === 0) {
      chosen.push(gateway.address);
    }
  }
  return chosen;
}

/** A network may have several subnets: the gateway of another one would not be found. */
function isOnLink({ subnet }: Gateway, addresses: readonly string[]): boolean {
  return addresses.some((address) => cidrContains(parseCidr(subnet), parseIp(address.replace(/\/.*$/, ''))));
}
