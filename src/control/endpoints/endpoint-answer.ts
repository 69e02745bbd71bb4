/** An endpoint of this host as the API shows it. Pure. */
import type { Endpoint } from '../api/schema.js';
import type { LocalEndpoint } from '../state/local-state.js';

export function endpointAnswer(
  endpoint: LocalEndpoint,
  node: string,
  state: NonNullable<Endpoint['local']>['state'],
): Endpoint {
  const {
    id,
    name,
    aliases,
    network,
    mac,
    addresses,
    hostInterface,
    containerInterface,
    sandbox,
    mtuBytes,
    publish,
    group,
    owner,
  } = endpoint;
  const published = publish === undefined ? {} : { publish: [...publish] };
  const local = {
    hostInterface,
    containerInterface,
    sandbox,
    mtuBytes,
    state,
    ...published,
    ...(owner === undefined ? {} : { owner }),
  };
  const known = { id, name, network, node, mac, addresses: [...addresses] };
  const named = aliases === undefined ? known : { ...known, aliases: [...aliases] };
  return { ...named, ...(group === undefined ? {} : { group }), local };
}
