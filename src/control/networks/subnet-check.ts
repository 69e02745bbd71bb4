/**
 * What a block must be to serve as a network's subnet, and which address its gateway has by custom. Pure.
 */
import { type Cidr, parseCidr } from '../../wire/ip-address.js';
import { VtepError } from '../errors.js';
import { addressText, overlaps, spanOfBlock } from '../ipam/address-span.js';
import { hostSpan } from '../ipam/usable-addresses.js';

/** A /29 has five addresses for containers, a /30 would have one. An IPv6 subnet is a /64 by custom (RFC 4291). */
const PREFIX_LENGTHS = { 4: { min: 8, max: 29, right: '10.0.2.0/24' }, 6: { min: 48, max: 120, right: 'fd00:2::/64' } };
const SET_APART = {
  4: { blocks: ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'], text: '0, 127 and 224 to 255 are set apart' },
  6: { blocks: ['::/16', 'fe80::/10', 'ff00::/8'], text: '::/16, fe80::/10 and ff00::/8 are set apart' },
};

/** @returns the block in canonical text. @throws VtepError VTEP_ERR_INVALID naming the text and what would be right */
export function checkSubnet(text: string): string {
  let cidr: Cidr;
  try {
    cidr = parseCidr(text);
  } catch (error) {
    throw new VtepError('VTEP_ERR_INVALID', (error as Error).message, { cause: error });
  }
  const refuse = (why: string) => new VtepError('VTEP_ERR_INVALID', `subnet "${text}" ${why}`);
  const { min, max, right } = PREFIX_LENGTHS[cidr.family];
  if (cidr.prefixLength < min || cidr.prefixLength > max) {
    throw refuse(`has prefix length ${cidr.prefixLength}: give ${min} to ${max}, such as ${right}`);
  }
  const apart = SET_APART[cidr.family];
  const span = spanOfBlock(cidr.text);
  if (apart.blocks.some((block) => overlaps(spanOfBlock(block), span))) {
    throw refuse(`holds no addresses that hosts can have (${apart.text}): give one such as ${right}`);
  }
  return cidr.text;
}

/** The first host address. */
export function gatewayOf(subnet: string): string {
  const { family, first } = hostSpan(subnet);
  return addressText(first, family);
}
