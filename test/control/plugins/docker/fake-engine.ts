/**
 * A small dockerd on a unix socket: networks, containers and events as its API shows them, and its failures. Test support.
 *
 * It can be stopped and started again, keep what it knows, refuse what a test says, and stay silent.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface FakeNetwork {
  Id: string;
  Name: string;
  Driver: string;
  Options: Record<string, string> | null;
  Labels: Record<string, string> | null;
  Containers: Record<string, { Name: string; EndpointID: string }>;
}

export class FakeEngine {
  readonly networks = new Map<string, FakeNetwork>();
  /** By container: network id -> aliases. */
  readonly containers = new Map<string, Record<string, string[] | null>>();
  /** `METHOD path` of each request that came, events aside. */
  readonly requests: string[] = [];
  /** The answer instead of the true one; 'silent': none. */
  fault: ((request: string) => { status: number; body: string } | 'silent' | undefined) | undefined;
  /** As dockerd asks its driver before a network goes. */
  onRemove: ((network: FakeNetwork) => void) | undefined;
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();
  private readonly followers = new Set<ServerResponse>();
  private made = 0;

  constructor(readonly socketPath: string) {}

  async start(): Promise<void> {
    const server = createServer((request, response) => void this.answer(request, response));
    server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(this.socketPath, resolve));
    this.server = server;
  }

  async stop(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    this.followers.clear();
    for (const socket of this.sockets) socket.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  get followerCount(): number {
    return this.followers.size;
  }

  names(): string[] {
    return [...this.networks.values()].map(({ Name }) => Name).sort();
  }

  add(network: Partial<FakeNetwork> & { Name: string }): FakeNetwork {
    this.made += 1;
    const Id = `${this.made.toString(16).padStart(12, '0')}${'f'.repeat(52)}`;
    const added = { Id, Driver: 'vtep', Options: {}, Labels: {}, Containers: {}, ...network };
    this.networks.set(added.Id, added);
    this.tell('network', 'create', added.Id, { name: added.Name, type: added.Driver });
    return added;
  }

  remove(id: string): void {
    const network = this.networks.get(id);
    if (network === undefined) return;
    this.onRemove?.(network);
    this.networks.delete(id);
    this.tell('network', 'destroy', id, { name: network.Name, type: network.Driver });
  }

  tell(Type: string, Action: string, ID: string, Attributes: Record<string, string>): void {
    const line = `${JSON.stringify({ Type, Action, Actor: { ID, Attributes }, scope: 'local', time: 0 })}\n`;
    for (const follower of this.followers) follower.write(line);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { pathname } = new URL(request.url ?? '', 'http://docker');
    const what = `${request.method} ${pathname}`;
    if (pathname !== '/events') this.requests.push(what);
    const fault = this.fault?.(what);
    if (fault === 'silent') return;
    if (fault !== undefined) return void response.writeHead(fault.status).end(fault.body);
    if (pathname === '/events') {
      response.writeHead(200).flushHeaders();
      this.followers.add(response);
      response.once('close', () => this.followers.delete(response));
      return;
    }
    const { status, body } = this.result(what, Buffer.concat(chunks).toString());
    response.writeHead(status).end(body === undefined ? undefined : JSON.stringify(body));
  }

  private result(what: string, text: string): { status: number; body?: unknown } {
    const none = { status: 404, body: { message: 'no such thing' } };
    if (what === 'GET /networks') {
      return { status: 200, body: [...this.networks.values()].map((one) => ({ ...one, Containers: {} })) };
    }
    if (what === 'POST /networks/create') {
      const { Name, Driver, Options, Labels } = JSON.parse(text) as FakeNetwork;
      if (this.names().includes(Name)) return { status: 409, body: { message: `network ${Name} already exists` } };
      return { status: 201, body: { Id: this.add({ Name, Driver, Options, Labels }).Id, Warning: '' } };
    }
    const id = what.split('/')[2] ?? '';
    if (what.startsWith('GET /containers/')) {
      const aliases = this.containers.get(id);
      if (aliases === undefined) return none;
      const Networks = Object.fromEntries(
        Object.entries(aliases).map(([NetworkID, Aliases], index) => [`n${index}`, { NetworkID, Aliases }]),
      );
      return { status: 200, body: { Id: id, NetworkSettings: { Networks } } };
    }
    const network = this.networks.get(id);
    if (network === undefined) return none;
    if (what.startsWith('GET')) return { status: 200, body: network };
    if (Object.keys(network.Containers).length > 0) {
      return { status: 403, body: { message: `network ${network.Name} has active endpoints` } };
    }
    this.remove(id);
    return { status: 204 };
  }
}
