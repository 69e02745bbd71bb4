/** Where spare addresses lie in a network's subnets, and whether there is room for them. Pure. */
import type { IpFamily } from '../../wire/ip-address.js';
import { addressText, contains, parseSpan } from '../ipam/address-span.js';
import { countOf, givenSpans } from '../ipam/usable-addresses.js';
import type { NetworkValue } from '../registry/schema.js';

/** Small or well-filled pools keep their addresses for endpoints: a /26 has 61 or 62 besides its gateway. */
const POOL_ADDRESSES_MIN = 60n;
const PLACES_MAX = 256;

type Addressed = Pick<NetworkValue, 'subnets'>;

/** @param used how many addresses of the family are claimed. */
export function sparesFit(network: Addressed, family: IpFamily, used: number): boolean {
  const size = countOf(givenSpans(network, family));
  return size >= POOL_ADDRESSES_MIN && BigInt(used) * 2n < size;
}

/** The last addresses that containers are given, with prefix length, highest first. */
export function* topAddresses(network: Addressed, family: IpFamily): Generator<string> {
  let places = 0;
  for (const span of givenSpans(network, family).reverse()) {
    const { cidr } = network.subnets.find((subnet) => contains(parseSpan(subnet.cidr), span))!;
    const prefixLength = cidr.slice(cidr.indexOf('/') + 1);
    for (let number = span.last; number >= span.first && places < PLACES_MAX; number--, places++) {
      yield `${addressText(number, family)}/${prefixLength}`;
    }
  }
}
