/** What the data plane is started with. Control plane. */
import type { Logger } from 'pino';
import type { VtepAddress } from './forwarding.js';
import type { OffloadSwitches } from './offload-switches.js';
import type { Offloads } from './offloads.js';
import type { OuterHeader } from './outer-header.js';
import type { PortRange } from './source-ports.js';
import type { UnderlaySocketOptions } from './underlay-sockets.js';
import { allIps } from './vtep-address.js';

export interface ForwardingOptions {
  readonly listen: VtepAddress;
  readonly logger: Logger;
  /** 1 to WORKERS_MAX. */
  readonly workers: number;
  /** How many (network, MAC) pairs the FDB is to hold. */
  readonly fdbEntries: number;
  /** At least SOURCE_PORTS_PER_WORKER for each worker. */
  readonly sourcePorts: PortRange;
  readonly offloads: OffloadSwitches;
  /** @default OUTER_HEADER_DEFAULT */
  readonly outer?: OuterHeader;
  readonly spinMicroseconds: number;
  /** -20 to 19. */
  readonly workerNice: number;
  /** Multicast is sent and received by it. */
  readonly underlayInterface: string;
  /** TTL of what is sent to multicast groups. */
  readonly multicastHops: number;
  /** Other hosts from which on a network that chooses by itself floods by multicast. */
  readonly multicastFrom: number;
  /** How often this host asks its containers for their multicast memberships. */
  readonly queryIntervalSeconds: number;
}

export function ipsOf({ address, otherAddress }: VtepAddress): string[] {
  return allIps({ ip: address, otherIp: otherAddress });
}

export function socketOptions(
  { listen, workers, sourcePorts, outer }: ForwardingOptions,
  { worker }: Offloads,
): UnderlaySocketOptions {
  return { port: listen.port, workers, sourcePorts, gro: worker.underlayGro, ...(outer && { outer }) };
}
