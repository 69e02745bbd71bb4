/**
 * What is handed to others, used as they would: the npm package, installed on host b; the tarball, unpacked on host a, a machine with
 * a real systemd on which this checkout is not; the systemd unit, by which vtepd runs there.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FrozenThread, workerThread } from './frozen-thread.js';
import {
  createHostPair,
  findProcesses,
  type HostPair,
  ROOT,
  UNDERLAY,
  UNDERLAY_ADDRESS,
  waitFor,
} from './host-pair.js';
import { SystemdMachine } from './systemd-machine.js';

const { version, bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const NAME = `vtep-${version}-linux-${process.arch}`;
/** capability(7): DAC_READ_SEARCH, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN, SYS_NICE. */
const CAPABILITIES = [2, 10, 12, 13, 19, 21, 23].reduce((set, number) => set + 2 ** number, 0);
const UNIT = '/etc/systemd/system/vtepd.service';
const URL_A = `http://${UNDERLAY_ADDRESS.a}:8500`;
let pair: HostPair;
let machine: SystemdMachine;
let prefix: string;
let tarball: string;

beforeAll(async () => {
  await execa(process.execPath, ['scripts/setup.mjs', 'build'], { cwd: ROOT });
  pair = await createHostPair({ startDaemons: false });
  const folder = join(pair.folder, 'machine');
  prefix = join(pair.folder, 'prefix');
  mkdirSync(join(folder, 'inbox'), { recursive: true });
  mkdirSync(prefix);
  const pack = async () => {
    const { stdout } = await execa('npm', ['pack', '--silent', '--pack-destination', prefix], { cwd: ROOT });
    const file = join(prefix, stdout.trim().split('\n').at(-1) ?? '');
    const quietly = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    await execa('npm', ['install', '--global', '--prefix', prefix, ...quietly, file], { cwd: '/' });
  };
  const dist = async () => {
    const { stdout } = await execa(process.execPath, ['scripts/dist.mjs', '--to', join(folder, 'inbox')], {
      cwd: ROOT,
    });
    tarball = stdout.trim();
  };
  await Promise.all([pack(), dist()]);
  machine = await SystemdMachine.boot(pair.prefix, folder, `/run/netns/${pair.netns('a')}`);
  // As `npm run dist -- --with-node` has it there.
  copyFileSync(process.execPath, join(folder, 'inbox', 'node'));
  // npm writes some thousand files.
}, 240_000);
afterAll(async () => {
  await machine?.remove();
  await pair?.cleanup();
});

