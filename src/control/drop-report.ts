/** What status says of drops: those that workers have counted, and those that the kernel has counted at ports. Pure. */
import { DROP_CAUSES, DROP_PORT_REFUSED, DROP_TAP_QUEUE_FULL } from '../shared/drop-causes.js';
import type { Status } from './api/schema.js';
import type { ForwardingStatus } from './forwarding.js';
import { tapName } from './ports/names.js';
import type { PortSecurityStatus } from './ports/port-security.js';
import type { LocalEndpoint } from './state/local-state.js';

type Named = Record<string, number>;
type Reported = Pick<Status, 'drops' | 'networks' | 'ports' | 'portSecurity'>;

const TAP_QUEUE_FULL = DROP_CAUSES[DROP_TAP_QUEUE_FULL]!.name;
const PORT_REFUSED = DROP_CAUSES[DROP_PORT_REFUSED]!.name;

/** @param links what each interface has dropped: linkDrops() */
export function reportDrops(
  frames: Pick<ForwardingStatus, 'drops' | 'networks'>,
  security: PortSecurityStatus,
  links: ReadonlyMap<string, number>,
  endpoints: readonly LocalEndpoint[],
): Reported {
  const ports = endpoints.map(({ id, name, network, hostInterface }) => {
    const drops: Named = { ...security.dropsOfPorts.get(hostInterface), [PORT_REFUSED]: links.get(hostInterface) ?? 0 };
    return { id, name, network, interface: hostInterface, drops };
  });
  const drops: Named = { ...frames.drops };
  for (const dropped of security.dropsOfNetworks.values()) add(drops, dropped);
  const networks = frames.networks.map((row) => {
    const { vni, network, counters } = row;
    const refused = ports.filter((port) => port.network === network).map((port) => port.drops[PORT_REFUSED] ?? 0);
    const here = {
      [TAP_QUEUE_FULL]: links.get(tapName(vni)) ?? 0,
      [PORT_REFUSED]: refused.reduce((sum, count) => sum + count, 0),
    };
    add(drops, here);
    return { ...row, counters: { ...counters, ...named({ ...security.dropsOfNetworks.get(network), ...here }) } };
  });
  const { ports: count, problem } = security;
  return { drops, networks, ports, portSecurity: { ports: count, ...(problem === undefined ? {} : { problem }) } };
}

function add(sums: Named, dropped: Readonly<Named>): void {
  for (const [cause, count] of Object.entries(dropped)) sums[cause] = (sums[cause] ?? 0) + count;
}

/** Those that are not 0, as a network's counters have them. */
function named(dropped: Readonly<Named>): Named {
  const some = Object.entries(dropped).filter(([, count]) => count > 0);
  return Object.fromEntries(some.map(([cause, count]) => [`drop_${cause}`, count]));
}
