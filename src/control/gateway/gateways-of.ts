/** A network's gateways: of each of its subnets the address that the bridge has on every host. Pure. */
import { parseCidr } from '../../wire/ip-address.js';

/** What the gateway needs of a network; a NetworkValue is one. */
export interface GatewayNetwork {
  readonly name: string;
  readonly vni: number;
  readonly subnets: readonly { readonly cidr: string; readonly gateway?: string | undefined }[];
  /** No way out: no default route, no masquerade, nothing forwarded. */
  readonly internal: boolean;
}

export interface Gateway {
  readonly family: 4 | 6;
  /** Without prefix length. */
  readonly address: string;
  /** The subnet: 10.0.2.0/24. */
  readonly subnet: string;
  readonly prefixLength: number;
}

/** In the order of the subnets; a subnet without a gateway has none. */
export function gatewaysOf(network: GatewayNetwork): Gateway[] {
  const gateways: Gateway[] = [];
  for (const { cidr, gateway } of network.subnets) {
    if (gateway === undefined) continue;
    const { family, prefixLength, text } = parseCidr(cidr);
    gateways.push({ family, address: gateway, subnet: text, prefixLength });
  }
  return gateways;
}
