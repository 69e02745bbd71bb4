/** A network's server on loopback: UDP and TCP, what is asked elsewhere, what is too much, and any bytes at all. */
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NameTable } from '../../../src/control/names/name-table.js';
import { NamesServer, type NamesServerOptions } from '../../../src/control/names/names-server.js';
import { QueryBudget } from '../../../src/control/names/query-budget.js';
import { type Resolver, Resolvers } from '../../../src/control/names/resolvers.js';
import { parseCidr } from '../../../src/wire/ip-address.js';
import {
  askTcp,
  askUdp,
  dataOf,
  framed,
  freePort,
  opt,
  question,
  read,
  startResolver,
  TestResolver,
} from './dns-client.js';

const WAIT = { timeout: 20_000, interval: 20 };
const LOOPBACK = '127.0.0.1';
const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const table = new NameTable();
table.setNode('blue', 'a', [{ name: 'web', addresses: ['10.0.2.7/24'] }]);
for (let i = 0; i < 100; i++) table.setNode('blue', `n${i}`, [{ name: 'many', addresses: [`10.0.3.${i}/24`] }]);

/** Answers A by `data`, unless the question's name says something else. */
async function resolver(respond: (query: Packet, transport: 'udp' | 'tcp') => Packet | Buffer[] | undefined) {
  const started = await startResolver(LOOPBACK, respond);
  ends.push(() => started.stop());
  return started;
}
const answering = (data: string) => (query: Packet) => ({
  answers: [{ type: 'A' as const, name: query.questions![0]!.name, ttl: 60, data }],
});

interface Started {
  readonly server: NamesServer;
  readonly at: { address: string; port: number };
}
async function serve(given: readonly Resolver[], more: Partial<NamesServerOptions> = {}): Promise<Started> {
  const port = await freePort(LOOPBACK);
  const isOwnAddress = more.isOwnAddress ?? (() => false);
  const server = new NamesServer({
    ...{ network: 'blue', listenAddresses: [LOOPBACK], subnets: [parseCidr('127.0.0.0/8')], forward: true, table },
    ...{ resolvers: new Resolvers({ given, isOwnAddress }), isOwnAddress, logger: pino({ level: 'silent' }), port },
    ...more,
  });
  ends.push(() => server.close());
  await vi.waitFor(() => expect(server.status()).toEqual([{ address: LOOPBACK, state: 'listening' }]), WAIT);
  return { server, at: { address: LOOPBACK, port } };
}

