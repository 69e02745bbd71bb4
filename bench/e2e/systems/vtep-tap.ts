/**
 * vtep without a container: the overlay's address on the host.
 *
 *     kernel-vxlan   IP stack ─ VXLAN device
 *     vtep-tap       IP stack ─ bridge ─ TAP ─ worker          no veth, no second namespace
 *
 * vtepd keeps a network's TAP in its bridge and puts it back when it is taken out. So the address is on the bridge
 * device, not on the TAP: what is measured has one bridge more than its counterpart. The bridge takes the MAC and the
 * address of an endpoint that was attached for that purpose, whose own interface is set aside: other hosts and the
 * checks of source MACs see a registered endpoint.
 */
import type { End, Path, SystemOptions } from '../system.js';
import type { Topology } from '../topology.js';
import { VtepPair } from '../vtep-pair.js';

export const name = 'vtep-tap';
export const label = 'vtep, host';
export const comparedWith = ['kernel-vxlan'];

const NETWORK = 'net1';
const ASIDE_MAC = '02:00:00:00:00:01';

export async function up(topology: Topology, options: SystemOptions): Promise<Path> {
  const pair = await VtepPair.start(topology, options);
  await pair.createNetwork(NETWORK);
  const onHost = async (host: 'a' | 'b'): Promise<[End, Awaited<ReturnType<VtepPair['attach']>>]> => {
    const { netns } = topology.hosts[host];
    const attached = await pair.attach(host, NETWORK, await topology.addNamespace(`c${host}`));
    // vtepd announces a new endpoint a second time a second later; the bridge must be the last to claim the MAC.
    const inner = ['-n', attached.netns, 'link', 'set', attached.containerInterface];
    await topology.ip('-n', attached.netns, 'address', 'flush', 'dev', attached.containerInterface);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await topology.ip(...inner, 'down');
    await topology.ip(...inner, 'address', ASIDE_MAC);
    await topology.ip('-n', netns, 'link', 'set', attached.bridge, 'address', attached.mac);
    await topology.ip('-n', netns, 'address', 'add', attached.address, 'dev', attached.bridge);
    await speakBy(topology, netns, attached);
    return [{ netns, address: attached.address.split('/')[0] as string }, attached];
  };
  const [server, first] = await onHost('a');
  const [client, second] = await onHost('b');
  await pair.waitConverged(NETWORK, [first, second]);
  return { server, client, daemons: pair.daemons };
}

/** The bridge has the network's gateway as well, and Linux would speak by the address that came first. */
async function speakBy(topology: Topology, netns: string, { bridge, address }: { bridge: string; address: string }) {
  const routes: { dst: string }[] = JSON.parse(await topology.ip('-n', netns, '-json', 'route', 'show', 'dev', bridge));
  const own = address.slice(0, address.indexOf('/'));
  for (const { dst } of routes) await topology.ip('-n', netns, 'route', 'change', dst, 'dev', bridge, 'src', own);
}
