/**
 * The UDP source ports of what this host sends: a worker has a socket on each of its ports, and the inner flow's hash
 * picks one, so that routers and NICs spread the flows.
 */

export interface PortRange {
  readonly first: number;
  /** The last one belongs to the range. */
  readonly last: number;
}

/** The dynamic ports, which RFC 7348 (section 5) recommends. */
export const SOURCE_PORTS_DEFAULT: PortRange = { first: 49_152, last: 65_535 };
export const SOURCE_PORT_MIN = 1024;
/** A power of two: the flow hash is masked. */
export const SOURCE_PORTS_PER_WORKER = 8;

export function portCount({ first, last }: PortRange): number {
  return last - first + 1;
}
