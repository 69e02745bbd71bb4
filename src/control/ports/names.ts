/**
 * The names of the kernel objects that this host holds. A name says whose object it is, so that a daemon that starts
 * finds its own again. Linux allows 15 bytes: `vtep-b16777215` has 14, `vtep-p` and 8 hexadecimal digits have 14.
 */

/** Every interface that vtepd makes on the host begins so. */
export const INTERFACE_PREFIX = 'vtep-';

/** IFALIASZ of linux/if.h is 256 with its closing zero. */
const ALIAS_BYTES_MAX = 255;

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

/** The container's end of a veth that is still on the host: whoever runs the container moves and renames it. */
export function awaitedInterfaceName(endpointId: string): string {
  return `${INTERFACE_PREFIX}c${endpointId.slice(0, 8)}`;
}

/** What the host's end of a veth says of itself: how an endpoint is known again when the local copy is lost. */
export function endpointAlias(endpointId: string, network: string, owner?: string): string {
  const alias = `vtep endpoint=${endpointId} network=${network}`;
  const owned = `${alias} owner=${owner}`;
  return owner === undefined || Buffer.byteLength(owned) > ALIAS_BYTES_MAX ? alias : owned;
}

export function parseEndpointAlias(
  alias: string | undefined,
): { id: string; network: string; owner?: string } | undefined {
  const match = /^vtep endpoint=([0-9a-f]{32}) network=(\S+)(?: owner=(\S+))?$/.exec(alias ?? '');
  if (match === null) return undefined;
  return { id: match[1]!, network: match[2]!, ...(match[3] === undefined ? {} : { owner: match[3] }) };
}

/** The VNI in the name of a bridge or TAP of vtep's. */
export function parseVniName(name: string): number | undefined {
  const match = /^vtep-[bt](\d{1,8})$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}
