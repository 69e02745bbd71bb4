/**
 * One question to one resolver: a socket of its own, so that the kernel picks a fresh random source port and lets only
 * that resolver's datagrams in, and a fresh random id (RFC 5452). Main thread; each call bounded in time.
 */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { answersQuery } from './message.js';
import type { Resolver } from './resolvers.js';
import { TcpMessages, withLength } from './tcp-messages.js';

/** So many wrong answers are somebody who guesses: he gets no more tries. */
const MISMATCHES_MAX = 16;

export interface Exchange {
  readonly resolver: Resolver;
  /** Its id is replaced. */
  readonly query: Buffer;
  readonly questionEndOffset: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** @throws Error when there is no answer in time, or nobody listens. */
export function exchangeUdp(exchange: Exchange): Promise<Buffer> {
  const { resolver, questionEndOffset } = exchange;
  const query = withFreshId(exchange.query);
  return bounded(exchange, (settle, fail) => {
    const socket = createSocket(isIPv6(resolver.address.split('%', 1)[0]!) ? 'udp6' : 'udp4');
    let mismatches = 0;
    socket.on('error', fail);
    socket.on('message', (answer) => {
      if (answersQuery(answer, query, questionEndOffset)) settle(answer);
      else if (++mismatches >= MISMATCHES_MAX) fail(new Error('answers that fit no question'));
    });
    socket.connect(resolver.port, resolver.address, (error?: Error) => {
      if (error === undefined || error === null) socket.send(query, (failure) => failure && fail(failure));
      else fail(error);
    });
    return () => socket.close();
  });
}

/** @throws Error as exchangeUdp. */
export function exchangeTcp(exchange: Exchange): Promise<Buffer> {
  const { resolver, questionEndOffset } = exchange;
  const query = withFreshId(exchange.query);
  return bounded(exchange, (settle, fail) => {
    const socket = connect(resolver.port, resolver.address);
    const messages = new TcpMessages();
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('closed without an answer')));
    socket.on('data', (chunk) => {
      for (const answer of messages.push(chunk)) {
        if (answersQuery(answer, query, questionEndOffset)) settle(answer);
        else fail(new Error('an answer that fits no question'));
      }
    });
    socket.write(withLength(query));
    return () => socket.destroy();
  });
}

type Begin = (settle: (answer: Buffer) => void, fail: (error: Error) => void) => () => void;

/** Ends exactly once, by an answer, a failure, the time or the signal, and lets the socket go. */
function bounded({ timeoutMs, signal }: Exchange, begin: Begin): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let ended = false;
    let release: (() => void) | undefined;
    const end = (then: () => void) => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      release?.();
      then();
    };
    const fail = (error: Error) => end(() => reject(error));
    const abort = () => fail(new Error('stopped'));
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    signal.addEventListener('abort', abort);
    try {
      release = begin((answer) => end(() => resolve(answer)), fail);
      if (ended) release();
      else if (signal.aborted) abort();
    } catch (error) {
      fail(error as Error);
    }
  });
}

function withFreshId(query: Buffer): Buffer {
  const fresh = Buffer.from(query);
  fresh.writeUInt16BE(randomInt(0x10000), 0);
  return fresh;
}
