/**
 * The DNS server of one network on this host. Main thread.
 *
 *     listener ─▶ budget ─▶ parse ─▶ authority ─┬─▶ answer
 *                                               └─▶ forwarder ─▶ answer, or SERVFAIL
 *
 * Never throws on what comes in, and at most one answer leaves for each query. What is too much is dropped and counted: a
 * resolver asks again.
 */
import type { Logger } from 'pino';
import { type Cidr, cidrContains, parseIp } from '../../wire/ip-address.js';
import { answerQuery, type Client } from './authority.js';
import { type NamesCounters, newNamesCounters } from './counters.js';
import { Forwarder, type ForwarderLimits } from './forwarder.js';
import { Listener, type ListenerStatus } from './listener.js';
import { answerBytesMax, buildReply, parseQuery, type Query, RCODE, relayAnswer } from './message.js';
import type { NameTable } from './name-table.js';
import { QueryBudget, type QueryLimits } from './query-budget.js';
import type { Resolvers } from './resolvers.js';

export interface NamesServerOptions {
  readonly network: string;
  /** Of this host, one or more; they may come later. */
  readonly listenAddresses: readonly string[];
  /** Whose hosts are answered. */
  readonly subnets: readonly Cidr[];
  /** Whether others are asked for what is not the network's. */
  readonly forward: boolean;
  readonly table: NameTable;
  readonly resolvers: Resolvers;
  /** Whether a server of this host listens on the address. */
  readonly isOwnAddress: (address: string) => boolean;
  readonly logger: Logger;
  /** A server listens on one of the addresses, or no more. */
  readonly onListening?: ((address: string, isListening: boolean) => void) | undefined;
  /** @default 53 */
  readonly port?: number | undefined;
  /** Of answers from the table: containers move. @default 5 */
  readonly ttlSeconds?: number | undefined;
  readonly limits?: (QueryLimits & ForwarderLimits) | undefined;
}

const DNS_PORT = 53;
export const TTL_SECONDS = 5;

export class NamesServer {
  readonly counters: NamesCounters = newNamesCounters();
  private readonly options: NamesServerOptions;
  private readonly budget: QueryBudget;
  private readonly forwarder: Forwarder;
  private readonly listeners: readonly Listener[];

  /** Begins to listen; an address that is not there yet is waited for. */
  constructor(options: NamesServerOptions) {
    this.options = options;
    this.budget = new QueryBudget(options.limits);
    this.forwarder = new Forwarder(options.resolvers, options.limits);
    this.listeners = options.listenAddresses.map(
      (address) =>
        new Listener({
          ...{ network: options.network, address, port: options.port ?? DNS_PORT, logger: options.logger },
          onQuery: (bytes, client, transport) => this.answer(bytes, client, transport),
          onSendFailure: () => {
            this.counters.sendFailures++;
          },
          onListening: (isListening) => options.onListening?.(address, isListening),
        }),
    );
  }

  status(): ListenerStatus[] {
    return this.listeners.map((listener) => listener.status());
  }

  async close(): Promise<void> {
    this.forwarder.close();
    await Promise.all(this.listeners.map((listener) => listener.close()));
  }

  /** @returns the answer to send, or undefined. Never throws or rejects. */
  answer(bytes: Buffer, client: string, transport: 'udp' | 'tcp'): Buffer | undefined | Promise<Buffer | undefined> {
    this.counters.queries++;
    if (!this.budget.admit(client)) {
      this.counters.overload++;
      return undefined;
    }
    const parsed = parseQuery(bytes);
    if (parsed.kind !== 'query') {
      this.counters.malformed++;
      return parsed.kind === 'refuse' ? parsed.answer : undefined;
    }
    const { query } = parsed;
    const { network, subnets, table, forward, ttlSeconds = TTL_SECONDS } = this.options;
    const reply = answerQuery({ network, subnets, table, forward, ttlSeconds }, query, this.clientOf(client));
    if (reply === 'forward') return this.forward(query, client, transport);
    this.counters.answered++;
    return buildReply(query, reply, answerBytesMax(query, transport));
  }

  private async forward(query: Query, client: string, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const forwarded = await this.forwarder.forward(query, client, transport === 'tcp');
    if (forwarded.kind === 'full') {
      this.counters.overload++;
      return undefined;
    }
    this.counters[forwarded.shared ? 'shared' : 'forwarded']++;
    const bytesMax = answerBytesMax(query, transport);
    if (forwarded.kind === 'answer') return relayAnswer(query, forwarded.answer, bytesMax);
    this.counters.forwardFailures++;
    const failure = { rcode: RCODE.SERVFAIL, authoritative: false, recursionAvailable: true, answers: [] };
    return buildReply(query, failure, bytesMax);
  }

  private clientOf(text: string): Client {
    let inside = false;
    try {
      const address = parseIp(text);
      inside = this.options.subnets.some((subnet) => cidrContains(subnet, address));
    } catch {
      // Not an address that a subnet could hold.
    }
    return { inside, own: this.options.isOwnAddress(text) };
  }
}
