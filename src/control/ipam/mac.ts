/** MAC addresses: random ones for endpoints, and the one that a network's gateway has on every host. */
import { randomBytes } from 'node:crypto';
import { GATEWAY_MAC_HIGH16, gatewayMacLow } from '../../shared/gateway-mac.js';
import { formatMac, writeMacKey } from '../../wire/mac.js';

/** What every gateway's MAC begins with; no endpoint's does. */
export const GATEWAY_MAC_PREFIX = gatewayMac(0).slice(0, '02:76:74'.length);

/** Six bytes, the first 02: locally administered, unicast. Never a gateway's. */
export function randomMac(): string {
  for (;;) {
    const mac = ['02', ...[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
    if (!isGatewayMac(mac)) return mac;
  }
}

/** The MAC of the network's bridge, on every host the same. */
export function gatewayMac(vni: number): string {
  const bytes = new Uint8Array(6);
  writeMacKey(bytes, 0, GATEWAY_MAC_HIGH16, gatewayMacLow(vni));
  return formatMac(bytes);
}

/** @param mac lower case. @returns whether it could be some network's gateway */
export function isGatewayMac(mac: string): boolean {
  return mac.startsWith(GATEWAY_MAC_PREFIX);
}
