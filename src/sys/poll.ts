/**
 * epoll, level-triggered: one call answers which of any number of TAPs and sockets have something to read.
 *
 * poll(2) would read the whole set at each call, which counts with hundreds of networks on a host; with epoll the main
 * thread adds and removes TAPs while the worker waits. Source: epoll(7), <sys/epoll.h> (packed on x86-64 only).
 */
import { lastErrno, SystemCallError } from './errno.js';
import { close, epollCreate1, epollCtl } from './libc.js';
import { addressOf, pin } from './memory.js';

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;

/** Int32 words of one struct epoll_event, and the word that holds the low half of its data. */
export const EPOLL_EVENT_WORDS = process.arch === 'x64' ? 3 : 4;
export const EPOLL_DATA_WORD = process.arch === 'x64' ? 1 : 2;

const event = pin(new Int32Array(4));
const eventAddress = addressOf(event);

/** @throws SystemCallError */
export function openEpoll(): number {
  const fd = epollCreate1(EPOLL_CLOEXEC);
  if (fd < 0) throw new SystemCallError('epoll_create1', lastErrno());
  return fd;
}

/** Watches `fd` for input; `token` (int32) comes back with each event. @throws SystemCallError */
export function addToEpoll(epollFd: number, fd: number, token: number): void {
  event[0] = EPOLLIN;
  event[EPOLL_DATA_WORD] = token;
  if (epollCtl(epollFd, EPOLL_CTL_ADD, fd, eventAddress) < 0) throw new SystemCallError('epoll_ctl', lastErrno());
}

export function removeFromEpoll(epollFd: number, fd: number): void {
  epollCtl(epollFd, EPOLL_CTL_DEL, fd, eventAddress);
}

export function closeEpoll(fd: number): void {
  close(fd);
}
