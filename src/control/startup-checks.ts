/**
 * What must be so on the host before vtepd starts, each check with one line on how to make it so.
 *
 * Place: control plane, called by daemon.ts in this order, before anything is created.
 */
import { closeSync, openSync } from 'node:fs';
import { access, constants, lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { execa } from 'execa';
import { makeDirectory } from './directory.js';
import { VtepError } from './errors.js';

/** @throws VtepError VTEP_ERR_NO_TUN */
export function checkTun(path = '/dev/net/tun'): void {
  try {
    closeSync(openSync(path, 'r+'));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const hint = tunHint(path, code);
    const what = code === 'ENOENT' ? 'is missing' : `can't be opened (${code})`;
    throw new VtepError('VTEP_ERR_NO_TUN', `${path} ${what}: ${hint}`, { cause });
  }
}

function tunHint(path: string, code: string | undefined): string {
  const inContainer = `--device ${path} (docker run)`;
  if (code === 'EPERM') return `in a container, start it with ${inContainer}`;
  if (code === 'EACCES')
    return `let all users open it on the host, as udev does (chmod 666 ${path}), or run vtepd as root`;
  const make = `modprobe tun; if the file is still missing: mkdir -p /dev/net && mknod ${path} c 10 200`;
  return `${make}; in a container: ${inContainer}`;
}

/** @throws VtepError VTEP_ERR_NO_IPROUTE: no `ip`, or one that speaks no JSON (BusyBox). */
export async function checkIproute2(): Promise<void> {
  const result = await execa('ip', ['-json', 'link', 'show', 'dev', 'lo'], { reject: false });
  const install = 'install it (apt-get install iproute2)';
  if (result.code === 'ENOENT') throw new VtepError('VTEP_ERR_NO_IPROUTE', `the command "ip" is missing: ${install}`);
  if (result.failed || !result.stdout.startsWith('[')) {
    throw new VtepError('VTEP_ERR_NO_IPROUTE', `the command "ip" on this host is not iproute2: ${install}`);
  }
}

/** Makes the directory if it is not there. @throws VtepError VTEP_ERR_INVALID */
export async function prepareStateDirectory(path: string): Promise<void> {
  try {
    await makeDirectory(path, 0o700);
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const hint = 'must be a directory that vtepd can write in';
    throw new VtepError('VTEP_ERR_INVALID', `state-dir "${path}": ${hint} (${code})`, { cause });
  }
}

/**
 * Leaves the path free: a socket that nobody serves (after SIGKILL) is removed, anything else stays and is told.
 *
 * @param option that another path is given by
 * @throws VtepError VTEP_ERR_SOCKET_IN_USE, VTEP_ERR_INVALID
 */
export async function freeSocketPath(path: string, option = '--socket'): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = (await lstat(path)).isSocket();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    throw new VtepError('VTEP_ERR_INVALID', `socket "${path}": can't be used (${code})`, { cause });
  }
  if (!isSocket) {
    throw new VtepError('VTEP_ERR_INVALID', `socket "${path}": is there and is not a socket; give another ${option}`);
  }
  if (await answersConnection(path)) {
    const hint = `another vtepd serves it; stop that one or give another ${option}`;
    throw new VtepError('VTEP_ERR_SOCKET_IN_USE', `socket "${path}" is in use: ${hint}`);
  }
  await unlink(path).catch(() => {});
}

function answersConnection(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    // EAGAIN is a full backlog: somebody listens. Only a refusal says that nobody does.
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code !== 'ECONNREFUSED'));
  });
}
