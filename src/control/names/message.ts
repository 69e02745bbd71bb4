/**
 * DNS messages (RFC 1035, EDNS of RFC 6891): queries from bytes, answers to bytes. Pure; never throws on what came in.
 *
 *     header 12 │ question: labels, type, class │ additional records, among them OPT
 *
 * A query is read by hand, since its question must go back byte by byte (any octet is legal in a label, and clients check
 * the case of the letters); records are written by dns-packet. A record's owner is a pointer to the question, so that as
 * many addresses as can be fit into 512 bytes.
 */
import { type Answer, encode } from 'dns-packet';

export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

export const TYPE = { A: 1, SOA: 6, PTR: 12, AAAA: 28, OPT: 41, TKEY: 249, AXFR: 252, ANY: 255 } as const;
export const CLASS_IN = 1;

export const HEADER_BYTES = 12;
/** What every client takes by UDP (RFC 1035 section 2.3.4). */
const UDP_BYTES_MIN = 512;
/** More than this by UDP is not sent, whatever the client says. */
const UDP_BYTES_MAX = 4096;
/** What this server says that it takes: no fragments on any usual path. */
const OWN_UDP_BYTES = 1232;
const MESSAGE_BYTES_MAX = 65_535;
const NAME_BYTES_MAX = 255;
/** OPT, TSIG, SIG(0): a query has no use for more. */
const ADDITIONALS_MAX = 8;

const FLAG = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, CD: 0x0010 } as const;
const OPCODE_MASK = 0x7800;

export interface Edns {
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

export interface Query {
  /** The whole message; borrowed from the caller. */
  readonly bytes: Buffer;
  readonly id: number;
  readonly flags: number;
  /** In lower case, octet by octet; a dot inside a label is `\.`, so that it equals no name. */
  readonly name: string;
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  /** Where the question ends. */
  readonly questionEndOffset: number;
  readonly edns?: Edns;
}

/** `drop`: no answer may go out. `refuse`: the message is not understood any further. */
export type ParsedQuery =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'refuse'; readonly answer: Buffer }
  | { readonly kind: 'drop' };

/** SOA, A, AAAA and so on without the owner: it is the question's name. */
export type RecordData =
  | { readonly type: 'A' | 'AAAA' | 'PTR'; readonly data: string; readonly ttl: number }
  | { readonly type: 'HINFO'; readonly data: { readonly cpu: string; readonly os: string }; readonly ttl: number }
  | { readonly type: 'SOA'; readonly data: SoaData; readonly ttl: number };

