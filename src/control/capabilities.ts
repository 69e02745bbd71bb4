/**
 * Which of the kernel's privileges this process has (capabilities(7)), and what is told where one is missing.
 *
 * Place: control plane, cold; startup-checks.ts asks before anything is made, ports/namespace.ts before a container is entered.
 *
 *     root                 what is effective: the kernel gives the same to the programs that we start
 *     any other user       what is ambient: only that is passed on to ip and nft
 */
import { readFileSync } from 'node:fs';
import { VtepError } from './errors.js';

/** Bit numbers in the sets of /proc/PID/status. */
const BITS = { NET_ADMIN: 12n, SYS_PTRACE: 19n, SYS_ADMIN: 21n } as const;
export type Capability = keyof typeof BITS;

export interface Privileges {
  readonly uid: number;
  has(capability: Capability): boolean;
  /** It is effective, but the programs that we start would not have it. */
  isKeptBack(capability: Capability): boolean;
}

/** @param status the text of /proc/PID/status */
export function parsePrivileges(status: string): Privileges {
  // Real, effective, saved and file system's.
  const uid = Number(/^Uid:\s*\d+\s+(\d+)/m.exec(status)?.[1] ?? 0);
  const read = (set: string) => BigInt(`0x${new RegExp(`^${set}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0'}`);
  const effective = read('CapEff');
  const inherited = uid === 0 ? effective : effective & read('CapAmb');
  const isIn = (set: bigint, capability: Capability) => (set & (1n << BITS[capability])) !== 0n;
  return {
    uid,
    has: (capability) => isIn(inherited, capability),
    isKeptBack: (capability) => isIn(effective, capability) && !isIn(inherited, capability),
  };
}

export function readPrivileges(): Privileges {
  return parsePrivileges(readFileSync('/proc/self/status', 'utf8'));
}

/** @throws VtepError VTEP_ERR_NOT_ROOT: nothing works without. */
export function checkNetAdmin(privileges: Privileges): void {
  if (privileges.has('NET_ADMIN')) return;
  const { uid } = privileges;
  const why = 'CAP_NET_ADMIN, which it needs to make interfaces';
  if (uid === 0) {
    const hint = 'in a container, start it with --cap-add NET_ADMIN (docker run)';
    throw new VtepError('VTEP_ERR_NOT_ROOT', `vtepd has no capability ${why}: ${hint}`);
  }
  if (privileges.isKeptBack('NET_ADMIN')) {
    const hint = 'start it with setpriv --ambient-caps, or with AmbientCapabilities= of systemd';
    throw new VtepError('VTEP_ERR_NOT_ROOT', `user ${uid} does not pass on the capability ${why}: ${hint}`);
  }
  const hint = 'start it as root (sudo vtepd ...), or in a container with --cap-add NET_ADMIN (docker run)';
  throw new VtepError('VTEP_ERR_NOT_ROOT', `vtepd runs as user ${uid} without the capability ${why}: ${hint}`);
}

/** @throws VtepError VTEP_ERR_NOT_ROOT: setns(2) would be refused. */
export function checkMayEnter(privileges: Privileges, what: string): void {
  if (privileges.has('SYS_ADMIN')) return;
  const hint =
    'start it as root, or in a container with --cap-add SYS_ADMIN; with the Docker plugin alone it is not needed';
  throw new VtepError('VTEP_ERR_NOT_ROOT', `vtepd can't enter ${what}: it has no capability CAP_SYS_ADMIN; ${hint}`);
}

/** @param errno why the process's namespace could not be looked at */
export function refusedToLook(privileges: Privileges, pid: number, errno: string): VtepError {
  const hint = privileges.has('SYS_PTRACE')
    ? ''
    : ': give vtepd the capability CAP_SYS_PTRACE, or the namespace by its name';
  return new VtepError('VTEP_ERR_NOT_ROOT', `vtepd may not look at the namespace of process ${pid} (${errno})${hint}`);
}
