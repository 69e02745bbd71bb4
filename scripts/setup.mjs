/**
 * Makes a fresh Debian or Ubuntu machine ready for one goal: `node scripts/setup.mjs [demo|test|bench:e2e|scale|check|build]`.
 *
 * Runs before anything is installed, so it uses Node's own modules only. It looks first and changes only what is
 * missing: apt packages, node_modules, dist. The second run finds all in place and takes a fraction of a second.
 * The build's stamp is in .cache/. `check` and `build` install no apt packages and need no root.
 *
 * Exit codes: 0 ready; 1 something could not be made ready (one line says what); 2 a goal that does not exist.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_VERSION_MIN = [20, 19];
const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CACHE = join(ROOT, '.cache');

/** [apt package, a command that it brings]; without a command dpkg is asked. */
const DEMO_PACKAGES = [
  ['iproute2', 'ip'],
  ['nftables', 'nft'],
  ['iputils-ping', 'ping'],
  ['iperf3', 'iperf3'],
  ['curl', 'curl'],
  ['util-linux', 'unshare'],
  ['procps', 'ps'],
];
const TEST_PACKAGES = [
  ...DEMO_PACKAGES,
  ['tcpdump', 'tcpdump'],
  ['tshark', 'tshark'],
  ['ethtool', 'ethtool'],
  ['shellcheck', 'shellcheck'],
  ['socat', 'socat'],
  ['bind9-dnsutils', 'dig'],
  ['openssl', 'openssl'],
  ['dnsmasq-base', 'dnsmasq'],
  ['busybox', 'busybox'],
  ['traceroute', 'traceroute'],
  ['nmap', 'nmap'],
  ['systemd', 'systemd-analyze'],
  ['iptables', 'iptables'],
  // The image's base and its compose file (test/docker/image.test.ts).
  ['debootstrap', 'debootstrap'],
  ['docker-compose', 'docker-compose'],
  // Of the unpacked dockerd and runc (scripts/docker.sh).
  ['libdevmapper1.02.1'],
  ['libseccomp2'],
  ['podman', 'podman'],
  ['containernetworking-plugins'],
  ['conmon', 'conmon'],
  ['crun', 'crun'],
];

/** The Debian suites whose Docker the tests run. */
const DOCKER_SUITES = ['bullseye', 'bookworm'];

const BENCH_PACKAGES = [
  ['iproute2', 'ip'],
  ['iputils-ping', 'ping'],
  ['iperf3', 'iperf3'],
  ['util-linux', 'setpriv'],
];

const GOALS = {
  demo: { packages: DEMO_PACKAGES, root: true, build: true, consul: false },
  test: { packages: TEST_PACKAGES, root: true, build: true, consul: true, docker: true },
  'bench:e2e': { packages: BENCH_PACKAGES, root: true, build: true, consul: false },
  scale: { packages: [['iproute2', 'ip']], root: true, build: true, consul: true },
  check: { packages: [], root: false, build: false, consul: false },
  build: { packages: [], root: false, build: true, consul: false },
};

/** Ends the process with one line for a person. */
function fail(message, exitCode = 1) {
  process.stderr.write(`setup: ${message}\n`);
  process.exit(exitCode);
}

function say(message) {
  process.stdout.write(`setup: ${message}\n`);
}