describe('by UDP and TCP', () => {
  it('answers names, and cuts by UDP what is whole by TCP', async () => {
    const { at, server } = await serve([]);
    expect(dataOf(read(await askUdp(at, question('WEB.blue'))))).toEqual(['10.0.2.7']);
    const cut = read(await askUdp(at, question('many')));
    expect(cut.flag_tc).toBe(true);
    const [whole] = await askTcp(at, framed(question('many')));
    expect(read(whole!)).toMatchObject({ flag_tc: false });
    expect(read(whole!).answers).toHaveLength(100);
    expect(read(await askUdp(at, question('many', 'A', { additionals: [opt(4096)] }))).answers).toHaveLength(100);
    expect(server.counters).toMatchObject({ queries: 4, answered: 4, forwarded: 0, malformed: 0 });
  });

  it('takes many queries on one connection, in pieces, and answers what was asked before the client ended', async () => {
    const { at } = await serve([]);
    const two = Buffer.concat([framed(question('web', 'A', { id: 1 })), framed(question('web', 'A', { id: 2 }))]);
    expect((await askTcp(at, two, 2)).map((answer) => read(answer).id)).toEqual([1, 2]);
    const got = await new Promise<number>((resolve, reject) => {
      let bytes = 0;
      const socket = connect(at.port, at.address);
      socket.on('data', (chunk) => {
        bytes += chunk.length;
      });
      socket.on('error', reject);
      socket.on('close', () => resolve(bytes));
      const message = framed(question('web'));
      socket.write(message.subarray(0, 1));
      setTimeout(() => socket.end(message.subarray(1)), 20);
    });
    expect(got).toBeGreaterThan(30);
  });

  it('answers malformed queries with FORMERR, drops answers, and counts both', async () => {
    const { at, server } = await serve([]);
    expect(read(await askUdp(at, question('web').subarray(0, 15))).rcode).toBe('FORMERR');
    await expect(askUdp(at, encode({ type: 'response', id: 1, questions: [] }), 300)).rejects.toThrow('no answer');
    expect(server.counters).toMatchObject({ queries: 2, malformed: 2 });
  });

  it('ends a connection that sends what is no query, and serves the next', async () => {
    const { at } = await serve([]);
    expect(await askTcp(at, Buffer.alloc(20_000, 0xff))).toEqual([]);
    expect(await askTcp(at, framed(question('web')))).toHaveLength(1);
  });

  it('of any bytes: at most one answer to each, never a failure, and it goes on', async () => {
    const { at, server } = await serve([], {
      forward: false,
      limits: { perClientEachSecond: 1e6, totalEachSecond: 1e6 },
    });
    const socket = createSocket('udp4');
    ends.push(async () => socket.close());
    let answers = 0;
    socket.on('message', () => answers++);
    const near = fc.uint8Array({ maxLength: 40 }).map((tail) => Buffer.concat([question('web').subarray(0, 12), tail]));
    const any = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      near,
    );
    let sent = 0;
    await fc.assert(
      fc.asyncProperty(any, async (bytes) => {
        const { queries } = server.counters;
        const result = await server.answer(bytes, LOOPBACK, 'udp');
        expect(server.counters.queries).toBe(queries + 1);
        if (result !== undefined) expect(result.readUInt16BE(2) & 0x8000).toBe(0x8000);
        if (sent < 300)
          await new Promise((resolve) => socket.send(bytes, at.port, at.address, () => setImmediate(resolve)));
        sent = Math.min(300, sent + 1);
      }),
      { numRuns: 900 },
    );
    await vi.waitFor(
      async () => expect(dataOf(read(await askUdp(at, question('web'), 500)))).toEqual(['10.0.2.7']),
      WAIT,
    );
    expect(server.counters.queries).toBeGreaterThan(900 + 200);
    expect(answers).toBeLessThanOrEqual(sent);
  });
});

