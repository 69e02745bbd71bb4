/**
 * One address that DNS is served on, by UDP and TCP. Main thread.
 *
 * The address may not be there yet, or somebody else may have the port: it is tried again, less and less often, until it
 * works or the listener is closed. A socket that fails later begins anew. One log line when it has to wait, one when it
 * listens after all. Bounded: connections, of one client and in all; how long one may be idle; what it may have unread.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { TcpMessages, withLength } from './tcp-messages.js';

export interface ListenerOptions {
  readonly network: string;
  readonly address: string;
  readonly port: number;
  readonly logger: Logger;
  /** @returns the answer; undefined: none. Never rejects. */
  readonly onQuery: (
    query: Buffer,
    client: string,
    transport: 'udp' | 'tcp',
  ) => Buffer | undefined | Promise<Buffer | undefined>;
  readonly onSendFailure: () => void;
  /** It listens from now on, or no more. */
  readonly onListening?: ((isListening: boolean) => void) | undefined;
}

export interface ListenerStatus {
  readonly address: string;
  readonly state: 'listening' | 'waiting';
  /** Why it waits. */
  readonly error?: string;
}

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 10_000;
const CONNECTIONS_MAX = 128;
const CONNECTIONS_PER_CLIENT_MAX = 16;
const IDLE_MS = 10_000;
/** A client that does not read its answers. */
const UNREAD_BYTES_MAX = 256 * 1024;
/** No honest query is longer. */
const QUERY_BYTES_MAX = 4096;
/** Answers that a connection waits for before it is read on. */
const PIPELINED_MAX = 32;

export class Listener {
  private readonly options: ListenerOptions;
  private udp: UdpSocket | undefined;
  private tcp: Server | undefined;
  private readonly connections = new Set<Socket>();
  private timer: NodeJS.Timeout | undefined;
  private retryMs = RETRY_MS_MIN;
  private closed = false;
  private listening = false;
  private error: string | undefined;

  constructor(options: ListenerOptions) {
    this.options = options;
    void this.open();
  }

  status(): ListenerStatus {
    const { address } = this.options;
    if (this.listening) return { address, state: 'listening' };
    return { address, state: 'waiting', ...(this.error === undefined ? {} : { error: this.error }) };
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    this.setListening(false);
    await this.release();
  }

  private async open(): Promise<void> {
    try {
      this.udp = await this.openUdp();
      this.tcp = await this.openTcp();
    } catch (error) {
      await this.retry(error as Error);
      return;
    }
    if (this.closed) {
      await this.release();
      return;
    }
    this.udp.on('error', (error) => void this.retry(error));
    this.tcp.on('error', (error) => void this.retry(error));
    this.setListening(true);
    const { network, address, port, logger } = this.options;
    logger.info({ event: 'names.listening', network, address, port }, `names of "${network}" are served on ${address}`);
    this.retryMs = RETRY_MS_MIN;
    this.error = undefined;
  }

  private async retry(error: Error): Promise<void> {
    const { network, address, port, logger } = this.options;
    this.setListening(false);
    await this.release();
    if (this.closed || this.timer !== undefined) return;
    if (this.error === undefined) {
      logger.warn(
        { event: 'names.waiting', err: error, network, address, port },
        `names of "${network}" can't be served on ${address} yet, it is tried again: ${error.message}`,
      );
    }
    this.error = error.message;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.open();
    }, this.retryMs);
    this.retryMs = Math.min(RETRY_MS_MAX, this.retryMs * 2);
  }

  private setListening(isListening: boolean): void {
    if (this.listening === isListening) return;
    this.listening = isListening;
    this.options.onListening?.(isListening);
  }

  private async release(): Promise<void> {
    const { udp, tcp } = this;
    this.udp = undefined;
    this.tcp = undefined;
    for (const connection of this.connections) connection.destroy();
    await Promise.all([
      udp && new Promise<void>((resolve) => udp.close(() => resolve())),
      tcp?.listening && new Promise<void>((resolve) => tcp.close(() => resolve())),
    ]);
  }

  private openUdp(): Promise<UdpSocket> {
    const { address, port } = this.options;
    const ipv6 = isIPv6(address);
    const socket = createSocket(ipv6 ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        socket.close();
        reject(error);
      };
      socket.once('error', fail);
      socket.bind({ address, port, exclusive: true }, () => {
        socket.off('error', fail);
        socket.on('message', (query, from) => void this.serveUdp(socket, query, from.address, from.port));
        resolve(socket);
      });
    });
  }

  private openTcp(): Promise<Server> {
    const { address, port } = this.options;
    const server = createServer({ allowHalfOpen: true }, (connection) => this.accept(connection));
    server.maxConnections = CONNECTIONS_MAX;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port, exclusive: true, ipv6Only: true }, () => {
        server.off('error', reject);
        resolve(server);
      });
    });
  }

  private async serveUdp(socket: UdpSocket, query: Buffer, address: string, port: number): Promise<void> {
    // No program sends from port 0, and none can be answered there.
    if (port === 0) return;
    const answer = await this.options.onQuery(query, bare(address), 'udp');
    if (answer === undefined || this.udp !== socket) return;
    socket.send(answer, port, address, (error) => {
      if (error !== null) this.options.onSendFailure();
    });
  }

  private accept(connection: Socket): void {
    const client = bare(connection.remoteAddress ?? '');
    const others = [...this.connections].filter((other) => bare(other.remoteAddress ?? '') === client);
    if (client === '' || others.length >= CONNECTIONS_PER_CLIENT_MAX) {
      connection.destroy();
      return;
    }
    this.connections.add(connection);
    const messages = new TcpMessages();
    let waiting = 0;
    let ended = false;
    const answerOne = async (query: Buffer): Promise<void> => {
      if (++waiting >= PIPELINED_MAX) connection.pause();
      const answer = await this.options.onQuery(query, client, 'tcp');
      waiting--;
      if (connection.destroyed) return;
      if (answer !== undefined) connection.write(withLength(answer));
      if (connection.writableLength > UNREAD_BYTES_MAX) connection.destroy();
      else if (ended && waiting === 0) connection.end();
      else connection.resume();
    };
    connection.setTimeout(IDLE_MS, () => connection.destroy());
    connection.on('error', () => connection.destroy());
    connection.on('close', () => this.connections.delete(connection));
    connection.on('end', () => {
      ended = true;
      if (waiting === 0) connection.end();
    });
    connection.on('data', (chunk) => {
      for (const query of messages.push(chunk)) {
        if (connection.destroyed) return;
        void answerOne(query);
      }
      if (messages.waitingBytes > QUERY_BYTES_MAX) connection.destroy();
    });
  }
}

/** An address without its zone: fe80::1 of fe80::1%eth0. */
function bare(address: string): string {
  return address.split('%', 1)[0]!;
}
