/** The system-call layer against the kernel of this machine. The TAP part needs root and /dev/net/tun. */
import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import {
  CMSG_DATA_WORD,
  GSO_CONTROL_BYTES,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_IOV_WORD,
  MSG_IOVLEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  prepareGsoControl,
} from '../../src/sys/batch-io.js';
import { EAGAIN, errnoName, errnoNumber, lastErrno, SystemCallError } from '../../src/sys/errno.js';
import { closeEventfd, drainEventfd, openEventfd, signalEventfd } from '../../src/sys/eventfd.js';
import { connect, epollWait, read, sendmmsg, write } from '../../src/sys/libc.js';
import { addressOf, writePointer } from '../../src/sys/memory.js';
import { addToEpoll, closeEpoll, EPOLL_DATA_WORD, openEpoll, removeFromEpoll } from '../../src/sys/poll.js';
import { SOCKADDR_BYTES_MAX, writeSockaddr } from '../../src/sys/sockaddr.js';
import {
  closeTap,
  isTapAlive,
  openTap,
  openThrowawayTap,
  setTapOffloads,
  TUN_F_CSUM,
  TUN_F_TSO,
  TUN_F_USO,
} from '../../src/sys/tap.js';
import { enableUdpGro, probeUdpGro, probeUdpSegment } from '../../src/sys/udp-offloads.js';
import { boundPort, closeUdpSocket, openUdpSocket, overflowCount } from '../../src/sys/udp-socket.js';

const LOOPBACK = Uint8Array.of(127, 0, 0, 1);
const LOOPBACK6 = Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0));
const TAP = `vtest${process.pid % 100_000}`;

afterEach(() => {
  try {
    execFileSync('ip', ['link', 'del', TAP], { stdio: 'ignore' });
  } catch {
    // Most tests make none.
  }
});

describe('a UDP socket', () => {
  it('tells how many messages it had no room for', () => {
    const receiver = openUdpSocket({ address: LOOPBACK, port: 0, receiveBufferBytes: 2048 });
    const sender = openUdpSocket({ address: LOOPBACK, port: 0 });
    try {
      const sockaddr = new Uint8Array(SOCKADDR_BYTES_MAX);
      const sockaddrBytes = writeSockaddr(sockaddr, 0, LOOPBACK, boundPort(receiver));
      expect(connect(sender, addressOf(sockaddr), sockaddrBytes)).toBe(0);
      const payload = new Uint8Array(1000);
      let received = 0;
      for (let i = 0; i < 50; i++) expect(write(sender, addressOf(payload), payload.length)).toBe(payload.length);
      while (read(receiver, addressOf(payload), payload.length) > 0) received++;
      expect(overflowCount(receiver)).toBeGreaterThan(0);
      expect(received + overflowCount(receiver)).toBe(50);
    } finally {
      closeUdpSocket(receiver);
      closeUdpSocket(sender);
    }
  });
});

describe('errno', () => {
  it('names what failed', () => {
    expect(errnoName(errnoNumber('EADDRINUSE'))).toBe('EADDRINUSE');
    expect(() => errnoNumber('ENOSUCH')).toThrow('ENOSUCH');
    expect(new SystemCallError('bind', errnoNumber('EACCES'), 'x').message).toBe('bind x: EACCES');
  });
});

describe('memory', () => {
  it('writes a pointer above 4 GiB as the machine reads it', () => {
    const words = new Int32Array(2);
    writePointer(words, 0, 0x7fff_89ab_cdef);
    expect(new BigUint64Array(words.buffer)[0]).toBe(0x7fff_89ab_cdefn);
  });

  it('gives a stable address of a SharedArrayBuffer', () => {
    const view = new Uint8Array(new SharedArrayBuffer(64));
    expect(addressOf(view)).toBe(addressOf(view));
    expect(addressOf(new Uint8Array(view.buffer, 16))).toBe(addressOf(view) + 16);
  });
});

describe('eventfd and epoll', () => {
  it('wakes with the token, until drained', () => {
    const epollFd = openEpoll();
    const fd = openEventfd();
    const events = new Int32Array(16);
    const wait = () => epollWait(epollFd, addressOf(events), 4, 0);
    try {
      addToEpoll(epollFd, fd, -7);
      expect(wait()).toBe(0);
      signalEventfd(fd);
      signalEventfd(fd);
      expect(wait()).toBe(1);
      expect(events[EPOLL_DATA_WORD]).toBe(-7);
      drainEventfd(fd);
      expect(wait()).toBe(0);
      signalEventfd(fd);
      removeFromEpoll(epollFd, fd);
      expect(wait()).toBe(0);
    } finally {
      closeEventfd(fd);
      closeEpoll(epollFd);
    }
  });
});

