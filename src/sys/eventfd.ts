/** An eventfd that wakes a worker out of its epoll_wait. Source: eventfd(2). */
import { lastErrno, SystemCallError } from './errno.js';
import { close, eventfd, read, write } from './libc.js';
import { addressOf, pin } from './memory.js';

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;

const one = pin(new BigUint64Array([1n]));
const oneAddress = addressOf(one);
const drained = pin(new BigUint64Array(1));
const drainedAddress = addressOf(drained);

/** @throws SystemCallError */
export function openEventfd(): number {
  const fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) throw new SystemCallError('eventfd', lastErrno());
  return fd;
}

/** Makes the fd readable. Never blocks; a counter that is already up stays up. */
export function signalEventfd(fd: number): void {
  write(fd, oneAddress, 8);
}

/** Makes the fd quiet again. */
export function drainEventfd(fd: number): void {
  read(fd, drainedAddress, 8);
}

export function closeEventfd(fd: number): void {
  close(fd);
}