describe('the npm package', () => {
  it('has what runs and what is read, and no more', async () => {
    const files = readdirSync(join(prefix, 'lib/node_modules/vtep'), { recursive: true, encoding: 'utf8' })
      .filter((path) => !path.startsWith('node_modules'))
      .sort();
    const folders = [...new Set(files.map((path) => path.split('/')[0]))].sort();
    expect(folders).toEqual(['LICENSE', 'README.md', 'dist', 'docker', 'docs', 'package.json', 'systemd']);
    expect(files.filter((path) => /\.(map|ts|tgz)$|(^|\/)tests?\//.test(path))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(['docs/install.md', 'systemd/vtepd.service', 'docker/attach.sh']));
    // Each module that was built is there.
    const built = readdirSync(join(ROOT, 'dist'), { recursive: true, encoding: 'utf8' });
    expect(files.filter((path) => path.endsWith('.js')).length).toBe(
      built.filter((path) => path.endsWith('.js')).length,
    );
  });

  it('puts its programs on the path', async () => {
    for (const program of Object.keys(bin)) expect(statSync(join(prefix, 'bin', program)).mode & 0o111).toBe(0o111);
    expect((await execa(join(prefix, 'bin/vtepd'), ['--help'], { cwd: '/' })).stdout).toContain('Usage: vtepd');
    expect((await execa(join(prefix, 'bin/vtep'), ['--version'], { cwd: '/' })).stdout).toBe(version);
  });
});

describe('the lock file', () => {
  it('has every package that a package names, for all platforms, and says of none where it is from', () => {
    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
    const named = Object.values<Record<string, object>>(packages).flatMap((entry) =>
      Object.keys({ ...entry.dependencies, ...entry.optionalDependencies }),
    );
    const isThere = (name: string) => Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`));
    expect(named.length).toBeGreaterThan(100);
    expect(named.filter((name) => !isThere(name))).toEqual([]);
    expect(Object.values<object>(packages).filter((entry) => 'resolved' in entry)).toEqual([]);
  });
});

describe('the tarball', () => {
  it('has one folder, names in order, no owner, one time, and nothing that does not run', async () => {
    const { stdout } = await execa('tar', ['--utc', '--full-time', '-tvzf', tarball]);
    const rows = stdout.split('\n').map((line) => /^(\S+) (\S+) +\d+ (\S+ \S+) (.*)$/.exec(line)?.slice(1) ?? []);
    const paths = rows.map(([, , , path]) => path as string);
    expect(new Set(paths.map((path) => path.split('/')[0]))).toEqual(new Set([NAME]));
    // As a folder's own name comes before what is in it, whatever the next name is.
    const inOrder = (path: string) => path.replace(/\/$/, '').split('/').join('\u0000');
    expect(paths.map(inOrder)).toEqual(paths.map(inOrder).sort());
    expect(new Set(rows.map(([, owner]) => owner))).toEqual(new Set(['0/0']));
    expect(new Set(rows.map(([, , time]) => time)).size).toBe(1);
    expect(
      paths.filter((path) => /\.(map|ts|hh?|cc?)$|\/tests?\/|-(darwin|win32)-|\/(typescript|vitest)\//.test(path)),
    ).toEqual([]);
    const programs = rows.filter(([, , , path]) => path?.startsWith(`${NAME}/bin/`) && !path.endsWith('/'));
    expect(programs.map(([mode, , , path]) => [mode, path?.split('/')[2]])).toEqual(
      Object.keys(bin)
        .sort()
        .map((program) => ['-rwxr-xr-x', program]),
    );
  });
});

describe('the systemd unit, on a machine with the tarball alone', () => {
  const vtep = (...args: string[]) => machine.must('vtep', ...args);
  const daemonPid = () => findProcesses(`${NAME}/bin/../dist/daemon.js`)[0];

  beforeAll(async () => {
    await machine.must('tar', '-C', '/opt', '-xzf', `/run/inbox/${NAME}.tar.gz`);
    await machine.must('cp', '/run/inbox/node', `/opt/${NAME}/bin/node`);
    await machine.must('sh', '-c', `ln -s /opt/${NAME}/bin/vtep* /usr/local/bin/`);
    await machine.must('install', '-m', '644', `/opt/${NAME}/systemd/vtepd.service`, UNIT);
    await machine.must('mkdir', '-p', '/etc/vtep', `${UNIT}.d`);
    await machine.write(`${UNIT}.d/log.conf`, '[Service]\nStandardError=append:/var/log/vtepd.log\nRestartSec=100ms\n');
    // The older iptables needs more: a lock file and raw sockets.
    const older =
      'for i in iptables ip6tables; do for e in "" -restore; do ln -s /usr/sbin/$i-legacy$e /usr/local/sbin/$i$e; done; done';
    await machine.must('sh', '-c', older);
    const options = [`embedded-registry: ${UNDERLAY_ADDRESS.a}:8500`, `underlay: ${UNDERLAY}`, 'node: a'];
    await machine.write(
      '/etc/vtep/vtepd.yaml',
      [...options, 'workers: 2', 'worker-nice: -5', 'docker-plugin: on', ''].join('\n'),
    );
    await machine.must('systemctl', 'daemon-reload');
    await machine.must('systemctl', 'start', 'vtepd');
  });

  it('is right by systemd-analyze, but for what an older systemd does not know, and is not exposed', async () => {
    expect(existsSync(join(ROOT, 'package.json'))).toBe(true);
    expect((await machine.run('ls', ROOT)).stdout).toBe('');
    const { stdout, stderr } = await machine.run('systemd-analyze', 'verify', UNIT);
    const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.includes('vtepd.service'));
    expect(lines.filter((line) => !/Unknown key (name )?'Restart(Steps|MaxDelaySec)'/.test(line))).toEqual([]);
    // 3.6 in systemd 252; later ones weigh a little differently.
    await machine.must('systemd-analyze', 'security', '--offline=yes', '--threshold=40', UNIT);
  });

  it('runs as the unit says, is ready when it says so, and keeps its channel from its children', async () => {
    expect(await machine.show('vtepd', 'StatusText')).toContain('0 containers on 0 networks here; the registry ');
    await vtep('network', 'ls');
    const plugin = ['--silent', '--unix-socket', '/run/docker/plugins/vtep.sock', '--request', 'POST'];
    expect(await machine.must('curl', ...plugin, 'http://docker/Plugin.Activate')).toContain('NetworkDriver');
    const pid = daemonPid() as number;
    expect(readlinkSync(`/proc/${pid}/exe`)).toBe(`/opt/${NAME}/bin/node`);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(Number.parseInt(/^CapBnd:\t(\w+)$/m.exec(status)?.[1] ?? '', 16)).toBe(CAPABILITIES);
    const group = await machine.must('cat', '/sys/fs/cgroup/system.slice/vtepd.service/cgroup.procs');
    const main = await machine.show('vtepd', 'MainPID');
    const children = group.split('\n').filter((id) => id !== '' && id !== main);
    const environs = await Promise.all(children.map((child) => machine.run('cat', `/proc/${child}/environ`)));
    // Some end meanwhile; `ip monitor` stays.
    const read = environs.filter(({ exitCode }) => exitCode === 0).map(({ stdout: text }) => text);
    expect(read.filter((text) => text.includes('PATH=')).length).toBeGreaterThan(0);
    expect(read.filter((text) => /NOTIFY_SOCKET|WATCHDOG/.test(text))).toEqual([]);
  });

  it('attaches by namespaces and processes that came later; frames, names and shared cores work within the limits', async () => {
    await vtep('network', 'create', 'net', '--ipv6');
    await machine.must('ip', 'netns', 'add', 'c1');
    await vtep('attach', '--network', 'net', '--netns', 'c1', '--name', 'c1');
    // One with all of root's rights, and one of a user who has his own users.
    const asUser = 'setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --net';
    for (const [name, entering] of [
      ['c2', 'unshare --net'],
      ['c3', asUser],
    ] as const) {
      await machine.must('sh', '-c', `${entering} sleep 1000 >/dev/null 2>&1 & echo $! >/run/${name}.pid`);
      const pid = (await machine.must('cat', `/run/${name}.pid`)).trim();
      const own = await machine.must('readlink', '/proc/1/ns/net');
      await waitFor(`${name} to have its namespace`, async () => {
        const theirs = await machine.run('readlink', `/proc/${pid}/ns/net`);
        return theirs.exitCode === 0 && theirs.stdout !== own;
      });
      await vtep('attach', '--network', 'net', '--pid', pid, '--name', name);
    }
    const state = ['--socket', pair.socketPath('b'), '--state-dir', join(pair.folder, 'b'), '--node', 'b'];
    const program = join(prefix, 'bin/vtepd');
    pair.spawn('vtepd-b', pair.netns('b'), program, '--registry', URL_A, '--underlay', UNDERLAY, ...state);
    await waitFor('vtepd on b', async () => (await pair.vtep('b', 'network', 'inspect', 'net')).exitCode === 0, 40_000);
    const far = await pair.addContainer('b', 'far', 'net');
    const ping = (...args: string[]) => machine.run('ip', 'netns', 'exec', 'c1', 'ping', '-c', '1', '-W', '2', ...args);
    await waitFor('a ping across', async () => (await ping(far.ip)).exitCode === 0);
    const dig = ['dig', '+short', '+timeout=2', '@10.0.0.1', 'far.net', 'A'];
    await waitFor('the name of a container of b', async () => {
      return (await machine.run('ip', 'netns', 'exec', 'c1', ...dig)).stdout.trim() === far.ip;
    });
    for (const program of ['iptables', 'ip6tables']) {
      await waitFor(`vtep's rules in Docker's chain of ${program}`, async () => {
        return (await machine.run(program, '-S', 'DOCKER-USER')).stdout.includes('-j VTEP-FORWARD');
      });
    }
    const { offloads, portSecurity } = JSON.parse(await vtep('status', '--json'));
    expect(offloads.filter(({ state }: { state: string }) => state !== 'on')).toEqual([]);
    expect(portSecurity).toMatchObject({ ports: 3 });
    const niceness = readdirSync(`/proc/${daemonPid()}/task`).map(
      (tid) => readFileSync(`/proc/${daemonPid()}/task/${tid}/stat`, 'utf8').replace(/.*\) /, '').split(' ')[16],
    );
    expect(niceness.filter((nice) => nice === '-5')).toHaveLength(2);
  });

  it('a hung worker, and a hung main thread: the watchdog ends vtepd, and the containers go on', {
    timeout: 90_000,
  }, async () => {
    await machine.write(`${UNIT}.d/watchdog.conf`, '[Service]\nWatchdogSec=3\nTimeoutAbortSec=500ms\n');
    await machine.must('systemctl', 'daemon-reload');
    await machine.must('systemctl', 'restart', 'vtepd');
    const restarts = async () => Number(await machine.show('vtepd', 'NRestarts'));
    for (const which of ['worker', 'main']) {
      const before = await restarts();
      const pid = daemonPid() as number;
      let tid: number | undefined = pid;
      if (which === 'worker') {
        await waitFor('a worker that sleeps', () => {
          tid = workerThread(pid);
          return tid !== undefined;
        });
      }
      const frozen = new FrozenThread(tid as number);
      await waitFor(`vtepd to be ended, its ${which} hanging`, () => frozen.hasEnded(), 30_000);
      await waitFor(
        'systemd to start it again',
        async () => {
          return (await restarts()) > before && (await machine.show('vtepd', 'ActiveState')) === 'active';
        },
        30_000,
      );
      expect(daemonPid()).not.toBe(pid);
    }
    const log = await machine.must('cat', '/var/log/vtepd.log');
    expect(log).toMatch(/"event":"daemon.stalled".*worker \d has made no turn for \d+ s \(running\)/);
    const far = pair.containers[0]?.ip as string;
    const ping = ['ip', 'netns', 'exec', 'c1', 'ping', '-c', '1', '-W', '2', far];
    await waitFor('a ping across', async () => (await machine.run(ping[0]!, ...ping.slice(1))).exitCode === 0);
  });

  it('stops in order and keeps what outlives it; a wrong option is told, and not tried again', async () => {
    await machine.must('systemctl', 'stop', 'vtepd');
    expect(await machine.show('vtepd', 'Result')).toBe('success');
    expect(await machine.must('tail', '-n', '1', '/var/log/vtepd.log')).toContain('"event":"daemon.ended"');
    expect(await machine.must('ip', '-n', 'c1', '-br', 'addr', 'show', 'eth0')).toContain('10.0.0.2/24');
    await machine.must('sh', '-c', 'test -d /run/vtep && test -d /var/lib/vtep');
    await machine.must('sed', '-i', 's/^underlay:.*/underlay: nowhere0/', '/etc/vtep/vtepd.yaml');
    await machine.write(`${UNIT}.d/once.conf`, '[Service]\nRestart=no\n');
    await machine.must('systemctl', 'daemon-reload');
    expect((await machine.run('systemctl', 'start', 'vtepd')).exitCode).not.toBe(0);
    expect(await machine.show('vtepd', 'StatusText')).toContain('underlay "nowhere0": no such interface');
    await machine.must('rm', `${UNIT}.d/once.conf`);
    await machine.must('systemctl', 'daemon-reload');
    await machine.write('/etc/vtep/vtepd.yaml', 'prot: 4789\n');
    expect((await machine.run('systemctl', 'start', 'vtepd')).exitCode).not.toBe(0);
    expect(await machine.show('vtepd', 'ActiveState')).toBe('failed');
    expect(await machine.show('vtepd', 'ExecMainStatus')).toBe('2');
  });
});
