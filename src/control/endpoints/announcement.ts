/** Announces an endpoint's addresses to its network, twice. Control plane. */
import type { Iproute } from '../ports/iproute.js';
import { announce } from '../ports/veth.js';
import type { LocalEndpoint } from '../state/local-state.js';

const SECOND_MS = 1000;

/**
 * The other hosts hear of a first endpoint on this host a moment after the registry does: hence twice. Not waited for.
 * @param isHere asked before each
 */
export function announceTwice(
  iproute: Iproute,
  namespacePath: string,
  endpoint: LocalEndpoint,
  isHere: () => boolean,
): void {
  const once = async () => {
    if (isHere()) await announce(iproute, namespacePath, { ...endpoint, endpointId: endpoint.id });
  };
  void once();
  setTimeout(() => void once(), SECOND_MS).unref();
}
