/** What asks and what is asked in the tests of names: messages by dns-packet, a client, a small resolver. Test support. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { connect, createServer, type Server } from 'node:net';
import {
  type Answer,
  type DecodedPacket,
  decode,
  encode,
  type Packet,
  RECURSION_DESIRED,
  type RecordType,
  streamDecode,
  streamEncode,
} from 'dns-packet';

export function question(name: string, type: RecordType = 'A', more: Partial<Packet> = {}): Buffer {
  return encode({
    ...{ type: 'query', id: 0x1234, flags: RECURSION_DESIRED },
    questions: [{ name, type, class: 'IN' }],
    ...more,
  });
}

export const opt = (udpPayloadSize: number, ednsVersion = 0): Answer => ({
  ...{ type: 'OPT', name: '.', udpPayloadSize, extendedRcode: 0, ednsVersion },
  ...{ flags: 0, flag_do: false, options: [] },
});

export type Decoded = DecodedPacket & { rcode: string; opcode: string };
export const read = (message: Buffer): Decoded => decode(message) as Decoded;

/** The data of the answers, sorted. */
export const dataOf = (message: Packet): string[] =>
  (message.answers ?? []).map((answer) => String((answer as { data?: unknown }).data)).sort();

/** @returns the first answer; rejects after the time. */
export function askUdp(server: { address: string; port: number }, query: Buffer, timeoutMs = 10_000): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(server.address.includes(':') ? 'udp6' : 'udp4');
    const end = (then: () => void) => {
      clearTimeout(timer);
      socket.close();
      then();
    };
    const timer = setTimeout(() => end(() => reject(new Error('no answer'))), timeoutMs);
    socket.once('error', (error) => end(() => reject(error)));
    socket.once('message', (answer) => end(() => resolve(answer)));
    socket.send(query, server.port, server.address);
  });
}

/** Sends the bytes as they are. @returns all that came until the other side closed or `count` messages were there. */
export function askTcp(server: { address: string; port: number }, bytes: Buffer, count = 1): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, server.address);
    let got = Buffer.alloc(0);
    const messages = () => {
      const found: Buffer[] = [];
      for (let at = 0; at + 2 <= got.length && at + 2 + got.readUInt16BE(at) <= got.length; ) {
        found.push(got.subarray(at + 2, at + 2 + got.readUInt16BE(at)));
        at += 2 + got.readUInt16BE(at);
      }
      return found;
    };
    socket.setTimeout(20_000, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.on('close', () => resolve(messages()));
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      if (messages().length >= count) socket.destroy();
    });
    socket.write(bytes);
  });
}

export const framed = (message: Buffer): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
};

export interface Seen {
  readonly query: Packet;
  readonly bytes: Buffer;
  readonly from: RemoteInfo | undefined;
}

/** A resolver that does what the test says: answers a packet, raw messages, or nothing. */
export class TestResolver {
  readonly seen: Seen[] = [];
  port = 0;
  private udp: Socket | undefined;
  private tcp: Server | undefined;

  constructor(
    readonly address: string,
    private readonly respond: (query: Packet, transport: 'udp' | 'tcp') => Packet | Buffer[] | undefined,
  ) {}

  /** The same port by UDP and TCP. */
  async start(port = 0): Promise<this> {
    const udp = createSocket('udp4');
    await new Promise<void>((resolve) => udp.bind(port, this.address, resolve));
    this.udp = udp;
    this.port = udp.address().port;
    udp.on('message', (bytes, from) => {
      const query = decode(bytes);
      this.seen.push({ query, bytes: Buffer.from(bytes), from });
      const answer = this.respond(query, 'udp');
      const messages = answer === undefined ? [] : Array.isArray(answer) ? answer : [encode(reply(query, answer))];
      for (const message of messages) udp.send(message, from.port, from.address);
    });
    this.tcp = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.once('data', (bytes) => {
        const query = streamDecode(bytes);
        this.seen.push({ query, bytes: Buffer.from(bytes), from: undefined });
        const answer = this.respond(query, 'tcp');
        if (answer === undefined || Array.isArray(answer)) socket.destroy();
        else socket.end(streamEncode(reply(query, answer)));
      });
    });
    const tcp = this.tcp;
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(this.port, this.address, resolve);
    });
    return this;
  }

  async stop(): Promise<void> {
    const { udp, tcp } = this;
    this.udp = undefined;
    if (udp !== undefined) await new Promise<void>((resolve) => udp.close(() => resolve()));
    if (tcp?.listening) await new Promise((resolve) => tcp.close(resolve));
  }
}

function reply(query: Packet, answer: Packet): Packet {
  return { id: query.id, type: 'response', flags: RECURSION_DESIRED, questions: query.questions, ...answer };
}

/** On a port that is free by UDP and TCP: the kernel picks one by UDP, and another may have it by TCP. */
export async function startResolver(
  address: string,
  respond: ConstructorParameters<typeof TestResolver>[1],
): Promise<TestResolver> {
  for (;;) {
    const resolver = new TestResolver(address, respond);
    try {
      return await resolver.start();
    } catch (error) {
      await resolver.stop();
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

/** A port that is free by UDP and TCP at the moment. */
export async function freePort(address: string): Promise<number> {
  const probe = await startResolver(address, () => undefined);
  await probe.stop();
  return probe.port;
}
