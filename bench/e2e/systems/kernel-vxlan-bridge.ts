/** The kernel's VXLAN in a bridge, containers on the bridge by veth: the shape of Docker's overlay. */
import { addKernelVxlan, OVERLAY_MTU_BYTES, VXLAN_DEVICE } from '../kernel-vxlan.js';
import type { Path } from '../system.js';
import type { Topology } from '../topology.js';

export const name = 'kernel-vxlan-bridge';
export const label = 'kernel VXLAN, containers';

const BRIDGE = 'br0';
const PORT = 'veth0';

export async function up(topology: Topology): Promise<Path> {
  const { a, b } = topology.hosts;
  const mtu = String(OVERLAY_MTU_BYTES);
  await addKernelVxlan(topology);
  const end = async (host: string, containerName: string, address: string) => {
    const ip = (...args: string[]) => topology.ip('-n', host, ...args);
    const netns = await topology.addNamespace(containerName);
    await ip('link', 'add', BRIDGE, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0');
    await ip('link', 'add', PORT, 'mtu', mtu, 'type', 'veth', 'peer', 'name', 'eth0', 'mtu', mtu, 'netns', netns);
    for (const port of [VXLAN_DEVICE, PORT]) await ip('link', 'set', port, 'master', BRIDGE, 'up');
    await ip('link', 'set', BRIDGE, 'mtu', mtu, 'up');
    await topology.ip('-n', netns, 'address', 'add', `${address}/24`, 'dev', 'eth0');
    await topology.ip('-n', netns, 'link', 'set', 'eth0', 'up');
    return { netns, address };
  };
  return { server: await end(a.netns, 'ca', '198.51.100.1'), client: await end(b.netns, 'cb', '198.51.100.2') };
}
