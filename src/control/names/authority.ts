/**
 * What a network's server answers itself, what it refuses and what it asks others. Pure.
 *
 * | question | answer |
 * |---|---|
 * | a name of the network: NAME, NAME.NETWORK, NAME.NETWORK.DOMAIN | its addresses; other types: none, no error (NODATA) |
 * | anything else below DOMAIN | NXDOMAIN |
 * | an address in the network's subnets | its names, else NXDOMAIN |
 * | anything else | forwarded; where the network does not forward: a single label NXDOMAIN, the rest REFUSED |
 *
 * A single label that is no container's is forwarded, as users know it from Docker: the host's resolvers may have a search
 * list, /etc/hosts or a router that knows it. Without them nobody else can know it, so it does not exist.
 */
import { type Cidr, formatIp } from '../../wire/ip-address.js';
import { CLASS_IN, type Query, RCODE, type RecordData, type Reply, type SoaData, TYPE } from './message.js';
import type { NameTable } from './name-table.js';
import { parseReverseName, reverseZone, subnetOf } from './reverse-name.js';

export interface Authority {
  readonly network: string;
  readonly subnets: readonly Cidr[];
  readonly table: NameTable;
  /** Whether others are asked for what is not the network's. */
  readonly forward: boolean;
  readonly ttlSeconds: number;
}

export interface Client {
  /** In one of the network's subnets. */
  readonly inside: boolean;
  /** This host itself, by an address that its servers listen on. It may be a resolver that was pointed here: asking
   * the host's resolvers for it would go round in a circle. */
  readonly own: boolean;
}

/** @returns the answer, or 'forward'. */
export function answerQuery(authority: Authority, query: Query, client: Client): Reply | 'forward' {
  const forwards = authority.forward && client.inside && !client.own;
  const reply = (partial: Partial<Reply>): Reply => ({
    ...{ rcode: RCODE.NOERROR, authoritative: false, recursionAvailable: forwards, answers: [] },
    ...partial,
  });
  const refused = reply({ rcode: RCODE.REFUSED });
  if (query.edns !== undefined && query.edns.version > 0) return reply({ rcode: RCODE.BADVERS });
  if (query.class !== CLASS_IN || !client.inside) return refused;
  // Zone transfers, TKEY, TSIG and the mail types that nothing has: not questions about a name.
  if (query.type >= TYPE.TKEY && query.type < TYPE.ANY) return refused;
  const own = ownReply(authority, query);
  if (own !== undefined) return reply({ ...own, authoritative: true });
  if (!forwards) {
    if (authority.forward || query.labels.length !== 1) return refused;
    return reply({ rcode: RCODE.NXDOMAIN, authoritative: true, ...negative(authority, '.') });
  }
  // RFC 8482: what others have is not fetched in bulk.
  return query.type === TYPE.ANY ? refused : 'forward';
}

function ownReply(authority: Authority, query: Query): Partial<Reply> | undefined {
  return reverseReply(authority, query) ?? nameReply(authority, query) ?? domainReply(authority, query);
}

function reverseReply(authority: Authority, query: Query): Partial<Reply> | undefined {
  const reverse = parseReverseName(query.labels);
  const subnet = reverse && subnetOf(reverse, authority.subnets);
  if (reverse === undefined || subnet === undefined) return undefined;
  const zone = reverseZone(reverse, subnet);
  if (!reverse.exact) return { rcode: RCODE.NXDOMAIN, ...negative(authority, zone) };
  const isAddress = reverse.bits === reverse.address.length * 8;
  const names = isAddress ? authority.table.reverse(authority.network, formatIp(reverse.address)) : [];
  if (isAddress && names.length === 0) return { rcode: RCODE.NXDOMAIN, ...negative(authority, zone) };
  const ttl = authority.ttlSeconds;
  return found(
    authority,
    query,
    zone,
    query.type === TYPE.PTR ? names.map((data) => ({ type: 'PTR', data, ttl })) : [],
  );
}

function nameReply(authority: Authority, query: Query): Partial<Reply> | undefined {
  const addresses = authority.table.lookup(authority.network, query.name);
  if (addresses === undefined) return undefined;
  const ttl = authority.ttlSeconds;
  const { domain } = authority.table;
  const zone = query.name.endsWith(`.${domain}`) ? domain : query.name;
  const records: RecordData[] = [];
  if (query.type === TYPE.A) for (const data of addresses.ipv4) records.push({ type: 'A', data, ttl });
  if (query.type === TYPE.AAAA) for (const data of addresses.ipv6) records.push({ type: 'AAAA', data, ttl });
  return found(authority, query, zone, records);
}

/** The domain and the network below it are there; no other name below the domain is. */
function domainReply(authority: Authority, query: Query): Partial<Reply> | undefined {
  const { domain } = authority.table;
  if (query.name !== domain && !query.name.endsWith(`.${domain}`)) return undefined;
  const isThere = `.${authority.network.toLowerCase()}.${domain}`.endsWith(`.${query.name}`);
  if (!isThere) return { rcode: RCODE.NXDOMAIN, ...negative(authority, domain) };
  const isApex = query.name === domain && query.type === TYPE.SOA;
  const soa: RecordData = { type: 'SOA', data: soaOf(authority), ttl: authority.ttlSeconds };
  return found(authority, query, domain, isApex ? [soa] : []);
}

function found(authority: Authority, query: Query, zone: string, records: readonly RecordData[]): Partial<Reply> {
  const ttl = authority.ttlSeconds;
  // RFC 8482 section 4.2: one record that says so instead of all.
  if (query.type === TYPE.ANY) return { answers: [{ type: 'HINFO', data: { cpu: 'RFC8482', os: '' }, ttl }] };
  return records.length === 0 ? negative(authority, zone) : { answers: records };
}

function negative(authority: Authority, owner: string): Pick<Reply, 'soa'> {
  return { soa: { owner, data: soaOf(authority), ttl: authority.ttlSeconds } };
}

/** The numbers are for secondary servers, which there are none of, but `minimum`: how long "no" may be kept. */
function soaOf(authority: Authority): SoaData {
  const { domain } = authority.table;
  const times = { serial: 1, refresh: 3600, retry: 600, expire: 86_400 };
  return { mname: `ns.${domain}`, rname: `hostmaster.${domain}`, ...times, minimum: authority.ttlSeconds };
}