/** @returns {{ ok: boolean, stdout: string, stderr: string, error: string }} the child's end; never throws. */
function run(command, args, env = {}) {
  const child = spawnSync(command, args, {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stderr = child.stderr ?? '';
  return {
    ok: child.status === 0,
    stdout: child.stdout ?? '',
    stderr,
    error: child.error ? child.error.message : (stderr.trim().split('\n').at(-1) ?? ''),
  };
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [majorMin, minorMin] = NODE_VERSION_MIN;
  if (major < majorMin || (major === majorMin && minor < minorMin)) {
    fail(`Node ${process.versions.node} is too old: ${majorMin}.${minorMin} or newer is needed`);
  }
}

/** Looks along PATH and the sbin folders, which a root shell made by `su` may lack. */
function hasCommand(name) {
  const folders = (process.env.PATH ?? '').split(delimiter).concat('/usr/local/sbin', '/usr/sbin', '/sbin');
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function hasPackage([name, command]) {
  if (command !== undefined) return hasCommand(command);
  return run('dpkg-query', ['-s', name]).stdout.includes('\nStatus: install ok installed');
}

const APT_ENV = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l', LC_ALL: 'C' };
const APT_OPTIONS = ['-o', 'DPkg::Lock::Timeout=120', '-o', 'Acquire::Retries=3'];

/** The line of apt's output that says why, without its "E: ". */
function aptReason(result) {
  const reasons = result.stderr.split('\n').filter((line) => line.startsWith('E: '));
  return reasons[0]?.slice(3) ?? result.error ?? 'apt-get gave no reason';
}

function aptInstall(names) {
  return run(
    'apt-get',
    [
      ...APT_OPTIONS,
      'install',
      '-y',
      '-q',
      '--no-install-recommends',
      '-o',
      'Dpkg::Options::=--force-confold',
      ...names,
    ],
    APT_ENV,
  );
}

function installPackages(packages) {
  const names = packages.filter((entry) => !hasPackage(entry)).map(([name]) => name);
  if (names.length === 0) return;
  if (!hasCommand('apt-get')) {
    fail(`${names.join(', ')} missing, and this machine has no apt-get: install them by hand, then run this again`);
  }
  say(`installing ${names.join(', ')} (apt)`);
  const update = run('apt-get', [...APT_OPTIONS, 'update', '-q'], APT_ENV);
  if (names.includes('tshark') && hasCommand('debconf-set-selections')) {
    // The question whether all users may capture; without an answer an interactive frontend would wait here.
    spawnSync('debconf-set-selections', [], {
      input: 'wireshark-common wireshark-common/install-setuid boolean false\n',
      stdio: ['pipe', 'ignore', 'ignore'],
    });
  }
  if (!aptInstall(names).ok) {
    // One by one, to name the package that is to blame.
    for (const name of names) {
      const single = aptInstall([name]);
      if (single.ok) continue;
      const because = update.ok ? '' : ` (apt-get update had failed: ${aptReason(update)})`;
      fail(`cannot install ${name}: ${aptReason(single)}${because}`);
    }
  }
  const missing = packages.find((entry) => !hasPackage(entry));
  if (missing !== undefined)
    fail(`cannot install ${missing[0]}: apt-get succeeded, but ${missing[1] ?? missing[0]} is not there`);
}

/** Whether a package of the lock file is for this platform. Those that name a C library are npm's to choose among. */
function isForHere({ os, cpu, libc }) {
  return (os?.includes('linux') ?? true) && (cpu?.includes(process.arch) ?? true) && libc === undefined;
}

/** Whether node_modules has what the lock file names. npm writes its own list there last, so a half-made one lacks it. */
function hasModules(lock) {
  const list = readText(join(ROOT, 'node_modules', '.package-lock.json'));
  if (list === undefined) return false;
  const installed = JSON.parse(list).packages;
  return Object.entries(JSON.parse(lock).packages).every(
    ([path, wanted]) => path === '' || installed[path]?.version === wanted.version || !isForHere(wanted),
  );
}

function installModules() {
  const lock = readText(join(ROOT, 'package-lock.json'));
  if (lock === undefined) fail('package-lock.json is missing: this is not a complete checkout');
  if (hasModules(lock)) return;
  say('installing the npm packages of package-lock.json (npm install)');
  // Not `npm ci`, which begins by removing what is there. --no-save leaves the lock file, and so the versions, as it is.
  const result = run('npm', ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
  if (!result.ok) {
    const lines = result.stderr.split('\n').filter((line) => /^npm (error|ERR!) ./.test(line));
    const texts = lines
      .map((line) => line.replace(/^npm (error|ERR!) /, ''))
      .filter((text) => !text.startsWith('code '));
    const reason = texts[0] ?? result.error;
    fail(`cannot install the npm packages: ${reason}`);
  }
}

/** Every file under `folder` that ends with `extension`, as paths relative to the repository. */
function listFiles(folder, extension) {
  const found = [];
  for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...listFiles(path, extension));
    else if (entry.name.endsWith(extension)) found.push(path);
  }
  return found.sort();
}

/** Removes what an earlier build made of sources that are gone. */
function pruneOutput() {
  for (const path of listFiles('dist', '.js')) {
    const source = path.replace(/^dist/, 'src').replace(/\.js$/, '.ts');
    if (existsSync(join(ROOT, source))) continue;
    rmSync(join(ROOT, path));
    rmSync(join(ROOT, `${path}.map`), { force: true });
  }
}

function build() {
  const stampPath = join(CACHE, 'build.stamp');
  const inputs = [...listFiles('src', '.ts'), 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'];
  const hash = createHash('sha256');
  for (const path of inputs) {
    const { mtimeMs, size } = statSync(join(ROOT, path));
    hash.update(`${path} ${mtimeMs} ${size}\n`);
  }
  const stamp = hash.digest('hex');
  const entries = Object.values(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).bin);
  const complete = entries.every((path) => existsSync(join(ROOT, path)));
  if (complete && readText(stampPath) === stamp) return;
  say('building dist (tsc)');
  const result = run(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json']);
  if (!result.ok) {
    process.stderr.write(result.stdout);
    fail('the build failed: tsc reports the errors above');
  }
  pruneOutput();
  for (const path of entries) {
    if (!existsSync(join(ROOT, path))) fail(`the build failed: tsc did not write ${path}, which package.json names`);
    chmodSync(join(ROOT, path), 0o755);
  }
  writeFileSync(stampPath, stamp);
}

/** Runs scripts/NAME, which fetches a program that no package of this machine's release brings. */
function fetchProgram(name, ...args) {
  const script = join('scripts', name);
  const result = spawnSync('bash', [script, ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (result.status !== 0)
    fail(`cannot get what the tests need: ${script} ended with ${result.status ?? result.signal}`);
}

const name = process.argv[2] ?? 'build';
const goal = Object.hasOwn(GOALS, name) ? GOALS[name] : undefined;
if (goal === undefined || process.argv.length > 3) {
  fail(`no goal ${JSON.stringify(process.argv.slice(2).join(' '))}: give one of ${Object.keys(GOALS).join(', ')}`, 2);
}
checkNode();
if (process.platform !== 'linux') fail(`vtep runs on Linux; this is ${process.platform}`);
if (goal.root && process.getuid() !== 0) {
  fail(
    `\`npm ${name === 'test' ? 'test' : `run ${name}`}\` makes network namespaces and needs root: run it as root or with sudo`,
  );
}
mkdirSync(CACHE, { recursive: true });
installPackages(goal.packages);
installModules();
if (goal.build) build();
// The registry's compliance suite and the demo's --consul run against the real server, test/docker/ against real dockerds.
if (goal.consul) fetchProgram('consul.sh');
for (const suite of goal.docker ? DOCKER_SUITES : []) fetchProgram('docker.sh', suite);
