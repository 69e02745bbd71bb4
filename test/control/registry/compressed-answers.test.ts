/** Compressed answers, whole, cut off and wrong, through the registry client and against a real Consul. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createConnection } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRegistryClient } from '../../../src/control/registry/client.js';
import { type ConsulServer, startConsul } from './consul-server.js';

const PREFIX = 'vtep/v1/';
const entries = Array.from({ length: 2000 }, (_, index) => ({
  Key: `${PREFIX}nodes/n${index}`,
  Value: Buffer.from(`{"number":${index}}`).toString('base64'),
  CreateIndex: 7,
  ModifyIndex: 7,
}));
const json = Buffer.from(JSON.stringify(entries));

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function clientOf(listener: RequestListener) {
  server = createServer(listener);
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return createRegistryClient({ url: `http://127.0.0.1:${port}`, timeoutMs: 5000 });
}

const headers = { 'content-type': 'application/json', 'x-consul-index': '7' };

describe('a server that compresses', () => {
  it('is asked to, and its answer is read as the plain one', async () => {
    const asked: unknown[] = [];
    const client = await clientOf((request, response) => {
      asked.push(request.headers['accept-encoding']);
      response.writeHead(200, { ...headers, 'content-encoding': 'gzip' }).end(gzipSync(json));
    });
    const listing = await client.list('nodes/');
    expect(asked).toEqual(['gzip']);
    expect(listing.index).toBe(7);
    expect(listing.entries).toHaveLength(entries.length);
    expect(listing.entries[1999]).toMatchObject({ key: 'nodes/n1999', value: '{"number":1999}' });
  });

  it('may still answer plainly', async () => {
    const client = await clientOf((_, response) => response.writeHead(200, headers).end(json));
    expect((await client.list('nodes/')).entries).toHaveLength(entries.length);
  });

  it('says errors in compressed words too', async () => {
    const client = await clientOf((_, response) =>
      response.writeHead(500, { 'content-encoding': 'gzip' }).end(gzipSync('No cluster leader')),
    );
    await expect(client.list('nodes/')).rejects.toThrow(/has no leader/);
  });

  it('fails when its answer is cut off in the middle', async () => {
    const packed = gzipSync(json);
    const client = await clientOf((_, response) => {
      response.writeHead(200, { ...headers, 'content-encoding': 'gzip', 'content-length': packed.length });
      response.write(packed.subarray(0, packed.length >> 1), () => response.destroy());
    });
    await expect(client.list('nodes/')).rejects.toMatchObject({ code: 'VTEP_ERR_REGISTRY_UNREACHABLE' });
  });

  it('fails when its answer is not what it says', async () => {
    const client = await clientOf((_, response) =>
      response.writeHead(200, { ...headers, 'content-encoding': 'gzip' }).end(json),
    );
    await expect(client.list('nodes/')).rejects.toMatchObject({ code: expect.stringMatching(/^VTEP_ERR_REGISTRY/) });
  });

  it('can be given up while it answers', async () => {
    const client = await clientOf((_, response) => {
      response.writeHead(200, { ...headers, 'content-encoding': 'gzip' }).write(gzipSync(json).subarray(0, 20));
    });
    const abort = new AbortController();
    const reason = new Error('given up');
    setTimeout(() => abort.abort(reason), 50);
    await expect(client.watch('nodes/', 1, 30, abort.signal)).rejects.toBe(reason);
  });
});

describe('Consul', () => {
  let consul: ConsulServer;
  beforeAll(async () => {
    consul = await startConsul();
  });
  afterAll(() => consul?.close());

  it('compresses what it answers, to less than a third', async () => {
    const client = createRegistryClient({ url: consul.url });
    for (let index = 0; index < 100; index++) await client.put(`nodes/n${index}`, `{"number":${index}}`);
    expect((await client.list('nodes/')).entries).toHaveLength(100);
    const sizeWith = async (encoding: string) => {
      const { hostname, port } = new URL(consul.url);
      const socket = createConnection(Number(port), hostname);
      socket.end(`GET /v1/kv/vtep/v1/nodes/?recurse HTTP/1.0\r\nAccept-Encoding: ${encoding}\r\n\r\n`);
      let size = 0;
      for await (const chunk of socket) size += (chunk as Buffer).length;
      return size;
    };
    expect((await sizeWith('gzip')) * 3).toBeLessThan(await sizeWith('identity'));
  });
});
