/** The real vtep-cni: by itself, against a server that is not vtepd, and against a real vtepd. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createHostPair, type HostPair, ROOT } from '../e2e/host-pair.js';

const CNI = join(ROOT, 'dist/cni.js');
const directory = mkdtempSync(join(tmpdir(), 'vtep-cni-'));
const socket = join(directory, 'vtepd.sock');
let server: Server | undefined;

afterEach(async () => {
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  server = undefined;
});
afterAll(() => rmSync(directory, { recursive: true }));

interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test names what it expects in its assertions
  json: any;
}

async function vtepCni(env: Record<string, string>, input: unknown): Promise<Ended> {
  const text = typeof input === 'string' ? input : JSON.stringify(input);
  const found = await execa(process.execPath, [CNI], { env, input: text, reject: false });
  const { stdout, stderr } = found;
  return { exitCode: found.exitCode ?? 128, stdout, stderr, json: stdout === '' ? undefined : JSON.parse(stdout) };
}

async function serve(listener: RequestListener): Promise<void> {
  server = createServer(listener);
  await new Promise<void>((resolve) => server!.listen(socket, resolve));
  chmodSync(socket, 0o600);
}

describe('without vtepd', () => {
  const add = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0' };

  it.each([
    ['1.0.0', { cniVersion: '1.0.0' }],
    ['1.1.0', ''],
  ])('tells its versions, in %s', async (cniVersion, input) => {
    const { json, exitCode } = await vtepCni({ CNI_COMMAND: 'VERSION' }, input);
    expect(exitCode).toBe(0);
    expect(json).toEqual({ cniVersion, supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
  });

  it.each<[number, Record<string, string>, unknown, string]>([
    [11, add, { cniVersion: '0.4.0', socket }, 'vtepd is not reachable on'],
    [11, { ...add, CNI_COMMAND: 'DEL' }, { cniVersion: '0.4.0', socket }, socket],
    [50, { CNI_COMMAND: 'STATUS' }, { cniVersion: '1.1.0', socket }, 'vtepd is not reachable on'],
    [4, {}, {}, 'CNI_COMMAND'],
    [4, { CNI_COMMAND: 'add' }, {}, 'CNI_COMMAND "add": must be one of ADD'],
    [6, add, '{"cniVersion"', 'not JSON'],
    [6, add, '', 'not JSON'],
    [6, add, '[1]', 'must be a JSON object'],
  ])('code %i for %o, %o', async (code, env, input, message) => {
    const { json, exitCode, stderr } = await vtepCni(env, input);
    expect([exitCode, stderr]).toEqual([1, '']);
    const cniVersion = (input as { cniVersion?: string }).cniVersion ?? '1.1.0';
    expect(json).toEqual({ cniVersion, code, msg: expect.stringContaining(message), details: expect.any(String) });
  });

  it('is "try again later" when vtepd goes away in between', async () => {
    await serve((request) => request.socket.destroy());
    expect((await vtepCni(add, { socket })).json).toMatchObject({ code: 11 });
  });

  it('sends all that it was given, and prints what comes back', async () => {
    let sent = '';
    await serve((request, response) => {
      request.on('data', (part) => {
        sent += part;
      });
      request.on('end', () => response.writeHead(400).end('{"cniVersion":"1.1.0","code":7,"msg":"ü"}'));
    });
    const env = { ...add, CNI_ARGS: 'A=ü;B=2', CNI_PATH: '/opt/cni/bin' };
    const config = { cniVersion: '1.1.0', name: 'n', socket, other: ['"\\'] };
    expect(await vtepCni(env, config)).toMatchObject({ exitCode: 1, json: { code: 7, msg: 'ü' } });
    expect(JSON.parse(sent)).toEqual({ environment: env, config });
  });

  it('says so if something else answers', async () => {
    await serve((_, response) => response.writeHead(404).end('{"error":{"code":"VTEP_ERR_NOT_FOUND"}}'));
    expect((await vtepCni(add, { socket })).json).toMatchObject({
      code: 100,
      msg: expect.stringContaining('HTTP 404'),
    });
  });
});

describe('with vtepd', () => {
  let pair: HostPair;
  let netns: string;

  beforeAll(async () => {
    pair = await createHostPair({ startDaemons: false });
    await pair.startDaemon('a');
    netns = `/run/netns/${await pair.addNamespace('box')}`;
  });
  afterAll(() => pair?.cleanup());

  it('adds, checks, survives a restart of vtepd, deletes', async () => {
    const config = { cniVersion: '1.1.0', name: 'web', type: 'vtep-cni', create: true, socket: pair.socketPath('a') };
    const ask = (command: string, more: object = {}) => {
      const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_NETNS: netns, CNI_IFNAME: 'eth0' };
      return vtepCni(env, { ...config, ...more });
    };
    const added = await ask('ADD');
    expect(added).toMatchObject({ exitCode: 0, json: { ips: [{ address: '10.0.0.2/24', interface: 2 }] } });
    expect((await pair.exec('box', 'ping', '-c1', '-W5', '10.0.0.1')).exitCode).toBe(0);
    expect((await ask('ADD')).json).toMatchObject({ code: 102 });
    await pair.killDaemon('a', 'SIGKILL');
    expect((await ask('ADD')).json).toMatchObject({ code: 11 });
    await pair.startDaemon('a');
    expect(await ask('CHECK', { prevResult: added.json })).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await ask('STATUS')).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await ask('GC', { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] })).toMatchObject({
      exitCode: 0,
      stdout: '',
    });
    for (let times = 0; times < 2; times++) expect(await ask('DEL')).toMatchObject({ exitCode: 0, stdout: '' });
    expect((await pair.mustVtep('a', 'endpoint', 'ls', '--json')).json()).toEqual([]);
  });
});
