/**
 * The MAC of a network's gateway, the same on every host: 02:76:74 and the VNI's 24 bits. @hot
 *
 * Every host's bridge has it, so a frame from it must stay on its host: it is dropped towards the tunnel (encap.ts), and
 * from the tunnel as a local one (learn.ts). No endpoint may have it (control/ipam/mac.ts).
 */

/** Bytes 0 and 1, in the form of wire/mac-key.ts. */
export const GATEWAY_MAC_HIGH16 = 0x0276;
const GATEWAY_MAC_LOW_START = 0x74000000;

/** @returns bytes 2 to 5, in the form of wire/mac-key.ts */
export function gatewayMacLow(vni: number): number {
  return GATEWAY_MAC_LOW_START | vni;
}