describe('UDP socket', () => {
  it('says that a port is taken', () => {
    const first = openUdpSocket({ address: LOOPBACK, port: 47_899 });
    try {
      expect(() => openUdpSocket({ address: LOOPBACK, port: 47_899 })).toThrow('bind 127.0.0.1:47899: EADDRINUSE');
    } finally {
      closeUdpSocket(first);
    }
    closeUdpSocket(openUdpSocket({ address: LOOPBACK, port: 47_899 }));
  });

  it('shares a port only with those that share it too', () => {
    const open = (reusePort: boolean) => openUdpSocket({ address: LOOPBACK, port: 47_899, reusePort });
    const group = [open(true), open(true)];
    try {
      expect(() => open(false)).toThrow('EADDRINUSE');
    } finally {
      for (const fd of group) closeUdpSocket(fd);
    }
    closeUdpSocket(open(false));
  });

  it('of IPv6 leaves the port of IPv4 alone, and names its address', () => {
    const first = openUdpSocket({ address: LOOPBACK6, port: 47_899 });
    const all = openUdpSocket({ address: new Uint8Array(16), port: 47_898 });
    try {
      expect(() => openUdpSocket({ address: LOOPBACK6, port: 47_899 })).toThrow(
        'bind [0:0:0:0:0:0:0:1]:47899: EADDRINUSE',
      );
      for (const port of [47_899, 47_898]) closeUdpSocket(openUdpSocket({ address: LOOPBACK, port }));
      expect(boundPort(first)).toBe(47_899);
    } finally {
      closeUdpSocket(first);
      closeUdpSocket(all);
    }
  });

  it.each([
    ['IPv4', LOOPBACK],
    ['IPv6', LOOPBACK6],
  ])('sends one message of 65,507 bytes in segments over %s', (_, address) => {
    const receiver = openUdpSocket({ address, port: 0, receiveBufferBytes: 1 << 20 });
    const sender = openUdpSocket({ address, port: 0, sendBufferBytes: 1 << 20 });
    const sockaddr = new Uint8Array(SOCKADDR_BYTES_MAX);
    const [iovec, header, control] = [new Int32Array(4), new Int32Array(16), new Int32Array(8)];
    const payload = new Uint8Array(65_507);
    try {
      const sockaddrBytes = writeSockaddr(sockaddr, 0, address, boundPort(receiver));
      writePointer(iovec, 0, addressOf(payload));
      iovec[2] = payload.length;
      writePointer(header, MSG_NAME_WORD, addressOf(sockaddr));
      header[MSG_NAMELEN_WORD] = sockaddrBytes;
      writePointer(header, MSG_IOV_WORD, addressOf(iovec));
      header[MSG_IOVLEN_WORD] = 1;
      prepareGsoControl(control, 0);
      control[CMSG_DATA_WORD] = 1472;
      writePointer(header, MSG_CONTROL_WORD, addressOf(control));
      header[MSG_CONTROLLEN_WORD] = GSO_CONTROL_BYTES;
      expect(sendmmsg(sender, addressOf(header), 1, 0)).toBe(1);
      const sizes: number[] = [];
      for (let got = read(receiver, addressOf(payload), payload.length); got > 0; ) {
        sizes.push(got);
        got = read(receiver, addressOf(payload), payload.length);
      }
      expect(sizes).toEqual([...Array(44).fill(1472), 65_507 - 44 * 1472]);
    } finally {
      closeUdpSocket(receiver);
      closeUdpSocket(sender);
    }
  });

  it('segments and coalesces, as its kernel says', () => {
    for (const family of [4, 6] as const) {
      expect(() => probeUdpSegment(family)).not.toThrow();
      expect(() => probeUdpGro(family)).not.toThrow();
    }
    expect(() => enableUdpGro(-1)).toThrow('setsockopt UDP_GRO: EBADF');
  });

  it('says that an address is not here', () => {
    expect(() => openUdpSocket({ address: Uint8Array.of(192, 0, 2, 250), port: 0 })).toThrow('EADDRNOTAVAIL');
  });
});

describe('TAP (needs root and /dev/net/tun)', () => {
  it('stays when it is closed, is adopted when it is opened again, and is empty at first', () => {
    const fd = openTap(TAP, TUN_F_CSUM);
    const buffer = new Uint8Array(2048);
    expect(read(fd, addressOf(buffer), buffer.length)).toBe(-1);
    expect(lastErrno()).toBe(EAGAIN);
    const index = () => JSON.parse(execFileSync('ip', ['-json', 'link', 'show', TAP]).toString())[0].ifindex;
    const before = index();
    closeTap(fd);
    expect(index()).toBe(before);
    const again = openTap(TAP, TUN_F_CSUM);
    expect(index()).toBe(before);
    expect(isTapAlive(again)).toBe(true);
    execFileSync('ip', ['link', 'del', TAP]);
    expect(isTapAlive(again)).toBe(false);
    closeTap(again);
  });

  it('takes the offloads that its kernel knows, and forgets a throw-away', () => {
    const fd = openThrowawayTap();
    try {
      const taken = setTapOffloads(fd, TUN_F_CSUM | TUN_F_TSO | TUN_F_USO);
      expect(taken & (TUN_F_CSUM | TUN_F_TSO)).toBe(TUN_F_CSUM | TUN_F_TSO);
      expect([0, TUN_F_USO]).toContain(taken & TUN_F_USO);
      expect(setTapOffloads(fd, 0)).toBe(0);
      // A flag that no kernel knows is given up with the rest of the superframes.
      expect(setTapOffloads(fd, TUN_F_CSUM | TUN_F_TSO | 0x4000)).toBe(TUN_F_CSUM);
    } finally {
      closeTap(fd);
    }
    expect(execFileSync('ip', ['-json', 'link', 'show']).toString()).not.toContain('vtep-probe');
  });

  it('refuses a name that the kernel would cut', () => {
    expect(() => openTap('a-name-of-16-chr', 0)).toThrow('1 to 15');
  });
});
