/**
 * The networks of the lab, and who is where. Test support.
 *
 *     host a: vtepd 192.0.2.1, 2001:db8::1             host b: the kernel, 192.0.2.2, 2001:db8::2, and more addresses
 *     network  VNI   MTU                container        device
 *     mixed    4242  1450               box              vx0
 *     jumbo    4243  8930, the default  box-jumbo        vxj
 *     big      4244  9000, over it      box-big          vxg
 *     bulk     4245  1450, not captured box-bulk         vxb
 *     six      4246  1430, over IPv6    box-six          vx6
 *     bulk6    4247  1430, the same     box-bulk6        vxb6, not captured
 *     mcast    4248  1450, multicast    box-mcast        vxm
 *     mcast6   4249  1430, multicast    box-mcast6       vxm6
 *     loose    4250  1450, tolerant     box-loose        vxl
 *     grouped  4251  1450, GBP          box-grouped      vxp
 *     guarded  4252  1450               box-guarded      vxs
 *
 * Only `guarded` has port security and ARP suppression: elsewhere containers send whatever a case wants. The container
 * is .2 of its subnets, the kernel's device .100, the ghost .99.
 */

export const KERNEL_MAC = '02:00:5e:00:00:64';
export const GHOST_MAC = '02:00:5e:00:00:99';
export const VTEP_A = '192.0.2.1';
export const VTEP_KERNEL = '192.0.2.2';
/** A second peer of `mixed`. */
export const VTEP_SECOND = '192.0.2.66';
export const VTEP_GHOST = '192.0.2.67';
/** Of no VTEP, but of host b. */
export const STRANGER = '192.0.2.77';
export const VTEP_A6 = '2001:db8::1';
export const VTEP_KERNEL6 = '2001:db8::2';
export const STRANGER6 = '2001:db8::77';
/** What vtepd takes for VNI 4248: 239 and the VNI. */
export const GROUP = '239.0.16.152';
export const GROUP6 = 'ff05::1:4249';

export interface Place {
  /** Of the underlay. */
  readonly family: 4 | 6;
  readonly vni: number;
  readonly mtu: number;
  readonly device: string;
  readonly container: string;
  readonly subnet: string;
  readonly subnet6: string;
  /** More for `POST /v1/networks`. */
  readonly options: object;
}

const OPEN = { portSecurity: false, arpSuppression: false };

function place(vni: number, mtu: number, device: string, name: string, more: Partial<Place> = {}): Place {
  const { family = 4, options } = more;
  const subnets = { subnet: `10.${vni - 4200}.0`, subnet6: `fd00:${vni}:` };
  return { vni, mtu, device, container: name, family, ...subnets, options: { ...OPEN, mtuBytes: mtu, ...options } };
}

export const PLACES = {
  mixed: place(4242, 1450, 'vx0', 'box'),
  jumbo: place(4243, 8930, 'vxj', 'box-jumbo', { options: { mtuBytes: undefined } }),
  big: place(4244, 9000, 'vxg', 'box-big'),
  bulk: place(4245, 1450, 'vxb', 'box-bulk'),
  six: place(4246, 1430, 'vx6', 'box-six', { family: 6 }),
  bulk6: place(4247, 1430, 'vxb6', 'box-bulk6', { family: 6 }),
  mcast: place(4248, 1450, 'vxm', 'box-mcast', { options: { flood: 'multicast' } }),
  mcast6: place(4249, 1430, 'vxm6', 'box-mcast6', { family: 6, options: { flood: 'multicast', group: GROUP6 } }),
  loose: place(4250, 1450, 'vxl', 'box-loose', { options: { reservedBits: 'tolerant' } }),
  grouped: place(4251, 1450, 'vxp', 'box-grouped', { options: { groupPolicy: true } }),
  guarded: place(4252, 1450, 'vxs', 'box-guarded', { options: { portSecurity: true, arpSuppression: true } }),
} as const satisfies Record<string, Place>;

export type NetworkName = keyof typeof PLACES;
