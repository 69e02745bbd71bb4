/**
 * Segmentation offload of UDP sockets: UDP_SEGMENT splits one sent message into datagrams of one size late in the kernel,
 * UDP_GRO hands received datagrams of one flow over as one message. Source: udp(7), include/uapi/linux/udp.h.
 */
import { errnoName, errnoNumber, lastErrno, SystemCallError } from './errno.js';
import { connect, epollWait, getsockname, read, setsockopt, write } from './libc.js';
import { addressOf, pin } from './memory.js';
import { addToEpoll, closeEpoll, openEpoll } from './poll.js';
import { SOCKADDR_BYTES_MAX } from './sockaddr.js';
import { closeUdpSocket, openUdpSocket } from './udp-socket.js';

const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

const LOOPBACK = { 4: Uint8Array.of(127, 0, 0, 1), 6: Uint8Array.of(...new Array<number>(15).fill(0), 1) };
const UNSPECIFIED = { 4: new Uint8Array(4), 6: new Uint8Array(16) };
const SEGMENT_BYTES = 64;
/** Loopback delivers within the send, unless the softirq is handed to its thread. */
const ARRIVAL_MS_MAX = 200;
const ENETUNREACH = errnoNumber('ENETUNREACH');
const EADDRNOTAVAIL = errnoNumber('EADDRNOTAVAIL');

/** Arguments of setsockopt, getsockname and connect, epoll_wait, read and write. */
const optionValue = pin(new Int32Array(1));
const optionValueAddress = addressOf(optionValue);
const sockaddr = pin(new Uint8Array(SOCKADDR_BYTES_MAX));
const sockaddrAddress = addressOf(sockaddr);
const events = pin(new Int32Array(4));
const eventsAddress = addressOf(events);
const payload = pin(new Uint8Array(4 * SEGMENT_BYTES));
const payloadAddress = addressOf(payload);

/** From now on a message can hold many datagrams: its cmsg says of what size. @throws SystemCallError ENOPROTOOPT */
export function enableUdpGro(fd: number): void {
  setUdpOption(fd, 'UDP_GRO', UDP_GRO, 1);
}

/** @throws SystemCallError */
export function probeUdpGro(family: 4 | 6 = 4): void {
  const fd = openOnLoopback(family);
  try {
    enableUdpGro(fd);
  } finally {
    closeUdpSocket(fd);
  }
}

/**
 * Sends one message of two segments over loopback and sees two datagrams arrive. Where loopback is down, the option
 * alone decides.
 *
 * @throws SystemCallError, or Error that says what arrived
 */
export function probeUdpSegment(family: 4 | 6 = 4): void {
  const receiver = openOnLoopback(family);
  const sender = openOnLoopback(family);
  const epollFd = openEpoll();
  try {
    setUdpOption(sender, 'UDP_SEGMENT', UDP_SEGMENT, SEGMENT_BYTES);
    if (!connectTo(sender, receiver)) return;
    if (write(sender, payloadAddress, 2 * SEGMENT_BYTES) < 0) throw new SystemCallError('send', lastErrno());
    addToEpoll(epollFd, receiver, 0);
    const sizes = [receiveOne(epollFd, receiver), receiveOne(epollFd, receiver)];
    if (sizes.some((bytes) => bytes !== SEGMENT_BYTES)) {
      const arrived = sizes.filter((bytes) => bytes >= 0).map((bytes) => `${bytes} bytes`);
      throw new Error(`two segments of ${SEGMENT_BYTES} bytes arrived as ${arrived.join(' and ') || 'nothing'}`);
    }
  } finally {
    closeEpoll(epollFd);
    closeUdpSocket(sender);
    closeUdpSocket(receiver);
  }
}

/** Where loopback has no address of the family (IPv6 that is switched off there), the socket is bound to none. */
function openOnLoopback(family: 4 | 6): number {
  try {
    return openUdpSocket({ address: LOOPBACK[family], port: 0 });
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.code !== errnoName(EADDRNOTAVAIL)) throw error;
    return openUdpSocket({ address: UNSPECIFIED[family], port: 0 });
  }
}

/** Makes `fd` send to the address that `target` is bound to. @returns false where loopback is down */
function connectTo(fd: number, target: number): boolean {
  optionValue[0] = SOCKADDR_BYTES_MAX;
  if (getsockname(target, sockaddrAddress, optionValueAddress) < 0) {
    throw new SystemCallError('getsockname', lastErrno());
  }
  if (connect(fd, sockaddrAddress, optionValue[0] as number) === 0) return true;
  const errno = lastErrno();
  if (errno === ENETUNREACH || errno === EADDRNOTAVAIL) return false;
  throw new SystemCallError('connect', errno);
}

/** @returns the datagram's length, or -1 if none came */
function receiveOne(epollFd: number, fd: number): number {
  if (epollWait(epollFd, eventsAddress, 1, ARRIVAL_MS_MAX) < 1) return -1;
  return read(fd, payloadAddress, payload.length);
}

function setUdpOption(fd: number, name: string, option: number, value: number): void {
  optionValue[0] = value;
  if (setsockopt(fd, SOL_UDP, option, optionValueAddress, 4) < 0) {
    throw new SystemCallError(`setsockopt ${name}`, lastErrno());
  }
}
