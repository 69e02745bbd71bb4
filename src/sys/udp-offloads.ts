/**
 * Segmentation offload of UDP sockets: UDP_SEGMENT splits one sent message into datagrams of one size late in the kernel,
 * UDP_GRO hands received datagrams of one flow over as one message. Source: udp(7), include/uapi/linux/udp.h.
 */
import { errnoNumber, lastErrno, SystemCallError } from './errno.js';
import { connect, epollWait, getsockname, read, setsockopt, write } from './libc.js';
import { addressOf, pin } from './memory.js';
import { addToEpoll, closeEpoll, openEpoll } from './poll.js';
import { SOCKADDR_IN_BYTES } from './sockaddr.js';
import { closeUdpSocket, openUdpSocket } from './udp-socket.js';

const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

const LOOPBACK = Uint8Array.of(127, 0, 0, 1);
const SEGMENT_BYTES = 64;
/** Loopback delivers within the send, unless the softirq is handed to its thread. */
const ARRIVAL_MS_MAX = 200;
const ENETUNREACH = errnoNumber('ENETUNREACH');

/** Arguments of setsockopt, getsockname and connect, epoll_wait, read and write. */
const optionValue = pin(new Int32Array(1));
const optionValueAddress = addressOf(optionValue);
const sockaddr = pin(new Uint8Array(SOCKADDR_IN_BYTES));
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
export function probeUdpGro(): void {
  const fd = openUdpSocket({ address: LOOPBACK, port: 0 });
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
export function probeUdpSegment(): void {
  const receiver = openUdpSocket({ address: LOOPBACK, port: 0 });
  const sender = openUdpSocket({ address: LOOPBACK, port: 0 });
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

/** Makes `fd` send to the address that `target` is bound to. @returns false where loopback is down */
function connectTo(fd: number, target: number): boolean {
  optionValue[0] = SOCKADDR_IN_BYTES;
  if (getsockname(target, sockaddrAddress, optionValueAddress) < 0) {
    throw new SystemCallError('getsockname', lastErrno());
  }
  if (connect(fd, sockaddrAddress, SOCKADDR_IN_BYTES) === 0) return true;
  const errno = lastErrno();
  if (errno === ENETUNREACH) return false;
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
