/**
 * The underlay's multicast group of a network that was given none. Pure.
 *
 *     IPv4   239.x.y.z             organisation-local (RFC 2365), x.y.z the VNI: 239.0.0.0/8 has exactly its 24 bits
 *     IPv6   ff15::7674:80xx:yyzz  site-local and transient (RFC 4291, section 2.7); the low 32 bits are of the range that
 *                                  hosts assign themselves (RFC 3307, section 4.3), and are what the Ethernet group keeps
 */
import type { IpFamily } from '../../wire/ip-address.js';

export function defaultGroup(vni: number, family: IpFamily): string {
  const [x, y, z] = [vni >>> 16, (vni >>> 8) & 0xff, vni & 0xff];
  if (family === 4) return `239.${x}.${y}.${z}`;
  return `ff15::7674:${(0x8000 | x).toString(16)}:${((y << 8) | z).toString(16)}`;
}
