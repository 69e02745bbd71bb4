/** The built executables as processes: exit codes, streams, and what ends vtepd before it has a data plane. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Api, startApi } from '../../src/control/api/server.js';
import { createLogger } from '../../src/control/log.js';
import { FakeHost, NETWORK } from '../control/fake-host.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DAEMON = join(ROOT, 'dist/daemon.js');
const CLI = join(ROOT, 'dist/cli.js');
const directory = mkdtempSync(join(tmpdir(), 'vtep-process-'));

beforeAll(async () => {
  await execa(process.execPath, ['scripts/setup.mjs', 'build'], { cwd: ROOT });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('both are executable by themselves', () => {
  for (const path of [DAEMON, CLI]) {
    expect(readFileSync(path, 'utf8').startsWith('#!/usr/bin/env node\n')).toBe(true);
    expect(statSync(path).mode & 0o111).toBe(0o111);
  }
});

describe('vtepd ends early, with one line', () => {
  // Port and paths of its own: should a check be missing, nothing else on the machine is disturbed.
  const least = () => [
    ...['--registry', 'http://127.0.0.1:9', '--advertise', '127.0.0.1', '--port', '47899'],
    ...['--socket', join(directory, 'd.sock'), '--state-dir', join(directory, 'state')],
  ];

  async function ends(exitCode: number, wrapper: string[], argv: string[], env: Record<string, string> = {}) {
    const [command = '', ...rest] = [...wrapper, process.execPath, DAEMON, ...argv];
    const result = await execa(command, rest, { reject: false, env, timeout: 20_000, cwd: '/' });
    expect(result.stderr).toMatch(/^vtepd: [^\n]+$/);
    expect(result.stdout).toBe('');
    expect(result.exitCode).toBe(exitCode);
    return result.stderr;
  }

  it.each<[string[], string]>([
    [['--port', '70000'], '--port "70000" must be a UDP port'],
    [['--colour'], "unknown option '--colour'"],
    [['--workers', '17'], '--workers "17" must be a whole number from 1 to 16'],
  ])('a wrong option, exit 2: %j', async (extra, message) => {
    expect(await ends(2, [], [...least(), ...extra])).toContain(message);
  });

  it('a wrong variable and a wrong key, exit 2', async () => {
    expect(await ends(2, [], least(), { VTEP_SESSION_TTL: '5' })).toContain('VTEP_SESSION_TTL "5" must be');
    const path = join(directory, 'vtep.yaml');
    writeFileSync(path, 'prot: 4789\n');
    expect(await ends(2, [], [...least(), '--config', path])).toContain(`unknown key "prot" in "${path}"`);
  });

  it('neither root nor with the capability', async () => {
    // Mapped to nobody: the files stay readable, the rights are gone.
    const line = await ends(1, ['unshare', '--user'], least());
    expect(line).toMatch(/as user \d+ without the capability CAP_NET_ADMIN.*\[VTEP_ERR_NOT_ROOT\]$/);
  });

  it('root without the capabilities', async () => {
    const line = await ends(1, ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'], least());
    expect(line).toContain('CAP_NET_ADMIN');
    expect(line).toContain('--cap-add NET_ADMIN');
  });

  it('no such interface', async () => {
    const argv = [...least(), '--underlay', 'vtnone0'];
    const line = await ends(1, [], argv);
    expect(line).toMatch(/underlay "vtnone0": no such interface; this host has .*\blo\b.*\[VTEP_ERR_UNDERLAY\]$/);
  });

  it('an address that no interface holds', async () => {
    const argv = least().map((text) => (text === '127.0.0.1' ? '192.0.2.77' : text));
    expect(await ends(1, [], argv)).toContain('advertise "192.0.2.77"');
  });

  it('a state directory that can not be', async () => {
    const path = join(directory, 'file');
    writeFileSync(path, '');
    expect(await ends(1, [], [...least(), '--state-dir', join(path, 'state')])).toContain(
      'must be a directory that vtepd can write in',
    );
  });

  it('a socket that a live process serves', async () => {
    const path = join(directory, 'live.sock');
    const logger = createLogger({ level: 'silent', format: 'json' });
    const api = await startApi({ host: new FakeHost(), socketPath: path, logger });
    expect(await ends(1, [], [...least(), '--socket', path])).toMatch(/is in use.*\[VTEP_ERR_SOCKET_IN_USE\]$/);
    expect(statSync(path).isSocket()).toBe(true);
    await api.close();
  });

  it('--help and --version go to stdout, exit 0', async () => {
    const help = await execa(DAEMON, ['--help']);
    expect(help.stdout).toContain('Usage: vtepd');
    expect((await execa(DAEMON, ['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

describe('vtep', () => {
  const socket = join(directory, 'vtepd.sock');
  const host = new FakeHost();
  let api: Api;
  beforeAll(async () => {
    api = await startApi({ host, socketPath: socket, logger: createLogger({ level: 'silent', format: 'json' }) });
  });
  afterAll(() => api.close());
  const vtep = (...argv: string[]) => execa(CLI, argv, { reject: false, env: { VTEP_SOCKET: socket } });

  it('exits 0, 1 and 2', async () => {
    expect(await vtep('network', 'ls')).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await vtep('network', 'rm', 'nowhere')).toMatchObject({ exitCode: 1, stdout: '' });
    expect(await vtep('network', 'create', 'n', '--vni', '0')).toMatchObject({ exitCode: 2, stdout: '' });
  });

  it('writes all of a long answer to a pipe, and does not mind a reader that leaves early', async () => {
    const many = Array.from({ length: 5000 }, (_, i) => ({ ...NETWORK, name: `network-${i}` }));
    host.listNetworks = async () => many;
    expect(JSON.parse((await vtep('network', 'ls', '--json')).stdout)).toHaveLength(5000);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    const pipe = '"$0" network ls --json | head -n 1; echo "${PIPESTATUS[0]}"';
    const result = await execa('bash', ['-c', pipe, CLI], { env: { VTEP_SOCKET: socket } });
    expect(result.stdout).toBe('[\n0');
    expect(result.stderr).toBe('');
  });
});
