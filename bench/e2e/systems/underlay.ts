/** The bare veth pair between the hosts: what every overlay starts from. */
import type { Path } from '../system.js';
import type { Topology } from '../topology.js';

export const name = 'underlay';
export const label = 'bare underlay';

export async function up({ hosts }: Topology): Promise<Path> {
  return { client: hosts.b, server: hosts.a };
}
