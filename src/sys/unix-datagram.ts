/**
 * One datagram to a unix socket that somebody else has bound: what Node's own modules cannot do. Main thread, cold.
 * Source: unix(7).
 */
import { EAGAIN, errnoNumber, lastErrno, SystemCallError } from './errno.js';
import { close, sendto, socket } from './libc.js';
import { addressOf } from './memory.js';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un: the family in two bytes of native order, then the path. */
const PATH_OFFSET = 2;
/** With its closing zero, which an abstract name has not. */
export const UNIX_PATH_BYTES_MAX = 108;

/**
 * @param path absolute, or `@NAME` for an abstract socket
 * @returns false if the receiver's queue is full now
 * @throws SystemCallError: ENOENT, ECONNREFUSED, EACCES, EMSGSIZE; ENAMETOOLONG
 */
export function sendUnixDatagram(path: string, datagram: Uint8Array): boolean {
  const address = sockaddrUn(path);
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemCallError('socket', lastErrno(), path);
  try {
    const target = addressOf(address);
    if (sendto(fd, addressOf(datagram), datagram.length, MSG_NOSIGNAL, target, address.length) >= 0) return true;
    const errno = lastErrno();
    if (errno === EAGAIN) return false;
    throw new SystemCallError('sendto', errno, path);
  } finally {
    close(fd);
  }
}

/** As long as the address is: an abstract name is all bytes that are given. @throws SystemCallError ENAMETOOLONG */
export function sockaddrUn(path: string): Uint8Array {
  const isAbstract = path.startsWith('@');
  const name = Buffer.from(path);
  const bytes = PATH_OFFSET + name.length + (isAbstract ? 0 : 1);
  if (bytes - PATH_OFFSET > UNIX_PATH_BYTES_MAX) throw new SystemCallError('sendto', errnoNumber('ENAMETOOLONG'), path);
  const address = new Uint8Array(bytes);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, PATH_OFFSET);
  if (isAbstract) address[PATH_OFFSET] = 0;
  return address;
}
