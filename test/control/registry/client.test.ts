/**
 * The client where no registry answers, or none that makes sense.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { execa } from 'execa';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { VtepError } from '../../../src/control/errors.js';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import { freePorts } from './consul-server.js';

const NEVER = new AbortController().signal;
const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function serve(listener: RequestListener, host = '127.0.0.1'): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as { port: number };
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const answering = (status: number, body: string, headers = {}) =>
  serve((_request, response) => response.writeHead(status, headers).end(body));

async function failure(promise: Promise<unknown>): Promise<VtepError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VtepError);
  expect((error as VtepError).message).not.toContain('\n');
  return error as VtepError;
}

describe('registry URL', () => {
  it.each([
    '',
    '10.0.0.1:8500',
    'localhost:8500',
    'ftp://10.0.0.1',
    'http://',
    'http://a/?dc=x',
    'http://u:p@10.0.0.1',
  ])('refuses %j', (url) => {
    expect(() => createRegistryClient({ url })).toThrow(expect.objectContaining({ code: 'VTEP_ERR_INVALID' }));
  });

  it('does not repeat a password', () => {
    expect(() => createRegistryClient({ url: 'http://user:hush@10.0.0.1:8500' })).toThrow(/^(?!.*hush).*give a token$/);
  });

  it('keeps a path before /v1, takes a missing slash after the prefix, and sends token and datacenter', async () => {
    const seen: unknown[] = [];
    const url = await serve((request, response) => {
      seen.push([request.url, request.headers['x-consul-token']]);
      response.writeHead(404, { 'X-Consul-Index': '3' }).end();
    });
    const registry = createRegistryClient({ url: `${url}/consul/`, prefix: 'p', token: 't', datacenter: 'east' });
    expect(registry.url).toBe(`${url}/consul`);
    expect(await registry.get('k')).toBeUndefined();
    expect(seen).toEqual([['/consul/v1/kv/p%2Fk?dc=east', 't']]);
  });

  it('reaches an IPv6 address', async () => {
    const url = await serve((_request, response) => response.writeHead(404, { 'X-Consul-Index': '9' }).end(), '::1');
    expect(await createRegistryClient({ url }).list('')).toEqual({ index: 9, entries: [] });
  });
});

describe('a registry that is not there', () => {
  it('says where it was looked for, on every method', async () => {
    const [port] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    const registry = createRegistryClient({ url });
    const calls = [
      registry.get('a'),
      registry.list(''),
      registry.watch('', 0, 1, NEVER),
      registry.put('a', ''),
      registry.compareAndSet('a', '', 0),
      registry.acquire('a', '', 's'),
      registry.delete('a'),
      registry.compareAndDelete('a', 1),
      registry.deleteTree('a/'),
      registry.transaction([{ verb: 'delete', key: 'a' }]),
      registry.createSession('n', 10),
      registry.renewSession('s'),
      registry.destroySession('s'),
    ];
    for (const call of calls) {
      const error = await failure(call);
      expect(error.code).toBe('VTEP_ERR_REGISTRY_UNREACHABLE');
      expect(error.message).toBe(
        `registry ${url} is not reachable (ECONNREFUSED): check --registry and that Consul runs there`,
      );
    }
  });

  it('gives up on one that is silent', async () => {
    const url = await serve(() => {});
    const registry = createRegistryClient({ url, timeoutMs: 200 });
    const begunMs = performance.now();
    const error = await failure(registry.get('a'));
    expect(error).toMatchObject({ code: 'VTEP_ERR_REGISTRY_UNREACHABLE', retryable: true });
    expect(error.message).toMatch(/did not answer within 0.2 s/);
    expect(performance.now() - begunMs).toBeLessThan(1000);
  });

  it('gives a watch its wait and the time-out on top', async () => {
    const url = await serve((_request, response) => {
      setTimeout(() => response.writeHead(404, { 'X-Consul-Index': '5' }).end(), 400);
    });
    const registry = createRegistryClient({ url, timeoutMs: 200 });
    expect(await registry.watch('', 5, 0.5, NEVER)).toEqual({ index: 5, entries: [] });
    expect((await failure(registry.watch('', 5, 0.1, NEVER))).code).toBe('VTEP_ERR_REGISTRY_UNREACHABLE');
  });

  it('says that there is no leader', async () => {
    const url = await answering(500, 'No cluster leader', { 'Content-Type': 'text/plain' });
    const error = await failure(createRegistryClient({ url }).put('a', 'b'));
    expect(error.code).toBe('VTEP_ERR_REGISTRY_UNREACHABLE');
    expect(error.message).toContain('has no leader');
  });
});

describe('a server that is no registry', () => {
  it.each([
    ['a web page', 200, '<html></html>', { 'Content-Type': 'text/html' }],
    ['a 404 without an index', 404, 'not found', {}],
    ['JSON that does not parse', 200, '[{', { 'Content-Type': 'application/json', 'X-Consul-Index': '4' }],
    [
      'entries of another prefix',
      200,
      '[{"Key":"x/a","ModifyIndex":1}]',
      { 'Content-Type': 'application/json', 'X-Consul-Index': '4' },
    ],
    ['a redirect', 301, '', { Location: '/elsewhere' }],
    ['an error', 502, 'Bad\nGateway', { 'Content-Type': 'text/plain' }],
    ['a refusal', 403, 'Permission denied', { 'Content-Type': 'text/plain' }],
  ])('is told by %s', async (_name, status, body, headers) => {
    const registry = createRegistryClient({ url: await answering(status, body, headers) });
    expect((await failure(registry.list(''))).code).toBe('VTEP_ERR_REGISTRY');
    expect((await failure(registry.put('a', ''))).code).toBe('VTEP_ERR_REGISTRY');
  });

  it('is told by an answer that is not HTTP', async () => {
    const server = createTcpServer((socket) => socket.resume().end('SSH-2.0-x\r\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as { port: number };
    const error = await failure(createRegistryClient({ url: `http://127.0.0.1:${port}` }).get('a'));
    expect(error.message).toContain('does not answer as Consul does');
  });
});

describe('connections', () => {
  it('that are silent are probed every half minute, not every second', async () => {
    const entry = { Key: 'vtep/v1/nodes/a', Value: 'e30=', CreateIndex: 7, ModifyIndex: 7, LockIndex: 0, Flags: 0 };
    const url = await serve((request, response) => {
      // The second query blocks.
      if (request.url?.includes('index=7')) return;
      const headers = { 'X-Consul-Index': '7', 'content-type': 'application/json' };
      response.writeHead(200, headers).end(JSON.stringify([entry]));
    });
    const registry = createRegistryClient({ url });
    await registry.watch('nodes/', 0, 5, NEVER);
    const abort = new AbortController();
    const blocked = registry.watch('nodes/', 7, 5, abort.signal);
    await vi.waitFor(async () => {
      const { stdout } = await execa('ss', ['-tnoH', 'dst', new URL(url).host]);
      const seconds = Number(/timer:\(keepalive,(\d+)sec/.exec(stdout)?.[1]);
      expect(seconds, stdout).toBeGreaterThan(5);
    }, 4000);
    abort.abort();
    await expect(blocked).rejects.toThrow();
  });

  it('that are idle are given up together with one that did not answer', async () => {
    const open = new Set<object>();
    let isSilent = false;
    let waiting: (() => void)[] = [];
    const url = await serve((request, response) => {
      open.add(request.socket);
      request.socket.once('close', () => open.delete(request.socket));
      waiting.push(() => response.writeHead(404, { 'X-Consul-Index': '5' }).end());
      // All three at once, so that each has a connection of its own.
      if (isSilent || waiting.length < 3) return;
      for (const answer of waiting) answer();
      waiting = [];
    });
    const registry = createRegistryClient({ url, timeoutMs: 2000 });
    await Promise.all(['a', 'b', 'c'].map((key) => registry.get(key)));
    expect(open.size).toBe(3);
    isSilent = true;
    await failure(registry.get('a'));
    await vi.waitFor(() => expect(open.size).toBe(0), 4000);
  });
});
