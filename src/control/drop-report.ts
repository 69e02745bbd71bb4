/** What status says of drops: those that workers have counted, and those that the kernel has counted at ports. Pure. */
import type { Status } from './api/schema.js';
import type { ForwardingStatus } from './forwarding.js';
import type { PortSecurityStatus } from './ports/port-security.js';
import type { LocalEndpoint } from './state/local-state.js';

type Reported = Pick<Status, 'drops' | 'networks' | 'ports' | 'portSecurity'>;

export function reportDrops(
  frames: Pick<ForwardingStatus, 'drops' | 'networks'>,
  security: PortSecurityStatus,
  endpoints: readonly LocalEndpoint[],
): Reported {
  const drops: Record<string, number> = { ...frames.drops };
  for (const dropped of security.dropsOfNetworks.values()) {
    for (const [cause, count] of Object.entries(dropped)) drops[cause] = (drops[cause] ?? 0) + count;
  }
  const networks = frames.networks.map((row) => {
    const { network, counters } = row;
    const dropped = Object.entries(security.dropsOfNetworks.get(network) ?? {}).filter(([, count]) => count > 0);
    return { ...row, counters: { ...counters, ...named(dropped) } };
  });
  const ports = endpoints.map(({ id, name, network, hostInterface }) => ({
    ...{ id, name, network, interface: hostInterface },
    drops: { ...security.dropsOfPorts.get(hostInterface) },
  }));
  const { ports: count, problem } = security;
  return { drops, networks, ports, portSecurity: { ports: count, ...(problem === undefined ? {} : { problem }) } };
}

function named(dropped: readonly (readonly [string, number])[]): Record<string, number> {
  return Object.fromEntries(dropped.map(([cause, count]) => [`drop_${cause}`, count]));
}