describe('what others know', () => {
  it('is asked with another id, from another port each time, and relayed as the client asked', async () => {
    const upstream = await resolver(answering('192.0.2.9'));
    const { at, server } = await serve([upstream]);
    for (let i = 0; i < 8; i++) {
      const answer = read(await askUdp(at, question(`Host${i}.Example`, 'A', { id: 7, additionals: [opt(1400)] })));
      expect(answer).toMatchObject({ id: 7, rcode: 'NOERROR', questions: [{ name: `Host${i}.Example` }] });
      expect(dataOf(answer)).toEqual(['192.0.2.9']);
    }
    expect(new Set(upstream.seen.map(({ from }) => from?.port)).size).toBeGreaterThan(5);
    expect(new Set(upstream.seen.map(({ query }) => query.id)).size).toBeGreaterThan(5);
    expect(upstream.seen[0]!.query.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1400 }]);
    expect(server.counters).toMatchObject({ forwarded: 8, answered: 0 });
  });

  it('is asked at the next one if the first is silent, refuses or is not there; a silent one comes last after that', async () => {
    const silent = await resolver(() => undefined);
    const refusing = await resolver(() => ({ flags: 5 }));
    const gone = { address: LOOPBACK, port: await freePort(LOOPBACK) };
    const good = await resolver(answering('192.0.2.9'));
    const { at } = await serve([silent, refusing, good], { limits: { timeoutMs: 200 } });
    expect(dataOf(read(await askUdp(at, question('a.example'))))).toEqual(['192.0.2.9']);
    expect(dataOf(read(await askUdp(at, question('b.example'))))).toEqual(['192.0.2.9']);
    expect(silent.seen.map(({ query }) => query.questions![0]!.name)).toEqual(['a.example']);
    const { at: second } = await serve([gone, good]);
    expect(dataOf(read(await askUdp(second, question('a.example'))))).toEqual(['192.0.2.9']);
  });

  it('that nobody tells is SERVFAIL; a refusal of all is told', async () => {
    const silent = await resolver(() => undefined);
    const { at, server } = await serve([silent], { limits: { timeoutMs: 50 } });
    expect(read(await askUdp(at, question('a.example')))).toMatchObject({ rcode: 'SERVFAIL', flag_aa: false });
    expect(silent.seen).toHaveLength(2);
    expect(server.counters.forwardFailures).toBe(1);
    expect(read(await askUdp((await serve([])).at, question('a.example'))).rcode).toBe('SERVFAIL');
    const refusing = await resolver(() => ({ flags: 5 }));
    expect(read(await askUdp((await serve([refusing])).at, question('a.example'))).rcode).toBe('REFUSED');
  });

  it('is taken only from an answer that fits the question', async () => {
    const forged = (query: Packet, change: Partial<Packet>): Buffer =>
      encode({
        ...{ type: 'response', id: query.id!, questions: query.questions! },
        answers: [{ type: 'A', name: query.questions![0]!.name, ttl: 60, data: '203.0.113.66' }],
        ...change,
      });
    const upstream = await resolver((query) => [
      forged(query, { id: (query.id! + 1) & 0xffff }),
      forged(query, { questions: [{ name: 'other.example', type: 'A', class: 'IN' }] }),
      forged(query, { type: 'query' }),
      Buffer.from('junk'),
      forged(query, { answers: [{ type: 'A', name: 'a.example', ttl: 60, data: '192.0.2.9' }] }),
    ]);
    const { at } = await serve([upstream]);
    expect(dataOf(read(await askUdp(at, question('a.example'))))).toEqual(['192.0.2.9']);
  });

  it('that is too long for UDP is truncated for a client by UDP, and fetched by TCP for one by TCP', async () => {
    const upstream = await resolver((query, transport) =>
      transport === 'udp' ? { flags: 0x0200 } : answering('192.0.2.9')(query),
    );
    const { at } = await serve([upstream]);
    expect(read(await askUdp(at, question('a.example')))).toMatchObject({ flag_tc: true, answers: [] });
    const [whole] = await askTcp(at, framed(question('a.example')));
    expect(read(whole!)).toMatchObject({ flag_tc: false, rcode: 'NOERROR' });
    expect(dataOf(read(whole!))).toEqual(['192.0.2.9']);
    expect(upstream.seen).toHaveLength(3);
  });

  it('that is longer than the client takes is cut', async () => {
    const upstream = await resolver((query) => ({
      answers: Array.from({ length: 30 }, (_, i) => answering(`192.0.2.${i}`)(query).answers[0]!),
    }));
    const { at } = await serve([upstream]);
    const cut = await askUdp(at, question('a.example'));
    expect(cut.length).toBeLessThanOrEqual(512);
    expect(read(cut)).toMatchObject({ flag_tc: true, answers: [] });
    expect(read(await askUdp(at, question('a.example', 'A', { additionals: [opt(4096)] }))).answers).toHaveLength(30);
  });

  it('is never asked for this host itself, nor at its own addresses', async () => {
    const upstream = await resolver(answering('192.0.2.9'));
    const { at } = await serve([upstream], { isOwnAddress: (address) => address === LOOPBACK });
    expect(read(await askUdp(at, question('a.example'))).rcode).toBe('REFUSED');
    expect(upstream.seen).toEqual([]);
    const own = new Resolvers({
      given: [upstream, { address: '192.0.2.1', port: 53 }],
      isOwnAddress: (address) => address === LOOPBACK,
    });
    expect(await own.list()).toEqual([{ address: '192.0.2.1', port: 53 }]);
  });
});

