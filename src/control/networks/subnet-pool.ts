/**
 * Which block a network gets that was given none: the next free one of the default pools. Pure.
 *
 *     10.0.0.0/8/24 = 10.0.0.0/24, 10.0.1.0/24, ... 10.255.255.0/24: the first that overlaps nothing that is known
 *
 * A pool is written POOL/LENGTH: a block and the prefix length of what is cut from it.
 */
import { type IpFamily, parseCidr } from '../../wire/ip-address.js';
import { VtepError } from '../errors.js';
import { addressText, overlaps, parseSpan, spanOfBlock } from '../ipam/address-span.js';
import { checkSubnet } from './subnet-check.js';

export interface Pool {
  readonly family: IpFamily;
  /** Such as 10.0.0.0/8. */
  readonly cidr: string;
  /** Of each network's block. */
  readonly prefixLength: number;
}

/** The IPv6 one is a unique local prefix (RFC 4193) with "vtep" in its global ID, so that it is known when it is seen. */
export const DEFAULT_POOLS_TEXT = '10.0.0.0/8/24,fd76:7465:7000::/48/64';
export const DEFAULT_POOLS: readonly Pool[] = parsePools(DEFAULT_POOLS_TEXT);

/** @param text POOL/LENGTH, separated by commas. @throws VtepError VTEP_ERR_INVALID */
export function parsePools(text: string): Pool[] {
  return text.split(',').map((item) => parsePool(item.trim()));
}

/** The pools given, and the default ones of a family that has none among them. */
export function withDefaults(pools: readonly Pool[]): Pool[] {
  return [...pools, ...DEFAULT_POOLS.filter(({ family }) => !pools.some((pool) => pool.family === family))];
}

/**
 * @param blocked subnets of other networks and destinations of the host's routes, as CIDR or bare address.
 * @returns the lowest free block of the family's pools, in their order. @throws VtepError VTEP_ERR_POOL_EXHAUSTED
 */
export function nextFreeSubnet(pools: readonly Pool[], family: IpFamily, blocked: readonly string[]): string {
  const spans = blocked.map(parseSpan).sort((a, b) => (a.first < b.first ? -1 : 1));
  const own = pools.filter((pool) => pool.family === family);
  for (const pool of own) {
    const whole = spanOfBlock(pool.cidr);
    const size = 1n << BigInt((family === 4 ? 32 : 128) - pool.prefixLength);
    let candidate = whole.first;
    for (const span of spans) {
      if (overlaps(span, { family, first: candidate, last: candidate + size - 1n })) {
        candidate = (span.last / size + 1n) * size;
      }
    }
    if (candidate + size - 1n <= whole.last) return `${addressText(candidate, family)}/${pool.prefixLength}`;
  }
  const texts = own.map(({ cidr, prefixLength }) => `/${prefixLength} of ${cidr}`);
  throw new VtepError(
    'VTEP_ERR_POOL_EXHAUSTED',
    `each ${texts.join(' and each ')} overlaps another network or a route of this host: give a subnet, such as ${family === 4 ? '172.20.0.0/24' : 'fd00:20::/64'}`,
  );
}

function parsePool(text: string): Pool {
  const match = /^(.*)\/(\d{1,3})$/.exec(text);
  const wrong = (why: string) =>
    new VtepError('VTEP_ERR_INVALID', `address pool "${text}" ${why}: give POOL/LENGTH, such as 10.0.0.0/8/24`);
  if (match === null || !match[1]!.includes('/')) throw wrong('does not say how long the prefix of each subnet is');
  const [, cidr = '', lengthText] = match;
  let block: ReturnType<typeof parseCidr>;
  try {
    block = parseCidr(cidr);
  } catch (error) {
    throw wrong(`is no block of addresses (${(error as Error).message})`);
  }
  const prefixLength = Number(lengthText);
  if (prefixLength < block.prefixLength) throw wrong(`is smaller than a /${prefixLength}`);
  checkSubnet(`${block.text.slice(0, block.text.indexOf('/'))}/${prefixLength}`);
  return { family: block.family, cidr: block.text, prefixLength };
}
