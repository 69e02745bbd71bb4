/**
 * An HTTP proxy that lies, between a registry client and a real registry. Test support, on loopback.
 *
 *     client ─▶ faulty proxy ─(fault)▶ Consul or the embedded registry
 *
 * `fault` is asked for each request and may be changed at any time; without one everything passes as it is. `requests`
 * counts what the client sent, `forwarded` what reached the registry.
 */
import { createServer, request as httpRequest, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Passed {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Fault {
  /** Answer this instead of asking the registry. */
  readonly instead?: Passed;
  /** Cut the connection: before the registry has seen the request, after it has answered it, or within the answer. */
  readonly reset?: 'before' | 'after' | 'within';
  /** Milliseconds before the answer goes on. */
  readonly delayMs?: number;
  /** Change what the registry answered. */
  readonly change?: (passed: Passed) => Passed;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
}

export interface FaultyProxy {
  readonly url: string;
  readonly requests: SeenRequest[];
  readonly forwarded: SeenRequest[];
  fault: ((request: SeenRequest) => Fault | undefined) | undefined;
  /** Ends every connection: blocking queries too. */
  dropAll(): void;
  close(): Promise<void>;
}

export const answer = (status: number, text: string, headers: IncomingHttpHeaders = {}): Passed => ({
  status,
  headers: { 'content-type': 'text/plain', ...headers },
  body: Buffer.from(text),
});

export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const server = createServer(async (incoming, outgoing) => {
    const seen = { method: incoming.method ?? '', path: incoming.url ?? '' };
    proxy.requests.push(seen);
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      const fault = proxy.fault?.(seen) ?? {};
      if (fault.reset === 'before') return incoming.socket.destroy();
      if (fault.instead === undefined) proxy.forwarded.push(seen);
      const passed = fault.instead ?? (await forward(target, seen, incoming.headers, Buffer.concat(chunks)));
      if (fault.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
      if (fault.reset === 'after') return incoming.socket.destroy();
      reply(outgoing, fault.change?.(passed) ?? passed, fault.reset === 'within');
    } catch {
      incoming.socket.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: FaultyProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    forwarded: [],
    fault: undefined,
    dropAll: () => server.closeAllConnections(),
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return proxy;
}

function forward(target: string, seen: SeenRequest, headers: IncomingHttpHeaders, body: Buffer): Promise<Passed> {
  return new Promise((resolve, reject) => {
    const { connection: _, host: __, ...rest } = headers;
    const asked = httpRequest(target + seen.path, { method: seen.method, headers: rest, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    asked.on('error', reject).end(body);
  });
}

function reply(outgoing: ServerResponse, passed: Passed, isCut: boolean): void {
  const { 'transfer-encoding': _, connection: __, ...headers } = passed.headers;
  outgoing.writeHead(passed.status, { ...headers, 'content-length': passed.body.length });
  if (!isCut) {
    outgoing.end(passed.body);
    return;
  }
  outgoing.write(passed.body.subarray(0, passed.body.length >> 1), () => outgoing.destroy());
}
