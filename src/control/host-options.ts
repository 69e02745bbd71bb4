/** What a host of the overlay is started with. Control plane. */
import type { Logger } from 'pino';
import type { Forwarding } from './forwarding.js';
import type { Resolver } from './names/resolvers.js';
import type { Pool } from './networks/subnet-pool.js';
import type { Iproute } from './ports/iproute.js';
import type { PortTable } from './ports/port-security.js';
import type { Registry } from './registry/registry.js';
import type { LocalState } from './state/local-state.js';
import type { VtepIps } from './vtep-address.js';

export interface HostOptions {
  /** This host's name in the registry. */
  readonly node: string;
  readonly registry: Registry;
  /** The underlay addresses that other hosts send to. */
  readonly vtep: VtepIps & { readonly port: number };
  readonly underlay: { readonly interface: string; readonly mtuBytes: number };
  readonly stateDirectory: string;
  readonly forwarding: Forwarding;
  readonly logger: Logger;
  /** After how long without a sign of life this host counts as gone. @default 20 */
  readonly sessionTtlSeconds?: number | undefined;
  readonly version: string;
  /** Put before each iproute2 command, for instance `nsenter --net=PATH`. @default none: this process's namespace */
  readonly ipCommandPrefix?: readonly string[] | undefined;
  /** For tests: what is run in nft's place. */
  readonly nftProgram?: string | undefined;
  /** How long a node that left without a word stays in forwarding. @default 30 000 */
  readonly holdMs?: number | undefined;
  /** How many addresses of each family are claimed in advance for each network that is open here. @default 0 */
  readonly spareAddresses?: number | undefined;
  /** For tests: the kernel's stand-in. @default iproute2, by ipCommandPrefix */
  readonly iproute?: Iproute | undefined;
  /** For tests: the same of the table of port security. */
  readonly portTable?: PortTable | undefined;
  /** For tests: opens the local copy. */
  readonly openState?: ((directory: string) => LocalState) | undefined;
  /** How long a node stays away before its addresses are given to others. @default 60 000 */
  readonly reapAfterMs?: number | undefined;
  /** What networks get subnets of that are given none. @default 10.0.0.0/8/24 and fd76:7465:7000::/48/64 */
  readonly pools?: readonly Pool[] | undefined;
  /** Docker's API: asked for names, told of networks. `driver` is this plugin's name there. @default it is not asked */
  readonly docker?:
    | { readonly socketPath: string; readonly driver: string; readonly scope: 'local' | 'global' }
    | undefined;
  /** Names are served on the networks' gateways; `upstream` instead of the host's own resolvers. @default not */
  readonly dns?: { readonly upstream?: readonly Resolver[] | undefined } | undefined;
  /** Whether this host's dockerd uses vtep: its firewall is made to let vtep's frames through. @default false */
  readonly servesDocker?: boolean | undefined;
}