export interface SoaData {
  readonly mname: string;
  readonly rname: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export interface Reply {
  readonly rcode: Rcode;
  readonly authoritative: boolean;
  readonly recursionAvailable: boolean;
  readonly answers: readonly RecordData[];
  /** Of a negative answer: how long it may be kept (RFC 2308). */
  readonly soa?: { readonly owner: string; readonly data: SoaData; readonly ttl: number };
}

export function parseQuery(bytes: Buffer): ParsedQuery {
  if (bytes.length < HEADER_BYTES) return { kind: 'drop' };
  const flags = bytes.readUInt16BE(2);
  // Two servers that answer each other's answers would never stop.
  if ((flags & FLAG.QR) !== 0) return { kind: 'drop' };
  if ((flags & OPCODE_MASK) !== 0) return { kind: 'refuse', answer: headerOnly(bytes, RCODE.NOTIMP) };
  const query = readQuery(bytes, flags);
  return query === undefined ? { kind: 'refuse', answer: headerOnly(bytes, RCODE.FORMERR) } : { kind: 'query', query };
}

/** How long an answer may be: by UDP what the client has said, if it has. */
export function answerBytesMax(query: Query, transport: 'udp' | 'tcp'): number {
  if (transport === 'tcp') return MESSAGE_BYTES_MAX;
  return Math.min(UDP_BYTES_MAX, Math.max(UDP_BYTES_MIN, query.edns?.udpBytes ?? 0));
}

/** What does not fit is left out, and TC says so. */
export function buildReply(query: Query, reply: Reply, bytesMax: number): Buffer {
  const question = query.bytes.subarray(HEADER_BYTES, query.questionEndOffset);
  const opt = query.edns === undefined ? Buffer.alloc(0) : optRecord(query.edns, reply.rcode);
  let freeBytes = bytesMax - HEADER_BYTES - question.length - opt.length;
  let truncated = false;
  const fitting = (records: readonly Buffer[]): Buffer[] => {
    const taken: Buffer[] = [];
    for (const record of records) {
      if (truncated || record.length > freeBytes) truncated = true;
      else {
        taken.push(record);
        freeBytes -= record.length;
      }
    }
    return taken;
  };
  const answers = fitting(reply.answers.map(ownedByQuestion));
  const { soa } = reply;
  const authorities = fitting(
    soa === undefined ? [] : [record({ type: 'SOA', name: soa.owner, ttl: soa.ttl, data: soa.data })],
  );
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(replyFlags(query.flags, reply, truncated), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt16BE(authorities.length, 8);
  header.writeUInt16BE(opt.length === 0 ? 0 : 1, 10);
  return Buffer.concat([header, question, ...answers, ...authorities, opt]);
}

/** The other server's answer under the client's id and in its spelling; only its head, with TC, if it is too long. */
export function relayAnswer(query: Query, answer: Buffer, bytesMax: number): Buffer {
  const tooLong = answer.length > bytesMax;
  const opt = tooLong && query.edns !== undefined ? optRecord(query.edns, RCODE.NOERROR) : Buffer.alloc(0);
  const relayed = tooLong ? Buffer.concat([answer.subarray(0, query.questionEndOffset), opt]) : Buffer.from(answer);
  relayed.writeUInt16BE(query.id, 0);
  query.bytes.copy(relayed, HEADER_BYTES, HEADER_BYTES, query.questionEndOffset);
  if (tooLong) {
    relayed.writeUInt16BE(relayed.readUInt16BE(2) | FLAG.TC, 2);
    relayed.writeUInt32BE(0, 6);
    relayed.writeUInt16BE(opt.length === 0 ? 0 : 1, 10);
  }
  return relayed;
}

/** Whether `answer` is one to `query` (RFC 5452 section 9.1): id and question; letters may have another case. */
export function answersQuery(answer: Buffer, query: Buffer, questionEndOffset: number): boolean {
  if (answer.length < questionEndOffset || answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  const flags = answer.readUInt16BE(2);
  if ((flags & FLAG.QR) === 0 || (flags & OPCODE_MASK) !== 0 || answer.readUInt16BE(4) !== 1) return false;
  for (let i = HEADER_BYTES; i < questionEndOffset; i++) if (lower(answer[i]!) !== lower(query[i]!)) return false;
  return true;
}

export const isTruncated = (answer: Buffer): boolean => (answer.readUInt16BE(2) & FLAG.TC) !== 0;
export const rcodeOf = (answer: Buffer): number => answer.readUInt16BE(2) & 0xf;

function readQuery(bytes: Buffer, flags: number): Query | undefined {
  const additionalCount = bytes.readUInt16BE(10);
  // One question (RFC 9619), and no records but additional ones.
  if (bytes.readUInt16BE(4) !== 1 || bytes.readUInt32BE(6) !== 0 || additionalCount > ADDITIONALS_MAX) return undefined;
  const labels: string[] = [];
  const nameEndOffset = readName(bytes, HEADER_BYTES, labels);
  if (nameEndOffset === undefined || nameEndOffset + 4 > bytes.length) return undefined;
  const questionEndOffset = nameEndOffset + 4;
  const edns = readEdns(bytes, questionEndOffset, additionalCount);
  if (edns === 'malformed') return undefined;
  return {
    ...{ bytes, id: bytes.readUInt16BE(0), flags, labels, questionEndOffset },
    name: labels.join('.'),
    type: bytes.readUInt16BE(nameEndOffset),
    class: bytes.readUInt16BE(nameEndOffset + 2),
    ...(edns === undefined ? {} : { edns }),
  };
}

/** Without pointers: before a query's question there is no name to point to. @returns where the name ends. */
function readName(bytes: Buffer, startOffset: number, labels: string[]): number | undefined {
  let offset = startOffset;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined || length > 63) return undefined;
    offset += 1 + length;
    if (offset > bytes.length || offset - startOffset > NAME_BYTES_MAX) return undefined;
    if (length === 0) return offset;
    const text = bytes.toString('latin1', offset - length, offset).replace(/[A-Z]/g, (letter) => letter.toLowerCase());
    labels.push(text.replace(/[.\\]/g, '\\$&'));
  }
}

function readEdns(bytes: Buffer, startOffset: number, count: number): Edns | undefined | 'malformed' {
  let edns: Edns | undefined;
  let offset = startOffset;
  for (let i = 0; i < count; i++) {
    const isRoot = bytes[offset] === 0;
    const ownerEndOffset = skipOwner(bytes, offset);
    if (ownerEndOffset === undefined || ownerEndOffset + 10 > bytes.length) return 'malformed';
    if (bytes.readUInt16BE(ownerEndOffset) === TYPE.OPT) {
      // At most one, and it belongs to the root (RFC 6891 section 6.1.1).
      if (edns !== undefined || !isRoot) return 'malformed';
      edns = {
        udpBytes: bytes.readUInt16BE(ownerEndOffset + 2),
        version: bytes[ownerEndOffset + 5]!,
        dnssecOk: (bytes[ownerEndOffset + 6]! & 0x80) !== 0,
      };
    }
    offset = ownerEndOffset + 10 + bytes.readUInt16BE(ownerEndOffset + 8);
    if (offset > bytes.length) return 'malformed';
  }
  return edns;
}

function skipOwner(bytes: Buffer, startOffset: number): number | undefined {
  let offset = startOffset;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined || offset - startOffset > NAME_BYTES_MAX) return undefined;
    if (length >= 0xc0) return offset + 2;
    if (length > 63) return undefined;
    offset += 1 + length;
    if (length === 0) return offset;
  }
}

