/** docker/attach.sh and docker/detach.sh against the real API server over a fake host. */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Api, startApi } from '../../src/control/api/server.js';
import { VtepError } from '../../src/control/errors.js';
import { createLogger } from '../../src/control/log.js';
import { ENDPOINT, FakeHost } from '../control/fake-host.js';

const FOLDER = fileURLToPath(new URL('../../docker/', import.meta.url));
const SCRIPT = join(FOLDER, 'attach.sh');
const DETACH = join(FOLDER, 'detach.sh');
const directory = mkdtempSync(join(tmpdir(), 'vtep-script-'));
const socket = join(directory, 'vtepd.sock');
const host = new FakeHost();
let api: Api;

beforeAll(async () => {
  api = await startApi({ host, socketPath: socket, logger: createLogger({ level: 'silent', format: 'json' }) });
});
afterAll(async () => {
  await api.close();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  host.calls.length = 0;
  host.endpoint = ENDPOINT;
  host.detached = [ENDPOINT];
});

function attach(argv: string[], env: Record<string, string> = { VTEP_SOCKET: socket }) {
  return execa(SCRIPT, argv, { env, reject: false });
}

function detach(...argv: string[]) {
  return execa(DETACH, argv, { env: { VTEP_SOCKET: socket }, reject: false });
}

async function refused(exitCode: number, argv: string[], env?: Record<string, string>): Promise<string> {
  const result = await attach(argv, env);
  expect(result.stderr).toMatch(/^attach\.sh: [^\n]+$/);
  expect(result.stdout).toBe('');
  expect(result.exitCode).toBe(exitCode);
  return result.stderr;
}

it.each(['attach.sh', 'detach.sh', 'vtepd-request.sh'])('%s passes shellcheck', async (name) => {
  const { stdout, exitCode } = await execa('shellcheck', ['-x', join(FOLDER, name)], { reject: false });
  expect(stdout).toBe('');
  expect(exitCode).toBe(0);
});

it('prints the interface and the address', async () => {
  const result = await attach(['my_overlay', '--netns', 'master'], {});
  expect(result.exitCode).toBe(1);
  const right = await attach(['my_overlay', '--netns', 'master', '--socket', socket], {});
  expect(right).toMatchObject({ stdout: 'eth0 10.0.0.2/24', stderr: '', exitCode: 0 });
  expect(host.calls).toEqual([['attach', { network: 'my_overlay', netns: 'master', mayExist: true }]]);
});

it('prints the same for what is attached already, and each address', async () => {
  host.endpoint = { ...ENDPOINT, addresses: ['10.0.0.2/24', 'fd00::2/64'], existed: true };
  const again = await attach(['my_overlay', '--container', 'web']);
  expect(again).toMatchObject({ stdout: 'eth0 10.0.0.2/24 fd00::2/64', stderr: '', exitCode: 0 });
  expect(host.calls).toEqual([['attach', { network: 'my_overlay', container: 'web', mayExist: true }]]);
});

it('works by a link to it', async () => {
  const link = join(directory, 'link.sh');
  symlinkSync(SCRIPT, link);
  const { stdout } = await execa(link, ['my_overlay', '--netns', 'master'], { env: { VTEP_SOCKET: socket } });
  expect(stdout).toBe('eth0 10.0.0.2/24');
});

it('sends every option', async () => {
  expect((await attach(['--pid', '7', 'n', '--ip', '10.0.0.9', '--ip', 'fd00::9', '--name', 'web'])).exitCode).toBe(0);
  expect((await attach(['n', '--container', 'web', '--engine', 'podman', '--standing', 'off'])).exitCode).toBe(0);
  const mayExist = true;
  expect(host.calls).toEqual([
    ['attach', { network: 'n', pid: 7, ips: ['10.0.0.9', 'fd00::9'], name: 'web', mayExist }],
    ['attach', { network: 'n', container: 'web', engine: 'podman', standing: false, mayExist }],
  ]);
});

it('quotes what it sends: quotes, backslashes, letters beyond ASCII', async () => {
  const netns = '/run/ne"t\\ns/ü","pid":1,"x":"\\u0041';
  expect((await attach(['n', '--netns', netns])).exitCode).toBe(0);
  expect(host.calls).toEqual([['attach', { network: 'n', netns, mayExist: true }]]);
});

it('--help', async () => {
  const { stdout, exitCode } = await attach(['--help']);
  expect(exitCode).toBe(0);
  expect(stdout).toContain('Usage: attach.sh NETWORK (--container NAME | --netns NAME | --pid N)');
  expect(stdout).toContain('Examples:');
});

