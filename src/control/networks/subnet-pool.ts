/**
 * Which subnet a network gets: a given one, checked, or the next free /24 of the default pool. Pure.
 *
 *     10.0.0.0/8 = 10.0.0.0/24, 10.0.1.0/24, ... 10.255.255.0/24: the first that overlaps nothing that is known
 */
import { type Cidr, ipv4ToNumber, numberToIPv4, parseCidr } from '../../wire/ip-address.js';
import { VtepError } from '../errors.js';

export const DEFAULT_POOL = '10.0.0.0/8';
const DEFAULT_PREFIX_LENGTH = 24;
/** A /29 has five addresses for containers; a /30 would have one. */
const PREFIX_LENGTH = { min: 8, max: 29 };
const BLOCK_ADDRESSES = 2 ** (32 - DEFAULT_PREFIX_LENGTH);

interface Span {
  readonly first: number;
  readonly last: number;
}

/** @returns the block in canonical text. @throws VtepError VTEP_ERR_INVALID naming the text and what would be right */
export function checkSubnet(text: string): string {
  let cidr: Cidr;
  try {
    cidr = parseCidr(text);
  } catch (error) {
    throw new VtepError('VTEP_ERR_INVALID', (error as Error).message, { cause: error });
  }
  const refuse = (why: string) => new VtepError('VTEP_ERR_INVALID', `subnet "${text}" ${why}`);
  if (cidr.family === 6) throw refuse('is IPv6: networks have IPv4 subnets so far, such as 10.0.2.0/24');
  if (cidr.prefixLength < PREFIX_LENGTH.min || cidr.prefixLength > PREFIX_LENGTH.max) {
    throw refuse(
      `has prefix length ${cidr.prefixLength}: give ${PREFIX_LENGTH.min} to ${PREFIX_LENGTH.max}, such as 10.0.2.0/24`,
    );
  }
  const firstByte = cidr.network[0]!;
  if (firstByte === 0 || firstByte === 127 || firstByte >= 224) {
    throw refuse(
      'holds no addresses that hosts can have (0, 127 and 224 to 255 are set apart): give one such as 10.0.2.0/24',
    );
  }
  return cidr.text;
}

/** The first host address, by custom the gateway's. */
export function gatewayOf(subnet: string): string {
  return numberToIPv4(spanOf(subnet).first + 1);
}

/**
 * @param blocked subnets of other networks and destinations of the host's routes, as CIDR or bare address.
 * @returns the lowest free /24 of the pool. @throws VtepError VTEP_ERR_POOL_EXHAUSTED
 */
export function nextFreeSubnet(blocked: readonly string[]): string {
  const pool = spanOf(DEFAULT_POOL);
  const spans = blocked.map(spanOf).sort((a, b) => a.first - b.first);
  let candidate = pool.first;
  for (const span of spans) {
    if (span.last < candidate) continue;
    if (span.first >= candidate + BLOCK_ADDRESSES) break;
    candidate = Math.floor(span.last / BLOCK_ADDRESSES) * BLOCK_ADDRESSES + BLOCK_ADDRESSES;
  }
  if (candidate > pool.last) {
    throw new VtepError(
      'VTEP_ERR_POOL_EXHAUSTED',
      `each /${DEFAULT_PREFIX_LENGTH} of ${DEFAULT_POOL} overlaps another network or a route of this host: give a subnet, such as 172.20.0.0/24`,
    );
  }
  return `${numberToIPv4(candidate)}/${DEFAULT_PREFIX_LENGTH}`;
}

function spanOf(text: string): Span {
  const slash = text.indexOf('/');
  const first = ipv4ToNumber(slash < 0 ? text : text.slice(0, slash));
  const bits = slash < 0 ? 0 : 32 - Number(text.slice(slash + 1));
  return { first, last: first + 2 ** bits - 1 };
}
