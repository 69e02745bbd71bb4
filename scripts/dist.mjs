/**
 * Makes the tarball that needs nothing but Linux and Node.js, or not even that: `node scripts/dist.mjs [--with-node] [--to FOLDER]`.
 *
 *     vtep-VERSION-linux-ARCH/
 *       bin/           vtepd, vtep: for each program of package.json; node, if asked for
 *       node_modules/  what runs, of this platform, and licences: no sources, types, maps, documents or tests
 *       (the rest)     what the npm package has: dist, docker, systemd, docs, README, LICENSE
 *
 * The same tree gives the same bytes: names are sorted, owners are 0, and times are those of the commit (SOURCE_DATE_EPOCH).
 * Prints the tarball's path. `npm run dist` builds first.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** What a program loads, and what its licence wants to go along. */
const NEEDED_FILES = /\.([cm]?js|json|node|wasm)$|^(licen[cs]e|notice|copying)/i;
const UNNEEDED_FOLDERS = new Set(['test', 'tests', 'benchmark', 'benchmarks', 'examples', 'node_modules']);

const readJson = (path) => JSON.parse(readFileSync(join(ROOT, path), 'utf8'));

/** What `npm pack` would take, as paths. */
function packageFiles() {
  const packed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return JSON.parse(packed)[0].files.map(({ path }) => path);
}

/** The installed packages that run, as paths: npm has left out those of other platforms. */
function packageFolders() {
  const { packages } = readJson('node_modules/.package-lock.json');
  return Object.entries(packages)
    .filter(([path, entry]) => entry.dev !== true && existsSync(join(ROOT, path)))
    .map(([path]) => path);
}

function copyPackage(path, target) {
  const from = join(ROOT, path);
  const isWanted = (source) => {
    const name = basename(source);
    if (source === from) return true;
    if (statSync(source).isFile()) return NEEDED_FILES.test(name);
    return !UNNEEDED_FOLDERS.has(name) && !name.startsWith('.');
  };
  cpSync(from, join(target, path), { recursive: true, dereference: true, filter: isWanted });
}

/** A program of package.json by its name: a link to it may stand anywhere. */
function wrapper(entry) {
  return `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
node=node
[ ! -x "$here/node" ] || node=$here/node
exec "$node" "$here/../${entry}" "$@"
`;
}

function sourceTime() {
  if (process.env.SOURCE_DATE_EPOCH !== undefined) return process.env.SOURCE_DATE_EPOCH;
  try {
    const stdio = ['ignore', 'pipe', 'ignore'];
    return execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8', stdio }).trim();
  } catch {
    return '0';
  }
}

const { values } = parseArgs({ options: { 'with-node': { type: 'boolean', default: false }, to: { type: 'string' } } });
const { version, bin } = readJson('package.json');
const name = `vtep-${version}-linux-${process.arch}`;
const folder = resolve(values.to ?? join(ROOT, '.cache', 'release'));
const stage = mkdtempSync(join(tmpdir(), 'vtep-dist-'));
try {
  const tree = join(stage, name);
  for (const path of packageFiles()) cpSync(join(ROOT, path), join(tree, path));
  for (const path of packageFolders()) copyPackage(path, tree);
  mkdirSync(join(tree, 'bin'));
  for (const [program, entry] of Object.entries(bin)) {
    writeFileSync(join(tree, 'bin', program), wrapper(entry), { mode: 0o755 });
  }
  if (values['with-node']) cpSync(process.execPath, join(tree, 'bin', 'node'));
  mkdirSync(folder, { recursive: true });
  const tarball = join(folder, `${name}.tar.gz`);
  const same = ['--sort=name', `--mtime=@${sourceTime()}`, '--owner=0', '--group=0', '--numeric-owner', '--format=gnu'];
  const tar = ['-C', stage, ...same, '--mode=u=rwX,go=rX', '--use-compress-program=gzip -n', '-cf', tarball, name];
  execFileSync('tar', tar, { stdio: ['ignore', 'inherit', 'inherit'] });
  process.stdout.write(`${tarball}\n`);
} finally {
  rmSync(stage, { recursive: true, force: true });
}
