/** What an attach asks for, against what an endpoint is; and what was asked for once, to ask for it again. Pure. */
import type { Attach } from '../api/schema.js';
import { bareAddress, canonicalAddress } from '../ipam/address-span.js';
import type { LocalEndpoint, Standing } from '../state/local-state.js';

export function wantsStanding({ standing, container }: Attach): boolean {
  return standing ?? container !== undefined;
}

/** What has to be kept of an attach for an endpoint that stands. */
export function standingOf(input: Attach, networkId: string): Standing {
  return {
    networkId,
    ...(input.defaultRoute === undefined ? {} : { defaultRoute: input.defaultRoute }),
    ...(input.interface === undefined ? {} : { interface: input.interface }),
  };
}

/**
 * The wish that the endpoint does not fulfil, such as `IP address 10.0.0.9`, or undefined. What was not asked for may be
 * anything; a default route is looked at where it is known what was asked for.
 */
export function unfulfilled(input: Attach, endpoint: LocalEndpoint): string | undefined {
  const own = endpoint.addresses.map((text) => canonicalAddress(bareAddress(text)));
  const ip = input.ips?.find((text) => !own.includes(canonicalAddress(text)));
  if (ip !== undefined) return `address ${ip}`;
  if (differs(input.mac, endpoint.mac)) return `MAC ${input.mac}`;
  if (differs(input.name, endpoint.name)) return `name "${input.name}"`;
  if (differs(input.interface, endpoint.containerInterface)) return `interface "${input.interface}"`;
  if (differs(input.group, endpoint.group)) return `group ${input.group}`;
  if (differs(input.owner, endpoint.owner)) return `owner ${input.owner}`;
  if (input.publish !== undefined && portsText(input.publish) !== portsText(endpoint.publish ?? [])) {
    return 'other published ports';
  }
  if (wantsStanding(input) !== (endpoint.standing !== undefined)) {
    return wantsStanding(input) ? 'to be standing' : 'not to be standing';
  }
  if (endpoint.standing !== undefined && differs(input.defaultRoute, endpoint.standing.defaultRoute ?? 'auto')) {
    return `default route "${input.defaultRoute}"`;
  }
  return undefined;
}

/** The attach that makes a standing endpoint again, but for the container. */
export function wishesOf(endpoint: LocalEndpoint): Attach {
  const { network, name, mac, addresses, publish, group, owner, standing } = endpoint;
  return {
    ...{ network, name, mac, standing: true, ips: addresses.map(bareAddress) },
    ...(publish === undefined ? {} : { publish: [...publish] }),
    ...(group === undefined ? {} : { group }),
    ...(owner === undefined ? {} : { owner }),
    ...(standing?.defaultRoute === undefined ? {} : { defaultRoute: standing.defaultRoute }),
    ...(standing?.interface === undefined ? {} : { interface: standing.interface }),
  };
}

function differs<T>(wanted: T | undefined, is: T | undefined): boolean {
  return wanted !== undefined && wanted !== is;
}

function portsText(ports: NonNullable<LocalEndpoint['publish']>): string {
  const texts = ports.map((port) => JSON.stringify(Object.entries(port).sort(([a], [b]) => (a < b ? -1 : 1))));
  return texts.sort().join(' ');
}
