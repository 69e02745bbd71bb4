/** The HTTP API over a fake host: every route, every kind of refusal, and the socket itself. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { buildApi, startApi } from '../../src/control/api/server.js';
import { VtepError } from '../../src/control/errors.js';
import { createLogger } from '../../src/control/log.js';
import { ENDPOINT, FakeHost, NETWORK, STATUS } from './fake-host.js';

const lines: string[] = [];
const logger = createLogger({ level: 'info', format: 'json', stream: { write: (line) => void lines.push(line) } });
const host = new FakeHost();
const app = buildApi(host, logger);

beforeEach(() => {
  host.calls.length = 0;
  host.failure = undefined;
  lines.length = 0;
});
afterAll(() => app.close());

type Method = 'GET' | 'POST' | 'DELETE' | 'PUT';
async function call(method: Method, url: string, payload?: object | string) {
  const headers = typeof payload === 'string' ? { 'content-type': 'application/json' } : {};
  const response = await app.inject({ method, url, headers, ...(payload !== undefined && { payload }) });
  return { status: response.statusCode, body: response.body === '' ? undefined : response.json() };
}

describe('routes', () => {
  const peer = { network: 'n', address: '192.0.2.9', port: 4789 };
  it.each<[Method, string, object | undefined, number, unknown[]]>([
    ['GET', '/v1/status', undefined, 200, ['status']],
    ['GET', '/v1/networks', undefined, 200, ['listNetworks']],
    [
      'POST',
      '/v1/networks',
      { name: 'n', vni: 5000, subnet: '10.0.2.0/24', learning: false },
      201,
      ['createNetwork', { name: 'n', vni: 5000, subnets: ['10.0.2.0/24'], learning: false }],
    ],
    ['GET', '/v1/networks/n.1', undefined, 200, ['inspectNetwork', 'n.1']],
    ['DELETE', '/v1/networks/a', undefined, 204, ['removeNetwork', 'a']],
    ['DELETE', '/v1/networks/a?force=true', undefined, 204, ['removeNetwork', 'a', true]],
    ['DELETE', '/v1/networks/a?force=false', undefined, 204, ['removeNetwork', 'a']],
    ['GET', '/v1/endpoints', undefined, 200, ['listEndpoints', undefined]],
    ['GET', '/v1/endpoints?network=n', undefined, 200, ['listEndpoints', 'n']],
    [
      'POST',
      '/v1/endpoints',
      { network: 'n', pid: 7, mac: '02:AB:00:00:00:01' },
      201,
      ['attach', { network: 'n', pid: 7, mac: '02:ab:00:00:00:01' }],
    ],
    ...[{ ip: 'fd00::7' }, { ips: ['fd00::7'] }].map((given): [Method, string, object, number, unknown[]] => [
      ...(['POST', '/v1/endpoints', { network: 'n', pid: 7, ...given }, 201] as const),
      ['attach', { network: 'n', pid: 7, ips: ['fd00::7'] }],
    ]),
    ['DELETE', '/v1/endpoints/e-1', undefined, 204, ['detachById', 'e-1']],
    ['POST', '/v1/detach', { network: 'n', name: 'web' }, 200, ['detach', { network: 'n', name: 'web' }]],
    ['GET', '/v1/nodes', undefined, 200, ['listNodes']],
    ['GET', '/v1/peers?network=n', undefined, 200, ['listPeers', 'n']],
    ['POST', '/v1/peers', { network: 'n', address: '192.0.2.9' }, 201, ['addPeer', peer]],
    ['POST', '/v1/peers/remove', peer, 204, ['removePeer', peer]],
    ['GET', '/v1/fdb?network=n', undefined, 200, ['fdb', 'n']],
    ['GET', '/v1/neighbours?network=n', undefined, 200, ['neighbours', 'n']],
  ])('%s %s', async (method, url, payload, status, expected) => {
    const answer = await call(method, url, payload);
    expect(answer.status).toBe(status);
    expect(host.calls).toEqual([expected]);
    if (status === 204) expect(answer.body).toBeUndefined();
  });

  it('answers what the host answered', async () => {
    expect((await call('GET', '/v1/status')).body).toEqual(STATUS);
    expect((await call('GET', '/v1/networks')).body).toEqual([NETWORK]);
    expect((await call('POST', '/v1/endpoints', { network: 'n', netns: 'x' })).body).toEqual(ENDPOINT);
  });

  it('healthz asks nobody', async () => {
    expect(await call('GET', '/healthz')).toEqual({ status: 200, body: { ok: true } });
    expect(host.calls).toEqual([]);
  });
});

describe('what is refused before the host hears of it', () => {
  const long = 'x'.repeat(64);
  it.each<[string, Method, string, object | string, string]>([
    ['no name', 'POST', '/v1/networks', {}, 'name is missing: must be 1 to 63'],
    ['a name with a slash', 'POST', '/v1/networks', { name: 'a/b' }, 'name: "a/b" must be 1 to 63'],
    ['a long name', 'POST', '/v1/networks', { name: long }, `name: "${long}" must be 1 to 63`],
    [
      'a VNI too large',
      'POST',
      '/v1/networks',
      { name: 'n', vni: 16_777_216 },
      'vni: 16777216 must be a whole number from 1 to 16777215',
    ],
    ['VNI 0', 'POST', '/v1/networks', { name: 'n', vni: 0 }, 'vni: 0 must be'],
    ['a VNI as text', 'POST', '/v1/networks', { name: 'n', vni: '5' }, 'vni: "5" must be'],
    ['a fraction', 'POST', '/v1/networks', { name: 'n', vni: 1.5 }, 'vni: 1.5 must be'],
    [
      'a prefix length of 33',
      'POST',
      '/v1/networks',
      { name: 'n', subnet: '10.0.0.0/33' },
      'subnet: "10.0.0.0/33" must be a network in CIDR form',
    ],
    ['no prefix length', 'POST', '/v1/networks', { name: 'n', subnet: '10.0.0.0' }, 'subnet: "10.0.0.0" must be'],
    [
      'a bad MTU',
      'POST',
      '/v1/networks',
      { name: 'n', mtuBytes: 100 },
      'mtuBytes: 100 must be a whole number of bytes',
    ],
    [
      'an unknown field',
      'POST',
      '/v1/networks',
      { name: 'n', colour: [] },
      'unknown field "colour"; known: name, subnet, subnets, ipv6',
    ],
    ['an array', 'POST', '/v1/networks', [], 'the request must be a JSON object'],
    ['a bad MAC', 'POST', '/v1/endpoints', { network: 'n', pid: 1, mac: '02:00:5e' }, 'mac: "02:00:5e" must be six'],
    [
      'a multicast MAC',
      'POST',
      '/v1/endpoints',
      { network: 'n', pid: 1, mac: '01:00:5e:00:00:01' },
      'mac: "01:00:5e:00:00:01" must be a unicast',
    ],
    [
      'a bad IP',
      'POST',
      '/v1/endpoints',
      { network: 'n', pid: 1, ip: '10.0.0.300' },
      'ip: "10.0.0.300" must be an IPv4 or IPv6',
    ],
    ['pid 0', 'POST', '/v1/endpoints', { network: 'n', pid: 0 }, 'pid: 0 must be a process id'],
    [
      'netns and pid',
      'POST',
      '/v1/endpoints',
      { network: 'n', pid: 1, netns: 'x' },
      'give one of netns, pid and container',
    ],
    [
      'an engine without a container',
      'POST',
      '/v1/endpoints',
      { network: 'n', netns: 'x', engine: 'podman' },
      'engine: "podman" needs a container',
    ],
    [
      'a strange engine',
      'POST',
      '/v1/endpoints',
      { network: 'n', container: 'x', engine: 'lxc' },
      'engine: "lxc" must be',
    ],
    [
      'a standing pid',
      'POST',
      '/v1/endpoints',
      { network: 'n', pid: 1, standing: true },
      'standing: true needs a name',
    ],
    ['a bad container', 'POST', '/v1/endpoints', { network: 'n', container: '../x' }, 'container: "../x" must be'],
    ['neither', 'POST', '/v1/endpoints', { network: 'n' }, 'give one of netns, pid and container'],
    [
      'a slash in an interface',
      'POST',
      '/v1/endpoints',
      { network: 'n', pid: 1, interface: 'a/b' },
      'interface: "a/b" must be 1 to 15',
    ],
    [
      'detach by nothing',
      'POST',
      '/v1/detach',
      { network: 'n' },
      'give one of netns, pid, container, id, name and owner',
    ],
    [
      'a multicast peer',
      'POST',
      '/v1/peers',
      { network: 'n', address: '239.0.0.1' },
      'address: "239.0.0.1" must be the unicast',
    ],
    [
      'a link-local peer',
      'POST',
      '/v1/peers',
      { network: 'n', address: 'fe80::7' },
      '"fe80::7" must not be link-local',
    ],
    ['port 0', 'POST', '/v1/peers', { network: 'n', address: '192.0.2.1', port: 0 }, 'port: 0 must be a UDP port'],
    ['broken JSON', 'POST', '/v1/networks', '{"name": ', "the request can't be read: "],
    ['an empty body', 'POST', '/v1/networks', '', 'the request body is empty'],
    ['a bad filter', 'GET', '/v1/endpoints?network=a%2Fb', '', 'network: "a/b" must be'],
    ['a filter that is not known', 'GET', '/v1/fdb?vni=7', '', 'unknown field "vni"; known: network'],
    ['a bad name in the path', 'GET', '/v1/networks/a%20b', '', 'name: "a b" must be'],
    ['a bad id in the path', 'DELETE', '/v1/endpoints/a%20b', '', 'id: "a b" must be'],
  ])('%s', async (_title, method, url, payload, message) => {
    const answer = await call(method, url, method === 'POST' ? payload : undefined);
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual({ error: { code: 'VTEP_ERR_INVALID', message: expect.any(String), retryable: false } });
    expect(answer.body.error.message).toContain(message);
    expect(answer.body.error.message).not.toContain('\n');
    expect(host.calls).toEqual([]);
  });

  it.each<[Method, string]>([
    ['GET', '/'],
    ['GET', '/v2/status'],
    ['PUT', '/v1/networks'],
    ['DELETE', '/v1/networks'],
  ])('no route: %s %s', async (method, url) => {
    const answer = await call(method, url);
    expect(answer.status).toBe(404);
    expect(answer.body.error).toEqual({
      code: 'VTEP_ERR_NOT_FOUND',
      message: `no route ${method} ${url}`,
      retryable: false,
    });
  });

  it('a body above the limit', async () => {
    const answer = await call('POST', '/v1/networks', { name: 'n'.repeat(70_000) });
    expect(answer.status).toBe(413);
    expect(answer.body.error).toMatchObject({ code: 'VTEP_ERR_INVALID', message: expect.stringContaining('65536') });
  });

  it('a body that is not JSON', async () => {
    const headers = { 'content-type': 'text/plain' };
    for (const type of [headers, { 'content-type': 'application/x-www-form-urlencoded' }]) {
      const response = await app.inject({ method: 'POST', url: '/v1/networks', headers: type, payload: 'name=n' });
      expect(response.statusCode).toBe(415);
      expect(response.json().error.message).toContain('content-type: application/json');
    }
  });
});

describe('what the host refuses', () => {
  it.each([
    ['VTEP_ERR_REGISTRY_UNREACHABLE', 503, true],
    ['VTEP_ERR_NETWORK_EXISTS', 409, false],
    ['VTEP_ERR_POOL_EXHAUSTED', 507, false],
    ['VTEP_ERR_INVALID', 400, false],
  ] as const)('%s', async (code, status, retryable) => {
    host.failure = new VtepError(code, 'the reason');
    expect(await call('POST', '/v1/networks', { name: 'n' })).toEqual({
      status,
      body: { error: { code, message: 'the reason', retryable } },
    });
    expect(lines).toEqual([]);
  });

  it('a defect is answered in one line and logged with its place', async () => {
    host.failure = new TypeError('x is not\n a function');
    const answer = await call('GET', '/v1/nodes');
    expect(answer.status).toBe(500);
    expect(answer.body.error).toEqual({
      code: 'VTEP_ERR_INTERNAL',
      message: 'vtepd failed: x is not a function; its log has more',
      retryable: false,
    });
    const record = JSON.parse(lines[0] ?? '{}');
    expect(record).toMatchObject({ event: 'api.failed', level: 'error', url: '/v1/nodes' });
    expect(record.err.stack).toContain('api.test.ts');
  });
});

describe('the socket', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vtep-api-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('has mode 0600 as soon as it exists, and goes with close()', async () => {
    const socketPath = join(directory, 'made', 'vtepd.sock');
    const umaskBefore = process.umask();
    const starting = startApi({ host, socketPath, logger });
    // Sampled in every turn of the event loop: no turn may see another mode.
    const modes = new Set<number>();
    let started = false;
    void starting.then(() => {
      started = true;
    });
    while (!started) {
      if (existsSync(socketPath)) modes.add(statSync(socketPath).mode & 0o777);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const api = await starting;
    modes.add(statSync(socketPath).mode & 0o777);
    expect([...modes]).toEqual([0o600]);
    expect(statSync(socketPath).isSocket()).toBe(true);
    expect(process.umask()).toBe(umaskBefore);
    expect(await getHealth(socketPath)).toBe('{"ok":true}');
    await api.close();
    expect(existsSync(socketPath)).toBe(false);
    await expect(getHealth(socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('close() lets a request under way end, and an idle connection does not hold it', async () => {
    const socketPath = join(directory, 'drain.sock');
    let release: (() => void) | undefined;
    const slow = new FakeHost();
    slow.listNodes = () =>
      new Promise((resolve) => {
        release = () => resolve([]);
      });
    const api = await startApi({ host: slow, socketPath, logger });
    const idle = connect(socketPath);
    await new Promise((resolve) => idle.once('connect', resolve));
    const answer = get(socketPath, '/v1/nodes');
    while (release === undefined) await new Promise((resolve) => setImmediate(resolve));
    const closing = api.close();
    (release as () => void)();
    expect(await answer).toBe('[]');
    const before = Date.now();
    await closing;
    expect(Date.now() - before).toBeLessThan(4000);
    idle.destroy();
  });

  it('a path that is taken is refused with its name', async () => {
    const socketPath = join(directory, 'taken');
    writeFileSync(socketPath, '');
    await expect(startApi({ host, socketPath, logger })).rejects.toMatchObject({
      code: 'VTEP_ERR_SOCKET_IN_USE',
      message: expect.stringContaining(socketPath),
    });
  });

  it('a path that can not be made is refused with its name', async () => {
    const socketPath = join(directory, 'taken', 'below.sock');
    await expect(startApi({ host, socketPath, logger })).rejects.toMatchObject({
      code: 'VTEP_ERR_KERNEL',
      message: expect.stringContaining(socketPath),
    });
  });
});

const getHealth = (socketPath: string) => get(socketPath, '/healthz');

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end();
  });
}
