/** What vtepd makes of its capabilities: what it can't do without, and what it says where one is missing. */
import { describe, expect, it } from 'vitest';
import { checkMayEnter, checkNetAdmin, parsePrivileges, refusedToLook } from '../../src/control/capabilities.js';
import { VtepError } from '../../src/control/errors.js';

const NET_ADMIN = 1n << 12n;
const SYS_PTRACE = 1n << 19n;
const SYS_ADMIN = 1n << 21n;

/** The lines of /proc/PID/status as proc_pid_status(5) has them, among others. */
function status(uid: number, sets: { effective: bigint; ambient?: bigint }): string {
  const hex = (set: bigint) => set.toString(16).padStart(16, '0');
  return [
    'Name:\tnode',
    `Uid:\t1000\t${uid}\t1000\t1000`,
    'Gid:\t1000\t1000\t1000\t1000',
    `CapInh:\t${hex(0n)}`,
    `CapPrm:\t${hex(0x1ffffffffffn)}`,
    `CapEff:\t${hex(sets.effective)}`,
    `CapBnd:\t${hex(0x1ffffffffffn)}`,
    `CapAmb:\t${hex(sets.ambient ?? 0n)}`,
    'NoNewPrivs:\t0',
    '',
  ].join('\n');
}

function refusal(work: () => void): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(VtepError);
    const { code, message } = error as VtepError;
    expect(code).toBe('VTEP_ERR_NOT_ROOT');
    expect(message).not.toContain('\n');
    return message;
  }
  throw new Error('accepted');
}

describe('root has what is effective, others what is ambient', () => {
  it.each<[string, number, bigint, bigint, boolean, boolean]>([
    ['root with it', 0, NET_ADMIN, 0n, true, false],
    ['root without it', 0, SYS_ADMIN, 0n, false, false],
    ['a user who passes it on', 1000, NET_ADMIN, NET_ADMIN, true, false],
    ['a user who has it for himself', 1000, NET_ADMIN, 0n, false, true],
    ['a user without', 1000, 0n, 0n, false, false],
    ['a user who has put it aside', 1000, 0n, NET_ADMIN, false, false],
  ])('%s', (_, uid, effective, ambient, has, isKeptBack) => {
    const privileges = parsePrivileges(status(uid, { effective, ambient }));
    expect(privileges.uid).toBe(uid);
    expect(privileges.has('NET_ADMIN')).toBe(has);
    expect(privileges.isKeptBack('NET_ADMIN')).toBe(isKeptBack);
    expect(privileges.has('SYS_PTRACE')).toBe(false);
  });

  it('a text without these lines grants nothing', () => {
    expect(parsePrivileges('').has('NET_ADMIN')).toBe(false);
  });
});

describe('without NET_ADMIN nothing starts', () => {
  it.each<[number, bigint, string]>([
    [
      0,
      SYS_ADMIN,
      'vtepd has no capability CAP_NET_ADMIN, which it needs to make interfaces: in a container, start it with --cap',
    ],
    [1000, 0n, 'vtepd runs as user 1000 without the capability CAP_NET_ADMIN'],
    [1000, NET_ADMIN, 'user 1000 does not pass on the capability CAP_NET_ADMIN'],
  ])('user %i', (uid, effective, message) => {
    expect(refusal(() => checkNetAdmin(parsePrivileges(status(uid, { effective }))))).toContain(message);
  });

  it('with it alone it does, for any user', () => {
    expect(() => checkNetAdmin(parsePrivileges(status(0, { effective: NET_ADMIN })))).not.toThrow();
    const user = status(1000, { effective: NET_ADMIN, ambient: NET_ADMIN });
    expect(() => checkNetAdmin(parsePrivileges(user))).not.toThrow();
  });
});

it('without SYS_ADMIN no container is entered, and the message says what would let it', () => {
  const without = parsePrivileges(status(0, { effective: NET_ADMIN }));
  const message = refusal(() => checkMayEnter(without, 'netns "web"'));
  expect(message).toContain('can\'t enter netns "web"');
  expect(message).toContain('--cap-add SYS_ADMIN');
  expect(() => checkMayEnter(parsePrivileges(status(0, { effective: SYS_ADMIN })), 'netns "web"')).not.toThrow();
});

it('a process that may not be looked at: the capability is named where it is missing', () => {
  const without = parsePrivileges(status(0, { effective: SYS_ADMIN }));
  expect(refusedToLook(without, 4711, 'EACCES').message).toMatch(/process 4711 \(EACCES\): .*CAP_SYS_PTRACE/);
  const having = parsePrivileges(status(0, { effective: SYS_ADMIN | SYS_PTRACE }));
  expect(refusedToLook(having, 4711, 'EACCES').message).toMatch(/process 4711 \(EACCES\)$/);
});
