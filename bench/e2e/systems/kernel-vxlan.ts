/** The kernel's VXLAN with the overlay's address on the VXLAN device itself: no bridge, no container. */
import { addKernelVxlan, VXLAN_DEVICE } from '../kernel-vxlan.js';
import type { Path } from '../system.js';
import type { Topology } from '../topology.js';

export const name = 'kernel-vxlan';
export const label = 'kernel VXLAN, host';

export async function up(topology: Topology): Promise<Path> {
  const { a, b } = topology.hosts;
  await addKernelVxlan(topology);
  const end = async (netns: string, address: string) => {
    await topology.ip('-n', netns, 'address', 'add', `${address}/24`, 'dev', VXLAN_DEVICE);
    await topology.ip('-n', netns, 'link', 'set', VXLAN_DEVICE, 'up');
    return { netns, address };
  };
  return { server: await end(a.netns, '198.51.100.1'), client: await end(b.netns, '198.51.100.2') };
}