describe('too much', () => {
  it('equal questions at once are one to others, and each client gets its answer', async () => {
    const upstream = await resolver(() => undefined);
    const { at, server } = await serve([upstream], { limits: { timeoutMs: 400 } });
    const asked = Array.from({ length: 20 }, (_, id) => askUdp(at, question('a.example', 'A', { id })));
    const answers = (await Promise.all(asked)).map((answer) => read(answer));
    expect(answers.map(({ id }) => id).sort((a, b) => a! - b!)).toEqual(Array.from({ length: 20 }, (_, id) => id));
    expect(upstream.seen).toHaveLength(2);
    expect(server.counters).toMatchObject({ forwarded: 1, shared: 19 });
  });

  it('questions under way are bounded, of one client and of all; names are answered all the while', async () => {
    const upstream = await resolver(() => undefined);
    const limits = { underWayMax: 10, underWayPerClientMax: 6, timeoutMs: 20_000, deadlineMs: 20_000 };
    const { at, server } = await serve([upstream], { limits });
    const flood = (client: string) =>
      Array.from({ length: 50 }, (_, i) => server.answer(question(`${client}-${i}.example`), client, 'udp'));
    const first = flood('127.0.0.2');
    expect(await Promise.race(first)).toBeUndefined();
    expect(server.counters.overload).toBe(44);
    flood('127.0.0.3');
    await vi.waitFor(() => expect(server.counters.overload).toBe(44 + 46), WAIT);
    await vi.waitFor(() => expect(upstream.seen).toHaveLength(10), WAIT);
    expect(dataOf(read(await askUdp(at, question('web'))))).toEqual(['10.0.2.7']);
    await server.close();
    await Promise.all(first);
  });

  it('queries a second are bounded, of one client and of all', () => {
    let now = 0;
    const budget = new QueryBudget({ perClientEachSecond: 3, totalEachSecond: 5 }, () => now);
    const admitted = (client: string) => Array.from({ length: 4 }, () => budget.admit(client));
    expect(admitted('a')).toEqual([true, true, true, false]);
    expect(admitted('b')).toEqual([true, true, false, false]);
    expect(admitted('c')).toEqual([false, false, false, false]);
    now = 999;
    expect(budget.admit('c')).toBe(false);
    now = 1000;
    expect(admitted('a')).toEqual([true, true, true, false]);
  });

  it('what is over the budget is dropped and counted', async () => {
    const { at, server } = await serve([], { limits: { perClientEachSecond: 0 } });
    await expect(askUdp(at, question('web'), 300)).rejects.toThrow('no answer');
    expect(server.counters).toMatchObject({ queries: 1, overload: 1, answered: 0 });
  });

  it('connections of one client are bounded', async () => {
    const { at } = await serve([]);
    const sockets = Array.from({ length: 40 }, () => connect(at.port, at.address));
    ends.push(async () => {
      for (const socket of sockets) socket.destroy();
    });
    let closed = 0;
    for (const socket of sockets) socket.on('error', () => undefined).on('close', () => closed++);
    await vi.waitFor(() => expect(closed).toBe(24), WAIT);
    sockets[0]?.destroy();
    await vi.waitFor(async () => expect(await askTcp(at, framed(question('web')))).toHaveLength(1), WAIT);
  });
});

describe('an address', () => {
  it('that somebody has is waited for, said once, and taken when it is free', async () => {
    const holder = await resolver(() => undefined);
    const lines: string[] = [];
    const logger = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line).event) });
    const isOwnAddress = () => false;
    const server = new NamesServer({
      ...{ network: 'blue', listenAddresses: [LOOPBACK], subnets: [parseCidr('127.0.0.0/8')], forward: true, table },
      ...{ resolvers: new Resolvers({ given: [], isOwnAddress }), isOwnAddress, logger, port: holder.port },
    });
    ends.push(() => server.close());
    await vi.waitFor(() => expect(server.status()[0]?.error).toContain('EADDRINUSE'), WAIT);
    await sleep(400);
    expect(lines).toEqual(['names.waiting']);
    await holder.stop();
    await vi.waitFor(() => expect(server.status()[0]?.state).toBe('listening'), WAIT);
    expect(lines).toEqual(['names.waiting', 'names.listening']);
    expect(dataOf(read(await askUdp({ address: LOOPBACK, port: holder.port }, question('web'))))).toEqual(['10.0.2.7']);
  });

  it('is let go when the server closes, also while it waits', async () => {
    const { server, at } = await serve([]);
    await server.close();
    const after = await new TestResolver(LOOPBACK, () => undefined).start(at.port);
    ends.push(() => after.stop());
    const waiting = await serve([]).then(({ server }) => server);
    await waiting.close();
  });
});

describe('resolv.conf', () => {
  it('is followed, and one that is not there leaves what was known', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vtep-names-'));
    ends.push(async () => rmSync(folder, { recursive: true }));
    const path = join(folder, 'resolv.conf');
    writeFileSync(path, 'nameserver 192.0.2.1\n');
    const resolvers = new Resolvers({ path, isOwnAddress: (address) => address === '10.0.2.1' });
    const addresses = async () => (await resolvers.list()).map(({ address }) => address);
    expect(await addresses()).toEqual(['192.0.2.1']);
    writeFileSync(path, 'nameserver 10.0.2.1\nnameserver 192.0.2.22\n');
    await vi.waitFor(async () => expect(await addresses()).toEqual(['192.0.2.22']), WAIT);
    rmSync(path);
    await sleep(1200);
    expect(await addresses()).toEqual(['192.0.2.22']);
  });
});
