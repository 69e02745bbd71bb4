/**
 * errno by name. The kernel's numbers differ between architectures, so they come from koffi's table.
 *
 * Read it right after the failing call: the next call through koffi overwrites it.
 */
import koffi from 'koffi';

const NUMBERS = koffi.os.errno as Readonly<Record<string, number>>;
const NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(NUMBERS)) {
  // EWOULDBLOCK and EOPNOTSUPP are second names of EAGAIN and ENOTSUP; the first name stays.
  if (!NAMES.has(number)) NAMES.set(number, name);
}

/** The number of an errno name on this machine. @throws Error for a name that this machine does not know */
export function errnoNumber(name: string): number {
  const number = NUMBERS[name];
  if (number === undefined) throw new Error(`errno ${name} is not known on this machine`);
  return number;
}

export function errnoName(number: number): string {
  return NAMES.get(number) ?? `errno ${number}`;
}

export const EAGAIN = errnoNumber('EAGAIN');
export const EINTR = errnoNumber('EINTR');
export const ENOBUFS = errnoNumber('ENOBUFS');
export const EINVAL = errnoNumber('EINVAL');
export const EIO = errnoNumber('EIO');
export const EMSGSIZE = errnoNumber('EMSGSIZE');

/** errno of the call that has just failed, as a number. */
export function lastErrno(): number {
  return koffi.errno();
}

/** A system call that failed. `code` is the errno's name, as in Node's own errors. */
export class SystemCallError extends Error {
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string, number: number, detail?: string) {
    super(`${syscall}${detail === undefined ? '' : ` ${detail}`}: ${errnoName(number)}`);
    this.name = 'SystemCallError';
    this.code = errnoName(number);
    this.syscall = syscall;
  }
}
