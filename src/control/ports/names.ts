/**
 * The names of the kernel objects that this host holds. A name says whose object it is, so that a daemon that starts
 * finds its own again. Linux allows 15 bytes: `vtep-b16777215` has 14, `vtep-p` and 8 hexadecimal digits have 14.
 */

/** Every interface that vtepd makes on the host begins so. */
export const INTERFACE_PREFIX = 'vtep-';

export function bridgeName(vni: number): string {
  return `${INTERFACE_PREFIX}b${vni}`;
}

export function tapName(vni: number): string {
  return `${INTERFACE_PREFIX}t${vni}`;
}

/** @param endpointId 32 hexadecimal digits. */
export function hostInterfaceName(endpointId: string): string {
  return `${INTERFACE_PREFIX}p${endpointId.slice(0, 8)}`;
}
