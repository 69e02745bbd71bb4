/** Which default routes a new interface of a container gets: `--default-route yes|no|auto`. */
import type { Attach } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Iproute } from '../ports/iproute.js';
import type { Sandbox } from '../ports/namespace.js';
import { type Gateway, type GatewayNetwork, isInternal } from './gateways-of.js';

/**
 * `auto`: of each family that the container has no default route of yet, if the network leads outside from this host.
 * `yes`: of each family, in the place of one that is there.
 * @param gateways those that the network has on this host
 * @param addresses the endpoint's: a family that it has no address of needs no route
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
  const gateways = isInternal(network) ? [] : options.gateways;
  if (wanted === 'no') return [];
  if (wanted === 'yes' && gateways.length === 0) {
    const why = isInternal(network) ? 'is internal' : 'has no gateway on this host ("vtep status" says why)';
    throw new VtepError('VTEP_ERR_INVALID', `network "${network.name}" ${why}: attach without --default-route yes`);
  }
  const chosen: string[] = [];
  for (const family of [4, 6] as const) {
    const gateway = gateways.find((candidate) => candidate.family === family);
    if (gateway === undefined || !addresses.some((address) => address.includes(':') === (family === 6))) continue;
    if (wanted === 'yes' || (await iproute.defaultRoutesIn(sandbox.path, family)).length === 0) {
      chosen.push(gateway.address);
    }
  }
  return chosen;
}
