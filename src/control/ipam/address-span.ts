/**
 * Runs of addresses as numbers: what blocks, ranges and single addresses have in common. Control plane, pure.
 *
 *     10.0.0.0/29          ─▶ 10.0.0.0 .. 10.0.0.7
 *     10.0.0.3-10.0.0.5    ─▶ 10.0.0.3 .. 10.0.0.5
 *     fd00::7              ─▶ one address
 *
 * BigInt, so that both families are one code. Spans of different families never meet: callers compare `family` first, or
 * use overlaps().
 */
import { formatIp, type IpFamily, parseCidr, parseIp } from '../../wire/ip-address.js';

export interface Span {
  readonly family: IpFamily;
  readonly first: bigint;
  /** Included. */
  readonly last: bigint;
}

/** @throws Error naming the text and what is wrong */
export function addressNumber(text: string): bigint {
  let number = 0n;
  for (const byte of parseIp(text)) number = (number << 8n) | BigInt(byte);
  return number;
}

/** Canonical text. */
export function addressText(number: bigint, family: IpFamily): string {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = number;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return formatIp(bytes);
}

export function familyOf(text: string): IpFamily {
  return text.includes(':') ? 6 : 4;
}

/** Canonical text of an address, so that one address is one key. @throws Error naming the text and what is wrong */
export function canonicalAddress(text: string): string {
  return formatIp(parseIp(text));
}

/** 10.0.0.2/24 without its prefix length. */
export function bareAddress(text: string): string {
  const slash = text.indexOf('/');
  return slash < 0 ? text : text.slice(0, slash);
}

/** @param text CIDR block. @throws Error naming the text and what is wrong */
export function spanOfBlock(text: string): Span {
  const { family, prefixLength } = parseCidr(text);
  const first = addressNumber(bareAddress(text));
  return { family, first, last: first + (1n << BigInt((family === 4 ? 32 : 128) - prefixLength)) - 1n };
}

/** @param text a block, FIRST-LAST or one address. @throws Error naming the text and what is wrong */
export function parseSpan(text: string): Span {
  if (text.includes('/')) return spanOfBlock(text);
  const [from = '', to = from, ...rest] = text.split('-');
  const span = { family: familyOf(from), first: addressNumber(from), last: addressNumber(to) };
  if (rest.length > 0 || familyOf(to) !== span.family || span.last < span.first) {
    throw new Error(`address range "${text}" is not FIRST-LAST with FIRST below LAST, such as 10.0.2.10-10.0.2.19`);
  }
  return span;
}

export function overlaps(a: Span, b: Span): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

export function contains(outer: Span, inner: Span): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** What is left of `span` without the holes, in order. */
export function without(span: Span, holes: readonly Span[]): Span[] {
  const left: Span[] = [];
  let { first } = span;
  for (const hole of [...holes].sort((a, b) => (a.first < b.first ? -1 : 1))) {
    if (!overlaps(hole, { ...span, first })) continue;
    if (hole.first > first) left.push({ ...span, first, last: hole.first - 1n });
    first = hole.last + 1n;
    if (first > span.last) return left;
  }
  left.push({ ...span, first });
  return left;
}
