/** vtep as the demo shows it: a container on each host, attached to one network by `vtep attach`. */
import type { Path, SystemOptions } from '../system.js';
import type { Topology } from '../topology.js';
import { VtepPair } from '../vtep-pair.js';

export const name = 'vtep';
export const label = 'vtep, containers';
export const comparedWith = ['kernel-vxlan-bridge', 'kernel-vxlan'];

export async function up(topology: Topology, options: SystemOptions): Promise<Path> {
  const pair = await VtepPair.start(topology, options);
  const server = await topology.addNamespace('ca');
  const client = await topology.addNamespace('cb');
  const join = async (network: string) => {
    await pair.createNetwork(network);
    const members = [await pair.attach('a', network, server), await pair.attach('b', network, client)] as const;
    await pair.waitConverged(network, members);
    return members.map(({ netns, address }) => ({ netns, address: address.split('/')[0] as string }));
  };
  const [serverEnd, clientEnd] = await join('net1');
  return {
    server: serverEnd!,
    client: clientEnd!,
    daemons: pair.daemons,
    async growNetworks(count) {
      for (let number = 2; number <= count; number++) await join(`net${number}`);
    },
  };
}
