/**
 * Stands in the place of src/sys/libc.js (redirect.mjs, or vi.mock in the short form): the four calls that carry frames go
 * to a kernel of the test's own, all others to the real one. Test support.
 *
 * A call that is to fail answers minus its errno. No VTEP has a route: what the machine's own routes are must not matter.
 */
import koffi from 'koffi';
import { errnoNumber } from '../../src/sys/errno.js';

export interface StandInKernel {
  read(fd: number, address: number, bytes: number): number;
  writev(fd: number, iovecs: number, count: number): number;
  sendmmsg(fd: number, headers: number, count: number): number;
  recvmmsg(fd: number, headers: number, count: number): number;
}

let kernel: StandInKernel | undefined;

export function standIn(own: StandInKernel): void {
  kernel = own;
}

function answer(result: number): number {
  if (result >= 0) return result;
  koffi.errno(-result);
  return -1;
}

const present = (): StandInKernel => {
  if (kernel === undefined) throw new Error('no kernel stands in');
  return kernel;
};

export const read = (fd: number, address: number, bytes: number): number => answer(present().read(fd, address, bytes));
export const writev = (fd: number, iovecs: number, count: number): number =>
  answer(present().writev(fd, iovecs, count));
export const sendmmsg = (fd: number, headers: number, count: number, _flags: number): number =>
  answer(present().sendmmsg(fd, headers, count));
export const recvmmsg = (fd: number, headers: number, count: number, _flags: number, _timeout: number): number =>
  answer(present().recvmmsg(fd, headers, count));
/** sys/path-mtu.ts asks by it. */
export const connect = (): number => answer(-errnoNumber('ENETUNREACH'));
