/**
 * The C library as vtep calls it. Pointers are plain numbers (uintptr_t): about 25 ns a call above the system call, and
 * no object is made. Sources: the man pages of each call; <sys/socket.h>, <sys/epoll.h>.
 *
 * Every function answers what the C function answers; -1 means: read lastErrno() before any other call.
 */
import koffi from 'koffi';

function loadLibc(): ReturnType<typeof koffi.load> {
  const arch = process.arch === 'x64' ? 'x86_64' : process.arch === 'arm64' ? 'aarch64' : process.arch;
  try {
    return koffi.load('libc.so.6');
  } catch {
    return koffi.load(`libc.musl-${arch}.so.1`);
  }
}

const libc = loadLibc();

type Call0 = () => number;
type Call1 = (a: number) => number;
type Call2 = (a: number, b: number) => number;
type Call3 = (a: number, b: number, c: number) => number;
type Call4 = (a: number, b: number, c: number, d: number) => number;
type Call5 = (a: number, b: number, c: number, d: number, e: number) => number;
type Open = (path: string, flags: number) => number;

export const open = libc.func('int open(const char *path, int flags)') as Open;
export const close = libc.func('int close(int fd)') as Call1;
export const dup3 = libc.func('int dup3(int from, int to, int flags)') as Call3;
export const read = libc.func('intptr_t read(int fd, uintptr_t buffer, size_t bytes)') as Call3;
export const write = libc.func('intptr_t write(int fd, uintptr_t buffer, size_t bytes)') as Call3;
export const writev = libc.func('intptr_t writev(int fd, uintptr_t iovecs, int count)') as Call3;
export const ioctl = libc.func('int ioctl(int fd, unsigned long request, uintptr_t argument)') as Call3;
export const socket = libc.func('int socket(int family, int type, int protocol)') as Call3;
export const bind = libc.func('int bind(int fd, uintptr_t address, unsigned int bytes)') as Call3;
export const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int option, uintptr_t value, unsigned int bytes)',
) as Call5;
export const getsockopt = libc.func(
  'int getsockopt(int fd, int level, int option, uintptr_t value, uintptr_t bytes)',
) as Call5;
export const sendmmsg = libc.func('int sendmmsg(int fd, uintptr_t messages, unsigned int count, int flags)') as Call4;
export const sendto = libc.func(
  'intptr_t sendto(int fd, uintptr_t buffer, size_t bytes, int flags, uintptr_t address, unsigned int addressBytes)',
) as (fd: number, buffer: number, bytes: number, flags: number, address: number, addressBytes: number) => number;
export const recvmmsg = libc.func(
  'int recvmmsg(int fd, uintptr_t messages, unsigned int count, int flags, uintptr_t timeout)',
) as Call5;
export const eventfd = libc.func('int eventfd(unsigned int initial, int flags)') as Call2;
export const epollCreate1 = libc.func('int epoll_create1(int flags)') as Call1;
export const epollCtl = libc.func('int epoll_ctl(int epfd, int op, int fd, uintptr_t event)') as Call4;
export const epollWait = libc.func('int epoll_wait(int epfd, uintptr_t events, int count, int timeout_ms)') as Call4;
export const schedYield = libc.func('int sched_yield()') as Call0;
export const socketpair = libc.func('int socketpair(int family, int type, int protocol, uintptr_t fds)') as Call4;
export const connect = libc.func('int connect(int fd, uintptr_t address, unsigned int bytes)') as Call3;
export const getsockname = libc.func('int getsockname(int fd, uintptr_t address, uintptr_t bytes)') as Call3;
export const ifNametoindex = libc.func('unsigned int if_nametoindex(const char *name)') as (name: string) => number;
/** For the calls that the C library has no function of its own for. */
export const syscall = libc.func('intptr_t syscall(intptr_t number, intptr_t a, uintptr_t b, uintptr_t c)') as Call4;
