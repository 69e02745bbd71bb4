/**
 * The image that containers of the Docker tests are made of: this machine's busybox, ping, iperf3 and getent with the
 * libraries that they need, as a tar for `docker import`. Made once a machine, in .cache/docker. Test support.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { ROOT } from '../e2e/host-pair.js';

export const IMAGE = 'vtep-test';
const CACHE = join(ROOT, '.cache/docker');
const PROGRAMS = ['busybox', 'ping', 'iperf3', 'getent'];

/** @returns the path of the tar. @throws Error that names a program that is missing */
export async function makeImageTar(): Promise<string> {
  const tar = join(CACHE, 'image.tar');
  if (existsSync(tar)) return tar;
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'image.'));
  try {
    const root = join(work, 'root');
    for (const folder of ['bin', 'etc', 'dev', 'proc', 'sys', 'tmp', 'root']) {
      mkdirSync(join(root, folder), { recursive: true });
    }
    for (const program of PROGRAMS) await addProgram(root, program);
    const { stdout } = await execa('busybox', ['--list']);
    for (const applet of stdout.split('\n').filter((name) => !PROGRAMS.includes(name))) {
      symlinkSync('busybox', join(root, 'bin', applet));
    }
    await execa('tar', ['-C', root, '-cf', join(work, 'image.tar'), '.']);
    renameSync(join(work, 'image.tar'), tar);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return tar;
}

async function addProgram(root: string, name: string): Promise<void> {
  const { stdout: path } = await execa('which', [name]);
  copyFileSync(path, join(root, 'bin', name));
  const { stdout } = await execa('ldd', [path], { reject: false });
  // "libc.so.6 => /lib/.../libc.so.6 (0x...)", and the loader as "/lib64/ld-linux-x86-64.so.2 (0x...)".
  for (const [, library] of stdout.matchAll(/(?:^\s*|=> )(\/\S+) \(/gm)) {
    const target = join(root, library!);
    if (existsSync(target)) continue;
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(realpathSync(library!), target);
  }
}
