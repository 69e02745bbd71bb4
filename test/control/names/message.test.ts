/** DNS messages: what is read from a query, what is refused, how an answer is laid out and cut. */
import { encode } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  answerBytesMax,
  answersQuery,
  buildReply,
  parseQuery,
  type Query,
  RCODE,
  type RecordData,
  relayAnswer,
} from '../../../src/control/names/message.js';
import { opt, question, read } from './dns-client.js';

const HEADER = [0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const WEB = [3, 0x77, 0x65, 0x62, 0];
const A_IN = [0, 1, 0, 1];
/** A header with other counts, flags or type. */
const head = (...changes: [offset: number, value: number][]) => {
  const bytes = [...HEADER];
  for (const [offset, value] of changes) bytes[offset] = value;
  return bytes;
};

function parsed(bytes: Buffer): Query {
  const result = parseQuery(bytes);
  if (result.kind !== 'query') throw new Error(result.kind);
  return result.query;
}

describe('a query', () => {
  it('is read, with EDNS', () => {
    const query = parsed(question('WeB.My_Overlay.vtep', 'AAAA', { additionals: [opt(4096)] }));
    expect(query).toMatchObject({ id: 0x1234, name: 'web.my_overlay.vtep', type: 28, class: 1 });
    expect(query.edns).toEqual({ udpBytes: 4096, version: 0, dnssecOk: false });
  });

  it('of the root has no label', () => {
    expect(parsed(Buffer.from([...HEADER, 0, ...A_IN])).labels).toEqual([]);
  });

  it('may have any octet in a label; a dot in one makes it equal to no name', () => {
    const query = parsed(Buffer.from([...HEADER, 3, 0x61, 0x2e, 0x62, 2, 0xff, 0x00, 0, ...A_IN]));
    expect(query.labels).toEqual(['a\\.b', '\u00ff\u0000']);
  });

  it('may be of the greatest length, and not one octet more', () => {
    const name = (last: number) => [63, 63, 63, last].flatMap((n) => [n, ...Array(n).fill(0x61)]);
    expect(parsed(Buffer.from([...HEADER, ...name(61), 0, ...A_IN])).labels.join('.')).toHaveLength(253);
    expect(parseQuery(Buffer.from([...HEADER, ...name(62), 0, ...A_IN])).kind).toBe('refuse');
  });

  it.each<[string, number[]]>([
    ['nothing', []],
    ['less than a header', HEADER.slice(0, 11)],
    ['an answer', [...head([2, 0x81]), ...WEB, ...A_IN]],
  ])('%s is dropped', (_, bytes) => {
    expect(parseQuery(Buffer.from(bytes))).toEqual({ kind: 'drop' });
  });

  it.each<[string, number[]]>([
    ['no question', head([5, 0])],
    ['two questions', [...head([5, 2]), ...WEB, ...A_IN, ...WEB, ...A_IN]],
    ['a question that is missing', HEADER],
    ['a label beyond the end', [...HEADER, 63, 0x61]],
    ['a name without an end', [...HEADER, 1, 0x61]],
    ['a name without a type', [...HEADER, ...WEB]],
    ['half a class', [...HEADER, ...WEB, 0, 1, 0]],
    ['a pointer to itself', [...HEADER, 0xc0, 12, ...A_IN]],
    ['a pointer into the header', [...HEADER, 0xc0, 0, ...A_IN]],
    ['a label of a kind that does not exist', [...HEADER, 0x40, 0x61, 0, ...A_IN]],
    ['a record in the answer section', [...head([7, 1]), ...WEB, ...A_IN]],
    ['a record in the authority section', [...head([9, 1]), ...WEB, ...A_IN]],
    ['a count of additional records that lies', [...head([10, 0xff], [11, 0xff]), ...WEB, ...A_IN]],
    ['an additional record that is missing', [...head([11, 1]), ...WEB, ...A_IN]],
    ['an additional record that ends early', [...head([11, 1]), ...WEB, ...A_IN, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 9]],
    ['two OPT', [...head([11, 2]), ...WEB, ...A_IN, ...Array(2).fill([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]).flat()]],
    [
      'an OPT that is not of the root',
      [...head([11, 1]), ...WEB, ...A_IN, 1, 0x61, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0],
    ],
  ])('with %s is malformed: FORMERR without a question', (_, bytes) => {
    const result = parseQuery(Buffer.from(bytes));
    if (result.kind !== 'refuse') throw new Error(result.kind);
    expect(read(result.answer)).toMatchObject({ id: 0x1234, flag_qr: true, flag_rd: true, rcode: 'FORMERR' });
    expect(result.answer).toHaveLength(12);
  });

  it.each([1, 2, 4, 5, 15])('of opcode %i: NOTIMP', (opcode) => {
    const result = parseQuery(Buffer.from([...head([2, opcode << 3]), ...WEB, ...A_IN]));
    if (result.kind !== 'refuse') throw new Error(result.kind);
    expect(result.answer.readUInt16BE(2)).toBe(0x8000 | (opcode << 11) | RCODE.NOTIMP);
  });

  it('of any bytes never throws, and what is an answer gets none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const message = Buffer.from(bytes);
        const result = parseQuery(message);
        if (message.length < 12 || (message[2]! & 0x80) !== 0) expect(result.kind).toBe('drop');
        if (result.kind === 'query') expect(result.query.questionEndOffset).toBeLessThanOrEqual(message.length);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('an answer', () => {
  const addresses = (count: number): RecordData[] =>
    Array.from({ length: count }, (_, i) => ({ type: 'A', data: `10.0.${i >> 8}.${i & 255}`, ttl: 5 }));
  const reply = (answers: RecordData[]) => ({
    rcode: RCODE.NOERROR,
    authoritative: true,
    recursionAvailable: true,
    answers,
  });

  it('has the question byte by byte, and its flags', () => {
    const bytes = question('wEb', 'A', { flags: 0x0110 });
    const answer = buildReply(parsed(bytes), reply(addresses(2)), 512);
    expect(answer.subarray(12, 21)).toEqual(bytes.subarray(12));
    expect(read(answer)).toMatchObject({ flag_qr: true, flag_aa: true, flag_rd: true, flag_ra: true, flag_cd: true });
    expect(read(answer)).toMatchObject({ flag_tc: false, rcode: 'NOERROR' });
    expect(read(answer).answers).toMatchObject([
      { name: 'wEb', type: 'A', ttl: 5, data: '10.0.0.0' },
      { name: 'wEb', type: 'A', ttl: 5, data: '10.0.0.1' },
    ]);
  });

  it('has all kinds of records that a standard decoder reads', () => {
    const data = { mname: 'ns.vtep', rname: 'h.vtep', serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 5 };
    const answer = buildReply(
      parsed(question('x.y', 'A', { additionals: [opt(1232)] })),
      {
        ...reply([
          { type: 'AAAA', data: 'fd00::2', ttl: 1 },
          { type: 'PTR', data: 'Web.n.vtep', ttl: 2 },
          { type: 'HINFO', data: { cpu: 'RFC8482', os: '' }, ttl: 3 },
          { type: 'SOA', data, ttl: 4 },
        ]),
        soa: { owner: 'vtep', data, ttl: 5 },
      },
      1232,
    );
    const decoded = read(answer);
    expect(decoded.answers?.map((a) => [a.type, a.name, (a as { data: unknown }).data])).toEqual([
      ['AAAA', 'x.y', 'fd00::2'],
      ['PTR', 'x.y', 'Web.n.vtep'],
      ['HINFO', 'x.y', { cpu: 'RFC8482', os: '' }],
      ['SOA', 'x.y', data],
    ]);
    expect(decoded.authorities).toMatchObject([{ type: 'SOA', name: 'vtep', ttl: 5, data }]);
    expect(decoded.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232, ednsVersion: 0 }]);
  });

  it.each([
    [undefined, 512],
    [100, 512],
    [1232, 1232],
    [65_535, 4096],
  ])('by UDP to a client that says %s has at most %i bytes, by TCP 65535', (said, expected) => {
    const query = parsed(question('web', 'A', said === undefined ? {} : { additionals: [opt(said)] }));
    expect(answerBytesMax(query, 'udp')).toBe(expected);
    expect(answerBytesMax(query, 'tcp')).toBe(65_535);
    for (const [transport, max] of [
      ['udp', expected],
      ['tcp', 65_535],
    ] as const) {
      const answer = buildReply(query, reply(addresses(5000)), answerBytesMax(query, transport));
      expect(answer.length).toBeLessThanOrEqual(max);
      expect(answer.length).toBeGreaterThan(max - 16);
      expect(read(answer)).toMatchObject({ flag_tc: true });
      expect(read(answer).answers!.length).toBeGreaterThan(max / 20);
    }
  });

  it('of 29 addresses fits into 512 bytes', () => {
    expect(read(buildReply(parsed(question('web')), reply(addresses(29)), 512)).flag_tc).toBe(false);
  });

  it('BADVERS is in OPT', () => {
    const query = parsed(question('web', 'A', { additionals: [opt(1232, 1)] }));
    expect(query.edns?.version).toBe(1);
    const decoded = read(buildReply(query, { ...reply([]), rcode: RCODE.BADVERS }, 512));
    expect(decoded).toMatchObject({ rcode: 'NOERROR', additionals: [{ extendedRcode: 1, ednsVersion: 0 }] });
  });
});

describe("another server's answer", () => {
  const bytes = question('eXample.com', 'A', { additionals: [opt(600)] });
  const query = parsed(bytes);
  const other = encode({
    ...{ type: 'response', id: 0x1234, flags: 0x0180 },
    questions: [{ name: 'example.COM', type: 'A', class: 'IN' }],
    answers: Array.from({ length: 30 }, (_, i) => ({
      type: 'A' as const,
      name: 'example.com',
      ttl: 60,
      data: `192.0.2.${i}`,
    })),
  });

  it('is relayed under the id and in the spelling of the client', () => {
    const strange = Buffer.from(other);
    strange.writeUInt16BE(0x9999, 0);
    const relayed = relayAnswer(query, strange, 1232);
    expect(relayed.subarray(0, 2)).toEqual(bytes.subarray(0, 2));
    expect(read(relayed).questions).toMatchObject([{ name: 'eXample.com' }]);
    expect(read(relayed).answers).toHaveLength(30);
    expect(strange.readUInt16BE(0)).toBe(0x9999);
  });

  it('is cut to its head with TC if it is too long', () => {
    const relayed = relayAnswer(query, other, 600);
    expect(read(relayed)).toMatchObject({ flag_tc: true, flag_ra: true, answers: [], additionals: [{ type: 'OPT' }] });
    expect(read(relayed).questions).toMatchObject([{ name: 'eXample.com' }]);
  });

  it('is one to the question only with its id, QR, opcode and question', () => {
    const end = query.questionEndOffset;
    expect(answersQuery(other, bytes, end)).toBe(true);
    const changed = (offset: number, value: number) => {
      const copy = Buffer.from(other);
      copy[offset] = value;
      return copy;
    };
    expect(answersQuery(changed(0, 0x99), bytes, end)).toBe(false);
    expect(answersQuery(changed(2, 0x01), bytes, end)).toBe(false);
    expect(answersQuery(changed(2, 0x91), bytes, end)).toBe(false);
    expect(answersQuery(changed(5, 0), bytes, end)).toBe(false);
    expect(answersQuery(changed(14, 0x7a), bytes, end)).toBe(false);
    expect(answersQuery(changed(end - 1, 3), bytes, end)).toBe(false);
    expect(answersQuery(other.subarray(0, end - 1), bytes, end)).toBe(false);
  });
});
