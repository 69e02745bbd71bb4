/** docker/attach.sh against the real API server over a fake host. */
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
import { FakeHost } from '../control/fake-host.js';

const SCRIPT = fileURLToPath(new URL('../../docker/attach.sh', import.meta.url));
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
});

function attach(argv: string[], env: Record<string, string> = { VTEP_SOCKET: socket }) {
  return execa(SCRIPT, argv, { env, reject: false });
}

async function refused(exitCode: number, argv: string[], env?: Record<string, string>): Promise<string> {
  const result = await attach(argv, env);
  expect(result.stderr).toMatch(/^attach\.sh: [^\n]+$/);
  expect(result.stdout).toBe('');
  expect(result.exitCode).toBe(exitCode);
  return result.stderr;
}

it('passes shellcheck', async () => {
  const { stdout, exitCode } = await execa('shellcheck', [SCRIPT], { reject: false });
  expect(stdout).toBe('');
  expect(exitCode).toBe(0);
});

it('prints the interface and the address', async () => {
  const result = await attach(['my_overlay', '--netns', 'master'], {});
  expect(result.exitCode).toBe(1);
  const right = await attach(['my_overlay', '--netns', 'master', '--socket', socket], {});
  expect(right).toMatchObject({ stdout: 'eth0 10.0.0.2/24', stderr: '', exitCode: 0 });
  expect(host.calls).toEqual([['attach', { network: 'my_overlay', netns: 'master' }]]);
});

it('sends every option', async () => {
  expect((await attach(['--pid', '7', 'n', '--ip', '10.0.0.9', '--name', 'web'])).exitCode).toBe(0);
  expect(host.calls).toEqual([['attach', { network: 'n', pid: 7, ips: ['10.0.0.9'], name: 'web' }]]);
});

it('quotes what it sends: quotes, backslashes, letters beyond ASCII', async () => {
  const netns = '/run/ne"t\\ns/ü","pid":1,"x":"\\u0041';
  expect((await attach(['n', '--netns', netns])).exitCode).toBe(0);
  expect(host.calls).toEqual([['attach', { network: 'n', netns }]]);
});

it('--help', async () => {
  const { stdout, exitCode } = await attach(['--help']);
  expect(exitCode).toBe(0);
  expect(stdout).toContain('Usage: attach.sh NETWORK (--netns NAME | --pid N)');
  expect(stdout).toContain('Examples:');
});

describe('wrong use: one line, exit 2', () => {
  it.each<[string[], string]>([
    [[], 'no network given'],
    [['n'], 'give one of --netns and --pid'],
    [['n', '--netns', 'x', '--pid', '1'], 'give one of --netns and --pid'],
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
    for (const name of ['bash', 'sed', 'env']) symlinkSync((await execa('which', [name])).stdout, join(bin, name));
    const message = await refused(1, ['n', '--netns', 'x'], { VTEP_SOCKET: socket, PATH: bin });
    expect(message).toContain('install it (apt-get install curl)');
  });
});