function replyFlags(queryFlags: number, reply: Reply, truncated: boolean): number {
  return (
    FLAG.QR |
    (queryFlags & (FLAG.RD | FLAG.CD)) |
    (reply.authoritative ? FLAG.AA : 0) |
    (truncated ? FLAG.TC : 0) |
    (reply.recursionAvailable ? FLAG.RA : 0) |
    (reply.rcode & 0xf)
  );
}

/** To a message whose question can't be read or is not wanted. */
function headerOnly(bytes: Buffer, rcode: Rcode): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(bytes.readUInt16BE(0), 0);
  header.writeUInt16BE(FLAG.QR | (bytes.readUInt16BE(2) & (OPCODE_MASK | FLAG.RD)) | rcode, 2);
  return header;
}

/** One record as it stands in a message; dns-packet writes names in full, so that it can stand anywhere. */
function record(answer: Answer): Buffer {
  return encode({ answers: [answer] }).subarray(HEADER_BYTES);
}

function ownedByQuestion(data: RecordData): Buffer {
  const rooted = record({ ...data, name: '.' } as Answer);
  return Buffer.concat([Buffer.of(0xc0, HEADER_BYTES), rooted.subarray(1)]);
}

function optRecord(edns: Edns, rcode: Rcode): Buffer {
  const flags = edns.dnssecOk ? 0x80 : 0;
  return Buffer.of(0, 0, TYPE.OPT, OWN_UDP_BYTES >> 8, OWN_UDP_BYTES & 0xff, rcode >> 4, 0, flags, 0, 0, 0);
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
}