describe('wrong use: one line, exit 2', () => {
  it.each<[string[], string]>([
    [[], 'no network given'],
    [['n'], 'give one of --netns, --pid and --container'],
    [['n', '--netns', 'x', '--pid', '1'], 'give one of --netns, --pid and --container'],
    [['n', '--netns', 'x', '--standing', 'yes'], '--standing "yes" must be on or off'],
    [['n', '--pid', 'x'], '--pid "x" must be a process id'],
    [['n', '--pid', '0'], '--pid "0" must be a process id'],
    [['n', '--netns'], '--netns needs a value'],
    [['n', '--netns', ''], '--netns needs a value'],
    [['n', 'm', '--netns', 'x'], 'more than one network: n and m'],
    [['n', '--netns', 'x', '--colour'], 'unknown option --colour'],
    [['n', '--netns', 'a\nb'], 'control characters'],
  ])('%j', async (argv, message) => {
    expect(await refused(2, argv)).toContain(message);
    expect(host.calls).toEqual([]);
  });

  it('what the API finds wrong, with its quotes', async () => {
    expect(await refused(2, ['n', '--netns', 'x', '--ip', '10.0.0.300'])).toBe(
      'attach.sh: ip: "10.0.0.300" must be an IPv4 or IPv6 address, such as 10.0.2.7 or fd00:2::7',
    );
  });
});

describe('failures: one line, exit 1', () => {
  it('what the host refuses', async () => {
    host.failure = new VtepError('VTEP_ERR_NETWORK_UNKNOWN', 'network "n" does not exist');
    expect(await refused(1, ['n', '--netns', 'x'])).toBe('attach.sh: network "n" does not exist');
  });

  it('no vtepd', async () => {
    const none = join(directory, 'none.sock');
    expect(await refused(1, ['n', '--netns', 'x', '--socket', none])).toContain(
      `not reachable on ${none}: there is no`,
    );
    expect(await refused(1, ['n', '--netns', 'x', '--socket', SCRIPT])).toContain('it is not a socket');
  });

  it('something else behind the socket', async () => {
    const other = join(directory, 'else.sock');
    const server = createServer((_request, response) => response.writeHead(201).end('{}')).listen(other);
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await refused(1, ['n', '--netns', 'x', '--socket', other])).toContain('makes no sense');
    server.close();
  });

  it('no curl', async () => {
    const bin = mkdtempSync(join(directory, 'bin-'));
    for (const name of ['bash', 'sed', 'env', 'dirname', 'readlink'])
      symlinkSync((await execa('which', [name])).stdout, join(bin, name));
    const message = await refused(1, ['n', '--netns', 'x'], { VTEP_SOCKET: socket, PATH: bin });
    expect(message).toContain('install it (apt-get install curl)');
  });
});

describe('detach.sh', () => {
  it('prints what went, of each endpoint', async () => {
    host.detached = [ENDPOINT, { ...ENDPOINT, addresses: ['10.0.1.2/24', 'fd00::2/64'] }];
    const result = await detach('my_overlay', '--container', 'web', '--engine', 'docker');
    expect(result.stdout).toBe('detached 10.0.0.2/24\ndetached 10.0.1.2/24 fd00::2/64');
    expect(result).toMatchObject({ stderr: '', exitCode: 0 });
    const asked = { network: 'my_overlay', container: 'web', engine: 'docker', ifExists: true };
    expect(host.calls).toEqual([['detach', asked]]);
  });

  it('says that nothing was attached', async () => {
    host.detached = [];
    expect(await detach('n', '--netns', 'x')).toMatchObject({
      ...{ stdout: 'nothing was attached', stderr: '', exitCode: 0 },
    });
    expect(await detach('--pid', '7', 'n')).toMatchObject({ exitCode: 0 });
    expect(host.calls).toEqual([
      ['detach', { network: 'n', netns: 'x', ifExists: true }],
      ['detach', { network: 'n', pid: 7, ifExists: true }],
    ]);
  });

  it('tells wrong use from failures, in one line', async () => {
    expect(await detach('n')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('give one of') });
    expect(await detach('n', '--pid', '0')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('"0"') });
    expect(await detach('n', '--colour')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/^detach\.sh: .*/),
    });
    expect((await detach('--help')).stdout).toContain('Usage: detach.sh NETWORK (--container NAME');
    host.failure = new VtepError('VTEP_ERR_STATE', 'the disk is full');
    expect(await detach('n', '--pid', '7')).toMatchObject({ exitCode: 1, stderr: 'detach.sh: the disk is full' });
  });
});
