/** The kernel's VXLAN device on both hosts of a topology, each with the other as its one unicast remote. */
import type { Topology } from './topology.js';

export const VXLAN_DEVICE = 'vxlan0';
/** What 50 bytes of VXLAN, UDP, IPv4 and Ethernet leave of the underlay's 1500. */
export const OVERLAY_MTU_BYTES = 1450;
const VNI = 300;

export async function addKernelVxlan(topology: Topology): Promise<void> {
  const { a, b } = topology.hosts;
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const) {
    await topology.ip(
      ...['-n', own.netns, 'link', 'add', VXLAN_DEVICE, 'mtu', String(OVERLAY_MTU_BYTES), 'type', 'vxlan'],
      ...['id', String(VNI), 'local', own.address, 'remote', other.address, 'dstport', '4789', 'dev', own.device],
    );
  }
}
